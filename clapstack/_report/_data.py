"""Rated pairs from a table, and where a model encodes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clapstack._report._model import Data, file_sha256

_COLUMNS = ("audio", "text", "score")
_SHOWN = 5


def read_data(path: Path, audio_folder: Path | None = None) -> Data:
    """Read rated pairs from a CSV.

    Parameters
    ----------
    path : Path
        With the columns ``audio``, ``text`` and ``score``; others are ignored.
    audio_folder : Path, default=None
        What relative paths of clips are relative to; None is the folder of the table.

    Returns
    -------
    data : Data

    Raises
    ------
    ValueError
        If there is no row, a column is missing, or a score is no finite number; rows
        are named, counted from 0 without the header.
    """
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    missing = [name for name in _COLUMNS if name not in table]
    if missing:
        msg = (
            f"{path} must have the columns {list(_COLUMNS)}; missing {missing}, got "
            f"{list(table.columns)}. Rename yours."
        )
        raise ValueError(msg)
    if table.empty:
        msg = f"{path} has no rows; rated pairs are needed."
        raise ValueError(msg)
    scores = pd.to_numeric(table["score"], errors="coerce").to_numpy(dtype=np.float64)
    wrong = np.flatnonzero(~np.isfinite(scores))
    if wrong.size:
        rows = ", ".join(f"{row} ({table['score'][row]!r})" for row in wrong[:_SHOWN])
        more = f" and {wrong.size - _SHOWN} more" if wrong.size > _SHOWN else ""
        msg = f"{path}: the score is no finite number in row {rows}{more}. Correct it."
        raise ValueError(msg)
    folder = path.parent if audio_folder is None else audio_folder
    audio = [str(folder / clip) for clip in table["audio"]]
    pairs = pd.DataFrame({"audio": audio, "text": table["text"]})
    return Data(path.name, pairs, scores, file_sha256(path))


def set_device(model: Any, device: str) -> None:
    """Set where the encoders of a model run; the scores do not depend on it."""
    names = [
        name
        for name in model.get_params(deep=True)
        if name == "device" or name.endswith("__device")
    ]
    model.set_params(**dict.fromkeys(names, device))
