"""Calibration that keeps the ranking: strictly increasing maps to the rating scale."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.isotonic import isotonic_regression
from sklearn.utils.validation import check_is_fitted, column_or_1d

from clapstack._compat import StrOptions, _fit_context
from clapstack._numerics.checks import as_numbers, check_weight, first_rows
from clapstack._numerics.ranks import clearly_positive, folds_by_rank, weight_up_to

__all__ = ["IncreasingMap"]

_N_BINS = 10
_N_FOLDS = 5
# Relative differences below this are rounding: which of two sums is larger must not
# depend on the scale of the weights or on the order of the rows.
_ROUNDING = 1e-9
_SHAPES = ("identity", "line", "pieces")


class IncreasingMap(BaseEstimator):
    """A strictly increasing map from predictions to scores, by least squares.

    Predictions keep their order and no two become a tie, so SRCC and KTAU stay as they
    are, while the MSE falls if the predictions were on another scale.

    Parameters
    ----------
    shape : {"auto", "identity", "line", "pieces"}, default="auto"
        "line" is the least-squares line. "pieces" is piecewise linear: predictions are
        cut into ten bins of equal weight, and neighbouring bins whose means of `y` fall
        are pooled until they rise from bin to bin; each pool is a knot at its own mean,
        so that knots rise on both axes without a smoothing constant, and outside them
        the end pieces go on. "auto" takes the plainest whose squared error, under
        five-fold cross-validation, is within one standard error of the next one's;
        predictions that are equal are held out together.

    Attributes
    ----------
    shape_ : {"identity", "line", "pieces"}
        What was taken.
    exists_ : bool
        False if `y` does not rise with the predictions: no increasing map fits better
        than a constant then, and `predict` refuses.
    x_knots_, y_knots_ : ndarray of shape (n_knots,)
        Where the pieces meet; the identity has none.

    Notes
    -----
    On predictions that are calibrated already a fitted map would cost about one
    squared standard error a knot; "auto" leaves those alone.

    Examples
    --------
    >>> import numpy as np
    >>> from clapstack.calibration import IncreasingMap
    >>> ranks = np.linspace(0, 1, 200)
    >>> calibration = IncreasingMap().fit(ranks, 10 * ranks)
    >>> calibration.shape_
    'line'
    >>> calibration.predict([0.25, 0.5]).round(6).tolist()
    [2.5, 5.0]
    """

    _parameter_constraints: dict = {"shape": [StrOptions({"auto", *_SHAPES})]}

    def __init__(self, shape="auto"):
        self.shape = shape

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
        self.shape_ = self.shape
        if self.shape == "auto":
            self.shape_ = _choose_shape(x, y, weight)
        self.x_knots_, self.y_knots_ = _knots(self.shape_, x, y, weight)
        self.exists_ = self.shape_ == "identity" or len(self.x_knots_) > 1
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
        if self.shape_ == "identity":
            return x
        piece = np.searchsorted(self.x_knots_[1:-1], x)
        slope = np.diff(self.y_knots_) / np.diff(self.x_knots_)
        return self.y_knots_[piece] + slope[piece] * (x - self.x_knots_[piece])


def _knots(shape, x, y, weight):
    """Return the knots of the best map of a shape; fewer than two if none rises."""
    if shape == "identity":
        return np.empty(0), np.empty(0)
    distinct, shares, inverse = weight_up_to(x.astype(np.float32), weight)
    if shape == "line":
        x_mean, y_mean = np.average(x, weights=weight), np.average(y, weights=weight)
        constant = np.array([x_mean]), np.array([y_mean])
        if len(distinct) == 1:
            return constant
        step = np.sqrt(np.average((x - x_mean) ** 2, weights=weight))
        spread = np.sqrt(np.average((y - y_mean) ** 2, weights=weight))
        rise = np.average((x - x_mean) / step * (y - y_mean), weights=weight)
        if rise <= _ROUNDING * spread:
            return constant
        ends = np.array([-1.0, 1.0])
        return x_mean + step * ends, y_mean + rise * ends
    # Values of float32 are binned: what differs by rounding alone is one value.
    bins = np.ceil(shares[1:] * _N_BINS - _ROUNDING).astype(int)
    _, bins = np.unique(bins[inverse], return_inverse=True)
    total, x_mean, y_mean = _pool(bins, weight, x, y)
    fitted = isotonic_regression(y_mean, sample_weight=total)
    rises = np.diff(fitted) > _ROUNDING * np.ptp(y)
    pools = np.concatenate([[0], np.cumsum(rises)])
    _, x_knots, y_knots = _pool(pools, total, x_mean, y_mean)
    return x_knots, y_knots


def _choose_shape(x, y, weight):
    """Return the plainest shape that the next one does not clearly beat."""
    if len(np.unique(x.astype(np.float32))) < 2 * _N_FOLDS:
        return "line"
    errors = {shape: np.empty(len(x)) for shape in _SHAPES}
    for train, test in folds_by_rank(x, _N_FOLDS):
        for shape in _SHAPES:
            one = IncreasingMap(shape).fit(x[train], y[train], weight[train])
            if one.exists_:
                score = one.predict(x[test])
            else:
                score = np.average(y[train], weights=weight[train])
            errors[shape][test] = (y[test] - score) ** 2
    best = "identity"
    for shape in _SHAPES[1:]:
        if clearly_positive(errors[best] - errors[shape], weight, x):
            best = shape
    return best


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
