"""Products with the standardised rows of every fold, in single precision."""

from __future__ import annotations

import numpy as np

from clapstack._numerics.lazy_table import as_slice, row_slices

# Rows that are sorted by the fold that holds them out at once.
_PRODUCT_ROWS = 4096
# Before it multiplies, OpenBLAS copies a large matrix into the order that its kernel
# reads. It does not for up to a million multiplications, and by few columns that takes
# little more than half the time.
_UNPACKED = 960_000
_FEW_COLUMNS = 16
# The size up to which a table is kept in single precision. It bounds the memory of a
# fit on any machine; where it is exceeded, a product takes 2.3 times as long from an
# array in memory, and 3.7 times from embeddings (8,000 x 5,648).
HELD_BYTES = 1 << 30
# The smallest unit whose inverse is a normal number in single precision.
_INVERTIBLE = 1e-37


class FoldProduct:
    """Multiply a block per fold by the standardised rows of the fold, and back.

    The table in units of its columns, float32, is kept if it is not too large; it is
    otherwise read anew for each product, to the same bits.

    Parameters
    ----------
    rows : ShiftedRows
        The columns.
    weights : FoldWeights
        Weights of the rows, and the folds that hold them out.
    columns : list of FoldColumns
        The columns as each fold sees them.
    along : bool, default=False
        Whether to keep the rows along all blocks, if the table is kept, for
        `rows_along`.
    held_bytes : int, default=1 GiB
        The size up to which the table is kept.
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
        """Yield rows that one fold holds out: numbers, the fold, weights and values."""
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
                # Row by row: an assignment to rows in any order takes longer.
                here = place[where.start - cut.start : where.stop - cut.start]
                for row, to in zip(block, here, strict=True):
                    part[to] = row
            for fold in np.unique(held_out_by):
                inside = np.flatnonzero(held_out_by[order] == fold)
                used = order[inside]
                weight = base[used].astype(np.float32)[:, np.newaxis]
                yield cut.start + used, fold, weight, part[as_slice(inside)]

    def rows_along(self, number, coordinates):
        """Return rows along a combination of all blocks of a fold.

        Those that the fold does not train on are zero. None if they were not kept.
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
        # Rows, not columns: BLAS takes the product back up to a fifth faster that way.
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
    """Return whether a table in single precision is small enough to be kept."""
    return 4 * n_rows * n_columns <= held_bytes


def _working_dtype(rows):
    """Return float32, unless columns vary by less than it can invert or hold more."""
    single = rows.X.dtype == np.float32
    return np.float32 if single and rows.unit.min() > _INVERTIBLE else np.float64


def _there_and_back(part, right, offset, base):
    """Return ``left = part @ right - offset``, ``left.T @ W @ part`` and W's sums."""
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
