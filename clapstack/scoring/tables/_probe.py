"""Comparison of the scores of a table's pairs before and after edits."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd

from clapstack._compat import batched
from clapstack._fitted import takes_keys
from clapstack._numerics.checks import check_count
from clapstack._optional import progress
from clapstack.audio import HeldClip, read_audio_at_own_rate
from clapstack.exceptions import BadPair, BadPairsError
from clapstack.pairs import bad_texts, clip_identity, on_usable_rows, text_identity
from clapstack.scoring.tables._edits import (
    EDITS,
    KINDS,
    edited_clip,
    edited_text,
    steps_of,
)
from clapstack.scoring.tables._mean import GroupedMean
from clapstack.scoring.tables._read import FrameTable, PairTable, Row, pairs_of
from clapstack.scoring.tables._scorers import ModelScorer, TableScorer

__all__ = ["probe_table"]

# The edit that rewrites a caption in the form on which edits of the meaning build.
_REFERENCE = "reword"
# A smaller change, in standard deviations of the table's scores, does not count as a
# fall: rounding in encoders depends on the rest of the batch.
_ROUNDING = 1e-3


def probe_table(
    table: PairTable | FrameTable,
    scorer: TableScorer,
    edits: Sequence[str] = EDITS,
    *,
    random_state: int,
    chunk_size: int = 16,
    skip_bad: bool = False,
    verbose: bool = False,
) -> tuple[pd.DataFrame, list[BadPair]]:
    """Return the result of `clapstack.scoring.probe`, and the rows left out.

    Unusable rows raise an error unless `skip_bad` is set. Scores that are standardised
    over a table are standardised over its unedited pairs.
    """
    _check(scorer, edits, random_state, chunk_size)
    rows = list(table.rows())
    total = 2 * len(rows)
    with progress(total=total, desc="probing", unit="pair", verbose=verbose) as bar:
        kept, values, bad = _as_they_are(table, rows, scorer, chunk_size, bar)
        if bad and not (skip_bad and kept):
            raise BadPairsError(bad, len(rows))
        finish = scorer.finish(iter(values))
        axes = scorer.axes or scorer.names[:1]
        columns = [scorer.names.index(axis) for axis in axes]

        def scores_of(numbers: list[list[float]]) -> np.ndarray:
            return np.array([finish(row) for row in numbers], dtype=float)[:, columns]

        originals = scores_of(values)
        edited = _EditedRows(kept, random_state)
        changes: dict[str, dict[int, np.ndarray]] = {edit: {} for edit in edits}
        for places in batched(range(len(kept)), chunk_size):
            made = edited.pairs(places, edits)
            usable = on_usable_rows(scorer.values, _frame(made.values()))
            if len(usable.positions):
                keys, scores = list(made), scores_of(usable.values.tolist())
                known = [keys[position] for position in usable.positions]
                _note(dict(zip(known, scores, strict=True)), originals, changes)
            bar.update(len(places))
    groups = edited.groups()
    lines = []
    for k, axis in enumerate(axes):
        named = {"axis": axis} if len(axes) > 1 else {}
        for edit, changed in changes.items():
            summary = _summary(
                np.array([change[k] for change in changed.values()]),
                [groups[place] for place in changed],
                float(originals[:, k].std()),
            )
            lines.append({**named, "edit": edit, "kind": KINDS[edit], **summary})
    return pd.DataFrame(lines), bad


def _as_they_are(
    table: PairTable | FrameTable,
    rows: list[Row],
    scorer: TableScorer,
    chunk_size: int,
    bar: Any,
) -> tuple[list[Row], list[list[float]], list[BadPair]]:
    """Return the usable rows, their values, and the unusable rows.

    Positions of unusable rows refer to the table.
    """

    def compute(pairs: pd.DataFrame) -> np.ndarray:
        wrong = bad_texts(pairs)  # a custom model may not check them
        if wrong:
            raise BadPairsError(wrong, len(pairs))
        return scorer.values(pairs)

    kept: list[Row] = []
    values: list[list[float]] = []
    bad: list[BadPair] = []
    for chunk in batched(rows, chunk_size):
        usable = table.on_usable(compute, pairs_of(chunk))
        if len(usable.positions):
            kept += [chunk[position] for position in usable.positions]
            values += usable.values.tolist()
        bad += [b._replace(position=chunk[b.position].number) for b in usable.bad]
        bar.update(len(chunk))
    return kept, values, bad


class _EditedRows:
    """Seeded edits of the rows of a table."""

    def __init__(self, rows: list[Row], random_state: int):
        self._rows = rows
        self._random_state = random_state
        self._texts = [text_identity(row.text) for row in rows]
        self._clips = [clip_identity(row.path) for row in rows]
        numbers: dict[str, int] = {}  # of all clauses, in the order of the table
        self._of_clip: dict[str, set[int]] = {}
        for row, clip in zip(rows, self._clips, strict=True):
            own = self._of_clip.setdefault(clip, set())
            for step in steps_of(row.text):
                own |= {numbers.setdefault(clause, len(numbers)) for clause in step}
        self._clauses = list(numbers)

    def groups(self) -> list[str]:
        """Return labels that similar rows share: their text, or their clip."""
        return min(self._texts, self._clips, key=lambda names: len(set(names)))

    def pairs(
        self, places: Sequence[int], edits: Sequence[str]
    ) -> dict[tuple[str, int], tuple[Any, str]]:
        """Return edited pairs by edit and place, for edits that apply.

        The reworded captions that edits of the meaning are compared with are included.
        """
        of_clips = [edit for edit in edits if KINDS[edit] == "clip"]
        of_texts = [edit for edit in edits if KINDS[edit] != "clip"]
        if any(KINDS[edit] == "meaning" for edit in edits):
            of_texts = list(dict.fromkeys([*of_texts, _REFERENCE]))
        made: dict[tuple[str, int], tuple[Any, str]] = {}
        for place in places:
            row = self._rows[place]
            for edit in of_texts:
                rng = self._rng(edit, row)
                text = edited_text(edit, row.text, self._other(place, rng), rng)
                if text is not None:
                    made[edit, place] = row.path, text
            if of_clips:
                samples, rate = read_audio_at_own_rate(row.path)
            for edit in of_clips:
                array = edited_clip(edit, samples, self._rng(edit, row))
                made[edit, place] = HeldClip(array=array, sampling_rate=rate), row.text
        return made

    def _rng(self, edit: str, row: Row) -> np.random.Generator:
        seed = [self._random_state, zlib.crc32(edit.encode()), row.number]
        return np.random.default_rng(seed)

    def _other(self, place: int, rng: np.random.Generator) -> str | None:
        """Draw a clause that occurs in no caption of the row's clip."""
        own = self._of_clip[self._clips[place]]
        if len(own) == len(self._clauses):
            return None
        number = int(rng.integers(len(self._clauses) - len(own)))
        for taken in sorted(own):
            number += number >= taken
        return self._clauses[number]


def _note(
    scores: Mapping[tuple[str, int], np.ndarray],
    originals: np.ndarray,
    changes: dict[str, dict[int, np.ndarray]],
) -> None:
    """Add the score changes of edited pairs, by edit and place."""
    for (edit, place), score in scores.items():
        if edit in changes:
            base = _REFERENCE if KINDS[edit] == "meaning" else ""
            # If rewording does not change a caption, its own score is the reference.
            changes[edit][place] = score - scores.get((base, place), originals[place])


def _frame(pairs: Iterable[tuple[Any, str]]) -> pd.DataFrame:
    columns = zip(*pairs, strict=True)
    # Not strict: without pairs there are no columns.
    named = zip(("audio", "text"), map(list, columns), strict=False)
    return pd.DataFrame(dict(named), dtype=object)


def _check(
    scorer: TableScorer, edits: Sequence[str], random_state: int, chunk_size: int
) -> None:
    if isinstance(scorer, ModelScorer) and takes_keys(scorer.model):
        msg = (
            "the model looks up embeddings by key, so edited pairs cannot be encoded. "
            "Probe a model that contains its encoders."
        )
        raise ValueError(msg)
    wrong = [edit for edit in edits if edit not in KINDS]
    if wrong or isinstance(edits, str) or not 0 < len(edits) == len(set(edits)):
        msg = f"edits must be distinct names from {EDITS}; got {edits!r}."
        raise ValueError(msg)
    check_count("random_state", random_state, 0, 0)
    check_count("chunk_size", chunk_size, 1, 16)


def _summary(change: np.ndarray, groups: list[str], spread: float) -> dict[str, Any]:
    """Return the result columns of one edit."""
    mean = GroupedMean()
    for group, one in zip(groups, change, strict=True):
        mean.add(group, one)
    falls = change < -_ROUNDING * spread
    share, low, high = _share(falls, groups)
    found = mean.result()
    return {
        "n_pairs": len(change),
        "change": found.mean,
        "low": found.low,
        "high": found.high,
        "change_sd": found.mean / spread if spread else np.nan,
        "falls": share,
        "falls_low": low,
        "falls_high": high,
    }


def _share(flags: np.ndarray, groups: list[str]) -> tuple[float, float, float]:
    """Return a share and its 95 % Wilson interval.

    The effective number of draws is the number of groups, or less if their sizes
    differ. This assumes the worst case, that all pairs of a group are the same.
    """
    if not len(flags):
        return np.nan, np.nan, np.nan
    sizes = np.array(list(Counter(groups).values()))
    n_draws = sizes.sum() ** 2 / np.sum(sizes**2)
    share, z = float(flags.mean()), NormalDist().inv_cdf(0.975)
    scale = 1 + z**2 / n_draws
    centre = (share + z**2 / (2 * n_draws)) / scale
    variance = share * (1 - share) / n_draws + z**2 / (4 * n_draws**2)
    half = z * variance**0.5 / scale
    return share, centre - half, centre + half
