"""Growing orthonormal bases, and projections of symmetric matrices onto them."""

from __future__ import annotations

import numpy as np
from scipy.linalg import cholesky, qr, solve_triangular

# A block that retains this share of its length is orthogonal to the basis to rounding.
_KEPT = 0.7
# This close to the identity, the Gram matrix of a block loses no accuracy.
_NEARLY_ORTHONORMAL = 0.1


class GalerkinBasis:
    """Orthonormal directions Q that grow by blocks, and ``H = Q.T @ A @ Q``.

    A is a symmetric matrix given only by its products with blocks. Solutions in the
    span of Q are computed from H, which is small and kept in float64.

    Parameters
    ----------
    n_columns : int
        Order of A.
    most : int
        Maximum number of directions.
    dtype : dtype
        Precision of directions and products.
    keep_products : bool, default=False
        Whether to keep ``A @ Q`` too, for residuals.
    """

    def __init__(self, n_columns, most, dtype, *, keep_products=False):
        # Directions are stored as rows, so that used ones are contiguous. Unused rows
        # need no memory: the system allocates pages when they are written.
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
        # Symmetrised, because rounding makes the new corner slightly asymmetric, and
        # Cholesky factors and eigenvectors use only one triangle.
        projected[size:, size:] = (inside[size:] + inside[size:].T) / 2.0
        self.projected = projected
        return inside


def next_block(block, basis):
    """Orthonormalise a block and make it orthogonal to a basis, to rounding.

    The block has shape (n_columns, width) and is roughly orthogonal to the basis of
    shape (n_columns, n_directions). Returns the new block of the same shape, and a
    factor of shape (width, width) such that the block was ``new @ factor``.
    """
    new, product = thin_qr(block)
    # Gram-Schmidt twice: if the first round removes most of a block, the remainder is
    # not orthogonal to rounding. A round that removes little is the last one needed.
    for _ in range(2):
        new, factor = _cholesky_qr(new - basis @ (basis.T @ new))
        product = factor @ product
        if np.abs(np.diag(factor)).min() > _KEPT:
            break
    return new, product


def thin_qr(block):
    """Return Q of shape (n_rows, width) and R of a block, which is overwritten."""
    # NumPy's QR is several times slower in single precision.
    return qr(block, mode="economic", overwrite_a=True, check_finite=False)


def _cholesky_qr(block):
    """Return the factors of ``block = Q @ R`` for columns of roughly unit length."""
    gram = block.T @ block
    if np.abs(gram - np.eye(len(gram))).max() * len(gram) > _NEARLY_ORTHONORMAL:
        return thin_qr(block)
    factor = cholesky(gram)
    inverse = solve_triangular(factor, np.eye(len(gram), dtype=block.dtype))
    return block @ inverse, factor
