"""Metrics of the challenge, with scorers for scikit-learn."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import wraps

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import make_scorer

from clapstack._numerics.checks import Floats, check_scores
from clapstack.metrics._axes import by_axis

Metric = Callable[[ArrayLike, ArrayLike], float]


def _mean_over_axes(metric: Metric) -> Metric:
    """Extend a metric to several axes by their mean, since scorers need one number."""

    @wraps(metric)
    def of_all(y_true: ArrayLike, y_score: ArrayLike) -> float:
        axes = by_axis(y_true, y_score)
        if axes is None:
            return metric(y_true, y_score)
        return float(np.mean([metric(*both) for _, *both in axes.values()]))

    return of_all


@_mean_over_axes
def srcc(y_true: ArrayLike, y_score: ArrayLike) -> float:
    """Return Spearman's rank correlation (SRCC).

    Parameters
    ----------
    y_true : array-like of shape (n_pairs,) or (n_pairs, n_axes)
        True scores; NaN where a pair is not rated on an axis.
    y_score : array-like of the shape of `y_true`
        Predicted scores, on any scale.

    Returns
    -------
    srcc : float
        Value in [-1, 1]; higher is better. With several axes, the mean over axes. If
        either input is constant, 0.0 with an ``UndefinedMetricWarning``.

    Raises
    ------
    ValueError
        If the inputs are empty, differ in length or contain NaN or infinity; the
        message names the rows.

    Examples
    --------
    >>> from clapstack.metrics import srcc
    >>> round(srcc([1, 2, 3, 4], [10, 20, 40, 30]), 4)
    0.8
    """
    true, score = check_scores(y_true, y_score)
    if _warn_if_constant("SRCC", true, score):
        return 0.0
    return float(stats.spearmanr(true, score).statistic)


@_mean_over_axes
def lcc(y_true: ArrayLike, y_score: ArrayLike) -> float:
    """Return Pearson's linear correlation (LCC).

    Parameters
    ----------
    y_true : array-like of shape (n_pairs,) or (n_pairs, n_axes)
        True scores; NaN where a pair is not rated on an axis.
    y_score : array-like of the shape of `y_true`
        Predicted scores, on any scale.

    Returns
    -------
    lcc : float
        Value in [-1, 1]; higher is better. With several axes, the mean over axes. If
        either input is constant, 0.0 with an ``UndefinedMetricWarning``.

    Raises
    ------
    ValueError
        If the inputs are empty, differ in length or contain NaN or infinity; the
        message names the rows.

    Examples
    --------
    >>> from clapstack.metrics import lcc
    >>> round(lcc([1, 2, 3], [1, 2, 4]), 4)
    0.982
    """
    true, score = check_scores(y_true, y_score)
    if _warn_if_constant("LCC", true, score):
        return 0.0
    return float(stats.pearsonr(true, score).statistic)


@_mean_over_axes
def ktau(y_true: ArrayLike, y_score: ArrayLike) -> float:
    """Return Kendall's tau-b (KTAU).

    Parameters
    ----------
    y_true : array-like of shape (n_pairs,) or (n_pairs, n_axes)
        True scores; NaN where a pair is not rated on an axis.
    y_score : array-like of the shape of `y_true`
        Predicted scores, on any scale.

    Returns
    -------
    ktau : float
        Value in [-1, 1]; higher is better. With several axes, the mean over axes. If
        either input is constant, 0.0 with an ``UndefinedMetricWarning``.

    Raises
    ------
    ValueError
        If the inputs are empty, differ in length or contain NaN or infinity; the
        message names the rows.

    Examples
    --------
    >>> from clapstack.metrics import ktau
    >>> round(ktau([1, 2, 3, 4], [10, 20, 40, 30]), 4)
    0.6667
    """
    true, score = check_scores(y_true, y_score)
    if _warn_if_constant("KTAU", true, score):
        return 0.0
    return float(stats.kendalltau(true, score, variant="b").statistic)


@_mean_over_axes
def mse(y_true: ArrayLike, y_score: ArrayLike) -> float:
    """Return the mean squared error (MSE).

    Parameters
    ----------
    y_true : array-like of shape (n_pairs,) or (n_pairs, n_axes)
        True scores; NaN where a pair is not rated on an axis.
    y_score : array-like of the shape of `y_true`
        Predicted scores, on the scale of `y_true`.

    Returns
    -------
    mse : float
        Value of 0 or more, in squared units of `y_true`; lower is better. With several
        axes, the mean over axes.

    Raises
    ------
    ValueError
        If the inputs are empty, differ in length or contain NaN or infinity; the
        message names the rows.

    Examples
    --------
    >>> from clapstack.metrics import mse
    >>> mse([1, 2, 3], [1, 2, 6])
    3.0
    """
    true, score = check_scores(y_true, y_score)
    return float(np.mean((true - score) ** 2))


#: The metrics of the challenge, in the order in which it reports them.
METRICS: dict[str, Metric] = {"srcc": srcc, "lcc": lcc, "ktau": ktau, "mse": mse}

srcc_scorer = make_scorer(srcc)
lcc_scorer = make_scorer(lcc)
ktau_scorer = make_scorer(ktau)
mse_scorer = make_scorer(mse, greater_is_better=False)


def _warn_if_constant(name: str, true: Floats, score: Floats) -> bool:
    for argument, values in (("y_true", true), ("y_score", score)):
        if np.ptp(values) == 0:
            warnings.warn(
                f"{name} is undefined and set to 0.0: {argument} is constant.",
                UndefinedMetricWarning,
                stacklevel=4,
            )
            return True
    return False
