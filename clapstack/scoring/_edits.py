"""Edits of captions and clips, to see what a scorer responds to."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from clapstack.captions import split_clauses

__all__ = [
    "EDITS",
    "KINDS",
    "edited_clip",
    "edited_text",
    "steps_of",
]

#: Clauses of a caption by the step of the claimed order in which they sound.
Steps = list[list[str]]
#: Returns a clause that a caption does not have, None if there is no other.
Draw = Callable[[], "str | None"]

_ARTICLE = re.compile(r"^(?:an?|the|some|one) ", re.IGNORECASE)
_NOISE = 10.0  # dB below the clip
_QUIETER = 20.0  # dB


def steps_of(caption: str) -> Steps:
    """Return the clauses of a caption, by the step of its order in which they sound."""
    clauses = split_clauses(caption)
    place = [0] * len(clauses.texts)
    for _ in place:  # longer than any chain of claims
        for first, second in clauses.order:
            place[second] = max(place[second], place[first] + 1)
    steps: Steps = [[] for _ in range(max(place) + 1)]
    for text, step in zip(clauses.texts, place, strict=True):
        steps[step].append(_within(text))
    return [step for step in steps if step]


def _within(clause: str) -> str:
    """Return a clause as it is written within a sentence."""
    first = clause.partition(" ")[0]
    is_plain = first == "A" or first[1:].islower()
    return clause[:1].lower() + clause[1:] if is_plain else clause


def _written(steps: Steps) -> str:
    return ", then ".join(" and ".join(step) for step in steps)


def _swap(steps: Steps, draw: Draw, rng: np.random.Generator) -> Steps:
    return steps[::-1]


def _drop(steps: Steps, draw: Draw, rng: np.random.Generator) -> Steps:
    is_only = sum(map(len, steps)) == 1
    return steps if is_only else _with_one(steps, rng, lambda clause: [])


def _add(steps: Steps, draw: Draw, rng: np.random.Generator) -> Steps:
    other = draw()
    return steps if other is None else [*steps[:-1], [*steps[-1], other]]


def _replace(steps: Steps, draw: Draw, rng: np.random.Generator) -> Steps:
    other = draw()
    return steps if other is None else _with_one(steps, rng, lambda clause: [other])


def _negate(steps: Steps, draw: Draw, rng: np.random.Generator) -> Steps:
    def negated(clause: str) -> list[str]:
        if clause.startswith("no "):
            return [clause.removeprefix("no ")]
        return [f"no {_ARTICLE.sub('', clause)}"]

    return _with_one(steps, rng, negated)


def _with_one(
    steps: Steps, rng: np.random.Generator, change: Callable[[str], list[str]]
) -> Steps:
    """Return steps in which one clause that is drawn gave way to others."""
    chosen = int(rng.integers(sum(map(len, steps))))
    number = 0
    changed: Steps = []
    for step in steps:
        changed.append([])
        for clause in step:
            changed[-1] += change(clause) if number == chosen else [clause]
            number += 1
    return [step for step in changed if step]


def _noise(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    power = np.mean(np.square(samples, dtype=np.float64))
    level = np.sqrt(power) * 10 ** (-_NOISE / 20)
    return samples + level * rng.standard_normal(len(samples), dtype=np.float32)


def _level(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return samples * 10 ** (-_QUIETER / 20)


def _truncation(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return samples[: (len(samples) + 1) // 2]


_OF_STEPS = {
    "swap": _swap,
    "drop": _drop,
    "add": _add,
    "replace": _replace,
    "negate": _negate,
}
_OF_TEXTS: dict[str, Callable[[str], str]] = {
    "reword": lambda text: _written(steps_of(text)),
    "case": str.upper,
    "whitespace": lambda text: f" {'  '.join(text.split())} ",
}
_OF_CLIPS = {"noise": _noise, "level": _level, "truncation": _truncation}
#: The edits by what they change: what a caption means, how it is put, or the clip.
KINDS = {
    **dict.fromkeys(_OF_STEPS, "meaning"),
    **dict.fromkeys(_OF_TEXTS, "wording"),
    **dict.fromkeys(_OF_CLIPS, "clip"),
}
EDITS = tuple(KINDS)


def edited_text(
    edit: str, text: str, draw: Draw, rng: np.random.Generator
) -> str | None:
    """Return an edited caption; None if the edit does not change it.

    An edit of the meaning is one of the caption's clauses in plain words, as "reword"
    writes them.
    """
    if edit in _OF_TEXTS:
        edited = _OF_TEXTS[edit](text)
        return None if edited == text else edited
    steps = steps_of(text)
    changed = _OF_STEPS[edit](steps, draw, rng)
    return None if changed == steps else _written(changed)


def edited_clip(edit: str, samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return edited samples, mono and of the same rate."""
    return _OF_CLIPS[edit](samples, rng).astype(np.float32)
