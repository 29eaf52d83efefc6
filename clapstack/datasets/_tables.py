"""Reading tables of pairs and ratings, row by row and never in silence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils import Bunch

_SHOWN = 10


def refuse_rows(
    bad: pd.Series[bool], table: pd.DataFrame, key: str, source: str, what: str
) -> None:
    """Raise a ValueError that names the bad rows of a table.

    Parameters
    ----------
    bad : Series of bool
        Which rows; in the order of `table`.
    table : DataFrame
        The table, one row per line of its file.
    key : str
        Column that names a row.
    source : str
        Path of the file.
    what : str
        What is wrong, and after ``|`` what to do about it.
    """
    lines = bad.to_numpy(dtype=bool).nonzero()[0]
    if lines.size:
        rows = [
            f"line {line + 2} ({name})"
            for line, name in zip(lines, table[key].iloc[lines], strict=True)
        ]
        fault, _, remedy = what.partition("|")
        msg = f"{source!r}: {fault} in {shorten(rows)}. {remedy}"
        raise ValueError(msg)


def refuse_texts_and_scores(
    table: pd.DataFrame, key: str, score: str, source: str
) -> pd.DataFrame:
    """Return the table with numeric scores; refuse empty texts and wrong scores."""
    blank = table["text"].str.strip() == ""
    refuse_rows(blank, table, key, source, "the text is empty|Fill it in.")
    if score not in table:
        return table
    numbers = pd.to_numeric(table[score], errors="coerce")
    what = "the score is not a number from 0 to 10|Correct it."
    refuse_rows(~numbers.between(0, 10), table, key, source, what)
    return table.assign(**{score: numbers})


def shorten(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    shown = ", ".join(names[:_SHOWN])
    more = len(names) - _SHOWN
    return shown if more <= 0 else f"{shown} and {more} more"


def take_pairs(data: Bunch, rows: NDArray[np.intp]) -> Bunch:
    """Return some pairs of loaded data, in the order of `rows`, with their ratings.

    What else the data holds per pair is taken along; what it holds as a whole stays.
    """
    n_pairs = len(data.X)
    taken = Bunch(**data)
    for name, values in data.items():
        if isinstance(values, np.ndarray) and len(values) == n_pairs:
            taken[name] = values[rows]
    taken.X = data.X.iloc[rows].reset_index(drop=True)
    if data.ratings is not None:
        place = np.full(n_pairs, -1)
        place[rows] = np.arange(len(rows))
        pair = place[data.ratings["pair"]]
        kept = data.ratings[pair >= 0].assign(pair=pair[pair >= 0])
        taken.ratings = kept.sort_values("pair", kind="stable", ignore_index=True)
    return taken
