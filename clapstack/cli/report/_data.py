"""Rated pairs from a table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clapstack._compat import file_digest
from clapstack.cli.report._model import Data
from clapstack.cli.tables import PairTable, read_rated
from clapstack.cli.tables._models import keep_keys


def read_data(
    path: Path,
    model: Any = None,
    *,
    audio_folder: Path | None = None,
    names: Mapping[str, str | None] | None = None,
) -> Data:
    """Read rated pairs from a file.

    Parameters
    ----------
    path : Path
        A CSV, JSON Lines or Parquet file. Ratings of one pair are averaged.
    model : estimator, default=None
        What the pairs judge. If it finds clips by key, they are left as they are; None
        is a model that reads clips.
    audio_folder : Path, default=None
        What relative paths of clips are relative to; None is the folder of the table.
    names : mapping of str to str or None, default=None
        Names of the columns by role: ``audio``, ``text``, ``score``.

    Returns
    -------
    data : Data

    Raises
    ------
    ValueError
        If there is no row, a column is missing, or a score is no finite number; rows
        are named.
    """
    table = PairTable(
        path,
        audio_folder=audio_folder,
        names=names,
        roles=("audio", "text", "score"),
    )
    if model is not None:
        keep_keys(table, model, audio_folder)
    rated = read_rated(table)
    return Data(path.name, rated.pairs, rated.y, file_digest(path))
