"""How often scores agree with preferences between two."""

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
    """A share of preferences, with its bootstrap interval.

    Attributes
    ----------
    accuracy : float
        Share whose order the scores give right.
    low, high : float
        Ends of the interval; NaN without resamples.
    n_preferences : int
        Preferences that were judged, ties of the listeners not among them.
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
    """Return the share of preferences whose order the scores give right.

    Two equal scores count half. A preference that is itself a tie has no order, and is
    left out. Read more in the :ref:`User Guide <preferences>`.

    Parameters
    ----------
    y_score : array-like of shape (n_rows,)
        Predicted scores, on any scale.
    preferences : array-like of shape (n_preferences, 2) or (n_preferences, 3)
        The better row, the worse row; or two rows, and the share of votes in [0, 1]
        that found the first better.
    groups : array-like of shape (n_rows,), default=None
        Group of each row, such as its prompt: preferences of one group, which share
        clips, are drawn together. None draws each by itself.
    n_resamples : int, default=1000
        How often preferences, or groups, are drawn with replacement; 0 leaves the
        interval out.
    coverage : float, default=0.95
        Share of the resamples inside the interval, between 0 and 1.
    random_state : int or None, default=0
        Draws the resamples.

    Returns
    -------
    result : PairAccuracy
        ``(accuracy, low, high, n_preferences)``. Chance is 0.5.

    Raises
    ------
    ValueError
        If `y_score` has NaN or infinity, `preferences` name a row that is not there or
        are all ties, a preference is between rows of two groups, or `n_resamples` or
        `coverage` is out of range.

    See Also
    --------
    clapstack.stacking.PreferenceRegressor : Learns from preferences.
    clapstack.pairs.read_preferences : Reads them from a table.

    Examples
    --------
    >>> from clapstack.metrics import pair_accuracy
    >>> pair_accuracy([1.0, 2.0, 2.0], [(1, 0), (0, 2), (2, 1)], n_resamples=0)
    PairAccuracy(accuracy=0.5, low=nan, high=nan, n_preferences=3)
    """
    score = as_numbers(y_score, "y_score")
    if score.ndim != 1:
        msg = f"y_score must be one number a row; got shape {score.shape}."
        raise ValueError(msg)
    check_finite("y_score", score)
    first, second, share = check_preferences(preferences, len(score))
    decided = share != 0.5
    if not decided.any():
        msg = "all preferences are ties, which have no order. Pass some that are not."
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
                f"({first_rows(rows)} of preferences). Give both rows one group."
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
