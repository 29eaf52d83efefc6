"""Computing on the rows of a table that can be used, and naming the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from clapstack._tabular._read import Row
from clapstack.exceptions import BadPair, BadPairsError

__all__ = ["Usable", "on_usable_rows", "pairs_of"]


class Usable(NamedTuple):
    """What was computed, and for which rows.

    Attributes
    ----------
    values : object
        What the function returned for the usable rows; None if there are none.
    positions : ndarray of int
        Where these rows stand in the table.
    bad : list of BadPair
        The others, with their positions in the table.
    """

    values: Any
    positions: np.ndarray
    bad: list[BadPair]


def pairs_of(rows: Sequence[Row]) -> pd.DataFrame:
    """Return rows as a frame of pairs; its index holds the numbers of the rows."""
    columns = {"audio": [row.path for row in rows], "text": [row.text for row in rows]}
    numbers = pd.Index([row.number for row in rows], dtype=object)
    return pd.DataFrame(columns, index=numbers, dtype=object)


def on_usable_rows(
    compute: Callable[[pd.DataFrame], Any], pairs: pd.DataFrame
) -> Usable:
    """Compute on the rows that can be used.

    A function that meets bad rows has stored all others by the time it says so; what
    it is asked again it looks up. Encoders may differ in what they can use, so it may
    be asked more than twice.

    Parameters
    ----------
    compute : callable
        Takes pairs, returns whatever it computes, or raises BadPairsError.
    pairs : DataFrame of shape (n_pairs, 2)
        Columns ``audio`` and ``text``.

    Returns
    -------
    usable : Usable
    """
    bad = [
        BadPair(i, pairs.index[i], f"audio {audio!r}", reason)
        for i, audio in enumerate(pairs["audio"])
        if (reason := _path_fault(audio))
    ]
    left = np.setdiff1d(np.arange(len(pairs)), [row.position for row in bad])
    values = None
    while len(left):
        try:
            values = compute(pairs.iloc[left])
            break
        except BadPairsError as error:
            bad += [r._replace(position=int(left[r.position])) for r in error.rows]
            left = np.delete(left, [row.position for row in error.rows])
    return Usable(values, left, sorted(bad, key=lambda row: row.position))


def _path_fault(audio: Any) -> str:
    if isinstance(audio, str) and audio.strip():
        return ""
    return "the audio must be the path of a file. Fill it in or drop the row."
