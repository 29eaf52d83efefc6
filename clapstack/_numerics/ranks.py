"""Weighted ranks and the weighted SRCC."""

from __future__ import annotations

import numpy as np

from clapstack._numerics.checks import as_numbers, check_weight


def weight_up_to(values, weight=None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return distinct values and cumulative shares of the weight.

    Parameters
    ----------
    values : ndarray of shape (n_pairs,)
        Values in any order.
    weight : ndarray of shape (n_pairs,), default=None
        Positive weights; None weights all values equally.

    Returns
    -------
    distinct : ndarray of shape (n_distinct,)
        Distinct values, ascending.
    shares : ndarray of shape (n_distinct + 1,)
        Increases from 0 to 1: ``shares[i]`` is the share of weight below
        ``distinct[i]``.
    inverse : ndarray of int of shape (n_pairs,)
        Index of each value in `distinct`.
    """
    distinct, inverse = np.unique(values, return_inverse=True)
    reached = np.cumsum(np.bincount(inverse, weights=weight))
    return distinct, np.concatenate([[0.0], reached / reached[-1]]), inverse


def rank_target(y, sample_weight=None) -> np.ndarray:
    """Return the ranks of `y`, scaled to (0, 1).

    The rank of a value is the share of pairs below it, plus half the share of pairs
    equal to it. Weights are equivalent to repetition; only their ratios matter.

    Parameters
    ----------
    y : array-like of shape (n_pairs,)
        Scores.
    sample_weight : array-like of shape (n_pairs,), default=None
        Non-negative weights; None weights all values equally.

    Returns
    -------
    ranks : ndarray of shape (n_pairs,), dtype float64
        Without weights, ``(rank - 1/2) / n_pairs`` with ranks from 1. Ties have the
        mean of their ranks.

    Raises
    ------
    ValueError
        If `y` is empty, is not one-dimensional, or has NaN or infinity, or if weights
        are negative or not finite.

    Examples
    --------
    >>> from clapstack.stacking import rank_target
    >>> rank_target([3.0, 9.0, 3.0, 7.0]).tolist()
    [0.25, 0.875, 0.25, 0.625]
    """
    y = as_numbers(y, "y")
    if y.ndim != 1 or not y.size or not np.all(np.isfinite(y)):
        msg = (
            "y passed to rank_target must be one-dimensional, finite and not empty; "
            f"got shape {y.shape} with {np.sum(~np.isfinite(y))} NaN or infinite "
            "values. Pass one score per pair."
        )
        raise ValueError(msg)
    weight = check_weight(sample_weight, len(y))
    _, shares, inverse = weight_up_to(y, weight)
    return ((shares[:-1] + shares[1:]) / 2.0)[inverse]


def rank_among(y_new, y, sample_weight=None) -> np.ndarray:
    """Return the ranks of new values among `y`, consistent with `rank_target`.

    A value in `y` gets its rank there; any other value the share of `y` below it.
    """
    values, shares, _ = weight_up_to(y, sample_weight)
    below = shares[np.searchsorted(values, y_new, side="left")]
    return (below + shares[np.searchsorted(values, y_new, side="right")]) / 2.0


def weighted_srcc(y_true, y_score, sample_weight=None) -> float:
    """Return the SRCC, with weights as repetition counts; 0.0 if undefined."""
    # Ranks of float32 values, so that values which differ by rounding are ties.
    true = rank_target(np.asarray(y_true, dtype=np.float32), sample_weight)
    score = rank_target(np.asarray(y_score, dtype=np.float32), sample_weight)
    if np.ptp(true) == 0 or np.ptp(score) == 0:
        return 0.0
    covariance = np.cov(true, score, aweights=sample_weight)
    return float(covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]))
