"""Leading singular vectors of wide tables, converged and with fixed signs."""

from __future__ import annotations

import numpy as np
from scipy.linalg import eigh
from scipy.sparse.linalg import eigsh
from sklearn.utils import check_random_state

from clapstack._numerics.galerkin import GalerkinBasis, next_block, thin_qr
from clapstack._numerics.rows import ShiftedRows, StandardizedTable

# From this size, singular vectors come from an iteration instead of a Gram matrix.
_LARGE = 1024


def right_singular_vectors(table, n_components, random_state=0):
    """Return the leading right singular vectors of a table, from its Gram matrix.

    Parameters
    ----------
    table : StandardizedTable
        Rows and columns; the smaller one of its two Gram matrices is computed.
    n_components : int
        Maximum number of vectors.
    random_state : int, RandomState instance or None, default=0
        Draws the start of the Lanczos iteration; it only affects rounding.

    Returns
    -------
    vectors : ndarray of shape (n_columns, k)
        ``k <= n_components``, and at most the numerical rank, because further
        directions are arbitrary. The entry of largest magnitude of each vector is
        positive, so results are reproducible.
    """
    wide = table.shape[1] > table.shape[0]
    gram = table.kernel() if wide else table.gram()
    gram = (gram + np.tril(gram, -1).T).T
    values, vectors = _leading_eigenvectors(gram, n_components, random_state)
    floor = max(values[0], 0.0) * max(table.shape) * np.finfo(np.float64).eps
    keep = values > floor
    values, vectors = values[keep], vectors[:, keep]
    if wide:
        vectors = table.transposed_times(vectors / np.sqrt(values))
    return vectors * _largest_signs(vectors)


def _leading_eigenvectors(gram, n_components, random_state):
    """Return the largest eigenvalues, descending, and their vectors (size, k)."""
    size = gram.shape[0]
    k = min(n_components, size)
    if 8 * k < size and np.any(gram):
        # Lanczos to machine precision, faster than a dense solver for few vectors.
        start = check_random_state(random_state).uniform(-1.0, 1.0, size)
        values, vectors = eigsh(gram, k=k, v0=start, tol=0)
        order = np.argsort(values)
    else:
        values, vectors = eigh(gram, subset_by_index=(size - k, size - 1))
        order = np.arange(k)
    return values[order[::-1]], vectors[:, order[::-1]]


def leading_right_singular_vectors(
    X, columns, n_components, random_state=0, *, solver=None
):
    """Return the leading right singular vectors of some columns.

    Columns are neither centred nor scaled. Large tables use a block Lanczos iteration
    in float64, which is exact to rounding after about 15 passes over the rows; small
    ones use a Gram matrix.

    Parameters
    ----------
    X : ndarray or LazyTable of shape (n_pairs, n_features)
        The whole table, float32 or float64.
    columns : ndarray of int of shape (n_columns,)
        Columns to use.
    n_components : int
        Maximum number of vectors.
    random_state : int, RandomState instance or None, default=0
        Draws the start of the iteration; it only affects rounding.
    solver : {"lanczos", "gram"}, default=None
        Method; None selects it by size. If "lanczos" does not converge, "gram" is used.

    Returns
    -------
    vectors : ndarray of shape (n_columns, k)
        As from :func:`right_singular_vectors`.
    """
    if solver is None:
        smaller = min(X.shape[0], len(columns))
        solver = "lanczos" if smaller >= max(_LARGE, 16 * n_components) else "gram"
    if solver == "lanczos":
        found = _iterate(X, columns, n_components, random_state)
        if found is not None:
            return found
    table = StandardizedTable(X, columns=columns, standardize=False)
    return right_singular_vectors(table, n_components, random_state)


def _iterate(X, columns, n_components, random_state):
    """Return the vectors by block Lanczos, or None without convergence."""
    rows = ShiftedRows(X, columns)
    rows.shift = np.zeros(len(columns))

    def product(blocks):
        out = np.zeros(blocks[0].shape[::-1])
        for _, block in rows.blocks():
            out += (block @ blocks[0]).T @ block
        return [out.T]

    found = block_lanczos(
        product,
        len(columns),
        n_components,
        width=n_components // 2 + 1,
        tolerance=1e-14,
        random_state=random_state,
    )
    return None if found is None else found[0][0]


def block_lanczos(
    product,
    n_columns,
    n_components,
    *,
    n_tables=1,
    width,
    tolerance,
    dtype=np.float64,
    random_state=0,
):
    """Compute the leading eigenvectors of ``A.T @ A`` for several tables at once.

    The whole basis of each table is kept orthogonal to rounding, without restarts.

    Parameters
    ----------
    product : callable
        Function of a list of blocks of shape (n_columns, width), one per table, that
        returns the list of ``A.T @ A @ block``.
    n_columns : int
        Number of columns of the tables.
    n_components : int
        Number of vectors.
    n_tables : int, default=1
        Number of tables.
    width : int
        Width of a block: wider blocks need fewer passes, but more work.
    tolerance : float
        Convergence tolerance: length of ``A.T @ A @ v - value * v`` relative to the
        largest value.
    dtype : dtype, default=float64
        Precision of the computation.
    random_state : int, RandomState instance or None, default=0
        Draws the first block.

    Returns
    -------
    found : list of (vectors, coordinates), or None
        One per table. `vectors`, of shape (n_columns, k), have a positive entry of
        largest magnitude; those of values below `tolerance` are left out.
        `coordinates`, of shape (n_directions, k), express them in the blocks passed to
        `product`, joined. None if a basis of half the columns, or of 12 vectors per
        component, is not enough.
    """
    start = check_random_state(random_state).uniform(-1.0, 1.0, (n_columns, width))
    blocks = [thin_qr(start)[0].astype(dtype, order="F")] * n_tables
    n_steps = min(n_columns // 2, 12 * n_components) // width
    bases = [GalerkinBasis(n_columns, n_steps * width, dtype) for _ in range(n_tables)]
    beyond = [np.zeros((width, width))] * n_tables
    for step in range(1, n_steps):
        for table, image in enumerate(product(blocks)):
            basis = bases[table]
            inside = basis.add(blocks[table], image)
            left = image - basis.directions @ inside
            new, beyond[table] = next_block(left, basis.directions)
            blocks[table] = np.asfortranarray(new)
        if step * width >= 2 * n_components and all(
            _are_exact(basis, factor, n_components, tolerance)
            for basis, factor in zip(bases, beyond, strict=True)
        ):
            return [_ritz_vectors(basis, n_components, tolerance) for basis in bases]
    return None


def _ritz_pairs(basis, n_components):
    """Return the largest Ritz values of a basis, and coordinates of their vectors."""
    values, vectors = np.linalg.eigh(basis.projected)
    return values[::-1][:n_components], vectors[:, ::-1][:, :n_components]


def _are_exact(basis, beyond, n_components, tolerance):
    """Return whether the leading vectors have converged.

    In a Lanczos iteration, only the product of the last block is outside the basis, so
    the residual length is that of `beyond`, of shape (width, width), times the last
    coordinates.
    """
    values, vectors = _ritz_pairs(basis, n_components)
    residual = np.linalg.norm(beyond @ vectors[-len(beyond) :], axis=0)
    return residual.max() <= tolerance * values[0]


def _ritz_vectors(basis, n_components, tolerance):
    """Return Ritz vectors (n_columns, k) and their coordinates (n_directions, k)."""
    values, vectors = _ritz_pairs(basis, n_components)
    directions = basis.directions
    coordinates = vectors[:, values > tolerance * values[0]].astype(directions.dtype)
    found = directions @ coordinates
    signs = _largest_signs(found)
    return found * signs, coordinates * signs


def _largest_signs(vectors):
    """Return the sign of each column's entry of largest magnitude."""
    largest = np.abs(vectors).argmax(axis=0)
    return np.sign(vectors[largest, np.arange(vectors.shape[1])])
