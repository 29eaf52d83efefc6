"""The mean score of a table, with an interval that knows of shared texts."""

from __future__ import annotations

from array import array
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import t as student

from clapstack.pairs import text_identity

__all__ = ["GroupedMean", "Mean"]

COVERAGE = 0.95


class Mean(NamedTuple):
    """A mean score and its 95 % interval.

    Attributes
    ----------
    mean : float
        NaN without scores.
    low, high : float
        Ends of the interval; NaN with fewer than two texts.
    n_pairs, n_texts : int
        Scores, and distinct texts among their pairs.
    """

    mean: float
    low: float
    high: float
    n_pairs: int
    n_texts: int


class GroupedMean:
    """The mean of scores that are added one by one, 16 bytes each.

    Pairs with one text are alike, so the interval treats each text, with all its clips,
    as one draw: the linearised variance of a ratio of sums over texts, with Student's t
    on one degree of freedom fewer than texts.
    """

    def __init__(self) -> None:
        self._texts = array("q")
        self._scores = array("d")

    def add(self, text: Any, score: float) -> None:
        """Add the score of a pair with that text."""
        self._texts.append(hash(text_identity(str(text))))
        self._scores.append(score)

    def result(self) -> Mean:
        """Return the mean of what was added."""
        scores = np.array(self._scores)
        if not len(scores):
            return Mean(np.nan, np.nan, np.nan, 0, 0)
        mean = float(scores.mean())
        # In order of appearance: that of the hashes changes between processes, and with
        # it how sums round.
        texts, found = pd.factorize(np.array(self._texts))
        n_texts = len(found)
        if n_texts < 2:
            return Mean(mean, np.nan, np.nan, len(scores), n_texts)
        sums = np.bincount(texts, scores - mean)
        variance = n_texts / (n_texts - 1) * (sums @ sums) / len(scores) ** 2
        half = student.ppf((1 + COVERAGE) / 2, n_texts - 1) * np.sqrt(variance)
        return Mean(mean, float(mean - half), float(mean + half), len(scores), n_texts)
