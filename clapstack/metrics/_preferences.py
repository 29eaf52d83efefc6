"""Accuracy of scores on preferences between two clips."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from clapstack._numerics.checks import (
    as_numbers,
    check_count,
    check_finite,
    check_preferences,
    check_seed,
    check_share,
    first_rows,
)
from clapstack.metrics._axes import group_codes
from clapstack.metrics._bootstrap import percentiles


class PairAccuracy(NamedTuple):
    """Share of preferences that scores order correctly, with its bootstrap interval.

    Attributes
    ----------
    accuracy : float
        Share of preferences that the scores order correctly.
    low, high : float
        Ends of the interval; NaN without resamples.
    n_preferences : int
        Number of preferences evaluated, without the ties of the listeners.
    """

    accuracy: float
    low: float
    high: float
    n_preferences: int


def pair_accuracy(
    y_score: ArrayLike,
    preferences: ArrayLike,
    *,
    groups: Any = None,
    n_resamples: int = 1000,
    coverage: float = 0.95,
    random_state: int | None = 0,
) -> PairAccuracy:
    """Return the share of preferences that scores order correctly.

    Two equal scores count half. Preferences that are ties have no order and are left
    out. Read more in the :ref:`User Guide <preferences>`.

    Parameters
    ----------
    y_score : array-like of shape (n_rows,)
        Predicted scores, on any scale.
    preferences : array-like of shape (n_preferences, 2) or (n_preferences, 3)
        Better row and worse row; or two rows and the share of votes for the first, in
        [0, 1].
    groups : array-like of shape (n_rows,), default=None
        Group of each row, such as its prompt. Preferences of one group share clips, so
        whole groups are resampled. None resamples single preferences.
    n_resamples : int, default=1000
        Number of bootstrap resamples of preferences, or of groups; 0 omits the
        interval.
    coverage : float, default=0.95
        Nominal coverage of the interval, between 0 and 1.
    random_state : int or None, default=0
        Seed of the resampling.

    Returns
    -------
    result : PairAccuracy
        ``(accuracy, low, high, n_preferences)``. Chance is 0.5.

    Raises
    ------
    ValueError
        If `y_score` has NaN or infinity, if `preferences` are all ties or refer to a
        row that does not exist, if a preference is between rows of two groups, or if
        `n_resamples` or `coverage` is out of range.

    See Also
    --------
    clapstack.stacking.PreferenceRegressor : Learn a score from preferences.
    clapstack.pairs.read_preferences : Read preferences from a table.

    Examples
    --------
    >>> from clapstack.metrics import pair_accuracy
    >>> pair_accuracy([1.0, 2.0, 2.0], [(1, 0), (0, 2), (2, 1)], n_resamples=0)
    PairAccuracy(accuracy=0.5, low=nan, high=nan, n_preferences=3)
    """
    score = as_numbers(y_score, "y_score")
    if score.ndim != 1:
        msg = f"y_score must have one number per row; got shape {score.shape}."
        raise ValueError(msg)
    check_finite("y_score", score)
    first, second, share = check_preferences(preferences, len(score))
    decided = share != 0.5
    if not decided.any():
        msg = (
            "all preferences are ties, so there is no order to check. Pass some that "
            "are not ties."
        )
        raise ValueError(msg)
    first, second, share = first[decided], second[decided], share[decided]
    ahead = np.sign(score[first] - score[second]) * np.sign(share - 0.5)
    right = (1 + ahead) / 2
    accuracy = float(right.mean())
    if not n_resamples:
        return PairAccuracy(accuracy, np.nan, np.nan, len(right))
    check_count("n_resamples", n_resamples, 0, 1000)
    check_share("coverage", coverage, 0.95)
    rng = check_seed(random_state)
    unit = np.arange(len(right))
    if groups is not None:
        labels = group_codes(groups, len(score))
        torn = np.flatnonzero(labels[first] != labels[second])
        if torn.size:
            rows = np.flatnonzero(decided)[torn]
            msg = (
                f"{torn.size} preferences are between rows of two groups "
                f"({first_rows(rows)} of preferences). Put both rows in one group."
            )
            raise ValueError(msg)
        unit = pd.factorize(labels[first])[0]
    counts = np.bincount(unit)
    sums = np.bincount(unit, right)
    values = np.empty(n_resamples)
    for number in range(n_resamples):
        drawn = rng.integers(0, len(counts), size=len(counts))
        values[number] = sums[drawn].sum() / counts[drawn].sum()
    return PairAccuracy(accuracy, *percentiles(values, coverage), len(right))
