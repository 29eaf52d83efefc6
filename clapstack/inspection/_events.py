"""Explanation of a pair by its events: which are heard, when, and in which order."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import softmax
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import FeatureUnion
from sklearn.utils.validation import check_is_fitted

from clapstack._fitted import encoders_of
from clapstack.datasets import sound_classes
from clapstack.features import EventFeatures, EventScores

__all__ = ["EventExplanation", "HeardClause", "explain_events", "has_event_encoders"]

# Maximises the sum of both shares of correct decisions on 800 training pairs of the
# simulated challenge with the bundled checkpoints: 91 % of the clauses present score
# higher, 92 % of the absent sounds lower.
HEARD = 0.95
# A clause lasts while its score is above this fraction of its peak.
_OF_PEAK = 0.5


@dataclass(frozen=True)
class HeardClause:
    """A clause of a prompt, with its score and time in a clip.

    Attributes
    ----------
    text : str
        The clause.
    score : float
        Distance of its cosine from the mean of other everyday sounds, in standard
        deviations.
    start, end : float or None
        Time in seconds at which it is heard; None if it is not heard.
    """

    text: str
    score: float
    start: float | None
    end: float | None

    @property
    def is_heard(self) -> bool:
        """Whether the clause is heard."""
        return self.start is not None


@dataclass(frozen=True)
class EventExplanation:
    """Result of `explain_events`: which parts of a prompt are heard in a clip.

    Attributes
    ----------
    text : str
        The prompt.
    duration : float
        Length of the clip in seconds.
    clauses : tuple of HeardClause
        The clauses, in the order of the prompt.
    unexplained : tuple of (float, float)
        Start and end, in seconds, of sounds that no clause names.
    order_holds : bool or None
        Whether the clip has the order that the prompt claims. None if the prompt claims
        none, or if it is undecided, as in a clip of one window.
    """

    text: str
    duration: float
    clauses: tuple[HeardClause, ...]
    unexplained: tuple[tuple[float, float], ...]
    order_holds: bool | None

    @property
    def missing(self) -> tuple[str, ...]:
        """The clauses that are not heard."""
        return tuple(one.text for one in self.clauses if not one.is_heard)

    def __str__(self) -> str:
        width = max(len(one.text) for one in self.clauses)
        lines = [f"“{self.text}” in {self.duration:.1f} s of sound"]
        for one in self.clauses:
            when = "not heard"
            if one.start is not None and one.end is not None:
                when = f"heard from {_span(one.start, one.end)}"
            lines.append(f"  {one.text:{width}}  {one.score:+5.1f}  {when}")
        spans = ", ".join(_span(*ends) for ends in self.unexplained) or "nothing"
        lines.append(f"  Not named by the text: {spans}.")
        if self.order_holds is not None:
            are_in = "are" if self.order_holds else "are not"
            lines.append(f"  The sounds {are_in} in the order of the text.")
        return "\n".join(lines)


def explain_events(
    audio: Any, text: str, encoders: Any, *, threshold: float = HEARD
) -> EventExplanation:
    """Explain a pair by its events: which clauses are heard, and when.

    The result also names sounds that the text leaves out, and whether their order
    matches. Read more in the :ref:`User Guide <events>`.

    Parameters
    ----------
    audio : object
        The clip, as in the column ``audio`` of a table of pairs.
    text : str
        The prompt.
    encoders : str, list of str, transformer, FeatureUnion, EventFeatures or model
        Encoders as for :class:`~clapstack.EventFeatures`; an ``EventFeatures``, which
        also sets the windows; or a fitted pipeline, whose encoders are used.
    threshold : float, default=0.95
        A clause counts as heard from this score on. A window counts as explained if any
        clause reaches this score in it.

    Returns
    -------
    explanation : EventExplanation
        The explanation, which prints as a few lines of text.

    Raises
    ------
    BadPairsError
        If the clip or the text is unusable.
    ValueError
        If a model has no encoder of both clips and texts, or `threshold` is not a
        number.

    Notes
    -----
    In each window, the cosine of a clause is standardised by the mean and the standard
    deviation of the cosines of about a hundred everyday sounds
    (:func:`clapstack.datasets.sound_classes`). The score of a clause is the
    softmax-weighted mean of these values over windows, averaged over encoders.
    Standardised scores vary less between checkpoints than cosines do. However, the
    default threshold was chosen only on simulated scenes and bundled checkpoints: check
    it on clips that you know.

    The order matches if, for each claim that one clause comes before another, the best
    windows in that order fit better than the best in the reverse order. It is undecided
    in a clip of one window, and for a clause that is repeated.

    Examples
    --------
    >>> from clapstack.inspection import explain_events
    >>> print(explain_events(
    ...     "dog.wav", "a dog barks, then rain", "laion/clap-htsat-unfused"
    ... ))  # doctest: +SKIP
    """
    is_number = isinstance(threshold, Real)
    if not is_number or np.isnan(threshold):
        msg = f"threshold must be a number; got {threshold!r}. {HEARD} is usual."
        raise ValueError(msg)
    pair = pd.DataFrame({"audio": [audio], "text": [text]}, dtype=object)
    features = _fitted_features(encoders, pair)
    (scores,) = features.score_clauses(pair)
    sounds = [sound.words[0] for sound in sound_classes().values()]
    others = pd.DataFrame({"audio": [audio] * len(sounds), "text": sounds})
    everyday = features.score_clauses(others.astype(object))
    apart = np.mean(
        [
            _standardised(scores.cosines[name], [o.cosines[name][0] for o in everyday])
            for name in scores.cosines
        ],
        axis=0,
    )
    return EventExplanation(
        text=text,
        duration=float(scores.stops[-1]),
        clauses=tuple(
            _clause(one, row, _edges(scores), threshold)
            for one, row in zip(scores.clauses.texts, apart, strict=True)
        ),
        unexplained=_spans(
            scores.is_active & (apart.max(axis=0) < threshold), _edges(scores)
        ),
        order_holds=_order_holds(scores),
    )


def has_event_encoders(model: Any) -> bool:
    """Return whether `explain_events` can use the encoders of a fitted model.

    Parameters
    ----------
    model : estimator
        A fitted pipeline or search.

    Returns
    -------
    has_encoders : bool
        False if the model has no encoder of both clips and texts, as with precomputed
        embeddings.
    """
    return _encoders_in(model) is not None


def _fitted_features(encoders: Any, pair: pd.DataFrame) -> EventFeatures:
    """Return fitted event features for encoders in any accepted form."""
    if hasattr(encoders, "predict"):
        found = _encoders_in(encoders)
        if found is None:
            msg = (
                f"{type(encoders).__name__} has no encoder of both clips and texts, "
                "which events need. Pass names of checkpoints instead of the model."
            )
            raise ValueError(msg)
        encoders = found
    if not isinstance(encoders, EventFeatures):
        encoders = EventFeatures(encoders)
    try:
        check_is_fitted(encoders)
    except NotFittedError:
        # A clone, because the fit would modify the caller's transformers.
        return clone(encoders).fit(pair)
    return encoders


def _encoders_in(model: Any) -> EventFeatures | FeatureUnion | None:
    """Return the event features of a model, or its CLAP encoders, or None."""
    model = getattr(model, "best_estimator_", model)
    for part in model.get_params(deep=True).values():
        if isinstance(part, EventFeatures):
            return part
    # Encoders of clips only have no projection.
    found = {
        name.rpartition("__")[2]: encoder
        for name, encoder in encoders_of(model).items()
        if hasattr(encoder, "projection_dim_")
    }
    return FeatureUnion(list(found.items())) if found else None


def _standardised(cosines: np.ndarray, everyday: list[np.ndarray]) -> np.ndarray:
    """Return cosines standardised by those of everyday sounds in the same windows."""
    return (cosines - np.mean(everyday, axis=0)) / np.std(everyday, axis=0)


def _order_holds(scores: EventScores) -> bool | None:
    """Return whether all claims of order hold; None without claims, or for a tie."""
    margins = [scores.order_margin(claim) for claim in scores.clauses.order]
    least = min(margins, default=0.0)
    return None if least == 0 else least > 0


def _edges(scores: EventScores) -> np.ndarray:
    """Return the edges of the time spans of windows, of shape (n_windows + 1,).

    Windows overlap, so each represents the times nearest to its centre.
    """
    centres = (scores.starts + scores.stops) / 2
    return np.concatenate([[0], (centres[1:] + centres[:-1]) / 2, scores.stops[-1:]])


def _clause(
    text: str, apart: np.ndarray, edges: np.ndarray, threshold: float
) -> HeardClause:
    score = float(softmax(apart) @ apart)
    if score < threshold:
        return HeardClause(text, score, None, None)
    peak = int(np.argmax(apart))
    is_part = apart >= max(threshold, _OF_PEAK * apart[peak])
    ((start, end),) = (
        span for span in _spans(is_part, edges) if span[0] <= edges[peak] < span[1]
    )
    return HeardClause(text, score, start, end)


def _spans(flags: np.ndarray, edges: np.ndarray) -> tuple[tuple[float, float], ...]:
    """Return start and end of each run of flagged windows, in seconds."""
    steps = np.diff(np.concatenate([[0], flags.astype(int), [0]]))
    begins, ends = np.flatnonzero(steps > 0), np.flatnonzero(steps < 0)
    return tuple(
        (float(edges[begin]), float(edges[end]))
        for begin, end in zip(begins, ends, strict=True)
    )


def _span(start: float, end: float) -> str:
    return f"{start:.1f} to {end:.1f} s"
