"""The ridge members of a family: each fold, each target, the best of the penalties."""

from __future__ import annotations

import numpy as np

from clapstack._numerics.lazy_table import LazyTable, read_table, row_slices
from clapstack._numerics.ranks import weighted_srcc
from clapstack._numerics.rows import StandardizedTable, matmul
from clapstack.stacking.ridge._estimator import StandardizedRidge, solve_ridge
from clapstack.stacking.ridge._fold_product import fits
from clapstack.stacking.ridge._fold_sums import hold_out_once
from clapstack.stacking.ridge._krylov import KrylovSolver, NotConvergedError

# A Krylov solution takes the time of so many float64 multiplications a number in the
# table.
_KRYLOV_WORK = 1500
# Smaller penalties leave more eigenvalues above them than a basis can hold; where
# solutions are only compared before one is made exact, less will do.
_LEAST_ALPHA = 0.5
_LEAST_COMPARED = 0.1
# The plain way reads each row four times a fold. A family of a lazy table is computed
# once for all of them if it takes no more than this in memory, about as much as the
# matrix of 5,648 columns that is made otherwise.
_READ_BYTES = 1 << 28
_READ_ROWS = 2048


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


def fit_family_ridges(
    X, columns, folds, alphas, *, solver=None, read_bytes=_READ_BYTES
):
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
    solver : {"krylov", "plain"}, default=None
        The way to take, see :mod:`clapstack.stacking.ridge`. None takes the quicker
        one, and the plain one where a Krylov space does not hold the solution.
    read_bytes : int, default=256 MiB
        The size up to which the family of a lazy table is computed once.

    Returns
    -------
    members : list of list of StandardizedRidge
        ``members[target][fold]``.

    Raises
    ------
    NotConvergedError
        If `solver` is "krylov", and a Krylov space does not hold the solution.
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
            pass  # Slow convergence shows early, so little time is lost.
    return _fit_plain(X, columns, folds, alphas)


def _read_once(X, columns):
    """Return columns of a lazy table as an array of its dtype."""
    out = np.empty((X.shape[0], len(columns)), X.dtype)
    for rows in row_slices(len(out), _READ_ROWS):
        out[rows] = read_table(X, rows, columns)
    return out


def _krylov_pays(X, columns, folds, alphas):
    """Return whether Krylov spaces can serve, and in less time than the plain way."""
    n_rows, n_columns = X.shape[0], len(columns)
    least = _LEAST_ALPHA if len(alphas) == 1 else _LEAST_COMPARED
    if isinstance(X, LazyTable) or not fits(n_rows, n_columns) or alphas[-1] < least:
        return False
    sizes = np.array([len(fold.train) for fold in folds])
    smaller = np.minimum(sizes, n_columns)
    plain = np.sum(n_columns * sizes * smaller + smaller**3 / 3)
    return plain > _KRYLOV_WORK * n_rows * n_columns and hold_out_once(folds)


def _fit_krylov(X, columns, folds, alphas):
    """Compare penalties in one Krylov basis a fold, then solve exactly for the best."""
    solver = KrylovSolver(X, columns, folds)
    chosen = np.repeat(alphas[:1], folds[0].targets.shape[1])
    if len(alphas) > 1:
        ridges = solver.compare(alphas)
        chosen = alphas[_choose(X, columns, folds, ridges)]
    return _members(solver.solve(chosen), chosen, np.zeros(len(chosen), dtype=int))


def _fit_plain(X, columns, folds, alphas):
    """Solve for all penalties, each fold from its own float64 matrix."""
    ridges = []
    for fold in folds:
        table = StandardizedTable(
            X, rows=fold.train, columns=columns, weight=fold.weight
        )
        ridges.append(solve_ridge(table, fold.targets, alphas))
    best = _choose(X, columns, folds, ridges)
    return _members(ridges, alphas[best], best)


def _choose(X, columns, folds, ridges):
    """Return the number of the penalty of each target whose SRCC is best.

    Of equals it is the first. At all pairs of two sets of human scores, SRCC and MSE
    choose alike; at 100 to 1,000 pairs SRCC chooses better on average.
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
    """Return ``members[target][fold]``, at an alpha and its place for each target."""
    return [
        [
            StandardizedRidge(float(alpha))._take(
                *(part[..., target, place] for part in of_fold)
            )
            for of_fold in ridges
        ]
        for target, (alpha, place) in enumerate(zip(alphas, places, strict=True))
    ]
