"""What a scorer responds to: edits of a table's captions and clips."""

from __future__ import annotations

import os
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd

from clapstack._compat import batched
from clapstack._fitted import takes_keys
from clapstack._optional import progress
from clapstack.audio import HeldClip, read_audio_at_own_rate
from clapstack.exceptions import BadPair, BadPairsError
from clapstack.pairs import bad_texts, clip_identity, on_usable_rows, text_identity
from clapstack.scoring._edits import EDITS, KINDS, edited_clip, edited_text, steps_of
from clapstack.scoring._scorer import Scorer, rows_of
from clapstack.scoring.tables import (
    FrameTable,
    GroupedMean,
    ModelScorer,
    PairTable,
    Row,
    TableScorer,
    pairs_of,
)

__all__ = ["probe", "probe_rows"]

# The edit that writes a caption as edits of the meaning do.
_REFERENCE = "reword"
# A score that changes by less, in standard deviations of the table's scores, did not
# fall: encoders round by what else is in a batch.
_ROUNDING = 1e-3


def probe(
    model: Any,
    table: Any,
    edits: Sequence[str] = EDITS,
    *,
    audio_column: str | None = None,
    text_column: str | None = None,
    audio_folder: str | os.PathLike[str] | None = None,
    random_state: int = 0,
    chunk_size: int = 16,
    verbose: bool = False,
) -> pd.DataFrame:
    """Edit captions and clips of a table, and return how scores respond.

    A score of alignment should fall where a caption ceases to be true, and stay where
    only its wording changes. Read more in the :ref:`User Guide <probe>`.

    Parameters
    ----------
    model : Scorer, estimator, str or path-like
        As for :class:`~clapstack.Scorer`; ``Scorer.unsupervised()`` for cosines.
    table : DataFrame (pandas or polars), Arrow table, Dataset, str or path-like
        Pairs in memory or in a file, as for :meth:`Scorer.score_table
        <clapstack.Scorer.score_table>`; best those whose captions are right.
    edits : sequence of str, default=all
        Of the meaning: ``"swap"`` (the claimed order reversed), ``"drop"`` (a clause
        left out), ``"add"`` and ``"replace"`` (a clause of another caption beside the
        others, or in place of one), ``"negate"`` (a clause with "no"). Of the wording:
        ``"reword"`` (the clauses joined by "and" and "then"), ``"case"`` (upper case),
        ``"whitespace"`` (doubled). Of the clip: ``"noise"`` (white, 10 dB below the
        clip), ``"level"`` (20 dB quieter), ``"truncation"`` (its first half).
    audio_column, text_column, audio_folder : object
        As for :meth:`Scorer.score_table <clapstack.Scorer.score_table>`.
    random_state : int, default=0
        Seed of what is drawn: clauses, and noise. What is drawn for a row does not
        depend on the other edits, nor on `chunk_size`.
    chunk_size : int, default=16
        Rows whose edited clips are held in memory at a time.
    verbose : bool, default=False
        Whether to show a progress bar.

    Returns
    -------
    probed : DataFrame
        A row per edit, in the order of `edits`; of a model of several axes, per axis
        (column ``axis``) and edit. Columns ``edit``; ``kind``, ``"meaning"``,
        ``"wording"`` or ``"clip"``; ``n_pairs``, to which the edit applies; ``change``,
        the mean change of the score, with the 95 % interval ``low`` to ``high``;
        ``change_sd``, the same in standard deviations of the table's scores;
        ``falls``, the share of pairs whose score falls, with the interval
        ``falls_low`` to ``falls_high``. NaN where there are too few pairs.

    Raises
    ------
    BadPairsError
        If rows cannot be used; every one is named, and nothing is probed.
    ValueError
        If an edit is unknown, or the model knows embeddings by key alone.

    See Also
    --------
    clapstack.inspection.ProbeDisplay : Draws the result.

    Notes
    -----
    An edit of the meaning is compared with the caption as "reword" writes it, so that
    the edit is all that differs; others are compared with the pair as it is. Clauses
    are those of :func:`~clapstack.captions.split_clauses`; those of other captions of
    the same clip are not used to add or replace.

    Pairs of one text, or of one clip, are alike. Intervals take those of one text for
    one draw, or those of one clip if there are fewer clips: Student's t for means,
    Wilson's for shares.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from clapstack import Scorer
    >>> from clapstack.scoring import probe
    >>> noise = np.random.default_rng(0).normal(0, 0.1, (2, 16000))
    >>> table = pd.DataFrame(
    ...     {
    ...         "audio": [(clip, 16000) for clip in noise],
    ...         "text": ["a dog barks, then rain", "a bell rings"],
    ...     }
    ... )
    >>> probed = probe(Scorer.unsupervised("bundled:msclap"), table, ["swap", "add"])
    >>> probed[["edit", "n_pairs"]]
       edit  n_pairs
    0  swap        1
    1   add        2
    """
    scorer = model if isinstance(model, Scorer) else Scorer(model, verbose=verbose)
    rows = rows_of(table, audio_column, text_column, (), audio_folder, scorer.model)
    probed, _ = probe_rows(
        rows,
        ModelScorer(scorer.model, "", None),
        edits,
        random_state=random_state,
        chunk_size=chunk_size,
        verbose=verbose,
    )
    return probed


def probe_rows(
    table: PairTable | FrameTable,
    scorer: TableScorer,
    edits: Sequence[str] = EDITS,
    *,
    random_state: int,
    chunk_size: int = 16,
    skip_bad: bool = False,
    verbose: bool = False,
) -> tuple[pd.DataFrame, list[BadPair]]:
    """Return what `probe` does, and the rows that were left out if `skip_bad`.

    Scores that are standardised over a table are so over its pairs as they are.
    """
    _check(scorer, edits, random_state)

    def values_of(pairs: pd.DataFrame) -> np.ndarray:
        wrong = bad_texts(pairs)  # a model of one's own may not look at them
        if wrong:
            raise BadPairsError(wrong, len(pairs))
        return scorer.values(pairs)

    rows = list(table.rows())
    kept: list[Row] = []
    values: list[list[float]] = []
    bad: list[BadPair] = []
    total = 2 * len(rows)
    with progress(total=total, desc="probing", unit="pair", verbose=verbose) as bar:
        for chunk in batched(rows, chunk_size):
            usable = table.on_usable(values_of, pairs_of(chunk))
            if len(usable.positions):
                kept += [chunk[position] for position in usable.positions]
                values += usable.values.tolist()
            bad += [b._replace(position=chunk[b.position].number) for b in usable.bad]
            bar.update(len(chunk))
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
            keys, found = list(made), {}
            if len(usable.positions):
                scores = scores_of(usable.values.tolist())
                found = {
                    keys[position]: score
                    for position, score in zip(usable.positions, scores, strict=True)
                }
            for edit, place in found:
                if edit in changes:
                    base = _REFERENCE if KINDS[edit] == "meaning" else ""
                    # A caption that the reference leaves as it is has its own score.
                    before = found.get((base, place), originals[place])
                    changes[edit][place] = found[edit, place] - before
            bar.update(len(places))
    groups = edited.groups()
    lines = [
        {
            **({"axis": axis} if len(axes) > 1 else {}),
            "edit": edit,
            "kind": KINDS[edit],
            **_summary(
                np.array([change[k] for change in changed.values()]),
                [groups[place] for place in changed],
                float(originals[:, k].std()),
            ),
        }
        for k, axis in enumerate(axes)
        for edit, changed in changes.items()
    ]
    return pd.DataFrame(lines), bad


class _EditedRows:
    """Edits of the rows of a table, drawn by a seed."""

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
        """Return what rows that are alike share: their text, or their clip."""
        return min(self._texts, self._clips, key=lambda names: len(set(names)))

    def pairs(
        self, places: Sequence[int], edits: Sequence[str]
    ) -> dict[tuple[str, int], tuple[Any, str]]:
        """Return edited pairs by edit and place, where an edit applies.

        What edits of the meaning are compared with is among them.
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
                draw = partial(self._other, place, rng)
                text = edited_text(edit, row.text, draw, rng)
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
        """Draw a clause that no caption of the row's clip has."""
        own = self._of_clip[self._clips[place]]
        if len(own) == len(self._clauses):
            return None
        number = int(rng.integers(len(self._clauses) - len(own)))
        for taken in sorted(own):
            number += number >= taken
        return self._clauses[number]


def _frame(pairs: Iterable[tuple[Any, str]]) -> pd.DataFrame:
    columns = zip(*pairs, strict=True)
    # Strict it is not: of no pairs there are no columns.
    named = zip(("audio", "text"), map(list, columns), strict=False)
    return pd.DataFrame(dict(named), dtype=object)


def _check(scorer: TableScorer, edits: Sequence[str], random_state: int) -> None:
    if isinstance(scorer, ModelScorer) and takes_keys(scorer.model):
        msg = (
            "the model knows embeddings by key and has none of edited pairs. Probe a "
            "model with encoders of its own."
        )
        raise ValueError(msg)
    wrong = [edit for edit in edits if edit not in KINDS]
    if wrong or isinstance(edits, str) or not 0 < len(edits) == len(set(edits)):
        msg = f"edits must be distinct names from {EDITS}; got {edits!r}."
        raise ValueError(msg)
    if random_state < 0:
        msg = f"random_state must be 0 or more; got {random_state!r}."
        raise ValueError(msg)


def _summary(change: np.ndarray, groups: list[str], spread: float) -> dict[str, Any]:
    """Return the columns of one edit."""
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
    """Return a share and its 95 % interval, that of Wilson.

    The number of draws is that of groups, less where their sizes differ: at worst,
    pairs of a group are all the same.
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
