"""Reading and multiplying standardised rows of wide tables, in float64."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
from scipy.linalg import blas

from clapstack._numerics.lazy_table import column_reader, read_table, row_slices

Block: TypeAlias = "tuple[slice, np.ndarray]"

# Chunks of 32 MB in float64: large enough for BLAS, small compared with any table.
_CHUNK_ELEMENTS = 1 << 22
# Blocks of 1 MB stay in a core's cache while they are read several times.
_BLOCK_ELEMENTS = 1 << 17
# Rows per product; a single row costs as much as a block.
_BLOCK_ROWS = 32
_TILE_COLUMNS = 32
# Up to this many multiplications, OpenBLAS uses one thread.
_UNTHREADED = 1 << 18
# Rows from which the typical value and the spread of each column are estimated.
_SAMPLE_ROWS = 512


def _chunks(length: int, width: int) -> list[slice]:
    """Cut rows of a table, or columns of its transpose, into chunks."""
    return row_slices(length, max(1, _CHUNK_ELEMENTS // max(1, width)))


def matmul(X, coefficients, rows=None, columns=None, *, dtype=np.float64) -> np.ndarray:
    """Return ``X[rows, columns] @ coefficients`` in float64, chunk by chunk.

    `X` is an array or a lazy table and is not copied to float64. BLAS multiplies tiles
    of one shape, so that rows are bitwise independent of each other. Tiles are too
    small for OpenBLAS to start threads, whose number would also change the result. With
    a `dtype` of float32, products within a tile use single precision, at twice the
    speed; tiles are summed in float64. `coefficients` may be `Tiles`.
    """
    n_rows = X.shape[0] if rows is None else len(rows)
    tiles, shape = coefficients, coefficients.shape[1:]
    if not isinstance(tiles, Tiles):
        tiles = Tiles(tiles.reshape(len(tiles), math.prod(shape)), dtype)
    out = np.empty((n_rows, tiles.shape[1]))
    step = max(1, _CHUNK_ELEMENTS // max(1, tiles.shape[0]) // _BLOCK_ROWS)
    for part in row_slices(n_rows, step * _BLOCK_ROWS):
        taken = read_table(X, part if rows is None else rows[part], columns)
        for block in row_slices(len(taken), _BLOCK_ROWS):
            out[part][block] = tiles.times(taken[block])
    return out.reshape(n_rows, *shape)


class Tiles:
    """A matrix in tiles of one shape, as right-hand factor of blocks of rows.

    Parameters
    ----------
    matrix : ndarray of shape (height, width)
        The matrix.
    dtype : dtype
        Type of the products.

    Attributes
    ----------
    shape : tuple of int
        Shape of the matrix.
    """

    def __init__(self, matrix, dtype):
        self.shape = height, width = matrix.shape
        # Matrix-vector products use another BLAS kernel, with threads at any size.
        n_across, across = _evenly(max(2, width), _TILE_COLUMNS)
        n_down, down = _evenly(height, _UNTHREADED // (_BLOCK_ROWS * across))
        whole = np.zeros((n_down * down, n_across * across), dtype)
        whole[:height, :width] = matrix
        tiles = whole.reshape(n_down, down, n_across, across).swapaxes(1, 2)
        self._tiles = np.ascontiguousarray(tiles)

    def times(self, block: np.ndarray) -> np.ndarray:
        """Return ``block @ matrix`` for a block of at most `_BLOCK_ROWS` rows.

        A single NumPy call multiplies all tiles: in float32 on a Xeon, 2.3 times as
        fast as a Python loop over tiles, and half as fast as one large product.
        """
        n_down, n_across, down, across = self._tiles.shape
        room = np.zeros((_BLOCK_ROWS, n_down * down), self._tiles.dtype)
        room[: len(block), : self.shape[0]] = block
        parts = room.reshape(_BLOCK_ROWS, n_down, 1, down).transpose(1, 2, 0, 3)
        products = np.matmul(parts, self._tiles).sum(axis=0, dtype=np.float64)
        whole = products.swapaxes(0, 1).reshape(_BLOCK_ROWS, n_across * across)
        return whole[: len(block), : self.shape[1]]


def _evenly(length: int, most: int) -> tuple[int, int]:
    """Return the number of nearly equal parts of a length, and the longest part."""
    n_parts = max(1, -(-length // max(1, most)))
    return n_parts, -(-length // n_parts)


class StandardizedTable:
    """Rows and columns of a table, centred, scaled and weighted when they are read.

    Represents the matrix ``A = sqrt(weight) * (X[rows, columns] - mean) / scale`` in
    float64, which is never fully in memory. Weights are equivalent to repetition.

    Parameters
    ----------
    X : ndarray or LazyTable of shape (n_pairs, n_features)
        The whole table, float32 or float64; it is not copied.
    rows, columns : ndarray of int, default=None
        Rows and columns to use; None uses all.
    weight : ndarray of shape (n_rows,), default=None
        Positive weights of these rows.
    standardize : bool, default=True
        Whether to centre and scale the columns. A constant column gets scale 1.

    Attributes
    ----------
    mean, scale : ndarray of shape (n_columns,)
        Weighted mean and standard deviation of each column; 0 and 1 if not
        `standardize`.
    varying : ndarray of bool of shape (n_columns,)
        Whether a column is not constant.
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
        """Compute the mean, scale and variation of each column, in two passes."""
        total = self.weight.sum()
        every = slice(None)
        first = self._raw(slice(0, 1), every)
        self.varying[:] = False
        for rows in _chunks(*self.shape):
            chunk = self._raw(rows, every)
            if not self.varying.all():
                self.varying |= (chunk != first).any(axis=0)
            # Sums relative to the first row avoid cancellation.
            self.mean += self.weight[rows] @ np.subtract(chunk, first, out=chunk)
        self.mean = self.mean / total + first[0]
        variance = np.zeros(self.shape[1])
        for rows in _chunks(*self.shape):
            chunk = self._raw(rows, every)
            chunk -= self.mean
            variance += self.weight[rows] @ np.square(chunk, out=chunk)
        self.scale = np.where(self.varying, np.sqrt(variance / total), 1.0)

    def _raw(self, rows, columns):
        """Return a part of the table, float64 of shape (n_rows, n_columns)."""
        taken = read_table(self.X, self.rows[rows], self.columns[columns])
        return taken.astype(np.float64)

    def _chunk(self, rows, columns):
        """Return a part of ``A``, of shape (n_rows, n_columns)."""
        chunk = self._raw(rows, columns)
        chunk -= self.mean[columns]
        chunk /= self.scale[columns]
        # Each of these is another pass over memory, skipped if it changes nothing.
        if not self.varying.all():
            chunk[:, ~self.varying[columns]] = 0.0
        if np.any(self.weight != 1.0):
            chunk *= np.sqrt(self.weight[rows])[:, np.newaxis]
        return chunk

    def gram(self, right=None):
        """Return ``A.T @ A`` in the lower triangle, of shape (n_columns, n_columns).

        With `right` of shape (n_rows, k), also return ``A.T @ right``, in one pass.
        """
        out = np.zeros((self.shape[1], self.shape[1]), order="F")
        cross = None if right is None else np.zeros((self.shape[1], right.shape[1]))
        for rows in _chunks(*self.shape):
            chunk = self._chunk(rows, slice(None))
            # In place: a separate product for each chunk takes 1.7 times as long.
            blas.dsyrk(1.0, chunk.T, beta=1.0, c=out, lower=1, overwrite_c=1)
            if right is not None:
                cross += chunk.T @ right[rows]
        return out if right is None else (out, cross)

    def kernel(self) -> np.ndarray:
        """Return ``A @ A.T`` in the lower triangle, of shape (n_rows, n_rows)."""
        out = np.zeros((self.shape[0], self.shape[0]), order="F")
        for columns in _chunks(self.shape[1], self.shape[0]):
            chunk = self._chunk(slice(None), columns)
            blas.dsyrk(1.0, chunk.T, beta=1.0, c=out, trans=1, lower=1, overwrite_c=1)
        return out

    def transposed_times(self, right: np.ndarray) -> np.ndarray:
        """Return ``A.T @ right`` for `right` of shape (n_rows, k)."""
        out = np.zeros((self.shape[1], right.shape[1]))
        for rows in _chunks(*self.shape):
            out += self._chunk(rows, slice(None)).T @ right[rows]
        return out


class ShiftedRows:
    """Rows of a family's columns in float64, minus a typical value of each column.

    The shift avoids cancellation in sums, even for columns far from zero.

    Parameters
    ----------
    X : ndarray or LazyTable of shape (n_pairs, n_features)
        The whole table, float32 or float64; it is not copied.
    columns : ndarray of int of shape (n_columns,)
        Columns to use.

    Attributes
    ----------
    shape : tuple of (n_pairs, n_columns)
        Size of the table.
    shift, unit : ndarray of shape (n_columns,)
        Mean and standard deviation over some rows; `unit` is 1 if they are constant.
    """

    def __init__(self, X, columns):
        self.X = X
        self.columns = columns
        self.shape = (X.shape[0], len(columns))
        self._parts = column_reader(X, columns)
        self.shift = np.zeros(self.shape[1])
        sample = self.read(slice(0, None, max(1, self.shape[0] // _SAMPLE_ROWS)))
        # Representable in the table's dtype, so that differences are rounded once.
        self.shift = sample.mean(axis=0).astype(X.dtype).astype(np.float64)
        spread = sample.std(axis=0)
        self.unit = np.where(spread > 0, spread, 1.0)

    def read(self, rows: slice) -> np.ndarray:
        """Return rows minus the shift, of shape (n_rows, n_columns), float64."""
        n_rows = len(range(*rows.indices(self.shape[0])))
        return self._read(rows, np.empty((n_rows, self.shape[1])))

    def _read(self, rows, out):
        """Read rows minus the shift into `out`, (n_rows, n_columns); return it."""
        shift = self.shift.astype(out.dtype)
        for where, values in self._parts(rows):
            if values.dtype == out.dtype or values.dtype == np.float32:
                # Converted first: differences in mixed precision take longer.
                out[:, where] = values
                out[:, where] -= shift[where]
            else:
                out[:, where] = values - self.shift[where]
        return out

    def blocks(self, within: slice | None = None, dtype=np.float64) -> Iterator[Block]:
        """Yield slices of rows and the output of `read` for them, in order.

        Parameters
        ----------
        within : slice, default=None
            Rows to read, without a step; None reads all.
        dtype : dtype, default=float64
            Type of the blocks.

        Yields
        ------
        rows : slice
            Rows of a block, few enough for a core's cache.
        block : ndarray of shape (n_rows, n_columns)
            The rows minus the shift, overwritten by the next block.
        """
        step = max(1, _BLOCK_ELEMENTS // max(1, self.shape[1]))
        first, stop, _ = (within or slice(None)).indices(self.shape[0])
        # All blocks share one buffer: the system zeroes new pages, which takes longer
        # than filling them.
        room = np.empty((min(step, stop - first), self.shape[1]), dtype)
        for start in range(first, stop, step):
            rows = slice(start, min(start + step, stop))
            yield rows, self._read(rows, room[: rows.stop - start])
