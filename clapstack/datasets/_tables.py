"""Checks of tables of pairs and ratings, and subsets of loaded data."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils import Bunch

from clapstack._numerics.checks import first_few
from clapstack.tables import refuse_rows, to_number


class RatedPairs(Bunch):  # type: ignore[misc]
    """Loaded pairs, as a Bunch that prints one line per entry."""

    def __repr__(self) -> str:
        lines = []
        for name, value in self.items():
            kind = type(value).__name__
            if isinstance(value, pd.DataFrame):
                words = (
                    f"{kind}, {len(value):,} rows: {', '.join(map(str, value.columns))}"
                )
            elif isinstance(value, np.ndarray):
                is_float = value.dtype.kind == "f"
                shown = (
                    f"mean {value.mean():.2f}"
                    if is_float
                    else first_few(pd.unique(value))
                )
                words = f"{kind}, {len(value):,} of {value.dtype}: {shown}"
            else:
                words = repr(value)
            lines.append(f"{name:<10} {words}")
        return "\n".join(lines)


def refuse_texts_and_scores(
    table: pd.DataFrame, key: str, score: str, source: str
) -> pd.DataFrame:
    """Return the table with numeric scores; reject unusable texts and wrong scores."""
    for column, what in ((key, "name of the clip"), ("text", "text")):
        blank = [not cell or not cell.strip() for cell in table[column]]
        refuse_rows(blank, table, key, source, f"the {what} is empty|Fill it in.")
    broken = [not _is_unicode(text) for text in table["text"]]
    what = "the text is not UTF-8|Save the table as UTF-8."
    refuse_rows(broken, table, key, source, what)
    if score not in table:
        return table
    numbers = table[score].map(to_number).astype(float)
    what = "the score is not a number from 0 to 10|Write it like 7.5."
    refuse_rows(~numbers.between(0, 10), table, key, source, what)
    return table.assign(**{score: numbers})


def refuse_nameless_listeners(table: pd.DataFrame, key: str, source: str) -> None:
    """Reject ratings without a listener: they would count as one person's."""
    nameless = table["listener_id"].str.strip() == ""
    what = "the listener_id is empty|Fill it in, or remove the column."
    refuse_rows(nameless, table, key, source, what)


def clip_name_identity(name: str) -> str:
    """Return a clip's name in a normal form: ``./a.wav`` becomes ``a.wav``."""
    return os.path.normpath(unicodedata.normalize("NFC", name))


def clip_file(folder: Path, name: str) -> Path:
    """Return the file of a clip, in any Unicode form of its name.

    Archives created on a Mac may have accents in another form (NFD) than the table
    (NFC).
    """
    spellings = (name, *(unicodedata.normalize(form, name) for form in ("NFC", "NFD")))
    paths = [folder / spelling for spelling in spellings]
    return next((path for path in paths if path.is_file()), paths[0])


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def take_pairs(data: Bunch, rows: NDArray[np.intp]) -> Bunch:
    """Return some pairs of loaded data, in the order of `rows`, with their ratings.

    Other entries per pair are selected too; entries for the whole data are kept.
    """
    n_pairs = len(data.X)
    taken = RatedPairs(**data)
    for name, values in data.items():
        if isinstance(values, np.ndarray) and len(values) == n_pairs:
            taken[name] = values[rows]
        elif isinstance(values, pd.DataFrame) and name in ("X", "y"):
            taken[name] = values.iloc[rows].reset_index(drop=True)
    if data.ratings is not None:
        place = np.full(n_pairs, -1)
        place[rows] = np.arange(len(rows))
        pair = place[data.ratings["pair"]]
        kept = data.ratings[pair >= 0].assign(pair=pair[pair >= 0])
        taken.ratings = kept.sort_values("pair", kind="stable", ignore_index=True)
    return taken
