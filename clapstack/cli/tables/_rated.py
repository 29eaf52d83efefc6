"""Rated pairs, and predictions to be evaluated, from tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from clapstack._numerics.checks import first_few
from clapstack.exceptions import BadRowsError
from clapstack.pairs import (
    clip_identity,
    group_identity,
    resolved_path,
    text_identity,
)
from clapstack.scoring.tables import PairTable, Row, pairs_of
from clapstack.tables import to_number

# What an empty cell is in a table.
_EMPTY = ("", None)

__all__ = ["Rated", "join_by_key", "read_by_key", "read_rated", "remarks"]


class Rated(NamedTuple):
    """Pairs with their ratings.

    Attributes
    ----------
    pairs : DataFrame of shape (n_pairs, 2)
        Columns ``audio`` and ``text``; the index holds the number of the row where a
        pair stands first.
    y : ndarray of shape (n_pairs,), or DataFrame of shape (n_pairs, n_axes), float64
        Ratings; the mean where a pair has several. With axes a column each, and NaN
        where a pair is not rated.
    groups : ndarray of shape (n_pairs,) or None
        Group of each pair.
    n_ratings : int
        Rows of the table.
    """

    pairs: pd.DataFrame
    y: np.ndarray | pd.DataFrame
    groups: np.ndarray | None
    n_ratings: int


def read_rated(
    table: PairTable,
    groups: str | None = None,
    axes: Sequence[str] = (),
    *,
    skip_unrated: bool = False,
) -> Rated:
    """Read pairs and their ratings; a pair that comes several times is one pair.

    Two rows are one pair if their clips have one content, or one place where that
    cannot be read, and their texts differ in white space or Unicode form at most.
    `groups` names the column of groups, ``"audio"`` and ``"text"`` among them; `axes`
    name the columns of ratings, of which a row may leave all but one empty. A row that
    leaves all empty, ratings that are no finite numbers, rows without a group and pairs
    in two groups are a BadRowsError; with `skip_unrated` the first are left out.
    """
    ratings: dict[tuple[str, str], list[list[float]]] = {}
    of_pair: dict[tuple[str, str], str | None] = {}
    firsts, wrong, unrated, alone = [], [], [], []
    n_ratings = 0
    for row in table.rows():
        n_ratings += 1
        cells = [row.cells[name] for name in axes or ("score",)]
        rating = [to_number(cell) for cell in cells]
        given = [cell for cell in cells if not axes or cell not in _EMPTY]
        faults = [repr(cell) for cell in given if math.isnan(to_number(cell))]
        if faults:
            wrong.append((row, ", ".join(faults)))
        elif not given and not skip_unrated:
            unrated.append((row, repr(row.text)))
        if faults or not given:
            continue
        pair = clip, text = _clip(row), _text(row)
        if pair not in ratings:
            firsts.append(row)
        ratings.setdefault(pair, []).append(rating)
        if groups is None:
            continue
        usual = {"audio": clip, "text": text}
        group = usual.get(groups) or group_identity(row.cells.get(groups))
        if group is None:
            alone.append((row, repr(row.cells.get(groups))))
        elif of_pair.setdefault(pair, group) != group:
            msg = (
                f"{table.name}, {_place(row)}: the pair stands in the groups "
                f"{of_pair[pair]!r} and {group!r}. Give all its rows one group."
            )
            raise BadRowsError(msg)
    _refuse_rows(wrong, f"{table.name}: the rating is no finite number in")
    words = f"{table.name}: all of {', '.join(map(repr, axes))} are empty in"
    _refuse_rows(unrated, words)
    words = f"{table.name}: there is no group in the column {groups!r} in"
    _refuse_rows(alone, words)
    if not firsts:
        msg = f"{table.name} has no rating in {', '.join(map(repr, axes))}."
        raise BadRowsError(msg)
    means = [[_mean(axis) for axis in np.transpose(r)] for r in ratings.values()]
    y = pd.DataFrame(means, columns=list(axes)) if axes else np.ravel(means)
    named = np.array(list(of_pair.values())) if groups else None
    return Rated(pairs_of(firsts), y, named, n_ratings)


def _mean(ratings: Iterable[float]) -> float:
    """Return the mean of ratings that are there, NaN if there are none."""
    there = [rating for rating in ratings if not math.isnan(rating)]
    return float(np.mean(there)) if there else math.nan


def remarks(rated: Rated) -> list[str]:
    """Return what to know of rated pairs before they are dealt to folds.

    That ratings were averaged, and that pairs without groups share texts or clips.
    """
    words = []
    n_pairs = len(rated.y)
    if rated.n_ratings > n_pairs:
        words.append(
            f"{rated.n_ratings:,} ratings of {n_pairs:,} pairs; each pair has the mean"
        )
    identities: dict[str, Callable[[Any], str]] = {
        "text": text_identity,
        "audio": clip_identity,
    }
    for column, identity in identities.items() if rated.groups is None else ():
        cells = [cell for cell in rated.pairs[column] if isinstance(cell, str) and cell]
        # Of objects: Arrow's texts refuse what was no UTF-8.
        shared = pd.Series(list(map(identity, cells)), dtype=object)
        n_shared = int(shared.duplicated(keep=False).sum())
        if n_shared:
            words.append(
                f"{n_shared:,} of {n_pairs:,} pairs share their {column} with another; "
                f"--groups {column} keeps them in one fold"
            )
    return words


def read_by_key(
    table: PairTable,
    role: str,
    keys: Sequence[str],
    resolved: Callable[[Any], Any] | None = None,
    *,
    once: bool = False,
    gaps: bool = False,
) -> pd.Series:
    """Read numbers of a role, ``"score"`` or ``"prediction"``, by key.

    Parameters
    ----------
    keys : sequence of str
        Columns that make a key, or the roles ``audio`` and ``text``.
    resolved : callable, default=None
        Makes a path of a clip, so that ``a.wav``, ``./a.wav`` and ``/folder/a.wav`` are
        one clip in two tables that have the same. None takes names as they are.
    once : bool, default=False
        Whether a rating of a key that has one, or an empty prediction, is refused.
        Otherwise ratings of one key are averaged. A key has one prediction in any case.
    gaps : bool, default=False
        Whether a rating may be empty, as on one of several axes.

    Returns
    -------
    numbers : Series of float64
        By key, a tuple; NaN for what is empty. Its name is the table's.
    """
    found: dict[tuple[str, ...], list[float]] = {}
    wrong, twice, nameless = [], [], []
    for row in table.rows():
        cells = {"audio": row.audio, "text": row.text, **row.cells}
        parts = [_key(name, cells[name], resolved) for name in keys]
        cell = cells[role]
        value = to_number(cell)
        may_be_empty = gaps or (role == "prediction" and not once)
        if math.isnan(value) and not (may_be_empty and cell in _EMPTY):
            wrong.append((row, repr(cell)))
        key = tuple(part for part in parts if part is not None)
        if len(key) < len(keys):
            nameless.append((row, ", ".join(repr(cells[name]) for name in keys)))
            continue
        if key in found and (once or role == "prediction"):
            twice.append((row, ", ".join(key)))
        found.setdefault(key, []).append(value)
    _refuse_rows(wrong, f"{table.name}: the {role} is no finite number in")
    _refuse_rows(nameless, f"{table.name}: a cell of the key is empty in")
    _refuse_rows(twice, f"{table.name}: a {role} for the same key stands before")
    index = pd.Index(list(found), tupleize_cols=False)
    means = [_mean(each) for each in found.values()]
    return pd.Series(means, index=index, name=table.name)


def _key(name: str, cell: Any, resolved: Callable[[Any], Any] | None) -> str | None:
    """Return a part of a key; None if the cell names nothing."""
    identity = group_identity(cell)
    if identity is None or not isinstance(cell, str):
        return identity
    if name == "audio" and resolved is not None:
        return resolved_path(resolved(cell))
    return identity if name == "text" else cell


def join_by_key(truth: pd.Series, scores: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return true and predicted scores of the same keys; refuse any without partner.

    Both are as from `read_by_key`. Predictions may be NaN.
    """
    faults = []
    for table, what, wanted, given in (
        (scores.name, "prediction", truth, scores),
        (truth.name, "row", scores, truth),
    ):
        have = set(given.index)
        alone = [", ".join(key) for key in wanted.index if key not in have]
        if alone:
            count = f"{len(alone):,} of {len(wanted):,}"
            faults.append(f"{table} has no {what} for {first_few(alone)} ({count})")
    if faults:
        msg = f"{', and '.join(faults)}. Predict every pair once, and nothing else."
        raise BadRowsError(msg)
    order = {key: place for place, key in enumerate(scores.index)}
    places = [order[key] for key in truth.index]
    return truth.to_numpy(), scores.to_numpy()[places]


def _clip(row: Row) -> str:
    """Return the identity of a clip; one that is none is like no other."""
    is_path = isinstance(row.path, str) and row.path.strip()
    return clip_identity(row.path) if is_path else f"row {row.number}"


def _text(row: Row) -> str:
    """Return the identity of a text; one that cannot be used is like no other."""
    is_text = isinstance(row.text, str) and row.text.strip()
    return text_identity(row.text) if is_text else f"row\n{row.number}"


def _place(row: Row) -> str:
    return (f"line {row.line}, " if row.line else "") + f"row {row.number}"


def _refuse_rows(rows: Sequence[tuple[Row, str]], words: str) -> None:
    if rows:
        shown = first_few([f"row {row.number} ({cell})" for row, cell in rows])
        lines = [row.line for row, _ in rows if row.line]
        where = f" in line {first_few(lines)}" if lines else ""
        msg = f"{words} {shown}. Correct the table{where}."
        raise BadRowsError(msg)
