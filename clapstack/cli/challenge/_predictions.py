"""Files of predictions by name of WAV file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from clapstack._output import write_text
from clapstack.cli.tables import PairTable, join_by_key, read_by_key


def prediction_table(path: Path, role: str = "prediction") -> PairTable:
    """Return a table of predictions, or of ratings, by name of WAV file.

    Parameters
    ----------
    path : Path
        A table with ``wav_file_name`` (or ``wave_file_name``) and ``pred_score`` (or
        ``prediction_score``); or for ratings ``average_score`` (or
        ``average_semantic_alignement_score``).
    role : {"prediction", "score"}, default="prediction"
        Which of the two.

    Returns
    -------
    table : PairTable
        Its names of clips have the role ``audio``.
    """
    remedy = "Rename the one that is meant"
    return PairTable(path, roles=("audio", role), remedy=remedy)


def read_predictions(path: Path, names: Sequence[str]) -> np.ndarray:
    """Read predictions in the order of `names`; refuse any without partner.

    Parameters
    ----------
    path : Path
        As for `prediction_table`.
    names : sequence of str
        Names wanted, each once.

    Returns
    -------
    scores : ndarray of shape (n_names,), float64

    Raises
    ------
    TableError
        If the table cannot be read or columns are missing.
    BadRowsError
        If a name is empty or stands twice, a score is no finite number, or a name is
        wanted or given alone.
    """
    keys = pd.Index([(name,) for name in names], tupleize_cols=False)
    found = read_by_key(prediction_table(path), "prediction", ("audio",), once=True)
    return join_by_key(pd.Series(np.nan, index=keys), found)[1]


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
