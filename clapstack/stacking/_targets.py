"""Rank targets, and the way back from ranks to scores."""

from __future__ import annotations

import numpy as np
from sklearn.isotonic import isotonic_regression

_N_BINS = 10


def rank_target(y, sample_weight=None) -> np.ndarray:
    """Return the ranks of `y`, scaled to (0, 1].

    Tied values share the mean of their ranks. A weight counts a value as often as it
    says: weighting is the same as repeating.

    Parameters
    ----------
    y : array-like of shape (n_pairs,)
        Scores.
    sample_weight : array-like of shape (n_pairs,), default=None
        Positive weights; None counts every value once.

    Returns
    -------
    ranks : ndarray of shape (n_pairs,), dtype float64
        ``rank / n_pairs``, with ranks from 1.

    Examples
    --------
    >>> from clapstack.stacking import rank_target
    >>> rank_target([3.0, 9.0, 3.0, 7.0]).tolist()
    [0.375, 1.0, 0.375, 0.75]
    """
    y = np.asarray(y)
    weight = np.ones(y.shape[0]) if sample_weight is None else np.asarray(sample_weight)
    _, inverse = np.unique(y, return_inverse=True)
    tied = np.bincount(inverse, weights=weight)
    last = np.cumsum(tied)
    return ((last - (tied - 1.0) / 2.0) / last[-1])[inverse]


def rank_among(y_new, y, sample_weight=None) -> np.ndarray:
    """Return the ranks that new values would have among `y`, as `rank_target` counts.

    A value of `y` gets its own rank, another the mean of its neighbours'.
    """
    weight = np.ones(len(y)) if sample_weight is None else sample_weight
    values, inverse = np.unique(y, return_inverse=True)
    below = np.concatenate([[0.0], np.cumsum(np.bincount(inverse, weights=weight))])
    less = below[np.searchsorted(values, y_new, side="left")]
    up_to = below[np.searchsorted(values, y_new, side="right")]
    return (less + up_to + 1.0) / 2.0 / below[-1]


def weighted_srcc(y_true, y_score, sample_weight=None) -> float:
    """Return the SRCC, with weights that count repetitions; 0.0 if undefined."""
    # Ranks of float32 values: what differs by rounding alone is a tie.
    true = rank_target(np.asarray(y_true, dtype=np.float32), sample_weight)
    score = rank_target(np.asarray(y_score, dtype=np.float32), sample_weight)
    if np.ptp(true) == 0 or np.ptp(score) == 0:
        return 0.0
    covariance = np.cov(true, score, aweights=sample_weight)
    return float(covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]))


class IncreasingMap:
    """A strictly increasing, piecewise linear map, fitted by least squares.

    The values are cut into ten bins of equal weight, and neighbouring bins whose means
    fall are pooled until the means of `y` rise from bin to bin. Each pool is a knot at
    its own mean, so knots rise on both axes and the line through them is strictly
    increasing with no smoothing constant. Outside the knots the end pieces go on.

    Attributes
    ----------
    x_knots_, y_knots_ : ndarray of shape (n_knots,)
        Where the pieces meet.
    exists_ : bool
        Whether there are two knots or more: if not, `y` does not rise with `x`, and
        there is no increasing map.
    """

    def fit(self, x, y, sample_weight=None):
        """Fit the map from `x` to `y`, both of shape (n_pairs,)."""
        weight = np.ones(len(x)) if sample_weight is None else sample_weight
        ranks = rank_target(np.asarray(x, dtype=np.float32), weight)
        bins = np.clip(np.ceil(ranks * _N_BINS), 1, _N_BINS).astype(int)
        _, bins = np.unique(bins, return_inverse=True)
        total, x_mean, y_mean = _pool(bins, weight, x, y)
        fitted = isotonic_regression(y_mean, sample_weight=total)
        pools = np.concatenate([[0], np.cumsum(np.diff(fitted) > 0)])
        _, self.x_knots_, self.y_knots_ = _pool(pools, total, x_mean, y_mean)
        self.exists_ = len(self.x_knots_) > 1
        return self

    def predict(self, x) -> np.ndarray:
        """Return the mapped values, of shape (n_pairs,)."""
        piece = np.searchsorted(self.x_knots_[1:-1], x)
        slope = np.diff(self.y_knots_) / np.diff(self.x_knots_)
        return self.y_knots_[piece] + slope[piece] * (x - self.x_knots_[piece])


def _pool(groups, weight, x, y):
    total = np.bincount(groups, weights=weight)
    return (
        total,
        np.bincount(groups, weights=weight * x) / total,
        np.bincount(groups, weights=weight * y) / total,
    )
