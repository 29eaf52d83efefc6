"""Ranks with weights, and folds by rank."""

from __future__ import annotations

import numpy as np


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


def folds_by_rank(values, n_folds) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return training and test rows of folds that go by the order of some values.

    Every fold has values from low to high, and rows of equal values stay together, so
    that a weight is the same as repeating; nothing is drawn.

    Parameters
    ----------
    values : ndarray of shape (n_pairs,)
        Compared as float32: what differs by rounding alone is one value.
    n_folds : int
        How many folds to make.

    Returns
    -------
    splits : list of (ndarray of int, ndarray of int)
        Fewer than `n_folds` if there are fewer different values, and none if there is
        one value alone.
    """
    different, rank = np.unique(np.asarray(values, np.float32), return_inverse=True)
    if len(different) < 2:
        return []
    fold = rank % n_folds
    return [
        (np.flatnonzero(fold != number), np.flatnonzero(fold == number))
        for number in range(min(n_folds, len(different)))
    ]
