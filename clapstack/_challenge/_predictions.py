"""Files of predictions and of true scores, matched by name and never in silence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from clapstack._output import write_text

_NAMES = ("wav_file_name", "wave_file_name")
_PREDICTIONS = ("pred_score", "prediction_score")
_TRUTHS = ("average_score", "average_semantic_alignement_score")
_SHOWN = 10


def read_predictions(path: Path) -> pd.Series:
    """Read predictions by name of WAV file.

    Parameters
    ----------
    path : Path
        A CSV with ``wav_file_name`` (or ``wave_file_name``) and ``pred_score`` (or
        ``prediction_score``).

    Returns
    -------
    scores : Series of float64, indexed by name

    Raises
    ------
    ValueError
        If columns are missing, a name stands twice, or a score is no finite number;
        rows are named.
    """
    return _read_scores(path, _PREDICTIONS)


def read_truth(path: Path) -> pd.Series:
    """Read true mean scores by name of WAV file.

    Parameters
    ----------
    path : Path
        A CSV with ``wav_file_name`` (or ``wave_file_name``) and ``average_score`` (or
        ``average_semantic_alignement_score``).

    Returns
    -------
    scores : Series of float64, indexed by name

    Raises
    ------
    ValueError
        As for `read_predictions`.
    """
    return _read_scores(path, _TRUTHS)


def match_predictions(
    scores: pd.Series, names: Sequence[str], source: str
) -> np.ndarray:
    """Return scores in the order of `names`; refuse whatever has no partner.

    Parameters
    ----------
    scores : Series
        By name of WAV file.
    names : sequence of str
        Names wanted, each once.
    source : str
        Where the scores come from, for the message.

    Returns
    -------
    matched : ndarray of shape (n_names,), float64

    Raises
    ------
    ValueError
        With the names that lack a score, and those that have one for nothing.
    """
    wanted = pd.Index(names)
    lacking = list(wanted.difference(scores.index, sort=False))
    unknown = list(scores.index.difference(wanted, sort=False))
    told = []
    if lacking:
        told.append(
            f"lacks {len(lacking)} of {len(wanted)} clips ({_shorten(lacking)})"
        )
    if unknown:
        told.append(f"has {len(unknown)} unknown clips ({_shorten(unknown)})")
    if told:
        msg = (
            f"{source} {' and '.join(told)}. Predict every pair of the split once, and "
            "nothing else."
        )
        raise ValueError(msg)
    return scores.loc[wanted].to_numpy(dtype=np.float64)


def write_predictions(path: Path, names: Sequence[str], scores: np.ndarray) -> None:
    """Write a submission: every digit, in one go.

    Parameters
    ----------
    path : Path
        Written whole or not at all.
    names : sequence of str
        Names of the WAV files.
    scores : ndarray of shape (n_names,)
        Predictions; rounded ones would tie, and lose rank correlation.
    """
    lines = ["wav_file_name,pred_score"]
    lines += [
        f"{name},{float(score)!r}" for name, score in zip(names, scores, strict=True)
    ]
    write_text(path, "\n".join(lines) + "\n")


def _read_scores(path: Path, spellings: tuple[str, str]) -> pd.Series:
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    columns = []
    for known in (_NAMES, spellings):
        found = [name for name in known if name in table]
        if len(found) != 1:
            msg = (
                f"{str(path)!r} must have one column {known[0]!r} (or {known[1]!r}); "
                f"it has {list(table.columns)}. Rename the one that is meant."
            )
            raise ValueError(msg)
        columns += found
    names = table[columns[0]]
    scores = np.array([_number(text) for text in table[columns[1]]], dtype=np.float64)
    for bad, what in (
        (~np.isfinite(scores), "the score is not a finite number"),
        (names.duplicated().to_numpy(), "the clip stands there before"),
    ):
        rows = np.flatnonzero(bad)
        if rows.size:
            told = [f"line {row + 2} ({names[row]})" for row in rows]
            msg = f"{str(path)!r}: {what} in {_shorten(told)}. Correct the table."
            raise ValueError(msg)
    if not len(table):
        msg = f"{str(path)!r} has no rows."
        raise ValueError(msg)
    return pd.Series(scores, index=pd.Index(names, dtype=object))


def _number(text: str) -> float:
    """Return the number that a text stands for, to the last bit, or NaN."""
    try:
        return float(text)
    except ValueError:
        return np.nan


def _shorten(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    more = len(names) - _SHOWN
    return shown if more <= 0 else f"{shown} and {more} more"
