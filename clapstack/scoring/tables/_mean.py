"""Mean score of a table, with an interval that accounts for shared texts."""

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
        The mean; NaN without scores.
    low, high : float
        Ends of the interval; NaN with fewer than two texts.
    n_pairs, n_texts : int
        Number of scored pairs, and of distinct texts among them.
    """

    mean: float
    low: float
    high: float
    n_pairs: int
    n_texts: int


class GroupedMean:
    """Mean of scores that are added one by one, in 16 bytes each.

    Pairs with the same text are alike, so the interval treats each text with all its
    clips as one draw. It uses the linearised variance of a ratio of sums over texts,
    and Student's t with one degree of freedom fewer than texts.
    """

    def __init__(self) -> None:
        self._texts = array("q")
        self._scores = array("d")

    def add(self, text: Any, score: float) -> None:
        """Add the score of a pair with that text."""
        self._texts.append(hash(text_identity(str(text))))
        self._scores.append(score)

    def result(self) -> Mean:
        """Return the mean of the added scores."""
        scores = np.array(self._scores)
        if not len(scores):
            return Mean(np.nan, np.nan, np.nan, 0, 0)
        mean = float(scores.mean())
        # In order of appearance: the order of hashes differs between processes, and
        # would change the rounding of sums.
        texts, found = pd.factorize(np.array(self._texts))
        n_texts = len(found)
        if n_texts < 2:
            return Mean(mean, np.nan, np.nan, len(scores), n_texts)
        sums = np.bincount(texts, scores - mean)
        variance = n_texts / (n_texts - 1) * (sums @ sums) / len(scores) ** 2
        half = student.ppf((1 + COVERAGE) / 2, n_texts - 1) * np.sqrt(variance)
        return Mean(mean, float(mean - half), float(mean + half), len(scores), n_texts)
