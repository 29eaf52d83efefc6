"""Sums over rows that serve every fold, target and penalty of a family."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.linalg import blas

from clapstack._numerics.lazy_table import row_slices
from clapstack._numerics.rows import ShiftedRows, StandardizedTable

# Rows of one update of a Gram matrix: enough that going over the matrix costs little.
_UPDATE_ROWS = 3072
# Gram matrices held beside their total; further folds wait for their turn.
_MATRICES = 4
# Below this ratio of variance to squared mean, sums have lost too many digits.
_CANCELLED = 1e-8


class FoldWeights:
    """Weights and targets of all rows in all folds, and the cells that rows fall into.

    Rows of one cell are learned from by the same folds. Cell k holds what fold k alone
    leaves out; the last cell holds what every fold learns from.

    Attributes
    ----------
    weight : ndarray of shape (n_pairs, n_folds)
        Weights; zero where a fold does not learn from the row.
    targets : ndarray of shape (n_pairs, n_folds, n_targets)
        Targets less their mean; zero where a fold does not learn from the row.
    means : ndarray of shape (n_folds, n_targets)
        The means.
    spread : ndarray of shape (n_folds, n_targets)
        Standard deviations of the targets.
    base : ndarray of shape (n_pairs,)
        The row's weight in the folds that learn from it, or zero.
    cell : ndarray of int of shape (n_pairs,)
        The row's cell.
    """

    def __init__(self, n_pairs: int, folds: list):
        n_folds, n_targets = len(folds), folds[0].targets.shape[1]
        self.weight = np.zeros((n_pairs, n_folds))
        self.targets = np.zeros((n_pairs, n_folds, n_targets))
        self.means = np.empty((n_folds, n_targets))
        self.spread = np.empty((n_folds, n_targets))
        for number, fold in enumerate(folds):
            weight = np.ones(len(fold.train)) if fold.weight is None else fold.weight
            mean = weight @ fold.targets / weight.sum()
            centred = fold.targets - mean
            self.means[number] = mean
            self.spread[number] = np.sqrt(weight @ centred**2 / weight.sum())
            self.weight[fold.train, number] = weight
            self.targets[fold.train, number] = centred
        left_out = self.weight == 0
        self.cell = np.where(left_out.any(axis=1), left_out.argmax(axis=1), n_folds)
        self.base = self.weight.max(axis=1)


def have_cells(folds: list) -> bool:
    """Tell whether each row in use is learned from once by all folds, or all but one.

    This is so for every partition into test parts, weights of zero included.
    """
    counts = np.zeros(1 + max(fold.train.max() for fold in folds), dtype=int)
    for fold in folds:
        np.add.at(counts, fold.train, 1)
        if len(np.unique(fold.train)) < len(fold.train):
            return False
    return len(folds) > 1 and bool(np.all((counts == 0) | (counts >= len(folds) - 1)))


class CellSums:
    """Sums over shifted rows, by cell. Those of parts of a table add up (`merge`).

    Attributes
    ----------
    weight : ndarray of shape (n_cells,)
        Sums of weights.
    sum, square : ndarray of shape (n_cells, n_columns)
        Weighted sums of the columns and of their squares.
    cross : ndarray of shape (n_columns, n_folds, n_targets)
        Weighted sums of column times target.
    grams : dict of int to ndarray of shape (n_columns, n_columns), dtype float32
        Gram matrix of the rows of some cells, over the columns' units, in the lower
        triangle; -1 stands for the rows of all others. Single precision serves a
        preconditioner, not a solution.
    """

    def __init__(self, n_columns: int, n_folds: int, n_targets: int, cells=()):
        self.weight = np.zeros(n_folds + 1)
        self.sum = np.zeros((n_folds + 1, n_columns))
        self.square = np.zeros((n_folds + 1, n_columns))
        self.cross = np.zeros((n_columns, n_folds, n_targets))
        self.grams = {
            cell: np.zeros((n_columns, n_columns), np.float32, order="F")
            for cell in cells
        }

    def add(self, block, base, cell, targets):
        """Add rows to all sums but the Gram matrices.

        Parameters
        ----------
        block : ndarray of shape (n_rows, n_columns)
            Shifted rows, float64; it is overwritten.
        base, cell : ndarray of shape (n_rows,)
            Weights and cells.
        targets : ndarray of shape (n_rows, n_folds, n_targets)
            Centred targets, zero in folds that do not learn from the row.
        """
        n_cells = len(self.weight)
        weight = np.where(cell[:, np.newaxis] == np.arange(n_cells), base[:, None], 0.0)
        weighted = base[:, np.newaxis] * targets.reshape(len(base), -1)
        sums = np.hstack([weight, weighted]).T @ block
        self.weight += weight.sum(axis=0)
        self.sum += sums[:n_cells]
        self.cross += sums[n_cells:].T.reshape(self.cross.shape)
        self.square += weight.T @ np.square(block, out=block)

    def add_gram(self, rows, cell):
        """Add rows of shape (n_rows, n_columns), float32, to the Gram matrices.

        They are shifted, in units of the columns, times the roots of their weights.
        """
        others = ~np.isin(cell, list(self.grams))
        for number, gram in self.grams.items():
            taken = rows[others if number < 0 else cell == number]
            if len(taken):
                blas.ssyrk(1.0, taken.T, beta=1.0, c=gram, lower=1, overwrite_c=1)

    def merge(self, other: CellSums) -> CellSums:
        """Add the sums over other rows, around the same shift; return self."""
        self.weight += other.weight
        self.sum += other.sum
        self.square += other.square
        self.cross += other.cross
        for cell, gram in self.grams.items():
            gram += other.grams[cell]
        return self


class FoldColumns:
    """The columns of a family as one fold sees them.

    Attributes
    ----------
    weight : float
        Sum of weights.
    mean, scale : ndarray of shape (n_columns,)
        Mean less the shift, and standard deviation; 1 where a column does not vary.
    varying : ndarray of bool of shape (n_columns,)
        Which columns vary.
    cross : ndarray of shape (n_columns, n_targets)
        Sums of centred column times centred target.
    """

    def __init__(self, sums: CellSums, number: int, rows: ShiftedRows, fold):
        cells = np.arange(len(sums.weight)) != number
        self.weight = sums.weight[cells].sum()
        self.mean = sums.sum[cells].sum(axis=0) / self.weight
        variance = sums.square[cells].sum(axis=0) / self.weight - self.mean**2
        self.varying = np.ones(len(self.mean), dtype=bool)
        doubtful = np.flatnonzero(variance <= _CANCELLED * self.mean**2)
        self.scale = np.sqrt(np.maximum(variance, 0.0))
        if doubtful.size:
            table = StandardizedTable(
                rows.X,
                rows=fold.train,
                columns=rows.columns[doubtful],
                weight=fold.weight,
            )
            self.mean[doubtful] = table.mean - rows.shift[doubtful]
            self.scale[doubtful] = table.scale
            self.varying[doubtful] = table.varying
        self.cross = np.where(self.varying[:, np.newaxis], sums.cross[:, number], 0.0)


def columns_of_folds(rows: ShiftedRows, weights: FoldWeights, folds: list):
    """Return the `FoldColumns` of every fold, from one reading."""
    sums = CellSums(rows.shape[1], *weights.means.shape)
    for where, block in rows.blocks(rows.shape[0]):
        sums.add(
            block, weights.base[where], weights.cell[where], weights.targets[where]
        )
    return [FoldColumns(sums, number, rows, fold) for number, fold in enumerate(folds)]


class FamilyGrams:
    """Sums of a family, from one reading, and the Gram matrices of its folds.

    Parameters
    ----------
    rows : ShiftedRows
        The family's columns.
    weights : FoldWeights
        Weights and targets.
    folds : list of Fold
        The folds.

    Attributes
    ----------
    columns : list of FoldColumns
        One per fold.
    """

    def __init__(self, rows: ShiftedRows, weights: FoldWeights, folds: list):
        self.rows = rows
        self.weights = weights
        numbers = list(range(len(folds)))
        self._batches = [numbers[cut] for cut in row_slices(len(folds), _MATRICES)]
        sums = self._read([-1, *self._batches[0]])
        self._first = [sums.grams[number] for number in self._batches[0]]
        self._total = sums.grams.pop(-1)
        for gram in self._first:
            self._total += gram
        self.columns = [
            FoldColumns(sums, number, rows, fold) for number, fold in enumerate(folds)
        ]

    def batches(self) -> Iterator[tuple[list[int], list[np.ndarray]]]:
        """Yield some folds and their centred Gram matrices, until all had their turn.

        Matrices are in units of the columns, float32, in the lower triangle; the caller
        may overwrite them.
        """
        for batch in self._batches:
            grams = self._first
            self._first = []
            if not grams:
                sums = self._read(batch)
                grams = [sums.grams[number] for number in batch]
            for number, gram in zip(batch, grams, strict=True):
                # What the fold learns from is the whole less what it leaves out.
                np.subtract(self._total, gram, out=gram)
                columns = self.columns[number]
                mean = (columns.mean / self.rows.unit).astype(np.float32)
                blas.ssyr(-columns.weight, mean, a=gram, lower=1, overwrite_a=1)
            yield batch, grams

    def _read(self, cells):
        """Return the sums, with Gram matrices of some cells."""
        n_folds, n_targets = self.weights.means.shape
        sums = CellSums(self.rows.shape[1], n_folds, n_targets, cells)
        root = np.sqrt(self.weights.base)[:, np.newaxis]
        held = np.empty((_UPDATE_ROWS, self.rows.shape[1]), np.float32)
        first = 0
        for where, block in self.rows.blocks(_UPDATE_ROWS):
            if where.stop > first + _UPDATE_ROWS:
                sums.add_gram(held, self.weights.cell[first : first + _UPDATE_ROWS])
                first += _UPDATE_ROWS
            scaled = held[where.start - first : where.stop - first]
            np.multiply(block, 1.0 / self.rows.unit, out=scaled, casting="same_kind")
            scaled *= root[where]
            sums.add(
                block,
                self.weights.base[where],
                self.weights.cell[where],
                self.weights.targets[where],
            )
        last = self.rows.shape[0]
        sums.add_gram(held[: last - first], self.weights.cell[first:last])
        return sums
