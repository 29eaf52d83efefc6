"""Growing orthonormal bases, and what a symmetric matrix is within them."""

from __future__ import annotations

import numpy as np
from scipy.linalg import cholesky, qr, solve_triangular

# A block that kept this part of its length is orthogonal to the basis to rounding.
_KEPT = 0.7
# So near to the identity, the Gram matrix of a block costs no digits.
_NEARLY_ORTHONORMAL = 0.1


class GalerkinBasis:
    """Orthonormal directions Q that grow by blocks, and ``H = Q.T @ A @ Q``.

    A is a symmetric matrix that is known by its products alone. What is sought within
    the space of Q is found with H, which is small and kept in float64.

    Parameters
    ----------
    n_columns : int
        Order of A.
    most : int
        How many directions there may be.
    dtype : dtype
        Precision of directions and products.
    keep_products : bool, default=False
        Whether to keep ``A @ Q`` too, for residuals.
    """

    def __init__(self, n_columns, most, dtype, *, keep_products=False):
        # Directions are rows, for then those in use are one piece of memory. Rows that
        # are not in use yet take no memory: the system gives pages when written to.
        self._directions = np.empty((most, n_columns), dtype)
        self._products = np.empty((most if keep_products else 0, n_columns), dtype)
        self.projected = np.zeros((0, 0))

    @property
    def directions(self):
        """Q, of shape (n_columns, n_directions)."""
        return self._directions[: len(self.projected)].T

    @property
    def products(self):
        """A @ Q, of shape (n_columns, n_directions)."""
        return self._products[: len(self.projected)].T

    def add(self, block, product):
        """Add directions and their products, both of shape (n_columns, width).

        Returns ``Q.T @ product``, of shape (n_directions, width), with the new Q.
        """
        size, width = len(self.projected), block.shape[1]
        self._directions[size : size + width] = block.T
        if len(self._products):
            self._products[size : size + width] = product.T
        inside = self._directions[: size + width] @ product
        projected = np.zeros((size + width, size + width))
        projected[:size, :size] = self.projected
        projected[:, size:] = inside
        projected[size:, :size] = inside[:size].T
        # Rounding leaves the new corner not quite symmetric; a Cholesky factor and
        # eigenvectors would see one triangle of it only.
        projected[size:, size:] = (inside[size:] + inside[size:].T) / 2.0
        self.projected = projected
        return inside


def next_block(block, basis):
    """Make a block orthonormal, and orthogonal to a basis, to rounding.

    Takes a block of shape (n_columns, width), about orthogonal to the basis, and a
    basis of shape (n_columns, n_directions). Returns the new block, of the same shape,
    and a factor of shape (width, width): the block was ``new @ factor``.
    """
    new, product = thin_qr(block)
    # Gram-Schmidt twice, for what is left of a block may be small, and then far from
    # orthogonal; a turn that takes off little was the last one needed.
    for _ in range(2):
        new, factor = _cholesky_qr(new - basis @ (basis.T @ new))
        product = factor @ product
        if np.abs(np.diag(factor)).min() > _KEPT:
            break
    return new, product


def thin_qr(block):
    """Return Q of shape (n_rows, width) and R of a block, which is overwritten."""
    # NumPy's is several times slower in single precision.
    return qr(block, mode="economic", overwrite_a=True, check_finite=False)


def _cholesky_qr(block):
    """Return the factors of ``block = Q @ R``, given columns of about unit length."""
    gram = block.T @ block
    if np.abs(gram - np.eye(len(gram))).max() * len(gram) > _NEARLY_ORTHONORMAL:
        return thin_qr(block)
    factor = cholesky(gram)
    inverse = solve_triangular(factor, np.eye(len(gram), dtype=block.dtype))
    return block @ inverse, factor
