"""Calibration that keeps the ranking: strictly increasing maps to the rating scale."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin, RegressorMixin, clone
from sklearn.isotonic import isotonic_regression
from sklearn.model_selection import check_cv
from sklearn.utils import get_tags
from sklearn.utils.validation import (
    check_is_fitted,
    column_or_1d,
    has_fit_parameter,
    indexable,
)

from clapstack._ranks import rank_target
from clapstack._sklearn import HasMethods, StrOptions, _fit_context, _safe_indexing

__all__ = ["CalibratedRegressor", "IncreasingMap"]

_N_BINS = 10
_N_FOLDS = 5
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
        five-fold cross-validation, is within one standard error of the next one's.

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
            Positive weights; a weight counts a pair as often as it says.

        Returns
        -------
        self : IncreasingMap
            The fitted map.
        """
        x = column_or_1d(x).astype(np.float64)
        y = column_or_1d(y).astype(np.float64)
        weight = np.ones(len(x)) if sample_weight is None else np.asarray(sample_weight)
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
            If `y` did not rise with the predictions of `fit`.
        """
        check_is_fitted(self)
        if not self.exists_:
            msg = (
                "No increasing map exists: y does not rise with the predictions that "
                "were given to fit. Check that higher predictions mean better pairs."
            )
            raise ValueError(msg)
        x = np.asarray(x, dtype=np.float64)
        if self.shape_ == "identity":
            return x.copy()
        piece = np.searchsorted(self.x_knots_[1:-1], x)
        slope = np.diff(self.y_knots_) / np.diff(self.x_knots_)
        return self.y_knots_[piece] + slope[piece] * (x - self.x_knots_[piece])


class CalibratedRegressor(RegressorMixin, MetaEstimatorMixin, BaseEstimator):
    """Any regressor, followed by an increasing map that was fitted out of fold.

    Parameters
    ----------
    estimator : regressor
        What to calibrate, such as one that learned ranks or a ranking loss.
    cv : int, splitter or iterable, default=5
        Splits that make the predictions on which the map is fitted.
    shape : {"auto", "identity", "line", "pieces"}, default="auto"
        As for :class:`IncreasingMap`.

    Attributes
    ----------
    estimator_ : regressor
        Fitted on all pairs.
    map_ : IncreasingMap
        Fitted on out-of-fold predictions.
    n_features_in_ : int
        Number of features seen during :term:`fit`, if `estimator_` has it.

    See Also
    --------
    clapstack.ClapStackingRegressor : Has ``calibration=True``, at no extra fit.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import Ridge
    >>> from clapstack.calibration import CalibratedRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(200, 3))
    >>> y = 5 + X.sum(axis=1)
    >>> shrunk = Ridge(alpha=300.0)
    >>> calibrated = CalibratedRegressor(shrunk).fit(X, y)
    >>> bool(calibrated.score(X, y) > shrunk.fit(X, y).score(X, y))
    True
    """

    _parameter_constraints: dict = {
        "estimator": [HasMethods(["fit", "predict"])],
        "cv": ["cv_object"],
        "shape": [StrOptions({"auto", *_SHAPES})],
    }

    def __init__(self, estimator, *, cv=5, shape="auto"):
        self.estimator = estimator
        self.cv = cv
        self.shape = shape

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y, *, sample_weight=None, groups=None):
        """Fit the map on out-of-fold predictions and the estimator on all pairs.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_pairs, n_features)
            What `estimator` takes.
        y : array-like of shape (n_pairs,)
            Scores.
        sample_weight : array-like of shape (n_pairs,), default=None
            Positive weights, for the estimator and for the map.
        groups : array-like of shape (n_pairs,), default=None
            Handed to the splitter.

        Returns
        -------
        self : CalibratedRegressor
            The fitted regressor.

        Raises
        ------
        ValueError
            If `sample_weight` is given and the estimator takes none.

        Warns
        -----
        UserWarning
            If `y` does not rise with the predictions out of fold, so that no increasing
            map exists; they are left as they are.
        """
        X, y, sample_weight = indexable(X, y, sample_weight)
        y = column_or_1d(y, warn=True)
        if sample_weight is not None:
            sample_weight = np.asarray(sample_weight, dtype=np.float64)
            if not has_fit_parameter(self.estimator, "sample_weight"):
                msg = (
                    f"sample_weight was given, but {type(self.estimator).__name__}.fit "
                    "takes none. Leave it out or choose an estimator that accepts it."
                )
                raise ValueError(msg)
        held_out = np.full(len(y), np.nan)
        for train, test in check_cv(self.cv).split(X, y, groups):
            member = self._fit_one(X, y, sample_weight, train)
            held_out[test] = member.predict(_safe_indexing(X, test))
        seen = np.flatnonzero(~np.isnan(held_out))
        weight = None if sample_weight is None else sample_weight[seen]
        self.map_ = IncreasingMap(self.shape).fit(held_out[seen], y[seen], weight)
        if not self.map_.exists_:
            msg = (
                f"The predictions of {type(self.estimator).__name__} are left as they "
                "are: out of fold, y does not rise with them, so no increasing map to "
                "y exists. Check X and y."
            )
            warnings.warn(msg, stacklevel=2)
            self.map_ = IncreasingMap("identity").fit(held_out[seen], y[seen], weight)
        self.estimator_ = self._fit_one(X, y, sample_weight, slice(None))
        if hasattr(self.estimator_, "n_features_in_"):
            self.n_features_in_ = self.estimator_.n_features_in_
        return self

    def predict(self, X):
        """Predict calibrated scores.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_pairs, n_features)
            What `estimator` takes.

        Returns
        -------
        y_score : ndarray of shape (n_pairs,), float64
            In the order of the estimator's own predictions.
        """
        check_is_fitted(self)
        return self.map_.predict(self.estimator_.predict(X))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags = get_tags(self.estimator).input_tags
        return tags

    def _fit_one(self, X, y, sample_weight, rows):
        extra = {} if sample_weight is None else {"sample_weight": sample_weight[rows]}
        some = X if isinstance(rows, slice) else _safe_indexing(X, rows)
        return clone(self.estimator).fit(some, y[rows], **extra)


def _knots(shape, x, y, weight):
    """Return the knots of the best map of a shape; fewer than two if none rises."""
    if shape == "identity":
        return np.empty(0), np.empty(0)
    if shape == "line":
        x_mean, y_mean = np.average(x, weights=weight), np.average(y, weights=weight)
        around = x - x_mean
        variance = np.average(around**2, weights=weight)
        if variance == 0:
            return np.array([x_mean]), np.array([y_mean])
        slope = np.average(around * (y - y_mean), weights=weight) / variance
        if slope <= 0:
            return np.array([x_mean]), np.array([y_mean])
        step = np.sqrt(variance)
        ends = np.array([x_mean - step, x_mean + step])
        return ends, y_mean + slope * (ends - x_mean)
    # Ranks of float32 values: what differs by rounding alone is one value.
    ranks = rank_target(x.astype(np.float32), weight)
    bins = np.clip(np.ceil(ranks * _N_BINS), 1, _N_BINS).astype(int)
    _, bins = np.unique(bins, return_inverse=True)
    total, x_mean, y_mean = _pool(bins, weight, x, y)
    fitted = isotonic_regression(y_mean, sample_weight=total)
    pools = np.concatenate([[0], np.cumsum(np.diff(fitted) > 0)])
    _, x_knots, y_knots = _pool(pools, total, x_mean, y_mean)
    return x_knots, y_knots


def _choose_shape(x, y, weight):
    """Return the plainest shape that the next one does not clearly beat."""
    if len(x) < 2 * _N_FOLDS:
        return "line"
    # Neighbours in x fall into different folds, whatever the order of the rows.
    fold = np.empty(len(x), dtype=int)
    fold[np.argsort(x, kind="stable")] = np.arange(len(x)) % _N_FOLDS
    errors = {shape: np.empty(len(x)) for shape in _SHAPES}
    for number in range(_N_FOLDS):
        test = fold == number
        train = ~test
        for shape in _SHAPES:
            one = IncreasingMap(shape).fit(x[train], y[train], weight[train])
            if one.exists_:
                score = one.predict(x[test])
            else:
                score = np.average(y[train], weights=weight[train])
            errors[shape][test] = (y[test] - score) ** 2
    best = "identity"
    for shape in _SHAPES[1:]:
        gain = errors[best] - errors[shape]
        mean = np.average(gain, weights=weight)
        spread = np.sqrt(np.sum((weight * (gain - mean)) ** 2)) / weight.sum()
        if mean > spread:
            best = shape
    return best


def _pool(groups, weight, x, y):
    total = np.bincount(groups, weights=weight)
    return (
        total,
        np.bincount(groups, weights=weight * x) / total,
        np.bincount(groups, weights=weight * y) / total,
    )
