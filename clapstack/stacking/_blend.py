"""A final level that starts from equal weights."""

from __future__ import annotations

from numbers import Real

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from clapstack._compat import Interval, _fit_context
from clapstack._numerics.checks import check_weight, check_y
from clapstack._numerics.rows import matmul


class BlendRidge(RegressorMixin, BaseEstimator):
    r"""Ridge regression whose coefficients are drawn to each other, not to zero.

    First-level predictions say nearly the same, so their coefficients are badly
    determined: a plain ridge spends the data on differences between them, while their
    average is hard to beat. Here the slope on the average is free, and only what a
    coefficient differs from the others is penalised.

    Parameters
    ----------
    alpha : float, default=10
        Penalty on differences, per column. 0 is least squares, and with growing
        `alpha` the coefficients become equal.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,)
        Coefficients.
    intercept_ : float
        Intercept.
    n_features_in_ : int
        Number of features seen during :term:`fit`.

    Notes
    -----
    With centred columns X of n pairs and p columns, and mean coefficient
    :math:`\bar w`, it minimises

    .. math:: \lVert y - Xw \rVert^2 + \alpha p \sum_j (w_j - \bar w)^2 .

    The penalty does not grow with the number of pairs, so that much data may say more.

    Examples
    --------
    >>> import numpy as np
    >>> from clapstack.stacking import BlendRidge
    >>> X = np.array([[0.0, 0.1], [1.0, 0.9], [2.0, 2.1], [3.0, 2.9]])
    >>> y = X.mean(axis=1)
    >>> BlendRidge().fit(X, y).coef_.round(3).tolist()
    [0.5, 0.5]
    """

    _parameter_constraints: dict = {"alpha": [Interval(Real, 0, None, closed="left")]}

    def __init__(self, alpha=10.0):
        self.alpha = alpha

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None):
        """Fit the coefficients.

        Parameters
        ----------
        X : array-like of shape (n_pairs, n_features)
            First-level predictions, each of unit variance.
        y : array-like of shape (n_pairs,)
            Target.
        sample_weight : array-like of shape (n_pairs,), default=None
            Weights, zero or more; a weight counts a pair as often as it says.

        Returns
        -------
        self : BlendRidge
            The fitted regressor.
        """
        X = validate_data(self, X, dtype=np.float64)
        y = check_y(self, X, y)
        weight = check_weight(sample_weight, len(X))
        weight = np.ones(len(X)) if weight is None else weight
        x_mean = np.average(X, axis=0, weights=weight)
        y_mean = np.average(y, weights=weight)
        around = X - x_mean
        weighted = around * weight[:, np.newaxis]
        p = X.shape[1]
        apart = np.eye(p) - 1.0 / p
        # The least of the solutions, where columns depend on one another.
        self.coef_ = np.linalg.lstsq(
            weighted.T @ around + self.alpha * p * apart,
            weighted.T @ (y - y_mean),
            rcond=None,
        )[0]
        self.intercept_ = float(y_mean - x_mean @ self.coef_)
        return self

    def predict(self, X):
        """Predict the target.

        Parameters
        ----------
        X : array-like of shape (n_pairs, n_features)
            First-level predictions.

        Returns
        -------
        y_score : ndarray of shape (n_pairs,), dtype float64
            Predicted target.
        """
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        return matmul(X, self.coef_) + self.intercept_
