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
    """Ridge regression with a penalty per standardised column.

    Columns are centred and scaled to unit variance, and the penalty on their
    coefficients is ``alpha`` times the number of varying columns.

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
        Total penalty: the ``alpha`` of :class:`sklearn.linear_model.Ridge` on
        standardised columns.
    n_features_in_ : int
        Number of features seen during :term:`fit`.

    See Also
    --------
    sklearn.linear_model.Ridge : Penalty that does not depend on the columns.

    Notes
    -----
    If p standardised columns contribute equally to a signal of variance s, each
    coefficient has variance s / p, and with noise of variance e the best penalty is
    ``e / (s / p) = p (1 - R²) / R²``, for any number of pairs. So `alpha` is the
    noise-to-signal ratio of `y`, and one value suits families of 321 and of 5,121
    columns, and training sets of 400 and of 7,500 pairs. The default is the ratio at
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
            Non-negative weights, equivalent to repeating a pair.

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
        """Set the fitted attributes; `coef` has shape (n_columns,)."""
        # A copy, so that the solutions of other targets can be freed.
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
        Training rows and columns.
    targets : ndarray of shape (n_rows, n_targets)
        One target per column.
    alphas : sequence of float
        Penalties per varying column.

    Returns
    -------
    ridges : Ridges
        Solutions for all targets and penalties.
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
    # If no column varies, predictions are the mean for any penalty.
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
    """Solve with a positive definite matrix, which is overwritten."""
    try:
        factor = cho_factor(left, lower=True, overwrite_a=True, check_finite=False)
    except np.linalg.LinAlgError as error:
        msg = (
            f"alpha={alpha!r} is too small for linearly dependent columns: the ridge "
            "system is singular in float64. Raise alpha."
        )
        raise ValueError(msg) from error
    return cho_solve(factor, right)
