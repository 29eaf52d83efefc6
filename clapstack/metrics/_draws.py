"""Metrics of many resamples of the same pairs at once."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import UndefinedMetricWarning

from clapstack._numerics.checks import Floats
from clapstack.metrics._scores import Metric, ktau, lcc, mse, srcc

# With more pairs, comparing each with each costs more than sorting every resample.
_MOST_COMPARED = 3072
_COMPARED_ELEMENTS = 1 << 20


def metric_of_draws(
    metric: Metric, true: Floats, score: Floats, drawn: NDArray[np.int64]
) -> Iterator[float] | Floats:
    """Return a metric of every resample.

    Parameters
    ----------
    metric : callable
        ``metric(y_true, y_score) -> float``.
    true, score : ndarray of shape (n_pairs,)
        True and predicted scores.
    drawn : ndarray of int of shape (n_resamples, n_pairs)
        The pairs of each resample.

    Returns
    -------
    values : iterable of float, of length n_resamples
    """
    if metric is mse:
        squares: Floats = (true - score) ** 2
        return squares[drawn].mean(axis=1)  # type: ignore[no-any-return]
    if metric is lcc:
        return _row_correlations(true[drawn], score[drawn])
    if metric is srcc:
        counts = _draw_counts(drawn)
        return _row_correlations(
            _drawn_ranks(true, counts, drawn), _drawn_ranks(score, counts, drawn)
        )
    if metric is ktau and len(true) <= _MOST_COMPARED:
        return _drawn_taus(true, score, _draw_counts(drawn))
    return _one_by_one(metric, true, score, drawn)


def _one_by_one(
    metric: Metric, true: Floats, score: Floats, drawn: NDArray[np.int64]
) -> Iterator[float]:
    with warnings.catch_warnings():
        # A resample may be constant; it counts as the documented 0.0.
        warnings.simplefilter("ignore", UndefinedMetricWarning)
        for rows in drawn:
            yield metric(true[rows], score[rows])


def _draw_counts(drawn: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how often each resample drew each pair; of the shape of `drawn`."""
    n_resamples, n_pairs = drawn.shape
    flat = drawn + n_pairs * np.arange(n_resamples)[:, np.newaxis]
    return np.bincount(flat.ravel(), minlength=flat.size).reshape(drawn.shape)


def _drawn_ranks(
    values: Floats, counts: NDArray[np.int64], drawn: NDArray[np.int64]
) -> Floats:
    """Return the ranks within each resample, ties sharing their mean rank.

    Counting replaces sorting: a value's rank follows from how often smaller values were
    drawn.
    """
    order, starts, tied = _drawn_ties(values, counts)
    ranks = np.cumsum(tied, axis=1) - (tied - 1) / 2
    level = np.empty(len(values), dtype=np.intp)
    level[order] = np.repeat(
        np.arange(len(starts)), np.diff(np.r_[starts, len(values)])
    )
    return np.take_along_axis(ranks, level[drawn], axis=1)


def _drawn_ties(values: Floats, counts: NDArray[np.int64]) -> Any:
    """Return the order of values, where each level starts, and how often it is drawn.

    The last is of shape (n_resamples, n_levels).
    """
    order = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(values[order]) > 0])
    return order, starts, np.add.reduceat(counts[:, order], starts, axis=1)


def _drawn_taus(true: Floats, score: Floats, counts: NDArray[np.int64]) -> Floats:
    """Return Kendall's tau-b of each resample; 0.0 where one side is constant.

    Whether two pairs are in order is the same in every resample; only how often they
    meet differs. float32 holds the counts exactly.
    """
    n_pairs = len(true)
    float_counts = counts.astype(np.float32)
    in_order = np.zeros(len(counts))
    step = max(1, _COMPARED_ELEMENTS // n_pairs)
    for start in range(0, n_pairs, step):
        rows = slice(start, start + step)
        signs = np.sign(true[rows, np.newaxis] - true)
        signs *= np.sign(score[rows, np.newaxis] - score)
        met = float_counts @ signs.astype(np.float32).T
        in_order += np.sum(met * float_counts[:, rows], axis=1, dtype=np.float64) / 2
    differing = np.ones(len(counts))
    for values in (true, score):
        *_, tied = _drawn_ties(values, counts)
        n_tied = np.sum(tied * (tied - 1), axis=1) / 2
        differing *= np.sqrt(n_pairs * (n_pairs - 1) / 2 - n_tied)
    result: Any = np.zeros(len(counts))
    np.divide(in_order, differing, out=result, where=differing > 0)
    return np.asarray(result, dtype=np.float64)


def _row_correlations(first: Floats, second: Floats) -> Floats:
    """Return Pearson's correlation row by row; 0.0 where a row is constant."""
    constant = (np.ptp(first, axis=1) == 0) | (np.ptp(second, axis=1) == 0)
    first = first - first.mean(axis=1, keepdims=True)
    second = second - second.mean(axis=1, keepdims=True)
    covariance = np.sum(first * second, axis=1)
    spread = np.sqrt(np.sum(first**2, axis=1) * np.sum(second**2, axis=1))
    result: Any = np.zeros(len(first))
    np.divide(covariance, spread, out=result, where=~constant)
    return np.asarray(result, dtype=np.float64)
