"""Edits of captions and clips, which show what a scorer responds to."""

from __future__ import annotations

import itertools
import re

import numpy as np

from clapstack.captions import split_clauses

__all__ = ["EDITS", "KINDS", "edited_clip", "edited_text", "steps_of"]

#: Clauses of a caption, grouped by their step in the claimed order.
Steps = list[list[str]]

#: What each edit changes: a caption's meaning, its wording, or the clip.
KINDS = {
    **dict.fromkeys(("swap", "drop", "add", "replace", "negate"), "meaning"),
    **dict.fromkeys(("reword", "case", "whitespace"), "wording"),
    **dict.fromkeys(("noise", "level", "truncation"), "clip"),
}
EDITS = tuple(KINDS)

_ARTICLE = re.compile(r"^(?:an?|the|some|one) ", re.IGNORECASE)
_NOISE = 10 ** (-10 / 20)  # 10 dB below the clip
_QUIETER = 10 ** (-20 / 20)  # 20 dB quieter


def edited_clip(edit: str, samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return edited samples, mono and at the same sampling rate."""
    if edit == "truncation":
        return samples[: (len(samples) + 1) // 2]
    if edit == "level":
        return samples * np.float32(_QUIETER)
    level = np.sqrt(np.mean(np.square(samples, dtype=np.float64)))
    noise = rng.standard_normal(len(samples), dtype=np.float32)
    return samples + np.float32(_NOISE * level) * noise


def edited_text(
    edit: str, text: str, other: str | None, rng: np.random.Generator
) -> str | None:
    """Return an edited caption; None if the edit does not change it.

    `other` is a clause of another caption. Edits of the meaning are applied to the
    caption in its "reword" form.
    """
    if KINDS[edit] == "wording":
        edited = {
            "reword": _written(steps_of(text)),
            "case": text.upper(),
            "whitespace": f" {'  '.join(text.split())} ",
        }[edit]
        return None if edited == text else edited
    steps = steps_of(text)
    changed = _changed(steps, edit, other, rng)
    return None if changed == steps else _written(changed)


def steps_of(caption: str) -> Steps:
    """Return the clauses of a caption, grouped by their step in the claimed order."""
    clauses = split_clauses(caption)
    place = [0] * len(clauses.texts)
    for _ in place:  # as often as the longest chain of claims may need
        for first, second in clauses.order:
            place[second] = max(place[second], place[first] + 1)
    steps: Steps = [[] for _ in range(max(place) + 1)]
    for text, step in zip(clauses.texts, place, strict=True):
        steps[step].append(_within(text))
    return [step for step in steps if step]


def _within(clause: str) -> str:
    """Return a clause as written in the middle of a sentence."""
    first = clause.partition(" ")[0]
    is_plain = first == "A" or first[1:].islower()
    return clause[:1].lower() + clause[1:] if is_plain else clause


def _written(steps: Steps) -> str:
    return ", then ".join(" and ".join(step) for step in steps)


def _changed(
    steps: Steps, edit: str, other: str | None, rng: np.random.Generator
) -> Steps:
    """Return clauses with a changed meaning; the same if the edit does not apply."""
    clauses = [clause for step in steps for clause in step]
    others = [] if other is None else [other]
    if edit == "swap":
        return steps[::-1]
    if edit == "add":
        return [*steps[:-1], steps[-1] + others]
    chosen = int(rng.integers(len(clauses)))
    new = {
        "drop": [] if len(clauses) > 1 else clauses,
        "replace": others or clauses[chosen : chosen + 1],
        "negate": [_negated(clauses[chosen])],
    }[edit]
    number = itertools.count()
    changed = [
        [c for clause in step for c in (new if next(number) == chosen else [clause])]
        for step in steps
    ]
    return [step for step in changed if step]


def _negated(clause: str) -> str:
    if clause.startswith("no "):
        return clause.removeprefix("no ")
    return f"no {_ARTICLE.sub('', clause)}"
