"""Rated pairs, and predictions to be judged, from tables."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from clapstack._tabular._read import PairTable
from clapstack._tabular._usable import pairs_of

__all__ = ["Rated", "join_by_key", "read_by_key", "read_rated", "remarks"]

_SHOWN = 5


class Rated(NamedTuple):
    """Pairs with their ratings.

    Attributes
    ----------
    pairs : DataFrame of shape (n_pairs, 2)
        Columns ``audio`` and ``text``; the index holds the number of the row where a
        pair stands first.
    y : ndarray of shape (n_pairs,), float64
        Ratings; the mean where a pair has several.
    groups : ndarray of shape (n_pairs,) or None
        Group of each pair.
    n_ratings : int
        Rows of the table.
    """

    pairs: pd.DataFrame
    y: np.ndarray
    groups: np.ndarray | None
    n_ratings: int


def read_rated(table: PairTable, groups: str | None = None) -> Rated:
    """Read pairs and their ratings; a pair that comes several times is one pair.

    Parameters
    ----------
    table : PairTable
        With the roles ``audio``, ``text`` and ``score``.
    groups : str, default=None
        Which of its other columns holds groups; ``"audio"`` and ``"text"`` too.

    Returns
    -------
    rated : Rated

    Raises
    ------
    ValueError
        If there is no row, a rating is no finite number (rows are named), or a pair
        stands in two groups.
    """
    ratings: dict[tuple[Any, Any], list[float]] = {}
    of_pair: dict[tuple[Any, Any], Any] = {}
    firsts, wrong = [], []
    n_ratings = 0
    for row in table.rows():
        n_ratings += 1
        rating = number(row.cells["score"])
        if math.isnan(rating):
            wrong.append(f"row {row.number} ({row.cells['score']!r})")
            continue
        pair = (str(row.path), str(row.text))
        if pair not in ratings:
            firsts.append(row)
        ratings.setdefault(pair, []).append(rating)
        usual = {"audio": row.path, "text": row.text}
        group = {**usual, **row.cells}.get(groups) if groups else None
        if of_pair.setdefault(pair, group) != group:
            msg = (
                f"{table.name}, row {row.number}: the pair stands in the groups "
                f"{of_pair[pair]!r} and {group!r}. Give all its rows one group."
            )
            raise ValueError(msg)
    _refuse(wrong, f"{table.name}: the rating is no finite number in")
    if not firsts:
        msg = f"{table.name} has no rows; pairs with ratings are needed."
        raise ValueError(msg)
    y = np.array([np.mean(each) for each in ratings.values()])
    named = np.array([str(g) for g in of_pair.values()]) if groups else None
    return Rated(pairs_of(firsts), y, named, n_ratings)


def remarks(rated: Rated) -> list[str]:
    """Return what is to be known of rated pairs before they are dealt to folds.

    Parameters
    ----------
    rated : Rated
        Pairs.

    Returns
    -------
    remarks : list of str
        That ratings were averaged, and that pairs without groups share texts or clips.
    """
    words = []
    n_pairs = len(rated.y)
    if rated.n_ratings > n_pairs:
        words.append(
            f"{rated.n_ratings:,} ratings of {n_pairs:,} pairs; each pair has the mean"
        )
    for column in ("text", "audio") if rated.groups is None else ():
        n_shared = int(rated.pairs[column].duplicated(keep=False).sum())
        if n_shared:
            words.append(
                f"{n_shared:,} of {n_pairs:,} pairs share their {column} with another; "
                f"--groups {column} keeps them in one fold"
            )
    return words


def read_by_key(table: PairTable, role: str, keys: Sequence[str]) -> pd.Series:
    """Read numbers by key.

    Parameters
    ----------
    table : PairTable
        With the role `role`, and `keys` among its columns.
    role : {"score", "prediction"}
        Which numbers. Ratings of the same key are averaged; predictions must be one.
    keys : sequence of str
        Columns that make a key, or roles. None of them means audio and text.

    Returns
    -------
    numbers : Series of float64
        By key, a tuple; NaN for a prediction that is empty.

    Raises
    ------
    ValueError
        If a number is none, or there are two predictions for one key; rows are named.
    """
    found: dict[Hashable, list[float]] = {}
    wrong, twice = [], []
    for row in table.rows():
        cells = {"audio": row.audio, "text": row.text, **row.cells}
        key = tuple(str(cells[name]) for name in keys)
        cell = cells[role]
        value = number(cell)
        if math.isnan(value) and not (role == "prediction" and cell in ("", None)):
            wrong.append(f"row {row.number} ({cell!r})")
        if role == "prediction" and key in found:
            twice.append(f"row {row.number} ({', '.join(key)})")
        found.setdefault(key, []).append(value)
    _refuse(wrong, f"{table.name}: the {role} is no finite number in")
    _refuse(twice, f"{table.name}: a prediction for the same key stands before")
    index = pd.Index(list(found), tupleize_cols=False)
    return pd.Series([float(np.mean(each)) for each in found.values()], index=index)


def join_by_key(truth: pd.Series, scores: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return true and predicted scores of the same keys; refuse any without partner.

    Parameters
    ----------
    truth, scores : Series
        By key, as from `read_by_key`.

    Returns
    -------
    y_true, y_score : ndarray of shape (n_pairs,)
        Predictions may be NaN.

    Raises
    ------
    ValueError
        With keys that only one of the two has.
    """
    have = set(scores.index)
    lacking = [", ".join(key) for key in truth.index if key not in have]
    _refuse(lacking, "there is no prediction for")
    rated = set(truth.index)
    unknown = [", ".join(key) for key in scores.index if key not in rated]
    _refuse(unknown, "there is no rating for")
    order = {key: place for place, key in enumerate(scores.index)}
    places = [order[key] for key in truth.index]
    return truth.to_numpy(), scores.to_numpy()[places]


def number(cell: Any) -> float:
    """Return the finite number that a cell stands for, or NaN."""
    try:
        value = float(cell)
    except (TypeError, ValueError):
        return math.nan
    return value if math.isfinite(value) else math.nan


def _refuse(what: Sequence[str], words: str) -> None:
    if what:
        shown = ", ".join(what[:_SHOWN])
        more = f" and {len(what) - _SHOWN} more" if len(what) > _SHOWN else ""
        msg = f"{words} {shown}{more}. Correct the table."
        raise ValueError(msg)
