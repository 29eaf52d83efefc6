"""Ridge regression on the standardised columns of a family."""

from __future__ import annotations

from numbers import Real

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from clapstack._compat import Interval, _fit_context
from clapstack._numerics.checks import check_weight, check_y
from clapstack._numerics.rows import StandardizedTable, matmul
from clapstack.families import check_features
from clapstack.stacking.ridge._equations import Ridges


class StandardizedRidge(RegressorMixin, BaseEstimator):
    """Ridge regression whose penalty is counted per standardised column.

    Columns are centred and scaled to unit variance, and the penalty on their
    coefficients is ``alpha`` times the number of columns that vary.

    Parameters
    ----------
    alpha : float, default=1.5
        Penalty per column. See Notes.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,)
        Coefficients in the units of `X`, unscaled.
    intercept_ : float
        Intercept.
    penalty_ : float
        The whole penalty: what :class:`sklearn.linear_model.Ridge` calls ``alpha``,
        on standardised columns.
    n_features_in_ : int
        Number of features seen during :term:`fit`.

    See Also
    --------
    sklearn.linear_model.Ridge : The same, with one penalty whatever the columns.

    Notes
    -----
    If p standardised columns share a signal of variance s evenly, each coefficient has
    variance s / p, and with noise of variance e the best penalty is
    ``e / (s / p) = p (1 - R²) / R²``, whatever the number of pairs. So `alpha` is the
    ratio of noise to signal in `y`, one value is fair to families of 321 and of 5,121
    columns, and to training sets of 400 and of 7,500 pairs. The default is the ratio at
    R² = 0.4, near what frozen features reach on four-listener means.

    Examples
    --------
    >>> import numpy as np
    >>> from clapstack.stacking import StandardizedRidge
    >>> X = np.arange(6.0)[:, np.newaxis]
    >>> ridge = StandardizedRidge(alpha=1e-9).fit(X, 2.0 * X[:, 0] + 1.0)
    >>> ridge.predict([[10.0]]).round(6).tolist()
    [21.0]
    """

    _parameter_constraints: dict = {
        "alpha": [Interval(Real, 0, None, closed="neither")]
    }

    def __init__(self, alpha=1.5):
        self.alpha = alpha

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None):
        """Fit the coefficients.

        Parameters
        ----------
        X : array-like of shape (n_pairs, n_features)
            Features.
        y : array-like of shape (n_pairs,)
            Target.
        sample_weight : array-like of shape (n_pairs,), default=None
            Weights, zero or more; a weight counts a pair as often as it says.

        Returns
        -------
        self : object
            The fitted regressor.
        """
        X = check_features(self, X, reset=True)
        y = check_y(self, X, y)
        weight = check_weight(sample_weight, X.shape[0])
        rows = None
        if weight is not None:
            rows = np.flatnonzero(weight)
            weight, y = weight[rows], y[rows]
        table = StandardizedTable(X, rows=rows, weight=weight)
        ridges = solve_ridge(table, y[:, np.newaxis], [self.alpha])
        return self._take(*(part[..., 0, 0] for part in ridges))

    def predict(self, X):
        """Predict the target.

        Parameters
        ----------
        X : array-like of shape (n_pairs, n_features)
            Features.

        Returns
        -------
        y_score : ndarray of shape (n_pairs,), dtype float64
            Predictions.
        """
        check_is_fitted(self)
        X = check_features(self, X, reset=False)
        return matmul(X, self.coef_) + self.intercept_

    def _take(self, coef, intercept, penalty):
        """Take a solution as its own; `coef` has shape (n_columns,)."""
        # A copy, which does not keep the solutions of other targets alive.
        self.coef_ = coef.copy()
        self.intercept_ = float(intercept)
        self.penalty_ = float(penalty)
        self.n_features_in_ = len(coef)
        return self


def solve_ridge(table, targets, alphas):
    """Solve ridge regressions that share a table, with one float64 matrix.

    Parameters
    ----------
    table : StandardizedTable
        Rows and columns to learn from.
    targets : ndarray of shape (n_rows, n_targets)
        One target a column.
    alphas : sequence of float
        Penalties per varying column.

    Returns
    -------
    ridges : Ridges
        Of all targets and penalties.
    """
    weight = table.weight
    mean = weight @ targets / weight.sum()
    right = np.sqrt(weight)[:, np.newaxis] * (targets - mean)
    wide = table.shape[1] > table.shape[0]
    if wide:
        gram = table.kernel()
    else:
        gram, right = table.gram(right)
    coef = np.empty((table.shape[1], targets.shape[1], len(alphas)))
    # Without any varying column the mean is left, at whatever penalty.
    penalties = np.asarray(alphas) * max(1, int(table.varying.sum()))
    for number, penalty in enumerate(penalties):
        left = gram if number == len(alphas) - 1 else gram.copy()
        left[np.diag_indices_from(left)] += penalty
        solution = _cholesky_solve(left, right, alphas[number])
        if wide:
            solution = table.transposed_times(solution)
        coef[:, :, number] = solution / table.scale[:, np.newaxis]
    intercept = mean[:, np.newaxis] - np.tensordot(table.mean, coef, axes=1)
    return Ridges(coef, intercept, np.broadcast_to(penalties, intercept.shape))


def _cholesky_solve(left, right, alpha):
    """Solve with a positive definite matrix, which is overwritten, or refuse it."""
    try:
        factor = cho_factor(left, lower=True, overwrite_a=True, check_finite=False)
    except np.linalg.LinAlgError as error:
        msg = (
            f"alpha={alpha!r} is too small for columns that depend on one another: the "
            "ridge system has no float64 solution. Raise alpha."
        )
        raise ValueError(msg) from error
    return cho_solve(factor, right)
