"""Rated pairs from a table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from clapstack._report._model import Data
from clapstack._tabular import PairTable, read_rated
from clapstack._tabular._models import file_digest


def read_data(
    path: Path,
    *,
    audio_folder: Path | None = None,
    names: Mapping[str, str | None] | None = None,
) -> Data:
    """Read rated pairs from a file.

    Parameters
    ----------
    path : Path
        A CSV, JSON Lines or Parquet file. Ratings of one pair are averaged.
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
    rated = read_rated(table)
    return Data(path.name, rated.pairs, rated.y, file_digest(path))
