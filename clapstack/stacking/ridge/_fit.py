"""Ridges of a family, by fold and target, with the selection of penalties."""

from __future__ import annotations

import numpy as np

from clapstack._numerics.lazy_table import LazyTable, read_table, row_slices
from clapstack._numerics.ranks import weighted_srcc
from clapstack._numerics.rows import StandardizedTable, matmul
from clapstack.stacking.ridge._estimator import StandardizedRidge, solve_ridge
from clapstack.stacking.ridge._fold_product import fits
from clapstack.stacking.ridge._fold_sums import hold_out_once
from clapstack.stacking.ridge._krylov import KrylovSolver, NotConvergedError

# A Krylov solution takes as long as this many float64 multiplications per table
# element.
_KRYLOV_WORK = 1500
# For smaller penalties, more eigenvalues are above the penalty than a basis resolves.
# Comparing penalties needs less accuracy, so the bound is lower.
_LEAST_ALPHA = 0.5
_LEAST_COMPARED = 0.1
# The plain method reads each row four times per fold. A family of a lazy table is
# computed only once if it needs at most this much memory, about as much as the matrix
# of 5,648 columns that is used otherwise.
_READ_BYTES = 1 << 28
_READ_ROWS = 2048


def check_alphas(alphas):
    """Return checked penalties per column as an array, the largest first."""
    checked = np.atleast_1d(np.asarray(alphas, dtype=np.float64))
    if checked.ndim != 1 or not checked.size or not np.all(np.isfinite(checked)):
        checked = np.zeros(1)
    if not np.all(checked > 0):
        msg = (
            "The 'alphas' parameter must be a positive number or a sequence of "
            f"positive numbers. Got {alphas!r} instead."
        )
        raise ValueError(msg)
    return np.unique(checked)[::-1]


def fit_family_ridges(
    X, columns, folds, alphas, *, solver=None, read_bytes=_READ_BYTES
):
    """Fit the ridges of one family.

    Parameters
    ----------
    X : ndarray or LazyTable of shape (n_pairs, n_features)
        Features of all families, float32 or float64.
    columns : ndarray of int of shape (n_columns,)
        The family's columns.
    folds : list of Fold
        Training and test rows, weights and targets.
    alphas : float or sequence of float
        Penalties per varying column. If several are given, each target uses the one
        with the highest SRCC over the test rows of all folds.
    solver : {"krylov", "plain"}, default=None
        Method, see :mod:`clapstack.stacking.ridge`. None selects the faster one, and
        falls back to "plain" if Krylov does not converge.
    read_bytes : int, default=256 MiB
        Size up to which the family of a lazy table is computed once.

    Returns
    -------
    members : list of list of StandardizedRidge
        ``members[target][fold]``.

    Raises
    ------
    NotConvergedError
        If `solver` is "krylov" and does not converge.
    """
    alphas = check_alphas(alphas)
    if isinstance(X, LazyTable) and fits(X.shape[0], len(columns), read_bytes):
        X, columns = _read_once(X, columns), np.arange(len(columns))
    if solver == "krylov":
        return _fit_krylov(X, columns, folds, alphas)
    if solver is None and _krylov_pays(X, columns, folds, alphas):
        try:
            return _fit_krylov(X, columns, folds, alphas)
        except NotConvergedError:
            pass  # Slow convergence is detected early, so little time is lost.
    return _fit_plain(X, columns, folds, alphas)


def _read_once(X, columns):
    """Return columns of a lazy table as an array of its dtype."""
    out = np.empty((X.shape[0], len(columns)), X.dtype)
    for rows in row_slices(len(out), _READ_ROWS):
        out[rows] = read_table(X, rows, columns)
    return out


def _krylov_pays(X, columns, folds, alphas):
    """Return whether the Krylov method is applicable and faster than the plain one."""
    n_rows, n_columns = X.shape[0], len(columns)
    least = _LEAST_ALPHA if len(alphas) == 1 else _LEAST_COMPARED
    if isinstance(X, LazyTable) or not fits(n_rows, n_columns) or alphas[-1] < least:
        return False
    sizes = np.array([len(fold.train) for fold in folds])
    smaller = np.minimum(sizes, n_columns)
    plain = np.sum(n_columns * sizes * smaller + smaller**3 / 3)
    return plain > _KRYLOV_WORK * n_rows * n_columns and hold_out_once(folds)


def _fit_krylov(X, columns, folds, alphas):
    """Compare penalties in one basis per fold, then solve exactly for the best."""
    solver = KrylovSolver(X, columns, folds)
    chosen = np.repeat(alphas[:1], folds[0].targets.shape[1])
    if len(alphas) > 1:
        ridges = solver.compare(alphas)
        chosen = alphas[_choose(X, columns, folds, ridges)]
    return _members(solver.solve(chosen), chosen, np.zeros(len(chosen), dtype=int))


def _fit_plain(X, columns, folds, alphas):
    """Solve for all penalties, with one float64 matrix per fold."""
    ridges = []
    for fold in folds:
        table = StandardizedTable(
            X, rows=fold.train, columns=columns, weight=fold.weight
        )
        ridges.append(solve_ridge(table, fold.targets, alphas))
    best = _choose(X, columns, folds, ridges)
    return _members(ridges, alphas[best], best)


def _choose(X, columns, folds, ridges):
    """Return the index of the penalty with the highest SRCC, for each target.

    The first one wins ties. On all pairs of two sets of human scores, SRCC and MSE
    select alike; with 100 to 1,000 pairs, SRCC selects better on average.
    """
    n_targets, n_alphas = ridges[0].intercept.shape
    if n_alphas == 1:
        return np.zeros(n_targets, dtype=int)
    predicted = []
    for fold, (coef, intercept, _) in zip(folds, ridges, strict=True):
        values = matmul(X, coef, rows=fold.test, columns=columns)
        predicted.append(values + intercept)
    held_out = np.concatenate(predicted)
    true = np.concatenate([fold.test_targets for fold in folds])
    weight = None
    if folds[0].test_weight is not None:
        weight = np.concatenate([fold.test_weight for fold in folds])
    best = []
    for target in range(n_targets):
        scores = [
            weighted_srcc(true[:, target], column, weight)
            for column in held_out[:, target].T
        ]
        best.append(int(np.argmax(scores)))
    return np.array(best)


def _members(ridges, alphas, places):
    """Return ``members[target][fold]``, for the alpha and its index of each target."""
    return [
        [
            StandardizedRidge(float(alpha))._take(
                *(part[..., target, place] for part in of_fold)
            )
            for of_fold in ridges
        ]
        for target, (alpha, place) in enumerate(zip(alphas, places, strict=True))
    ]
