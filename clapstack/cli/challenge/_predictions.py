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

    It has ``wav_file_name`` (or ``wave_file_name``) as the role ``audio``, and
    ``pred_score`` (or ``prediction_score``); for ratings ``average_score`` (or
    ``average_semantic_alignement_score``).
    """
    remedy = "Rename the one that is meant"
    return PairTable(path, roles=("audio", role), remedy=remedy)


def read_predictions(path: Path, names: Sequence[str]) -> np.ndarray:
    """Read predictions in the order of `names`; refuse any without partner."""
    keys = pd.Index([(name,) for name in names], tupleize_cols=False)
    found = read_by_key(prediction_table(path), "prediction", ("audio",), once=True)
    return join_by_key(pd.Series(np.nan, index=keys), found)[1]


def write_predictions(path: Path, names: Sequence[str], scores: np.ndarray) -> None:
    """Write a submission, whole or not at all.

    With every digit: rounded scores would tie, and lose rank correlation.
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
