"""Files of predictions and of true scores, matched by name and never in silence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clapstack._output import write_text
from clapstack.exceptions import BadRowsError
from clapstack.tables import read_frame, refuse_rows, to_number

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
    TableError
        If the table cannot be read or columns are missing.
    BadRowsError
        If a name is empty or stands twice, or a score is no finite number; lines are
        named.
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
    TableError, BadRowsError
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
    BadRowsError
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
        raise BadRowsError(msg)
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
        f"{_quoted(name)},{float(score)!r}"
        for name, score in zip(names, scores, strict=True)
    ]
    write_text(path, "\n".join(lines) + "\n")


def _quoted(name: str) -> str:
    """Return a cell of CSV; csv.writer does not quote a lone carriage return."""
    if name == name.strip() and not set(name) & set(',;"\t\r\n'):
        return name
    return '"' + name.replace('"', '""') + '"'


def _read_scores(path: Path, spellings: tuple[str, str]) -> pd.Series:
    table = read_frame(path, {"name": _NAMES, "score": spellings})
    source = str(path)
    scores = table["score"].map(to_number).astype(float)
    nameless = [not _is_name(name) for name in table["name"]]
    refuse_rows(nameless, table, "name", source, "the name is empty|Fill it in.")
    what = "the score is not a finite number|Write it like 7.5."
    refuse_rows(scores.isna(), table, "name", source, what)
    what = "the clip stands there before|Keep one row per clip."
    refuse_rows(table["name"].duplicated(), table, "name", source, what)
    return pd.Series(scores.to_numpy(), index=pd.Index(table["name"], dtype=object))


def _is_name(cell: Any) -> bool:
    return isinstance(cell, str) and bool(cell.strip())


def _shorten(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN])
    more = len(names) - _SHOWN
    return shown if more <= 0 else f"{shown} and {more} more"
