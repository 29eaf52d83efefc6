"""The challenge's metrics, with intervals, scorers and the ceiling that noise sets."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import make_scorer

__all__ = [
    "Difference",
    "Interval",
    "NoiseCeiling",
    "bootstrap_interval",
    "ktau",
    "ktau_scorer",
    "lcc",
    "lcc_scorer",
    "mse",
    "mse_scorer",
    "noise_ceiling",
    "paired_bootstrap",
    "score_report",
    "srcc",
    "srcc_scorer",
]

_Floats = NDArray[np.float64]
_Metric = Callable[[ArrayLike, ArrayLike], float]

_SHOWN = 5
# Resamples are worked on in chunks of about this many numbers (32 MB).
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
    """A metric's difference between two systems, with its bootstrap interval.

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


class NoiseCeiling(NamedTuple):
    """What a perfect predictor of the pairs' true scores would reach.

    Attributes
    ----------
    reliability : float
        Share of the variance of mean ratings that is between pairs, in [0, 1].
    lcc : float
        Expected LCC of the true scores with the mean ratings, the square root of the
        reliability.
    mse : float
        Expected MSE of the true scores against the mean ratings.
    """

    reliability: float
    lcc: float
    mse: float


def srcc(y_true: ArrayLike, y_score: ArrayLike) -> float:
    """Return Spearman's rank correlation.

    Parameters
    ----------
    y_true : array-like of shape (n_pairs,)
        True scores.
    y_score : array-like of shape (n_pairs,)
        Predicted scores, on any scale.

    Returns
    -------
    srcc : float
        In [-1, 1]; higher is better. 0.0, with an ``UndefinedMetricWarning``, if either
        input is constant.

    Raises
    ------
    ValueError
        If the inputs are empty, of different lengths or hold NaN or infinity; the rows
        are named.

    Examples
    --------
    >>> from clapstack.metrics import srcc
    >>> round(srcc([1, 2, 3, 4], [10, 20, 40, 30]), 4)
    0.8
    """
    true, score = _check_scores(y_true, y_score)
    if _warn_if_constant("SRCC", true, score):
        return 0.0
    return float(stats.spearmanr(true, score).statistic)


def lcc(y_true: ArrayLike, y_score: ArrayLike) -> float:
    """Return Pearson's linear correlation.

    Parameters
    ----------
    y_true : array-like of shape (n_pairs,)
        True scores.
    y_score : array-like of shape (n_pairs,)
        Predicted scores, on any scale.

    Returns
    -------
    lcc : float
        In [-1, 1]; higher is better. 0.0, with an ``UndefinedMetricWarning``, if either
        input is constant.

    Raises
    ------
    ValueError
        If the inputs are empty, of different lengths or hold NaN or infinity; the rows
        are named.

    Examples
    --------
    >>> from clapstack.metrics import lcc
    >>> round(lcc([1, 2, 3], [1, 2, 4]), 4)
    0.982
    """
    true, score = _check_scores(y_true, y_score)
    if _warn_if_constant("LCC", true, score):
        return 0.0
    return float(stats.pearsonr(true, score).statistic)


def ktau(y_true: ArrayLike, y_score: ArrayLike) -> float:
    """Return Kendall's tau-b.

    Parameters
    ----------
    y_true : array-like of shape (n_pairs,)
        True scores.
    y_score : array-like of shape (n_pairs,)
        Predicted scores, on any scale.

    Returns
    -------
    ktau : float
        In [-1, 1]; higher is better. 0.0, with an ``UndefinedMetricWarning``, if either
        input is constant.

    Raises
    ------
    ValueError
        If the inputs are empty, of different lengths or hold NaN or infinity; the rows
        are named.

    Examples
    --------
    >>> from clapstack.metrics import ktau
    >>> round(ktau([1, 2, 3, 4], [10, 20, 40, 30]), 4)
    0.6667
    """
    true, score = _check_scores(y_true, y_score)
    if _warn_if_constant("KTAU", true, score):
        return 0.0
    return float(stats.kendalltau(true, score, variant="b").statistic)


def mse(y_true: ArrayLike, y_score: ArrayLike) -> float:
    """Return the mean squared error.

    Parameters
    ----------
    y_true : array-like of shape (n_pairs,)
        True scores.
    y_score : array-like of shape (n_pairs,)
        Predicted scores, on the scale of `y_true`.

    Returns
    -------
    mse : float
        0 or more, in squared units of `y_true`; lower is better.

    Raises
    ------
    ValueError
        If the inputs are empty, of different lengths or hold NaN or infinity; the rows
        are named.

    Examples
    --------
    >>> from clapstack.metrics import mse
    >>> mse([1, 2, 3], [1, 2, 6])
    3.0
    """
    true, score = _check_scores(y_true, y_score)
    return float(np.mean((true - score) ** 2))


_REPORT: dict[str, _Metric] = {"srcc": srcc, "lcc": lcc, "ktau": ktau, "mse": mse}

srcc_scorer = make_scorer(srcc)
lcc_scorer = make_scorer(lcc)
ktau_scorer = make_scorer(ktau)
mse_scorer = make_scorer(mse, greater_is_better=False)


def score_report(
    y_true: ArrayLike,
    y_score: ArrayLike,
    *,
    n_resamples: int = 0,
    coverage: float = 0.95,
    random_state: int | None = 0,
) -> dict[str, float]:
    """Return all four metrics, as the challenge reports them.

    Parameters
    ----------
    y_true : array-like of shape (n_pairs,)
        True scores.
    y_score : array-like of shape (n_pairs,)
        Predicted scores.
    n_resamples : int, default=0
        Bootstrap resamples; 0 leaves intervals out.
    coverage : float, default=0.95
        Coverage of the intervals, between 0 and 1.
    random_state : int or None, default=0
        Draws the resamples, the same for every metric.

    Returns
    -------
    report : dict of str to float
        Keys ``srcc``, ``lcc``, ``ktau`` and ``mse``; with resamples also ``srcc_low``,
        ``srcc_high`` and so on.

    Raises
    ------
    ValueError
        If the inputs are empty, of different lengths or hold NaN or infinity; the rows
        are named.

    Examples
    --------
    >>> from clapstack.metrics import score_report
    >>> report = score_report([1, 2, 3, 4], [1, 2, 4, 3])
    >>> {name: round(value, 4) for name, value in report.items()}
    {'srcc': 0.8, 'lcc': 0.8, 'ktau': 0.6667, 'mse': 0.5}
    """
    report = {}
    for name, metric in _REPORT.items():
        report[name] = metric(y_true, y_score)
        if n_resamples:
            interval = bootstrap_interval(
                metric,
                y_true,
                y_score,
                n_resamples=n_resamples,
                coverage=coverage,
                random_state=random_state,
            )
            report[f"{name}_low"], report[f"{name}_high"] = interval
    return report


def bootstrap_interval(
    metric: _Metric,
    y_true: ArrayLike,
    y_score: ArrayLike,
    *,
    n_resamples: int = 1000,
    coverage: float = 0.95,
    random_state: int | None = 0,
) -> Interval:
    """Return a percentile bootstrap interval of a metric.

    Parameters
    ----------
    metric : callable
        ``metric(y_true, y_score) -> float``. SRCC, LCC and MSE of this module are
        computed for all resamples at once.
    y_true : array-like of shape (n_pairs,)
        True scores.
    y_score : array-like of shape (n_pairs,)
        Predicted scores.
    n_resamples : int, default=1000
        How often pairs are drawn with replacement.
    coverage : float, default=0.95
        Share of the resamples inside the interval, between 0 and 1.
    random_state : int or None, default=0
        Draws the resamples.

    Returns
    -------
    interval : Interval
        ``(low, high)``.

    Raises
    ------
    ValueError
        If the inputs are empty, of different lengths or hold NaN or infinity (the rows
        are named), or if `n_resamples` or `coverage` is out of range.

    Notes
    -----
    Pairs are drawn independently. Where several pairs share a clip or a text the
    interval is too narrow.

    Examples
    --------
    >>> from clapstack.metrics import bootstrap_interval, mse
    >>> bootstrap_interval(mse, [1, 2, 3, 4], [2, 3, 4, 5])
    Interval(low=1.0, high=1.0)
    """
    true, score = _check_scores(y_true, y_score)
    values = _resampled(metric, true, score, n_resamples, random_state)
    return Interval(*_percentiles(values, coverage))


def paired_bootstrap(
    metric: _Metric,
    y_true: ArrayLike,
    y_score_first: ArrayLike,
    y_score_second: ArrayLike,
    *,
    n_resamples: int = 1000,
    coverage: float = 0.95,
    random_state: int | None = 0,
) -> Difference:
    """Compare two systems on the same pairs.

    Both systems are judged on the same resamples, so what is common to them cancels.

    Parameters
    ----------
    metric : callable
        ``metric(y_true, y_score) -> float``.
    y_true : array-like of shape (n_pairs,)
        True scores.
    y_score_first, y_score_second : array-like of shape (n_pairs,)
        Predicted scores of the two systems.
    n_resamples : int, default=1000
        How often pairs are drawn with replacement.
    coverage : float, default=0.95
        Share of the resamples inside the interval, between 0 and 1.
    random_state : int or None, default=0
        Draws the resamples.

    Returns
    -------
    difference : Difference
        ``(difference, low, high)``; the systems differ at this coverage if 0 lies
        outside ``[low, high]``.

    Raises
    ------
    ValueError
        If the inputs are empty, of different lengths or hold NaN or infinity (the rows
        are named), or if `n_resamples` or `coverage` is out of range.

    Examples
    --------
    >>> from clapstack.metrics import mse, paired_bootstrap
    >>> paired_bootstrap(mse, [1, 2, 3], [2, 3, 4], [1, 2, 3])
    Difference(difference=1.0, low=1.0, high=1.0)
    """
    true, first = _check_scores(y_true, y_score_first, name="y_score_first")
    _, second = _check_scores(y_true, y_score_second, name="y_score_second")
    values = [
        _resampled(metric, true, score, n_resamples, random_state)
        for score in (first, second)
    ]
    return Difference(
        metric(true, first) - metric(true, second),
        *_percentiles(values[0] - values[1], coverage),
    )


def noise_ceiling(
    pair_ids: ArrayLike, ratings: ArrayLike, *, n_raters: float | None = None
) -> NoiseCeiling:
    """Return what the noise of the raters leaves to a perfect predictor.

    Parameters
    ----------
    pair_ids : array-like of shape (n_ratings,)
        Which pair each rating is of.
    ratings : array-like of shape (n_ratings,)
        One rating a row; pairs may have different numbers of ratings.
    n_raters : float, default=None
        Ratings averaged per pair. None takes the harmonic mean of the counts at hand,
        which keeps the mean error variance.

    Returns
    -------
    ceiling : NoiseCeiling
        ``(reliability, lcc, mse)``.

    Raises
    ------
    ValueError
        If the inputs differ in length, hold NaN or infinity (rows are named), or have
        fewer than two pairs or no pair with two ratings.

    Notes
    -----
    One-way random effects: a rating is the pair's true score plus noise, raters being
    part of the noise, as where every pair has raters of its own. The variances come
    from the analysis of variance for unequal counts (a negative estimate counts as 0),
    and the reliability is ICC(1, k) [1]_ with k = `n_raters`.

    References
    ----------
    .. [1] P. E. Shrout and J. L. Fleiss, "Intraclass correlations: uses in assessing
       rater reliability", Psychological Bulletin 86(2), 1979.

    Examples
    --------
    >>> from clapstack.metrics import noise_ceiling
    >>> ceiling = noise_ceiling(["a", "a", "b", "b"], [1.0, 3.0, 8.0, 10.0])
    >>> round(ceiling.reliability, 4), ceiling.mse
    (0.9592, 1.0)
    """
    rating = np.asarray(ratings, dtype=np.float64)
    pairs = np.asarray(pair_ids)
    if pairs.ndim != 1 or rating.shape != pairs.shape:
        msg = (
            f"pair_ids and ratings must be of one length; got shapes {pairs.shape} and "
            f"{rating.shape}. Pass one row per rating."
        )
        raise ValueError(msg)
    _check_finite("ratings", rating)
    _, inverse = np.unique(pairs, return_inverse=True)
    counts = np.bincount(inverse).astype(np.float64)
    n_pairs, n_ratings = len(counts), len(rating)
    if n_pairs < 2 or n_ratings == n_pairs:
        msg = (
            "noise_ceiling needs two pairs or more, and a pair with two ratings or "
            f"more; got {n_ratings} ratings of {n_pairs} pairs. Pass one row per "
            "rating, not per pair."
        )
        raise ValueError(msg)
    means = np.bincount(inverse, weights=rating) / counts
    within = np.sum((rating - means[inverse]) ** 2) / (n_ratings - n_pairs)
    between = np.sum(counts * (means - rating.mean()) ** 2) / (n_pairs - 1)
    count = (n_ratings - np.sum(counts**2) / n_ratings) / (n_pairs - 1)
    true_variance = max((between - within) / count, 0.0)
    error = within / (stats.hmean(counts) if n_raters is None else n_raters)
    if true_variance + error == 0:
        warnings.warn(
            "All ratings are equal, so reliability is undefined and set to 0.0.",
            UndefinedMetricWarning,
            stacklevel=2,
        )
        return NoiseCeiling(0.0, 0.0, 0.0)
    reliability = float(true_variance / (true_variance + error))
    return NoiseCeiling(reliability, reliability**0.5, float(error))


def _check_scores(
    y_true: ArrayLike, y_score: ArrayLike, name: str = "y_score"
) -> tuple[_Floats, _Floats]:
    true = np.asarray(y_true, dtype=np.float64)
    score = np.asarray(y_score, dtype=np.float64)
    if true.ndim != 1 or score.ndim != 1 or len(true) != len(score) or len(true) == 0:
        msg = (
            f"y_true and {name} must be one-dimensional, of one length and not empty; "
            f"got shapes {true.shape} and {score.shape}. Pass one number per pair, in "
            "the same order."
        )
        raise ValueError(msg)
    _check_finite("y_true", true)
    _check_finite(name, score)
    return true, score


def _check_finite(name: str, values: _Floats) -> None:
    rows = np.flatnonzero(~np.isfinite(values))
    if rows.size:
        shown = ", ".join(map(str, rows[:_SHOWN])) + ", …" * (rows.size > _SHOWN)
        msg = (
            f"{name} has NaN or infinity in {rows.size} of {values.size} rows (rows "
            f"{shown}). Give these rows a number, or leave them out on purpose."
        )
        raise ValueError(msg)


def _warn_if_constant(name: str, true: _Floats, score: _Floats) -> bool:
    for argument, values in (("y_true", true), ("y_score", score)):
        if np.ptp(values) == 0:
            warnings.warn(
                f"{name} is undefined and set to 0.0: {argument} is constant.",
                UndefinedMetricWarning,
                stacklevel=3,
            )
            return True
    return False


def _percentiles(values: _Floats, coverage: float) -> tuple[float, float]:
    if not 0 < coverage < 1:
        msg = f"coverage must lie between 0 and 1; got {coverage!r}. 0.95 is usual."
        raise ValueError(msg)
    low, high = np.quantile(values, [(1 - coverage) / 2, (1 + coverage) / 2])
    return float(low), float(high)


def _resampled(
    metric: _Metric,
    true: _Floats,
    score: _Floats,
    n_resamples: int,
    random_state: int | None,
) -> _Floats:
    """Return the metric of every resample, of shape (n_resamples,)."""
    if n_resamples < 1:
        msg = f"n_resamples must be 1 or more; got {n_resamples!r}. 1000 is usual."
        raise ValueError(msg)
    rng = np.random.default_rng(random_state)
    n_pairs = len(true)
    step = max(1, _CHUNK_ELEMENTS // n_pairs)
    values: list[float] = []
    for start in range(0, n_resamples, step):
        size = (min(step, n_resamples - start), n_pairs)
        drawn = rng.integers(0, n_pairs, size=size)
        values.extend(_metric_of_draws(metric, true, score, drawn))
    return np.array(values)


def _metric_of_draws(
    metric: _Metric, true: _Floats, score: _Floats, drawn: NDArray[np.int64]
) -> Iterator[float] | _Floats:
    if metric is mse:
        squares: _Floats = (true - score) ** 2
        return squares[drawn].mean(axis=1)  # type: ignore[no-any-return]
    if metric is lcc:
        return _row_correlations(true[drawn], score[drawn])
    if metric is srcc:
        counts = _draw_counts(drawn)
        return _row_correlations(
            _drawn_ranks(true, counts, drawn), _drawn_ranks(score, counts, drawn)
        )
    return _one_by_one(metric, true, score, drawn)


def _one_by_one(
    metric: _Metric, true: _Floats, score: _Floats, drawn: NDArray[np.int64]
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
    values: _Floats, counts: NDArray[np.int64], drawn: NDArray[np.int64]
) -> _Floats:
    """Return the ranks within each resample, ties sharing their mean rank.

    Counting replaces sorting: a value's rank follows from how often smaller values were
    drawn.
    """
    order = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(values[order]) > 0])
    tied = np.add.reduceat(counts[:, order], starts, axis=1)
    ranks = np.cumsum(tied, axis=1) - (tied - 1) / 2
    level = np.empty(len(values), dtype=np.intp)
    level[order] = np.repeat(
        np.arange(len(starts)), np.diff(np.r_[starts, len(values)])
    )
    return np.take_along_axis(ranks, level[drawn], axis=1)


def _row_correlations(first: _Floats, second: _Floats) -> _Floats:
    """Return Pearson's correlation row by row; 0.0 where a row is constant."""
    constant = (np.ptp(first, axis=1) == 0) | (np.ptp(second, axis=1) == 0)
    first = first - first.mean(axis=1, keepdims=True)
    second = second - second.mean(axis=1, keepdims=True)
    covariance = np.sum(first * second, axis=1)
    spread = np.sqrt(np.sum(first**2, axis=1) * np.sum(second**2, axis=1))
    result: Any = np.zeros(len(first))
    np.divide(covariance, spread, out=result, where=~constant)
    return np.asarray(result, dtype=np.float64)
