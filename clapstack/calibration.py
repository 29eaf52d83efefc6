"""Calibration that keeps the ranking: strictly increasing maps to the rating scale."""

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
# Relative differences below this are rounding: which of two sums is larger must not
# depend on the scale of the weights or on the order of the rows.
_ROUNDING = 1e-9


class IncreasingMap(BaseEstimator):
    r"""A strictly increasing map from predictions to scores, by least squares.

    Predictions keep their order and no two become a tie, so SRCC and KTAU stay as they
    are, while the MSE falls if the predictions were on another scale.

    Parameters
    ----------
    on_scale : bool, default=True
        Whether predictions are on the scale of `y` already, so that they are best left
        alone where pairs are too few to say otherwise. False for ranks, cosines and
        margins.

    Attributes
    ----------
    exists_ : bool
        False if `y` does not rise with the predictions: no increasing map fits better
        than a constant then, and `predict` refuses.
    x_knots_, y_knots_ : ndarray of shape (n_knots,)
        Where the pieces of the map meet; outside them the end pieces continue.

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

    and :math:`s_1 = 1` unless `on_scale`. Neighbouring bins whose :math:`m_b` fall are
    pooled until they rise from bin to bin.

    This is the positive-part rule of James and Stein [1]_ [2]_, with all k numbers of a
    departure, 2 or :math:`B - 2`, in place of k - 2, so that a line shrinks too: what
    is kept is the share of its mean square that noise does not explain. Here :math:`v`
    is the squared standard error of a mean of all pairs, by the departures of `y` from
    :math:`\ell` and :math:`r_b`. Pairs of equal predictions count as one in it, so a
    weight is the same as repeating.

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
        # Maps of 0.1 had shapes: two knots make the identity, which had none.
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
            Predictions, on any scale. For a fair map they were made out of fold.
        y : array-like of shape (n_pairs,)
            True scores.
        sample_weight : array-like of shape (n_pairs,), default=None
            Weights, zero or more, on any scale: they say how often a pair counts
            compared with the others. Pairs of weight zero are left out.

        Returns
        -------
        self : IncreasingMap
            The fitted map.

        Raises
        ------
        ValueError
            If `x` and `y` are empty, differ in length or have NaN or infinity, or if
            weights are negative, not finite or all zero; the rows are named.
        """
        x, y = _check_column("x", x), _check_column("y", y)
        if len(x) != len(y):
            msg = (
                f"x and y must be of one length; got {len(x)} predictions and {len(y)} "
                "scores. Pass one of each per pair, in the same order."
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
            Predictions on the scale of those given to `fit`.

        Returns
        -------
        y_score : ndarray of shape (n_pairs,), float64
            In the same order as `x`; they may leave the rating scale at the ends.

        Raises
        ------
        ValueError
            If `y` did not rise with the predictions of `fit`, or if `x` is not numbers.
        """
        check_is_fitted(self)
        if not self.exists_:
            msg = (
                "No increasing map exists: y does not rise with the predictions that "
                "were given to fit. Check that higher predictions mean better pairs."
            )
            raise ValueError(msg)
        x = as_numbers(x, "x")
        piece = np.searchsorted(self.x_knots_[1:-1], x)
        slope = np.diff(self.y_knots_) / np.diff(self.x_knots_)
        return self.y_knots_[piece] + slope[piece] * (x - self.x_knots_[piece])


def _knots(x, y, weight, on_scale):
    """Return the knots of the best map; fewer than two if none rises."""
    weight = weight / weight.sum()
    x_mean, y_mean = weight @ x, weight @ y
    # Values of float32 are compared: what differs by rounding alone is one value.
    distinct, shares, same = weight_up_to(x.astype(np.float32), weight)
    step = np.sqrt(weight @ (x - x_mean) ** 2)
    rise = 0.0
    if len(distinct) > 1:
        rise = weight @ ((x - x_mean) / step * (y - y_mean))
    if rise <= _ROUNDING * np.sqrt(weight @ (y - y_mean) ** 2):
        return np.array([x_mean]), np.array([y_mean])
    line = y_mean + rise * (x - x_mean) / step

    # The middle of a value's shares: two values, however frequent, are two bins.
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
            f"{name} passed to IncreasingMap has {found}. Pass a finite number for "
            "each of one pair or more."
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
