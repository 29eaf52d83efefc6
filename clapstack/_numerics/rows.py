"""Exact float64 linear algebra on wide float32 tables, chunk by chunk."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
from scipy.linalg import cholesky, eigh, qr, solve_triangular
from scipy.sparse.linalg import eigsh
from sklearn.utils import check_random_state

from clapstack._numerics.lazy_table import column_reader, read_table, row_slices

Block: TypeAlias = "tuple[slice, np.ndarray]"

# One chunk in float64 holds about 32 MB: large enough for BLAS, small beside any table.
_CHUNK_ELEMENTS = 1 << 22
# From this size on, singular vectors are iterated for, without a Gram matrix.
_LARGE = 1024
# A block that is gone over several times stays in a core's own cache at 1 MB.
_BLOCK_ELEMENTS = 1 << 17
# Products of blocks of as many rows; a lone row costs as much as a block.
_BLOCK_ROWS = 32
_TILE_COLUMNS = 128
# Up to so many multiplications OpenBLAS takes one thread.
_UNTHREADED = 1 << 18
_SAMPLE_ROWS = 512
# A block that kept this part of its length is orthogonal to the basis to rounding.
_KEPT = 0.7
# So near to the identity, a Gram matrix of a block costs no digits.
_NEARLY_ORTHONORMAL = 0.1


def _slices(length: int, width: int) -> list[slice]:
    step = max(1, _CHUNK_ELEMENTS // max(1, width))
    return [slice(start, start + step) for start in range(0, length, step)]


def matmul(X, coefficients: np.ndarray, rows=None, columns=None) -> np.ndarray:
    """Return ``X[rows, columns] @ coefficients`` in float64, chunk by chunk.

    `X` is an array or a lazy table; no float64 copy of it is made. BLAS gets blocks of
    one shape, so that the bits of a row do not depend on other rows. The blocks are so
    small that OpenBLAS starts no threads, whose number would move the bits, too.
    """
    n_rows, width = X.shape[0] if rows is None else len(rows), len(coefficients)
    n_columns = math.prod(coefficients.shape[1:])
    right = coefficients.reshape(width, n_columns)
    if n_columns == 1:
        # A matrix by a vector takes another kernel, and threads at any size.
        right = np.column_stack([right, np.zeros(width)])
    tiles = _tiles(np.ascontiguousarray(right, dtype=np.float64))
    out = np.zeros((n_rows, right.shape[1]))
    step = _BLOCK_ROWS * max(1, _CHUNK_ELEMENTS // max(1, width) // _BLOCK_ROWS)
    for part in row_slices(n_rows, step):
        taken = read_table(X, part if rows is None else rows[part], columns)
        for block in row_slices(len(taken), _BLOCK_ROWS):
            _add_products(taken[block], tiles, out[part][block])
    return out[:, :n_columns].reshape(n_rows, *coefficients.shape[1:])


def _tiles(matrix: np.ndarray) -> list[tuple[slice, slice, np.ndarray]]:
    """Cut a matrix into rows, columns and what is there."""
    height, width = matrix.shape
    n_columns = min(max(1, width), _TILE_COLUMNS)
    n_rows = max(1, _UNTHREADED // (_BLOCK_ROWS * n_columns))
    return [
        (some, across, matrix[some, across])
        for some in row_slices(height, n_rows)
        for across in row_slices(width, n_columns)
    ]


def _add_products(block, tiles, out):
    """Add ``block @ matrix`` to `out`, for a matrix in tiles."""
    room = np.zeros((_BLOCK_ROWS, block.shape[1]))
    room[: len(block)] = block
    for some, across, tile in tiles:
        out[:, across] += (room[:, some] @ tile)[: len(block)]


class StandardizedTable:
    """Rows and columns of a table, centred, scaled and weighted, never held whole.

    This stands for the matrix ``A = sqrt(weight) * (X[rows, columns] - mean) / scale``
    in float64. A weight counts a row as often as it says.

    Parameters
    ----------
    X : ndarray or LazyTable of shape (n_pairs, n_features)
        The whole table, float32 or float64; it is not copied.
    rows, columns : ndarray of int, default=None
        What to take of it; None takes all.
    weight : ndarray of shape (n_rows,), default=None
        Weights of the rows taken, all positive.
    standardize : bool, default=True
        Whether to centre and scale the columns. A constant column gets scale 1.

    Attributes
    ----------
    mean, scale : ndarray of shape (n_columns,)
        Weighted mean and standard deviation of each column; 0 and 1 if not
        `standardize`.
    varying : ndarray of bool of shape (n_columns,)
        Which columns are not constant.
    """

    def __init__(self, X, *, rows=None, columns=None, weight=None, standardize=True):
        self.X = X
        self.rows = np.arange(X.shape[0]) if rows is None else rows
        self.columns = np.arange(X.shape[1]) if columns is None else columns
        self.weight = np.ones(len(self.rows)) if weight is None else weight
        self.shape = (len(self.rows), len(self.columns))
        self.mean = np.zeros(self.shape[1])
        self.scale = np.ones(self.shape[1])
        self.varying = np.ones(self.shape[1], dtype=bool)
        if standardize:
            self._standardize()

    def _standardize(self):
        total = self.weight.sum()
        every = slice(None)
        first = self._raw(slice(0, 1), every)
        self.varying[:] = False
        for rows in _slices(*self.shape):
            chunk = self._raw(rows, every)
            self.varying |= (chunk != first).any(axis=0)
            # Sums around the first row do not cancel.
            self.mean += self.weight[rows] @ np.subtract(chunk, first, out=chunk)
        self.mean = self.mean / total + first[0]
        variance = np.zeros(self.shape[1])
        for rows in _slices(*self.shape):
            chunk = self._raw(rows, every)
            chunk -= self.mean
            variance += self.weight[rows] @ np.square(chunk, out=chunk)
        self.scale = np.where(self.varying, np.sqrt(variance / total), 1.0)

    def _raw(self, rows, columns):
        taken = read_table(self.X, self.rows[rows], self.columns[columns])
        return taken.astype(np.float64)

    def _chunk(self, rows, columns):
        chunk = self._raw(rows, columns)
        chunk -= self.mean[columns]
        chunk /= self.scale[columns]
        chunk[:, ~self.varying[columns]] = 0.0
        chunk *= np.sqrt(self.weight[rows])[:, np.newaxis]
        return chunk

    def gram(self) -> np.ndarray:
        """Return ``A.T @ A``, of shape (n_columns, n_columns)."""
        out = np.zeros((self.shape[1], self.shape[1]))
        for rows in _slices(*self.shape):
            chunk = self._chunk(rows, slice(None))
            out += chunk.T @ chunk
        return out

    def kernel(self) -> np.ndarray:
        """Return ``A @ A.T``, of shape (n_rows, n_rows)."""
        out = np.zeros((self.shape[0], self.shape[0]))
        for columns in _slices(self.shape[1], self.shape[0]):
            chunk = self._chunk(slice(None), columns)
            out += chunk @ chunk.T
        return out

    def transposed_times(self, right: np.ndarray) -> np.ndarray:
        """Return ``A.T @ right`` for `right` of shape (n_rows, k)."""
        out = np.zeros((self.shape[1], right.shape[1]))
        for rows in _slices(*self.shape):
            out += self._chunk(rows, slice(None)).T @ right[rows]
        return out

    def right_singular_vectors(self, n_components: int, random_state=0) -> np.ndarray:
        """Return the leading right singular vectors of ``A``, converged.

        They are eigenvectors of the smaller Gram matrix. The sign of each is such that
        its entry of largest magnitude is positive, so the same input gives the same
        bits, and `random_state` matters to rounding only.

        Parameters
        ----------
        n_components : int
            How many to return at most.
        random_state : int, RandomState instance or None, default=0
            Draws the vector at which the Lanczos iteration starts.

        Returns
        -------
        vectors : ndarray of shape (n_columns, k)
            ``k <= n_components``: no more than the numerical rank of ``A``, for beyond
            it directions are arbitrary.
        """
        wide = self.shape[1] > self.shape[0]
        gram = self.kernel() if wide else self.gram()
        values, vectors = _leading_eigenvectors(gram, n_components, random_state)
        floor = max(values[0], 0.0) * max(self.shape) * np.finfo(np.float64).eps
        keep = values > floor
        values, vectors = values[keep], vectors[:, keep]
        if wide:
            vectors = self.transposed_times(vectors / np.sqrt(values))
        return fix_signs(vectors)


def _leading_eigenvectors(gram, n_components, random_state):
    size = gram.shape[0]
    k = min(n_components, size)
    if 8 * k < size and np.any(gram):
        # Lanczos to machine precision; it outruns the dense solver for few vectors.
        start = check_random_state(random_state).uniform(-1.0, 1.0, size)
        values, vectors = eigsh(gram, k=k, v0=start, tol=0)
        order = np.argsort(values)
    else:
        values, vectors = eigh(gram, subset_by_index=(size - k, size - 1))
        order = np.arange(k)
    return values[order[::-1]], vectors[:, order[::-1]]


def leading_right_singular_vectors(X, columns, n_components, random_state=0):
    """Return the leading right singular vectors of some columns as they are.

    They are neither centred nor scaled. Large tables take a block Lanczos iteration in
    float64 until the vectors are exact
    to rounding, which needs about 15 passes over the rows; small ones a Gram matrix.

    Parameters
    ----------
    X : ndarray or LazyTable of shape (n_pairs, n_features)
        The whole table, float32 or float64.
    columns : ndarray of int of shape (n_columns,)
        What to take of it.
    n_components : int
        How many vectors to return at most.
    random_state : int, RandomState instance or None, default=0
        Draws where the iteration starts; it matters to rounding only.

    Returns
    -------
    vectors : ndarray of shape (n_columns, k)
        As :meth:`StandardizedTable.right_singular_vectors` returns them.
    """
    smaller = min(X.shape[0], len(columns))
    if smaller >= max(_LARGE, 16 * n_components):
        rows = ShiftedRows(X, columns)
        rows.shift = np.zeros(len(columns))

        def product(blocks):
            out = np.zeros(blocks[0].shape[::-1])
            for _, block in rows.blocks(X.shape[0]):
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
        if found is not None:
            return found[0][0]
    table = StandardizedTable(X, columns=columns, standardize=False)
    return table.right_singular_vectors(n_components, random_state)


def block_lanczos(
    product,
    size,
    n_components,
    *,
    n_tables=1,
    width,
    tolerance,
    dtype=np.float64,
    random_state=0,
):
    """Find the leading eigenvectors of ``A.T @ A`` for several tables at once.

    Every table keeps its whole basis, orthogonal to rounding, so nothing restarts.

    Parameters
    ----------
    product : callable
        Takes a list of one block of shape (size, width) per table, and returns the list
        of ``A.T @ A @ block``.
    size : int
        Columns of the tables.
    n_components : int
        How many vectors to find.
    n_tables : int, default=1
        How many tables there are.
    width : int
        Width of a block: wider ones make better use of a pass, but take more work.
    tolerance : float
        Length of ``A.T @ A @ v - value * v`` at which a vector is done, over the
        largest value.
    dtype : dtype, default=float64
        Precision of the work.
    random_state : int, RandomState instance or None, default=0
        Draws the first block.

    Returns
    -------
    found : list of (vectors, coordinates), or None
        One per table. `vectors`, of shape (size, k), have signs such that the largest
        entry of each is positive, without those of values below `tolerance`.
        `coordinates`, of shape (n_basis, k), make them of the blocks that `product`
        took, joined. None if a basis of half the size, or of 12 vectors per component,
        is not enough.
    """
    start = check_random_state(random_state).uniform(-1.0, 1.0, (size, width))
    first = _thin_qr(start)[0].astype(dtype)
    n_steps = min(size // 2, 12 * n_components) // width
    tables = [_Basis(first, n_steps * width) for _ in range(n_tables)]
    for step in range(1, n_steps):
        images = product([table.last for table in tables])
        for table, image in zip(tables, images, strict=True):
            table.extend(image)
        if step * width < 2 * n_components:
            continue
        if all(table.is_done(n_components, tolerance) for table in tables):
            return [table.vectors(n_components, tolerance) for table in tables]
    return None


class _Basis:
    """An orthogonal basis, and what the matrix does within it."""

    def __init__(self, first, most):
        # Room that is not used takes no memory; vectors are rows there.
        self._room = np.empty((most, len(first)), first.dtype)
        self._room[: first.shape[1]] = first.T
        self._size = self._width = first.shape[1]
        self._projected = np.zeros((0, 0))
        self._beyond = np.zeros((0, 0))

    @property
    def last(self):
        return self._room[self._size - self._width : self._size].T

    def extend(self, image):
        """Add the part of ``matrix @ last`` that the basis does not hold."""
        basis = self._room[: self._size].T
        inside = basis.T @ image
        new, beyond = next_block(image - basis @ inside, basis)
        projected = np.zeros((self._size, self._size))
        known = self._size - self._width
        projected[:known, :known] = self._projected
        projected[:, known:] = inside
        projected[known:, :] = inside.T
        projected[known:, known:] = (inside[known:] + inside[known:].T) / 2.0
        self._projected = projected
        self._beyond = beyond
        self._room[self._size : self._size + self._width] = new.T
        self._size += self._width

    def is_done(self, n_components, tolerance):
        values, vectors = self._eigen(n_components)
        residual = np.linalg.norm(self._beyond @ vectors[-self._width :], axis=0)
        return residual.max() <= tolerance * values[0]

    def vectors(self, n_components, tolerance):
        values, vectors = self._eigen(n_components)
        keep = values > tolerance * values[0]
        basis = self._room[: len(vectors)].T
        coordinates = vectors[:, keep].astype(basis.dtype)
        found = basis @ coordinates
        signs = largest_signs(found)
        return found * signs, coordinates * signs

    def _eigen(self, n_components):
        values, vectors = np.linalg.eigh(self._projected)
        return values[::-1][:n_components], vectors[:, ::-1][:, :n_components]


def next_block(block, basis):
    """Return the factors of a block by an orthonormal one, orthogonal to a basis.

    Parameters
    ----------
    block : ndarray of shape (size, width)
        Vectors that are about orthogonal to the basis.
    basis : ndarray of shape (size, n_vectors)
        Orthonormal vectors.

    Returns
    -------
    new : ndarray of shape (size, width)
        Orthonormal vectors, orthogonal to those of the basis to rounding.
    factor : ndarray of shape (width, width)
        The block is ``new @ factor``, to rounding.
    """
    new, product = _thin_qr(block)
    # Again, for what is left of a block may be small, and then far from orthogonal;
    # a turn that takes off little was the last one needed.
    for _ in range(2):
        new, factor = _orthonormal(new - basis @ (basis.T @ new))
        product = factor @ product
        if np.abs(np.diag(factor)).min() > _KEPT:
            break
    return new, product


def _thin_qr(block):
    # That of NumPy is several times slower for single precision.
    return qr(block, mode="economic", overwrite_a=True, check_finite=False)


def _orthonormal(block):
    """Return the factors of ``block = Q @ R``, given columns of about unit length."""
    gram = block.T @ block
    if np.abs(gram - np.eye(len(gram))).max() * len(gram) > _NEARLY_ORTHONORMAL:
        return _thin_qr(block)
    factor = cholesky(gram)
    inverse = solve_triangular(factor, np.eye(len(gram), dtype=block.dtype))
    return block @ inverse, factor


def fix_signs(vectors):
    """Turn each column so that its entry of largest magnitude is positive."""
    return vectors * largest_signs(vectors)


def largest_signs(vectors):
    """Return the sign of each column's entry of largest magnitude."""
    largest = np.abs(vectors).argmax(axis=0)
    return np.sign(vectors[largest, np.arange(vectors.shape[1])])


class ShiftedRows:
    """Rows of a family's columns in float64, around a typical value of each column.

    Sums over shifted rows do not cancel, however far a column is from zero.

    Parameters
    ----------
    X : ndarray or LazyTable of shape (n_pairs, n_features)
        The whole table, float32 or float64; it is not copied.
    columns : ndarray of int of shape (n_columns,)
        What to take of it.

    Attributes
    ----------
    shape : tuple of (n_pairs, n_columns)
        How much there is.
    shift, unit : ndarray of shape (n_columns,)
        Mean and standard deviation over some rows; `unit` is 1 where they do not vary.
    """

    def __init__(self, X, columns):
        self.X = X
        self.columns = columns
        self.shape = (X.shape[0], len(columns))
        self._parts = column_reader(X, columns)
        self.shift = np.zeros(self.shape[1])
        sample = self.read(slice(0, None, max(1, self.shape[0] // _SAMPLE_ROWS)))
        # Representable, so that single precision rounds a difference once.
        self.shift = sample.mean(axis=0).astype(X.dtype).astype(np.float64)
        spread = sample.std(axis=0)
        self.unit = np.where(spread > 0, spread, 1.0)

    def read(self, rows: slice) -> np.ndarray:
        """Return rows less the shift, of shape (n_rows, n_columns), float64."""
        n_rows = len(range(*rows.indices(self.shape[0])))
        return self._read(rows, np.empty((n_rows, self.shape[1])))

    def _read(self, rows, out):
        shift = self.shift.astype(out.dtype)
        for where, values in self._parts(rows):
            if values.dtype == out.dtype or values.dtype == np.float32:
                # Converted first: a difference of mixed precision takes longer.
                out[:, where] = values
                out[:, where] -= shift[where]
            else:
                out[:, where] = values - self.shift[where]
        return out

    def blocks(self, within: int, dtype=np.float64) -> Iterator[Block]:
        """Yield slices of rows and what `read` returns for them, in order.

        No slice crosses a multiple of `within` rows. Each block is overwritten by the
        next.
        """
        for part in row_slices(self.shape[0], within):
            yield from self.blocks_of(part, dtype)

    def blocks_of(self, part: slice, dtype=np.float64) -> Iterator[Block]:
        """Yield the same for the rows of one slice, small enough to stay in cache."""
        step = max(1, _BLOCK_ELEMENTS // max(1, self.shape[1]))
        stop = min(part.stop, self.shape[0])
        # Memory that is new to the process takes longer to get than to fill.
        room = np.empty((min(step, stop - part.start), self.shape[1]), dtype)
        for start in range(part.start, stop, step):
            rows = slice(start, min(start + step, stop))
            yield rows, self._read(rows, room[: rows.stop - start])
