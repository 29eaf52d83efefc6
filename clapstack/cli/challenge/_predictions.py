"""Files of predictions by name of WAV file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from clapstack._output import write_text
from clapstack.cli.tables import join_by_key, read_by_key
from clapstack.scoring.tables import PairTable

# Spellings of the official code and of the page of the data set.
_NAMES = {
    "audio": ("wav_file_name", "wave_file_name"),
    "prediction": ("pred_score", "prediction_score"),
    "score": ("average_score", "average_semantic_alignement_score"),
}


def prediction_table(path: Path, role: str = "prediction") -> PairTable:
    """Return a table of predictions, or of ratings, by name of WAV file.

    `role` is ``"prediction"`` or ``"score"``; names have the role ``"audio"``.
    """
    roles, remedy = ("audio", role), "Rename the intended column"
    return PairTable(path, names=_NAMES, roles=roles, remedy=remedy)


def read_predictions(path: Path, names: Sequence[str]) -> np.ndarray:
    """Read predictions in the order of `names`; refuse rows without a partner."""
    keys = pd.Index([(name,) for name in names], tupleize_cols=False)
    found = read_by_key(prediction_table(path), "prediction", ("audio",), once=True)
    return join_by_key(pd.Series(np.nan, index=keys, name="the split"), found)[1]


def write_predictions(path: Path, names: Sequence[str], scores: np.ndarray) -> None:
    """Write a submission atomically.

    Scores keep all digits, because rounding creates ties that cost rank correlation.
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
