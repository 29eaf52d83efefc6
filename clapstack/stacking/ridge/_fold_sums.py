"""Weights, targets and standardisation of a family's columns in every fold."""

from __future__ import annotations

import numpy as np

from clapstack._numerics.rows import ShiftedRows, StandardizedTable

# Below this ratio of variance to squared mean, sums lose half of their digits.
_CANCELLED = 1e-8


class FoldWeights:
    """Weights and targets of all rows in all folds, and each row's held-out fold.

    Attributes
    ----------
    weight : ndarray of shape (n_pairs, n_folds)
        Weights; zero if a fold does not train on the row.
    targets : ndarray of shape (n_pairs, n_folds, n_targets)
        Centred targets; zero if a fold does not train on the row.
    means : ndarray of shape (n_folds, n_targets)
        Means of the targets.
    spread : ndarray of shape (n_folds, n_targets)
        Standard deviations of the targets.
    base : ndarray of shape (n_pairs,)
        Weight of the row in the folds that train on it, or zero.
    held_out_by : ndarray of int of shape (n_pairs,)
        The only fold that does not train on the row; `n_folds` if all folds do.
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
        first = left_out.argmax(axis=1)
        self.held_out_by = np.where(left_out.any(axis=1), first, n_folds)
        self.base = self.weight.max(axis=1)


def hold_out_once(folds: list) -> bool:
    """Return whether all folds, or all but one, train on each used row once.

    This is true for every partition into test parts, including weights of zero. Folds
    can then share sums over rows.
    """
    counts = np.zeros(1 + max(fold.train.max() for fold in folds), dtype=int)
    for fold in folds:
        np.add.at(counts, fold.train, 1)
        if len(np.unique(fold.train)) < len(fold.train):
            return False
    return len(folds) > 1 and bool(np.all((counts == 0) | (counts >= len(folds) - 1)))


class FoldColumns:
    """Standardisation of a family's columns in one fold.

    Parameters
    ----------
    rows : ShiftedRows
        The columns.
    fold : Fold
        The fold, with its training rows.
    weight : float
        Sum of weights of the training rows.
    total, square : ndarray of shape (n_columns,)
        Weighted sums of the columns and of their squares, over the training rows.
    cross : ndarray of shape (n_columns, n_targets)
        Weighted sums of column times centred target, over the training rows.

    Attributes
    ----------
    weight : float
        As passed.
    mean, scale : ndarray of shape (n_columns,)
        Mean minus the shift, and standard deviation; 1 for constant columns.
    varying : ndarray of bool of shape (n_columns,)
        Whether a column varies.
    cross : ndarray of shape (n_columns, n_targets)
        As passed; zero for constant columns.
    """

    def __init__(self, rows: ShiftedRows, fold, weight, total, square, cross):
        self.weight = weight
        self.mean = total / weight
        variance = square / weight - self.mean**2
        self.varying = np.ones(len(self.mean), dtype=bool)
        doubtful = np.flatnonzero(variance <= _CANCELLED * self.mean**2)
        self.scale = np.sqrt(np.maximum(variance, 0.0))
        if doubtful.size:
            # These columns are read again and centred at the exact mean.
            table = StandardizedTable(
                rows.X,
                rows=fold.train,
                columns=rows.columns[doubtful],
                weight=fold.weight,
            )
            self.mean[doubtful] = table.mean - rows.shift[doubtful]
            self.scale[doubtful] = table.scale
            self.varying[doubtful] = table.varying
        self.cross = np.where(self.varying[:, np.newaxis], cross, 0.0)


def columns_of_folds(rows: ShiftedRows, weights: FoldWeights, folds: list):
    """Return the `FoldColumns` of every fold, in one pass over the rows."""
    n_folds, n_targets = weights.means.shape
    # Sums are grouped by the fold that holds out the rows, so each row is added once.
    n_groups = n_folds + 1
    total, square = (np.zeros((n_groups, rows.shape[1])) for _ in range(2))
    cross = np.zeros((rows.shape[1], n_folds, n_targets))
    group = weights.held_out_by[:, np.newaxis] == np.arange(n_groups)
    weight = np.where(group, weights.base[:, np.newaxis], 0.0)
    for where, block in rows.blocks():
        targets = weights.targets[where].reshape(len(block), -1)
        weighted = weights.base[where, np.newaxis] * targets
        sums = np.hstack([weight[where], weighted]).T @ block
        total += sums[:n_groups]
        cross += sums[n_groups:].T.reshape(cross.shape)
        square += weight[where].T @ np.square(block, out=block)
    out = []
    for number, fold in enumerate(folds):
        others = np.arange(n_groups) != number
        own = weight[:, others].sum()
        sums, squares = (part[others].sum(axis=0) for part in (total, square))
        out.append(FoldColumns(rows, fold, own, sums, squares, cross[:, number]))
    return out
