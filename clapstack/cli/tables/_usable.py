"""Rows of a table as pairs, and computing on those that can be used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from clapstack.cli.tables._read import Row
from clapstack.exceptions import BadPair
from clapstack.pairs import Usable, on_usable_rows

__all__ = ["on_usable_files", "pairs_of"]


def pairs_of(rows: Sequence[Row]) -> pd.DataFrame:
    """Return rows as a frame of pairs; its index holds the numbers of the rows."""
    columns = {"audio": [row.path for row in rows], "text": [row.text for row in rows]}
    # Of objects: NumPy's integers would show as np.int64(0) in messages.
    numbers = pd.Index([row.number for row in rows], dtype=object)
    return pd.DataFrame(columns, index=numbers, dtype=object)


def on_usable_files(
    compute: Callable[[pd.DataFrame], Any], pairs: pd.DataFrame
) -> Usable:
    """Compute on the pairs that can be used, of which the audio must be a file.

    `compute` takes pairs and returns anything, or raises BadPairsError.
    """
    no_paths = [
        BadPair(i, pairs.index[i], f"audio {audio!r}", reason)
        for i, audio in enumerate(pairs["audio"])
        if (reason := _path_fault(audio))
    ]
    return on_usable_rows(compute, pairs, no_paths)


def _path_fault(audio: Any) -> str:
    if isinstance(audio, str) and audio.strip():
        return ""
    return "the audio must be the path of a file. Fill it in or drop the row."
