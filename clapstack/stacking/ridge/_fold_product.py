"""Products with the standardised rows of all folds, in single precision."""

from __future__ import annotations

import numpy as np

from clapstack._numerics.lazy_table import as_slice, row_slices

# Rows sorted at once by the fold that holds them out.
_PRODUCT_ROWS = 4096
# OpenBLAS packs large matrices before multiplying, but not for up to a million
# multiplications. With few columns, that takes little more than half the time.
_UNPACKED = 960_000
_FEW_COLUMNS = 16
# Largest table kept in single precision, which bounds the memory of a fit. For larger
# ones, a product takes 2.3 times as long from an array in memory, and 3.7 times from
# embeddings (8,000 x 5,648).
HELD_BYTES = 1 << 30
# Smallest unit whose inverse is a normal number in single precision.
_INVERTIBLE = 1e-37


class FoldProduct:
    """Multiply one block per fold by ``Z.T @ W @ Z`` of the fold's training rows.

    The table is kept as float32, in units of its columns, if it is not too large.
    Otherwise it is read again for each product, with bitwise identical results.

    Parameters
    ----------
    rows : ShiftedRows
        The columns.
    weights : FoldWeights
        Weights of the rows, and the folds that hold them out.
    columns : list of FoldColumns
        Standardisation of the columns in each fold.
    along : bool, default=False
        Whether to keep the products of rows and blocks for `rows_along`, if the table
        is kept.
    held_bytes : int, default=1 GiB
        Largest table to keep.
    """

    def __init__(self, rows, weights, columns, *, along=False, held_bytes=HELD_BYTES):
        self._rows = rows
        self._weights = weights
        self._inverse = [
            np.where(fold.varying, rows.unit / fold.scale, 0.0).astype(np.float32)
            for fold in columns
        ]
        self._mean = [(fold.mean / rows.unit).astype(np.float32) for fold in columns]
        self._along: list[list] = [[] for _ in columns]
        held = fits(rows.shape[0], rows.shape[1], held_bytes)
        self._held = list(self._parts()) if held else []
        self._keeps_along = along and held

    def _parts(self):
        """Yield rows held out by one fold: numbers, the fold, weights and values."""
        dtype = _working_dtype(self._rows)
        inverse = (1.0 / self._rows.unit).astype(dtype)
        for cut in row_slices(self._rows.shape[0], _PRODUCT_ROWS):
            part = np.empty((cut.stop - cut.start, self._rows.shape[1]), np.float32)
            held_out_by = self._weights.held_out_by[cut]
            base = self._weights.base[cut]
            order = np.argsort(held_out_by, kind="stable")
            place = np.empty_like(order)
            place[order] = np.arange(len(order))
            for where, block in self._rows.blocks(cut, dtype):
                block *= inverse
                # Row by row: assignment with an index array takes longer.
                here = place[where.start - cut.start : where.stop - cut.start]
                for row, to in zip(block, here, strict=True):
                    part[to] = row
            for fold in np.unique(held_out_by):
                inside = np.flatnonzero(held_out_by[order] == fold)
                used = order[inside]
                weight = base[used].astype(np.float32)[:, np.newaxis]
                yield cut.start + used, fold, weight, part[as_slice(inside)]

    def rows_along(self, number, coordinates):
        """Return rows times a linear combination of all blocks of a fold.

        Rows held out by the fold are zero. None if the products were not kept.
        """
        if not self._keeps_along:
            return None
        out = np.zeros((self._rows.shape[0], coordinates.shape[1]), np.float32)
        first = 0
        for block in self._along[number]:
            last = first + block[0].shape[1]
            inside = [part for part in self._held if part[1] != number]
            for (numbers, *_), left in zip(inside, block, strict=True):
                out[numbers] += left @ coordinates[first:last]
            first = last
        return out

    def __call__(self, blocks):
        """Return ``Z.T @ W @ Z @ block`` for the training rows Z of each fold.

        Parameters
        ----------
        blocks : list of ndarray of shape (n_columns, width), dtype float32
            One per fold.

        Returns
        -------
        products : list of ndarray of shape (n_columns, width), dtype float32
            One per fold.
        """
        width = blocks[0].shape[1]
        right = [
            block * inverse[:, np.newaxis]
            for block, inverse in zip(blocks, self._inverse, strict=True)
        ]
        offsets = [mean @ one for mean, one in zip(self._mean, right, strict=True)]
        # Stored as rows: BLAS computes the second product up to a fifth faster.
        out = [np.zeros(block.shape[::-1], block.dtype) for block in blocks]
        totals = [np.zeros(width, np.float32) for _ in blocks]
        along: list[list] = [[] for _ in blocks]
        for _, held_out_by, base, part in self._held or self._parts():
            inside = [fold for fold in range(len(blocks)) if fold != held_out_by]
            joined = np.hstack([right[fold] for fold in inside])
            offset = np.hstack([offsets[fold] for fold in inside])
            left, back, total = _there_and_back(part, joined, offset, base)
            for place, fold in enumerate(inside):
                own = slice(place * width, (place + 1) * width)
                out[fold] += back[own]
                totals[fold] += total[own]
                along[fold].append(left[:, own])
        if self._keeps_along:
            for fold, block in enumerate(along):
                self._along[fold].append(block)
        return [
            (one - np.outer(total, mean)).T * inverse[:, np.newaxis]
            for one, mean, total, inverse in zip(
                out, self._mean, totals, self._inverse, strict=True
            )
        ]


def fits(n_rows, n_columns, held_bytes=HELD_BYTES):
    """Return whether a table in single precision is small enough to keep."""
    return 4 * n_rows * n_columns <= held_bytes


def _working_dtype(rows):
    """Return float32, unless the table is float64 or a unit is too small to invert."""
    single = rows.X.dtype == np.float32
    return np.float32 if single and rows.unit.min() > _INVERTIBLE else np.float64


def _there_and_back(part, right, offset, base):
    """Return ``left = part @ right - offset``, ``left.T @ W @ part`` and W-sums."""
    step = len(part)
    if right.shape[1] <= _FEW_COLUMNS:
        step = max(1, _UNPACKED // right.size)
    left = np.empty((len(part), right.shape[1]), np.float32)
    back = np.zeros(right.shape[::-1], np.float32)
    total = np.zeros(right.shape[1], np.float32)
    for cut in row_slices(len(part), step):
        np.matmul(part[cut], right, out=left[cut])
        left[cut] -= offset
        weighted = left[cut] * base[cut]
        back += weighted.T @ part[cut]
        total += weighted.sum(axis=0)
    return left, back, total
