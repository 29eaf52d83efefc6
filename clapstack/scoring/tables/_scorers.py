"""Scorers for tables: a fitted model, cosines, or cosines with events."""

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

# Weights of the weakest clause and of a wrong order, relative to the mean cosine. They
# are the best of 42 combinations on three simulated challenges, whose seeds are used
# for no reported figure. Weights of 1 and 0.5 lose .005 SRCC there.
_EVENT_WEIGHTS = {"weakest": 0.5, "inversion": 0.25}

Values = list[float]
Finish = Callable[[Values], Values]


class TableScorer(ABC):
    """Base of scorers, which compute values per pair and then results from them.

    Attributes
    ----------
    names : tuple of str
        Result columns.
    flags : tuple of str
        The result columns, at the end, that are booleans rather than numbers.
    axes : tuple of str
        The result columns that are scores on a scale, whose mean is meaningful.
    waits : bool
        Whether the result of a row depends on the whole table.
    identity : dict
        Model and settings that determine the values of a row, as JSON.
    """

    names: tuple[str, ...]
    flags: tuple[str, ...] = ()
    axes: tuple[str, ...] = ()
    waits: bool
    identity: dict[str, Any]

    @abstractmethod
    def values(self, pairs: pd.DataFrame) -> np.ndarray:
        """Return values of shape (n_pairs, n_values), or raise BadPairsError."""

    @abstractmethod
    def finish(self, values: Iterator[Values]) -> Finish:
        """Return the function from a row's values to its results.

        `values` are those of all rows without an error.
        """


class ModelScorer(TableScorer):
    """Scores, intervals and domain flags of a fitted model.

    `identity` identifies the model, such as by the digest of its file. Without a
    `coverage`, the ends of intervals are NaN.
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
        """Predict score, low and high end (of each axis), and the domain flag."""
        features, last = features_of(self.model, pairs), last_step(self.model)
        scores = predict_with_interval(last, features, self.coverage)
        columns = [scores.reshape(len(scores), -1)]
        if self.flags:
            columns.append(last.in_domain(features)[:, np.newaxis])
        return np.hstack(columns)

    def finish(self, values: Iterator[Values]) -> Finish:
        """Return predictions unchanged."""
        if not self.flags:
            return list
        return lambda row: [*row[:-1], bool(row[-1])]


class CosineScorer(TableScorer):
    """Mean over encoders of their cosines, each standardised over the table.

    Cosines of different encoders have different means and spreads; standardised, all
    encoders have equal weight. The result ranks the pairs of one table and has no
    scale. `union` contains unfitted transformers that compute one cosine each.
    """

    waits = True

    def __init__(self, union: FeatureUnion):
        self.union = union
        without = [n for n, t in union.transformer_list if not hasattr(t, "blocks")]
        if without:
            msg = (
                f"{', '.join(without)} does not embed texts, so it has no cosine. "
                "Leave it out, or fit a model with clapstack fit."
            )
            raise ValueError(msg)
        # Any pair loads the encoders, whose fingerprints are needed.
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
                "the table has only one usable pair, but without a fitted model, "
                "scores compare the pairs of a table. Add pairs, or fit a model with "
                "clapstack fit."
            )
            raise ValueError(msg)
        mean = table.mean(axis=0) if len(table) else 0.0
        spread = table.std(axis=0) if len(table) else 1.0
        return lambda row: [weighted_sum(row, mean, spread, self.weights), *row]


class EventScorer(CosineScorer):
    """Standardised cosines combined with event features of the parts of a text.

    The score adds two standardised terms to the mean cosine: the weakest clause of the
    text, and a claimed order that differs from the order in the clip. `events` are
    unfitted event features that use the encoders of `union`.
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
        """Return cosines, and weakest clause and inversion averaged over encoders."""
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
