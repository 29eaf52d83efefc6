"""Scorers of tables: a fitted model, or cosines alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.pipeline import FeatureUnion

from clapstack._fitted import (
    features_of,
    knows_domain,
    last_step,
    predict_with_interval,
    score_names,
)
from clapstack._numerics.checks import check_share

__all__ = ["CosineScorer", "EventScorer", "ModelScorer", "TableScorer"]

# What the weakest clause and an order that does not hold count beside the mean cosine.
# Of 42 combinations the best on three simulated challenges, whose seeds no figure is
# reported on; weights of 1 and 0.5 lose .005 SRCC there.
_EVENT_WEIGHTS = {"weakest": 0.5, "inversion": 0.25}

Values = list[float]
Finish = Callable[[Values], Values]


class TableScorer(ABC):
    """Numbers of a pair, and results made of them once all rows have theirs.

    Attributes
    ----------
    names : tuple of str
        Columns of the result.
    flags : tuple of str
        Those of them, at the end, that are true or false, and not numbers.
    axes : tuple of str
        Those of them that are scores with a scale, so that their mean says something.
    waits : bool
        Whether the result of a row depends on the whole table.
    identity : dict
        What the numbers of a row follow from besides the row. Of JSON.
    """

    names: tuple[str, ...]
    flags: tuple[str, ...] = ()
    axes: tuple[str, ...] = ()
    waits: bool
    identity: dict[str, Any]

    @abstractmethod
    def values(self, pairs: pd.DataFrame) -> np.ndarray:
        """Return numbers of shape (n_pairs, n_numbers); raise BadPairsError."""

    @abstractmethod
    def finish(self, values: Iterator[Values]) -> Finish:
        """Return what makes results of numbers, given those of all good rows."""


class ModelScorer(TableScorer):
    """Scores and intervals of a fitted model of pairs, and whether it knows such pairs.

    `identity` names the model, such as the digest of its file. Without a `coverage`
    the ends of intervals are NaN.
    """

    waits = False

    def __init__(self, model: Any, identity: str, coverage: float | None):
        if coverage is not None:
            check_share("coverage", coverage, 0.9)
        self.model = model
        scores = tuple(score_names(model))
        self.axes = scores[::3]
        self.flags = ("in_domain",) if knows_domain(model) else ()
        self.names = scores + self.flags
        self.coverage = coverage
        self.identity = {"model": identity, "coverage": coverage}

    def values(self, pairs: pd.DataFrame) -> np.ndarray:
        """Predict; shape (n_pairs, 3), or 3 columns an axis, and the flag."""
        features, last = features_of(self.model, pairs), last_step(self.model)
        scores = predict_with_interval(last, features, self.coverage)
        columns = [scores.reshape(len(scores), -1)]
        if self.flags:
            columns.append(last.in_domain(features)[:, np.newaxis])
        return np.hstack(columns)

    def finish(self, values: Iterator[Values]) -> Finish:
        """Return predictions as they are."""
        if not self.flags:
            return list
        return lambda row: [*row[:-1], bool(row[-1])]


class CosineScorer(TableScorer):
    """The mean over encoders of cosines, standardised over the table.

    An encoder's cosines lie where its training left them; standardised, each counts
    alike. The result ranks the pairs of one table and has no scale. `union` is of
    transformers that give a cosine each, not fitted.
    """

    waits = True

    def __init__(self, union: FeatureUnion):
        self.union = union
        without = [n for n, t in union.transformer_list if not hasattr(t, "blocks")]
        if without:
            msg = (
                f"{', '.join(without)} gives no cosine, as it does not embed texts. "
                f"Leave it out, or fit a model with clapstack fit."
            )
            raise ValueError(msg)
        # Loads the encoders, whose fingerprints are wanted; any pair will do for it.
        union.fit(pd.DataFrame({"audio": ["a"], "text": ["a"]}))
        families = [name for name, _ in union.transformer_list]
        self.names = ("score", *(f"{name}_cosine" for name in families))
        self.weights = np.full(len(families), 1 / len(families))
        self.identity = {
            "cosines": {
                name: [transformer.fingerprint_, transformer.crop]
                for name, transformer in union.transformer_list
            }
        }

    def values(self, pairs: pd.DataFrame) -> np.ndarray:
        """Return the cosine of every encoder; shape (n_pairs, n_encoders)."""
        return np.asarray(self.union.transform(pairs), dtype=np.float64)

    def finish(self, values: Iterator[Values]) -> Finish:
        """Standardise over the good rows; a column without variance counts zero."""
        table = np.array(list(values)).reshape(-1, len(self.names) - 1)
        if len(table) == 1:
            msg = (
                "one pair alone has nothing to be compared with, and a score without "
                "a fitted model is a comparison within the table. Add pairs, or fit a "
                "model with clapstack fit."
            )
            raise ValueError(msg)
        mean = table.mean(axis=0) if len(table) else 0.0
        spread = table.std(axis=0) if len(table) else 1.0
        return lambda row: [weighted_sum(row, mean, spread, self.weights), *row]


class EventScorer(CosineScorer):
    """The same, with what features of events say of the parts of a text.

    Beside the mean of the standardised cosines, the weakest clause of each text and a
    claimed order that is another in the clip count, standardised. `events` are features
    through the encoders of `union`, not fitted.
    """

    def __init__(self, union: FeatureUnion, events: Any):
        super().__init__(union)
        self.events = events.fit(pd.DataFrame({"audio": ["a"], "text": ["a"]}))
        columns = [name.rpartition("_")[2] for name in events.get_feature_names_out()]
        self._taken = {
            name: [k for k, column in enumerate(columns) if column == name]
            for name in _EVENT_WEIGHTS
        }
        self.names = (*self.names, *self._taken)
        self.weights = np.append(self.weights, list(_EVENT_WEIGHTS.values()))
        settings = [events.length, events.hop, events.windows]
        self.identity = {**self.identity, "events": settings}

    def values(self, pairs: pd.DataFrame) -> np.ndarray:
        """Return cosines, the weakest clause and the inversion, means over encoders."""
        table = np.asarray(self.events.transform(pairs), dtype=np.float64)
        means = [table[:, where].mean(axis=1) for where in self._taken.values()]
        return np.column_stack([super().values(pairs), *means])


def weighted_sum(
    row: Sequence[float], mean: Any, spread: Any, weights: np.ndarray
) -> float:
    """Return the sum of weight * (value - mean) / spread; zero for a spread of zero."""
    apart = np.subtract(row, mean)
    scaled = np.divide(apart, spread, out=np.zeros_like(apart), where=spread > 0)
    return float(weights @ scaled)
