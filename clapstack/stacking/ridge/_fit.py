"""The ridge members of a family: each fold, each target, the best of the penalties."""

from __future__ import annotations

import numpy as np

from clapstack._numerics.lazy_table import LazyTable
from clapstack._numerics.rows import ShiftedRows, StandardizedTable, matmul
from clapstack.stacking.ridge._equations import RidgeSystems, choose_alphas
from clapstack.stacking.ridge._estimator import StandardizedRidge, solve_ridge
from clapstack.stacking.ridge._fold_product import fits
from clapstack.stacking.ridge._fold_sums import FamilyGrams, FoldWeights, have_cells
from clapstack.stacking.ridge._krylov import KrylovSolver
from clapstack.stacking.ridge._refine import NotRefinableError, RidgeFactor, refine

# One factor serves penalties up to this factor from its own; beyond, take another.
_REACH = 100.0
# Smaller families are solved in float64 at once, unless their columns are computed:
# sharing reads the rows fewer times.
_LEAST_SHARED = 512
# A Krylov space takes the time of so many multiplications a number in the table; it
# needs more for penalties that are smaller than this, or, where solutions are only
# compared before one is made exact, than that.
_KRYLOV_WORK = 3500
_LEAST_ALPHA = 0.5
_LEAST_COMPARED = 0.1
# The relative error of a solution for several penalties, above which it is not used.
_COARSE = 1e-3


def check_alphas(alphas):
    """Return penalties per column as an array, the largest first, or refuse them."""
    checked = np.atleast_1d(np.asarray(alphas, dtype=np.float64))
    if checked.ndim != 1 or not checked.size or not np.all(np.isfinite(checked)):
        checked = np.zeros(1)
    if not np.all(checked > 0):
        msg = (
            "The 'alphas' parameter must be a positive number or a sequence of some. "
            f"Got {alphas!r} instead."
        )
        raise ValueError(msg)
    return np.unique(checked)[::-1]


def fit_family_ridges(X, columns, folds, alphas):
    """Fit the ridge members of one family.

    Parameters
    ----------
    X : ndarray or LazyTable of shape (n_pairs, n_features)
        Features of all families, float32 or float64.
    columns : ndarray of int of shape (n_columns,)
        The family's columns.
    folds : list of Fold
        Training and test rows, weights and targets.
    alphas : float or sequence of float
        Penalties per varying column. Of several, each target takes the one that
        orders the test rows of all folds best.

    Returns
    -------
    members : list of list of StandardizedRidge
        ``members[target][fold]``.

    Notes
    -----
    Wide families are solved in a Krylov space of each fold, see :class:`KrylovSolver`,
    unless penalties are small, the table is too large to be held or its rows are
    computed. These, and all other large families, are solved from one Gram matrix for
    all folds, targets and penalties and refined to float64, see :class:`FamilyGrams`
    and :func:`refine`. Where single precision is too coarse a start, which the first
    pass of the refinement measures, and for small families, each fold is solved from
    its own float64 matrix.
    """
    alphas = check_alphas(alphas)
    lazy = isinstance(X, LazyTable)
    if _sharing_pays(len(columns), folds, lazy) and have_cells(folds):
        if not lazy and _krylov_pays(X.shape[0], len(columns), len(folds), alphas):
            try:
                return KrylovSolver(X, columns, folds).fit(alphas)
            except NotRefinableError:
                pass
        try:
            return SharedSolver(X, columns, folds).fit(alphas)
        except NotRefinableError:
            pass
    return _fit_apart(X, columns, folds, alphas)


def _sharing_pays(n_columns, folds, lazy):
    """Compare multiplications; those of single precision take half the time."""
    sizes = [len(fold.train) for fold in folds]
    if min(sizes) < _LEAST_SHARED or (n_columns < _LEAST_SHARED and not lazy):
        return False
    shared = 2 * max(sizes) * n_columns**2 + len(folds) * n_columns**3 / 3
    apart = sum(
        n_columns * size * min(n_columns, size) + min(n_columns, size) ** 3 / 3
        for size in sizes
    )
    return shared / 2 < apart


def _krylov_pays(n_rows, n_columns, n_folds, alphas):
    """Compare multiplications for each number in the table."""
    factors = n_folds * n_columns**2 / (3 * n_rows)
    least = _LEAST_ALPHA if len(alphas) == 1 else _LEAST_COMPARED
    wide = n_columns + factors > _KRYLOV_WORK
    return wide and alphas[-1] >= least and fits(n_rows, n_columns)


def _fit_apart(X, columns, folds, alphas):
    """Solve each fold from its own float64 matrix."""
    by_fold = []
    for fold in folds:
        table = StandardizedTable(
            X, rows=fold.train, columns=columns, weight=fold.weight
        )
        by_fold.append(solve_ridge(table, fold.targets, alphas))
    best = np.zeros(folds[0].targets.shape[1], dtype=int)
    if len(alphas) > 1:
        held_out = []
        for fold, solutions in zip(folds, by_fold, strict=True):
            coef = np.array([[one[0] for one in target] for target in solutions])
            intercept = np.array([[one[1] for one in target] for target in solutions])
            flat = coef.reshape(-1, len(columns)).T
            predicted = matmul(X, flat, rows=fold.test, columns=columns)
            held_out.append(predicted.reshape(-1, *intercept.shape) + intercept)
        best = choose_alphas(held_out, folds)
    return [
        [
            StandardizedRidge(float(alphas[k]))._take(by_fold[f][t][k], len(columns))
            for f in range(len(folds))
        ]
        for t, k in enumerate(best)
    ]


class SharedSolver:
    """Ridge regressions of a family from one Gram matrix, refined to float64.

    Parameters
    ----------
    X, columns, folds
        As in :func:`fit_family_ridges`.
    """

    def __init__(self, X, columns, folds):
        self.folds = folds
        self.rows = ShiftedRows(X, columns)
        self.weights = FoldWeights(X.shape[0], folds)
        self.grams = FamilyGrams(self.rows, self.weights, folds)
        self.columns = self.grams.columns
        self.systems = RidgeSystems(self.rows, self.weights, self.columns, folds)
        self.right = [self.systems.right(number) for number in range(len(folds))]
        self.n_varying = self.systems.n_varying

    def fit(self, alphas):
        """Return ``members[target][fold]``."""
        n_targets = self.weights.means.shape[1]
        chosen = np.repeat(alphas[:1], n_targets)
        factors = start = None
        if len(alphas) > 1:
            groups = _within_reach(alphas)
            parts = [self._approximate(group) for group in groups]
            solutions = np.concatenate([part for part, _ in parts], axis=3)
            held_out = self.systems.held_out(solutions)
            best = choose_alphas(held_out, self.folds)
            chosen = alphas[best]
            factors = parts[0][1] if len(groups) == 1 else None
            start = solutions[:, :, range(n_targets), best]
        return self.systems.members(self._exact(chosen, factors, start), chosen)

    def _factor_batches(self, alpha):
        """Yield fold numbers and their factors at a penalty per column."""
        for batch, grams in self.grams.batches():
            factors: list[RidgeFactor] = []
            while grams:
                fold = batch[len(factors)]
                scale = self.columns[fold].scale / self.rows.unit
                penalty = alpha * self.n_varying[fold]
                factors.append(RidgeFactor(grams.pop(0), scale, penalty))
            yield batch, factors

    def _approximate(self, alphas):
        """Solve for all penalties, to about single precision.

        Returns the solutions, of shape (n_folds, n_columns, n_targets, n_alphas), for
        standardised columns, and the factors, if those of all folds are at hand.
        """
        n_targets = self.weights.means.shape[1]
        out = []
        for batch, factors in self._factor_batches(np.sqrt(alphas[0] * alphas[-1])):
            for fold, factor in zip(batch, factors, strict=True):
                penalties = np.tile(alphas * self.n_varying[fold], (n_targets, 1))
                out.append(factor.solve(self.right[fold], penalties))
            self._check_smallest(batch, factors, out[-len(batch) :], alphas)
        return np.array(out), factors if len(batch) == len(self.folds) else None

    def _check_smallest(self, batch, factors, solutions, alphas):
        """Refuse a start that is too coarse for the smallest penalty."""
        start = np.hstack([solution[:, :, -1] for solution in solutions])
        smallest = np.full(self.weights.means.shape[1], alphas[-1])
        apply, right, _ = self.systems.equations(batch, smallest)
        residual = np.split(right - apply(start), len(batch), axis=1)
        # The inverse at a larger penalty is smaller, by the ratio of both at most.
        ratio = np.sqrt(alphas[0] / alphas[-1])
        for number, factor in enumerate(factors):
            wrong = np.sum(residual[number] * factor.inverse(residual[number]))
            whole = np.sum(self.right[batch[number]] * solutions[number][:, :, -1])
            if wrong * ratio > _COARSE**2 * whole:
                raise NotRefinableError

    def _exact(self, alphas, factors, start):
        """Solve for one penalty per target, to float64 rounding.

        Returns solutions of shape (n_folds, n_columns, n_targets), for standardised
        columns.
        """
        if factors is None:
            middle = np.sqrt(alphas.min() * alphas.max())
            batches = self._factor_batches(middle)
        else:
            batches = [(list(range(len(self.folds))), factors)]
        out = []
        for batch, made in batches:
            near = None if start is None else np.hstack(start[batch])
            apply, right, size = self.systems.equations(batch, alphas)
            precondition = self._precondition(batch, made, alphas)
            solutions = refine(apply, precondition, right, size, near)
            out += np.split(solutions, len(batch), axis=1)
        return np.array(out)

    def _precondition(self, batch, factors, alphas):
        """Return the approximate inverse of the systems of some folds."""
        varying = np.array([self.columns[f].varying for f in batch]).T
        penalties = self.systems.penalties(batch, alphas)
        shape = (self.rows.shape[1], len(batch), len(alphas))

        def precondition(residual):
            residual = residual.reshape(shape)
            out = np.empty(shape)
            for number, factor in enumerate(factors):
                solved = factor.solve(residual[:, number], penalties[number][:, None])
                out[:, number] = varying[:, number, np.newaxis] * solved[:, :, 0]
            return out.reshape(shape[0], -1)

        return precondition


def _within_reach(alphas):
    """Cut falling penalties into groups that one factor each can serve."""
    groups = []
    while len(alphas):
        near = alphas >= alphas[0] / _REACH**2
        groups.append(alphas[near])
        alphas = alphas[~near]
    return groups
