"""Bootstrap intervals of metrics, and of differences between two systems."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import UndefinedMetricWarning

from clapstack._numerics.checks import (
    Floats,
    check_count,
    check_scores,
    check_seed,
    check_share,
)
from clapstack.metrics._axes import by_axis, group_codes, table_over_axes
from clapstack.metrics._scores import METRICS, Metric, lcc, mse, srcc

# Resamples are processed in chunks of about this many numbers (32 MB).
_CHUNK_ELEMENTS = 1 << 22


class Interval(NamedTuple):
    """A bootstrap interval.

    Attributes
    ----------
    low, high : float
        Ends of the interval.
    """

    low: float
    high: float


class Difference(NamedTuple):
    """Difference of a metric between two systems, with its bootstrap interval.

    Attributes
    ----------
    difference : float
        Metric of the first system minus that of the second.
    low, high : float
        Ends of the interval.
    """

    difference: float
    low: float
    high: float


class Report(dict[str, Any]):
    """A dict of metrics by name that prints as one line, with four decimals."""

    def __repr__(self) -> str:
        shown = []
        for name, value in self.items():
            if name.endswith(("_low", "_high")):
                continue
            ends = [self[name + end] for end in ("_low", "_high") if name + end in self]
            value, *ends = value if isinstance(value, Difference) else (value, *ends)
            within = f" [{ends[0]:.4f}, {ends[1]:.4f}]" if ends else ""
            shown.append(f"{name.upper()} {value:.4f}{within}")
        return ", ".join(shown)


def score_report(
    y_true: ArrayLike,
    y_score: ArrayLike,
    *,
    groups: Any = None,
    n_resamples: int = 0,
    coverage: float = 0.95,
    random_state: int | None = 0,
) -> Any:
    """Return the four metrics that the challenge reports.

    Parameters
    ----------
    y_true : array-like of shape (n_pairs,) or (n_pairs, n_axes)
        True scores; NaN where a pair is not rated on an axis. Axes take the column
        names of a frame.
    y_score : array-like of the shape of `y_true`
        Predicted scores.
    groups : array-like of shape (n_pairs,), default=None
        Group of each pair, such as its text. Whole groups are resampled, because pairs
        of one group are alike. None resamples single pairs.
    n_resamples : int, default=0
        Number of bootstrap resamples; 0 omits the intervals.
    coverage : float, default=0.95
        Coverage of the intervals, between 0 and 1.
    random_state : int or None, default=0
        Seed of the resampling, which is the same for every metric.

    Returns
    -------
    report : dict of str to float, or DataFrame of shape (n_axes, n_columns)
        Keys ``srcc``, ``lcc``, ``ktau`` and ``mse``; with resamples also ``srcc_low``,
        ``srcc_high`` and so on. It prints as one rounded line. With several axes, a
        table with one row per axis: ``n_pairs``, the number of pairs rated on it, then
        the same columns.

    Raises
    ------
    ValueError
        As for :func:`bootstrap_interval`.

    Examples
    --------
    >>> from clapstack.metrics import score_report
    >>> report = score_report([1, 2, 3, 4], [1, 2, 4, 3])
    >>> report
    SRCC 0.8000, LCC 0.8000, KTAU 0.6667, MSE 0.5000
    >>> report["mse"]
    0.5
    """
    drawn: dict[str, Any] = {
        "n_resamples": n_resamples,
        "coverage": coverage,
        "random_state": random_state,
    }
    axes = by_axis(y_true, y_score)
    if axes is not None:
        one = partial(score_report, **drawn)
        return table_over_axes(
            axes,
            lambda *ys, **own: {"n_pairs": len(ys[0]), **one(*ys, **own)},
            groups,
        )
    report = Report()
    for name, metric in METRICS.items():
        report[name] = metric(y_true, y_score)
        if n_resamples:
            interval = bootstrap_interval(
                metric, y_true, y_score, groups=groups, **drawn
            )
            report[f"{name}_low"], report[f"{name}_high"] = interval
    return report


def bootstrap_interval(
    metric: Metric,
    y_true: ArrayLike,
    y_score: ArrayLike,
    *,
    groups: Any = None,
    n_resamples: int = 1000,
    coverage: float = 0.95,
    random_state: int | None = 0,
) -> Any:
    """Return a percentile bootstrap interval of a metric.

    Parameters
    ----------
    metric : callable
        ``metric(y_true, y_score) -> float``. SRCC, LCC and MSE are vectorised over the
        resamples.
    y_true : array-like of shape (n_pairs,) or (n_pairs, n_axes)
        True scores; NaN where a pair is not rated on an axis.
    y_score : array-like of the shape of `y_true`
        Predicted scores.
    groups : array-like of shape (n_pairs,), default=None
        Group of each pair, such as its text. Whole groups are resampled, because pairs
        of one group are alike. None resamples single pairs.
    n_resamples : int, default=1000
        Number of bootstrap resamples of pairs, or of groups.
    coverage : float, default=0.95
        Nominal coverage of the interval, between 0 and 1.
    random_state : int or None, default=0
        Seed of the resampling.

    Returns
    -------
    interval : Interval or DataFrame of shape (n_axes, 2)
        ``(low, high)``; with several axes, one row per axis, from its rated pairs.

    Raises
    ------
    ValueError
        If the inputs are empty, differ in length or contain NaN or infinity (the
        message names the rows), if `n_resamples` or `coverage` is out of range, or if
        `groups` differs in length or has only one group.

    Notes
    -----
    Pairs that share a clip or a text are alike. Pass `groups` then; without them, the
    interval is too narrow. With few groups it is still somewhat too narrow.

    Examples
    --------
    >>> from clapstack.metrics import bootstrap_interval, mse
    >>> bootstrap_interval(mse, [1, 2, 3, 4], [2, 3, 4, 5])
    Interval(low=1.0, high=1.0)
    """
    axes = by_axis(y_true, y_score)
    if axes is not None:
        one = partial(
            bootstrap_interval,
            metric,
            n_resamples=n_resamples,
            coverage=coverage,
            random_state=random_state,
        )
        return table_over_axes(
            axes, lambda *ys, **own: one(*ys, **own)._asdict(), groups
        )
    check_share("coverage", coverage, 0.95)
    check_count("n_resamples", n_resamples, 1, 1000)
    true, score = check_scores(y_true, y_score)
    values = _resampled(metric, true, score, groups, n_resamples, random_state)
    return Interval(*percentiles(values, coverage))


def paired_bootstrap(
    metric: Metric,
    y_true: ArrayLike,
    y_score_first: ArrayLike,
    y_score_second: ArrayLike,
    *,
    groups: Any = None,
    n_resamples: int = 1000,
    coverage: float = 0.95,
    random_state: int | None = 0,
) -> Any:
    """Compare two systems on the same pairs by one metric.

    Both systems are evaluated on the same resamples, so variation that they share
    cancels out.

    Parameters
    ----------
    metric : callable
        ``metric(y_true, y_score) -> float``.
    y_true : array-like of shape (n_pairs,) or (n_pairs, n_axes)
        True scores; NaN where a pair is not rated on an axis.
    y_score_first, y_score_second : array-like of the shape of `y_true`
        Predicted scores of the two systems.
    groups : array-like of shape (n_pairs,), default=None
        Group of each pair, such as its text. Whole groups are resampled, because pairs
        of one group are alike. None resamples single pairs.
    n_resamples : int, default=1000
        Number of bootstrap resamples of pairs, or of groups.
    coverage : float, default=0.95
        Nominal coverage of the interval, between 0 and 1.
    random_state : int or None, default=0
        Seed of the resampling.

    Returns
    -------
    difference : Difference
        ``(difference, low, high)``. The systems differ at this coverage if 0 lies
        outside ``[low, high]``. With several axes, a DataFrame with one row per axis.

    Raises
    ------
    ValueError
        If the inputs are empty, differ in length or contain NaN or infinity (the
        message names the rows), if `n_resamples` or `coverage` is out of range, or if
        `groups` differs in length or has only one group.

    Examples
    --------
    >>> from clapstack.metrics import mse, paired_bootstrap
    >>> paired_bootstrap(mse, [1, 2, 3], [2, 3, 4], [1, 2, 3])
    Difference(difference=1.0, low=1.0, high=1.0)
    """
    axes = by_axis(y_true, y_score_first, y_score_second)
    if axes is not None:
        one = partial(
            paired_bootstrap,
            metric,
            n_resamples=n_resamples,
            coverage=coverage,
            random_state=random_state,
        )
        return table_over_axes(
            axes, lambda *ys, **own: one(*ys, **own)._asdict(), groups
        )
    check_share("coverage", coverage, 0.95)
    check_count("n_resamples", n_resamples, 1, 1000)
    true, first = check_scores(y_true, y_score_first, name="y_score_first")
    _, second = check_scores(y_true, y_score_second, name="y_score_second")
    values = [
        _resampled(metric, true, score, groups, n_resamples, random_state)
        for score in (first, second)
    ]
    return Difference(
        metric(true, first) - metric(true, second),
        *percentiles(values[0] - values[1], coverage),
    )


def compare_report(
    y_true: ArrayLike,
    y_score_first: ArrayLike,
    y_score_second: ArrayLike,
    *,
    groups: Any = None,
    n_resamples: int = 1000,
    coverage: float = 0.95,
    random_state: int | None = 0,
) -> Any:
    """Compare two systems on the same pairs by all four metrics.

    Parameters
    ----------
    y_true : array-like of shape (n_pairs,) or (n_pairs, n_axes)
        True scores; NaN where a pair is not rated on an axis.
    y_score_first, y_score_second : array-like of the shape of `y_true`
        Predicted scores of the two systems.
    groups : array-like of shape (n_pairs,), default=None
        Group of each pair, such as its text. Whole groups are resampled, because pairs
        of one group are alike. None resamples single pairs.
    n_resamples : int, default=1000
        Number of bootstrap resamples of pairs, or of groups.
    coverage : float, default=0.95
        Nominal coverage of the interval, between 0 and 1.
    random_state : int or None, default=0
        Seed of the resampling, which is the same for both systems and every metric.

    Returns
    -------
    report : dict of str to Difference, or DataFrame of shape (4 * n_axes, 3)
        Keys ``srcc``, ``lcc``, ``ktau`` and ``mse``: the value of the first system
        minus that of the second, with its interval. With several axes, one row per
        axis and metric.

    Raises
    ------
    ValueError
        As for :func:`paired_bootstrap`.

    Examples
    --------
    >>> from clapstack.metrics import compare_report
    >>> report = compare_report([1, 2, 3], [1, 2, 3], [2, 3, 4])
    >>> report["mse"]
    Difference(difference=-1.0, low=-1.0, high=-1.0)
    """
    report = {
        name: paired_bootstrap(
            metric,
            y_true,
            y_score_first,
            y_score_second,
            groups=groups,
            n_resamples=n_resamples,
            coverage=coverage,
            random_state=random_state,
        )
        for name, metric in METRICS.items()
    }
    if not isinstance(report["srcc"], pd.DataFrame):
        return Report(report)
    table = pd.concat(report, names=["metric", "axis"]).swaplevel()
    return table.reindex(report["srcc"].index, level="axis")


def percentiles(values: Floats, coverage: float) -> tuple[float, float]:
    """Return the ends of the central interval with a share `coverage` of the values."""
    low, high = np.quantile(values, [(1 - coverage) / 2, (1 + coverage) / 2])
    return float(low), float(high)


def _resampled(
    metric: Metric,
    true: Floats,
    score: Floats,
    groups: Any,
    n_resamples: int,
    random_state: int | None,
) -> Floats:
    """Return the metric of every resample, of shape (n_resamples,)."""
    rng = check_seed(random_state)
    n_pairs = len(true)
    step = max(1, _CHUNK_ELEMENTS // n_pairs)
    values: list[float] = []
    if groups is not None:
        codes = group_codes(groups, n_pairs)
        n_groups = codes.max() + 1
        for _ in range(n_resamples):
            times = np.bincount(rng.integers(0, n_groups, n_groups), minlength=n_groups)
            drawn = np.repeat(np.arange(n_pairs), times[codes])
            values.extend(_metric_of_draws(metric, true, score, drawn[None]))
        return np.array(values)
    for start in range(0, n_resamples, step):
        size = (min(step, n_resamples - start), n_pairs)
        drawn = rng.integers(0, n_pairs, size=size)
        values.extend(_metric_of_draws(metric, true, score, drawn))
    return np.array(values)


def _metric_of_draws(
    metric: Metric, true: Floats, score: Floats, drawn: NDArray[np.int64]
) -> Iterable[float]:
    """Return the metric of every row of `drawn`, of shape (n_resamples, n_pairs).

    SRCC, LCC and MSE are vectorised; KTAU and custom metrics run one resample at a
    time. A report of 3,000 pairs and 1,000 resamples takes 0.9 CPU s, of which KTAU
    takes 0.7 (measured). Comparing all pairs with each other would halve that for up
    to some 3,000 pairs, which is not worth the code.
    """
    if metric is mse:
        squares: Floats = (true - score) ** 2
        return np.asarray(squares[drawn].mean(axis=1))
    if metric is lcc:
        return _row_correlations(true[drawn], score[drawn])
    if metric is srcc:
        return _row_correlations(_drawn_ranks(true, drawn), _drawn_ranks(score, drawn))
    with warnings.catch_warnings():
        # A constant resample counts as the documented 0.0.
        warnings.simplefilter("ignore", UndefinedMetricWarning)
        return [metric(true[rows], score[rows]) for rows in drawn]


def _drawn_ranks(values: Floats, drawn: NDArray[np.int64]) -> Floats:
    """Return the ranks within each resample; ties share their mean rank.

    The rank of a value follows from how often smaller values were drawn, so no resample
    is sorted. This takes a fifth of the time of ``scipy.stats.rankdata`` (measured).
    """
    _, levels = np.unique(values, return_inverse=True)
    ranks = np.empty(drawn.shape)
    for row, level in zip(ranks, levels[drawn], strict=True):
        counts = np.bincount(level)
        row[:] = (np.cumsum(counts) - (counts - 1) / 2)[level]
    return ranks


def _row_correlations(first: Floats, second: Floats) -> Floats:
    """Return Pearson's correlation of each row; 0.0 where a row is constant."""
    constant = (np.ptp(first, axis=1) == 0) | (np.ptp(second, axis=1) == 0)
    first = first - first.mean(axis=1, keepdims=True)
    second = second - second.mean(axis=1, keepdims=True)
    covariance = np.sum(first * second, axis=1)
    spread = np.sqrt(np.sum(first**2, axis=1) * np.sum(second**2, axis=1))
    result: Floats = np.zeros(len(first))
    np.divide(covariance, spread, out=result, where=~constant)
    return result
