"""Order-preserving calibration: strictly increasing maps to the rating scale."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.isotonic import isotonic_regression
from sklearn.utils.validation import check_is_fitted, column_or_1d

from clapstack._compat import _fit_context
from clapstack._numerics.checks import as_numbers, check_weight, first_rows
from clapstack._numerics.ranks import weight_up_to

__all__ = ["IncreasingMap"]

_N_BINS = 10
# Smaller relative differences are rounding, so comparisons of sums do not depend on the
# scale of the weights or on the order of the rows.
_ROUNDING = 1e-9


class IncreasingMap(BaseEstimator):
    r"""A strictly increasing map from predictions to scores, by least squares.

    The map preserves the order of predictions without creating ties, so SRCC and KTAU
    do not change, while the MSE falls if the predictions were on another scale.

    Parameters
    ----------
    on_scale : bool, default=True
        Whether predictions are already on the scale of `y`. If so, the map shrinks
        towards the identity when there are few pairs. Use False for ranks, cosines and
        margins.

    Attributes
    ----------
    exists_ : bool
        Whether `y` rises with the predictions. If not, no increasing map fits better
        than a constant, and `predict` raises an error.
    x_knots_, y_knots_ : ndarray of shape (n_knots,)
        Points at which the pieces of the map meet; the end pieces extend beyond them.

    Notes
    -----
    Predictions are cut into up to ten bins of equal weight, :math:`b = 1 \dots B`. Let
    :math:`\ell` be the least-squares line, :math:`r_b` the mean of
    :math:`y - \ell(x)` in a bin, and :math:`w_b` its share of the weight. The map is
    piecewise linear through the bins' means :math:`(\bar x_b, m_b)`, where

    .. math::

       m_b &= \bar x_b + s_1 \, (\ell(\bar x_b) - \bar x_b) + s_2 \, r_b, \\
       s_1 &= \Bigl(1 - \frac{2 v}
              {\operatorname{mean} (\ell(x) - x)^2}\Bigr)_+, \qquad
       s_2 = \Bigl(1 - \frac{(B - 2) v}{\sum_b w_b r_b^2}\Bigr)_+,

    and :math:`s_1 = 1` unless `on_scale`. Neighbouring bins with decreasing :math:`m_b`
    are pooled until :math:`m_b` increases from bin to bin.

    The factors are positive-part James-Stein shrinkage [1]_ [2]_ with k, which is 2 or
    :math:`B - 2`, in place of k - 2, so that a line shrinks too: each factor is the
    share of a mean square that noise does not explain. Here :math:`v` is the squared
    standard error of the mean over all pairs, from the residuals of `y` around
    :math:`\ell` and :math:`r_b`. Pairs with equal predictions count as one in
    :math:`v`, so a weight is equivalent to repetition.

    References
    ----------
    .. [1] W. James and C. Stein, "Estimation with Quadratic Loss", Proc. Fourth
       Berkeley Symposium on Mathematical Statistics and Probability, vol. 1, 1961.
    .. [2] B. Efron and C. Morris, "Stein's Estimation Rule and Its Competitors -- An
       Empirical Bayes Approach", J. American Statistical Association 68, 1973,
       doi:10.1080/01621459.1973.10481350.

    Examples
    --------
    >>> import numpy as np
    >>> from clapstack.calibration import IncreasingMap
    >>> ranks = np.linspace(0, 1, 200)
    >>> calibration = IncreasingMap(on_scale=False).fit(ranks, 10 * ranks)
    >>> calibration.predict([0.25, 0.5]).round(6).tolist()
    [2.5, 5.0]
    """

    _parameter_constraints: dict = {"on_scale": ["boolean"]}

    def __init__(self, *, on_scale=True):
        self.on_scale = on_scale

    def __setstate__(self, state):
        # Version 0.1 had a `shape`, and no knots for the identity: two represent it.
        state = dict(state)
        shape, taken = state.pop("shape", None), state.pop("shape_", None)
        if shape is not None:
            state["on_scale"] = shape in ("auto", "identity")
        if taken == "identity":
            state["x_knots_"] = state["y_knots_"] = np.array([0.0, 1.0])
        super().__setstate__(state)

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, x: Any, y: Any, sample_weight: Any = None) -> IncreasingMap:
        """Fit the map.

        Parameters
        ----------
        x : array-like of shape (n_pairs,)
            Predictions, on any scale. Use out-of-fold predictions to avoid overfitting.
        y : array-like of shape (n_pairs,)
            True scores.
        sample_weight : array-like of shape (n_pairs,), default=None
            Non-negative weights; only their ratios matter. Pairs of weight zero are
            ignored.

        Returns
        -------
        self : IncreasingMap
            The fitted map.

        Raises
        ------
        ValueError
            If `x` and `y` are empty, differ in length or have NaN or infinity, or if
            weights are negative, not finite or all zero. The message names the rows.
        """
        x, y = _check_column("x", x), _check_column("y", y)
        if len(x) != len(y):
            msg = (
                f"x and y must have the same length; got {len(x)} predictions and "
                f"{len(y)} scores. Pass one of each per pair, in the same order."
            )
            raise ValueError(msg)
        weight = check_weight(sample_weight, len(x))
        if weight is None:
            weight = np.ones(len(x))
        used = weight > 0
        x, y, weight = x[used], y[used], weight[used] / weight.max()
        self.x_knots_, self.y_knots_ = _knots(x, y, weight, self.on_scale)
        self.exists_ = len(self.x_knots_) > 1
        return self

    def predict(self, x: Any) -> np.ndarray:
        """Map predictions to scores.

        Parameters
        ----------
        x : array-like of shape (n_pairs,)
            Predictions on the same scale as in `fit`.

        Returns
        -------
        y_score : ndarray of shape (n_pairs,), float64
            Scores with the order of `x`; they can lie outside the rating scale.

        Raises
        ------
        ValueError
            If `y` does not rise with the predictions in `fit`, or `x` is not numeric.
        """
        check_is_fitted(self)
        if not self.exists_:
            msg = (
                "No increasing map exists: y does not rise with the predictions passed "
                "to fit. Check that higher predictions mean better pairs."
            )
            raise ValueError(msg)
        x = as_numbers(x, "x")
        piece = np.searchsorted(self.x_knots_[1:-1], x)
        slope = np.diff(self.y_knots_) / np.diff(self.x_knots_)
        return self.y_knots_[piece] + slope[piece] * (x - self.x_knots_[piece])


def _knots(x, y, weight, on_scale):
    """Return the knots of the best map; fewer than two if no map increases."""
    weight = weight / weight.sum()
    x_mean, y_mean = weight @ x, weight @ y
    # Compared in float32, so that values which differ by rounding are equal.
    distinct, shares, same = weight_up_to(x.astype(np.float32), weight)
    step = np.sqrt(weight @ (x - x_mean) ** 2)
    rise = 0.0
    if len(distinct) > 1:
        rise = weight @ ((x - x_mean) / step * (y - y_mean))
    if rise <= _ROUNDING * np.sqrt(weight @ (y - y_mean) ** 2):
        return np.array([x_mean]), np.array([y_mean])
    line = y_mean + rise * (x - x_mean) / step

    # Binned by the middle of a value's shares: two frequent values are two bins.
    middle = (shares[:-1] + shares[1:]) / 2
    _, bins = np.unique(
        np.ceil(middle * _N_BINS - _ROUNDING).astype(int), return_inverse=True
    )
    bins = bins[same]
    share, x_bins, gaps = _pool(bins, weight, x, y - line)
    noise = np.bincount(same, weights=weight * (y - line - gaps[bins]))
    variance = noise @ noise
    y_bins = y_mean + rise * (x_bins - x_mean) / step
    if on_scale:
        kept = _beyond_noise(weight @ (line - x) ** 2, 2 * variance)
        y_bins = x_bins + kept * (y_bins - x_bins)
    y_bins += gaps * _beyond_noise(share @ gaps**2, (len(share) - 2) * variance)

    fitted = isotonic_regression(y_bins, sample_weight=share)
    rises = np.diff(fitted) > _ROUNDING * np.ptp(y)
    pools = np.concatenate([[0], np.cumsum(rises)])
    _, x_knots, y_knots = _pool(pools, share, x_bins, y_bins)
    return x_knots, y_knots


def _beyond_noise(size, noise):
    """Return the share of a mean square that noise does not explain."""
    return 1.0 - noise / size if size > noise else 0.0


def _check_column(name, values):
    values = column_or_1d(as_numbers(values, name))
    rows = np.flatnonzero(~np.isfinite(values))
    if rows.size or not len(values):
        found = f"NaN or infinity in {first_rows(rows)}" if rows.size else "no values"
        msg = (
            f"{name} passed to IncreasingMap has {found}. Pass at least one pair, and "
            "a finite number for each."
        )
        raise ValueError(msg)
    return values


def _pool(groups, weight, x, y):
    total = np.bincount(groups, weights=weight)
    return (
        total,
        np.bincount(groups, weights=weight * x) / total,
        np.bincount(groups, weights=weight * y) / total,
    )
