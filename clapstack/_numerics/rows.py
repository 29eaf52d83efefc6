"""Reading and multiplying standardised rows of wide float32 tables, in float64."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
from scipy.linalg import blas

from clapstack._numerics.lazy_table import column_reader, read_table, row_slices

Block: TypeAlias = "tuple[slice, np.ndarray]"

# One chunk in float64 holds about 32 MB: large enough for BLAS, small beside any table.
_CHUNK_ELEMENTS = 1 << 22
# A block that is gone over several times stays in a core's own cache at 1 MB.
_BLOCK_ELEMENTS = 1 << 17
# Products of blocks of as many rows; a lone row costs as much as a block.
_BLOCK_ROWS = 32
_TILE_COLUMNS = 32
# Up to so many multiplications OpenBLAS takes one thread.
_UNTHREADED = 1 << 18
# Rows from which a typical value and the spread of each column are taken.
_SAMPLE_ROWS = 512


def _chunks(length: int, width: int) -> list[slice]:
    """Cut rows of a table, or columns of its transpose, into chunks."""
    return row_slices(length, max(1, _CHUNK_ELEMENTS // max(1, width)))


def matmul(X, coefficients, rows=None, columns=None, *, dtype=np.float64) -> np.ndarray:
    """Return ``X[rows, columns] @ coefficients`` in float64, chunk by chunk.

    `X` is an array or a lazy table; no float64 copy of it is made. BLAS gets tiles of
    one shape, so that the bits of a row do not depend on other rows. The tiles are so
    small that OpenBLAS starts no threads, whose number would move the bits, too. With a
    `dtype` of float32 products within a tile are of that precision, at twice the speed;
    tiles are added up in float64. `coefficients` may be `Tiles` already.
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
    """A matrix in tiles of one shape, by which rows are multiplied block by block.

    Parameters
    ----------
    matrix : ndarray of shape (height, width)
        The matrix.
    dtype : dtype
        Of the products.

    Attributes
    ----------
    shape : tuple of int
        That of the matrix.
    """

    def __init__(self, matrix, dtype):
        self.shape = height, width = matrix.shape
        # A matrix by a vector takes another kernel, and threads at any size.
        n_across, across = _evenly(max(2, width), _TILE_COLUMNS)
        n_down, down = _evenly(height, _UNTHREADED // (_BLOCK_ROWS * across))
        whole = np.zeros((n_down * down, n_across * across), dtype)
        whole[:height, :width] = matrix
        tiles = whole.reshape(n_down, down, n_across, across).swapaxes(1, 2)
        self._tiles = np.ascontiguousarray(tiles)

    def times(self, block: np.ndarray) -> np.ndarray:
        """Return ``block @ matrix``, of at most as many rows as are multiplied at once.

        One call of numpy runs over all tiles: on a Xeon 2.3 times as fast in float32 as
        a loop of Python over tiles, and at half the speed of one large product.
        """
        n_down, n_across, down, across = self._tiles.shape
        room = np.zeros((_BLOCK_ROWS, n_down * down), self._tiles.dtype)
        room[: len(block), : self.shape[0]] = block
        parts = room.reshape(_BLOCK_ROWS, n_down, 1, down).transpose(1, 2, 0, 3)
        products = np.matmul(parts, self._tiles).sum(axis=0, dtype=np.float64)
        whole = products.swapaxes(0, 1).reshape(_BLOCK_ROWS, n_across * across)
        return whole[: len(block), : self.shape[1]]


def _evenly(length: int, most: int) -> tuple[int, int]:
    """Return into how many parts to cut a length, and the length of the longest."""
    n_parts = max(1, -(-length // max(1, most)))
    return n_parts, -(-length // n_parts)


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
        """Find the mean, scale and variation of each column, in two readings."""
        total = self.weight.sum()
        every = slice(None)
        first = self._raw(slice(0, 1), every)
        self.varying[:] = False
        for rows in _chunks(*self.shape):
            chunk = self._raw(rows, every)
            if not self.varying.all():
                self.varying |= (chunk != first).any(axis=0)
            # Sums around the first row do not cancel.
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
        # Each of these is another pass over memory; skipped, the bits are the same.
        if not self.varying.all():
            chunk[:, ~self.varying[columns]] = 0.0
        if np.any(self.weight != 1.0):
            chunk *= np.sqrt(self.weight[rows])[:, np.newaxis]
        return chunk

    def gram(self, right=None):
        """Return ``A.T @ A`` in the lower triangle, of shape (n_columns, n_columns).

        With `right` of shape (n_rows, k), return ``A.T @ right`` too, from one reading.
        """
        out = np.zeros((self.shape[1], self.shape[1]), order="F")
        cross = None if right is None else np.zeros((self.shape[1], right.shape[1]))
        for rows in _chunks(*self.shape):
            chunk = self._chunk(rows, slice(None))
            # In place: a product of its own for each chunk takes 1.7 times as long.
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
        """Read rows less the shift into `out`, (n_rows, n_columns); return it."""
        shift = self.shift.astype(out.dtype)
        for where, values in self._parts(rows):
            if values.dtype == out.dtype or values.dtype == np.float32:
                # Converted first: a difference of mixed precision takes longer.
                out[:, where] = values
                out[:, where] -= shift[where]
            else:
                out[:, where] = values - self.shift[where]
        return out

    def blocks(self, within: slice | None = None, dtype=np.float64) -> Iterator[Block]:
        """Yield slices of rows and what `read` returns for them, in order.

        Parameters
        ----------
        within : slice, default=None
            Which rows, without a step; None takes all.
        dtype : dtype, default=float64
            float32 serves where single precision does.

        Yields
        ------
        rows : slice
            Which rows, so few that they stay in a core's cache.
        block : ndarray of shape (n_rows, n_columns)
            The rows less the shift. It is overwritten by the next.
        """
        step = max(1, _BLOCK_ELEMENTS // max(1, self.shape[1]))
        first, stop, _ = (within or slice(None)).indices(self.shape[0])
        # One piece of memory for all blocks: the system zeroes the pages that it hands
        # out, which takes longer than filling them does.
        room = np.empty((min(step, stop - first), self.shape[1]), dtype)
        for start in range(first, stop, step):
            rows = slice(start, min(start + step, stop))
            yield rows, self._read(rows, room[: rows.stop - start])
