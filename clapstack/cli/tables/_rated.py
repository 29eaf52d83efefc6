"""Reading of rated pairs, and of predictions to evaluate, from tables."""

from __future__ import annotations

import math
import re
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

# The fewest pairs with published results, in the guide.
_FEW = 50
# Empty cells of CSV and of JSON or Parquet.
_EMPTY = ("", None)

__all__ = [
    "Rated",
    "check_ratings_differ",
    "few_pairs",
    "join_by_key",
    "read_by_key",
    "read_rated",
    "remarks",
]

_COMMA = ((re.compile(r"'-?\d+,\d+'"), " Use a decimal point."),)


class Rated(NamedTuple):
    """Pairs with their ratings.

    Attributes
    ----------
    pairs : DataFrame of shape (n_pairs, 2)
        Columns ``audio`` and ``text``; the index is the number of the first row of each
        pair.
    y : ndarray of shape (n_pairs,), or DataFrame of shape (n_pairs, n_axes), float64
        Ratings, averaged if a pair has several. With axes, one column per axis, and NaN
        for missing ratings.
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
    """Read pairs and their ratings, merging repeated pairs.

    Two rows are the same pair if their clips have the same content (or the same path,
    if unreadable) and their texts differ at most in white space or Unicode form.
    `groups` names the column of groups, which may be ``"audio"`` or ``"text"``; `axes`
    name the columns of ratings, at least one of which must be filled in each row. Rows
    without any rating, ratings that are not finite numbers, rows without a group and
    pairs in two groups raise a BadRowsError. With `skip_unrated`, rows without any
    rating are left out.
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
                f"{table.name}, {_place(row)}: the pair is in two groups, "
                f"{of_pair[pair]!r} and {group!r}. Give all its rows the same group."
            )
            raise BadRowsError(msg)
    _refuse_rows(wrong, f"{table.name}: the rating is not a finite number in", _COMMA)
    words = f"{table.name}: the columns {', '.join(map(repr, axes))} are all empty in"
    _refuse_rows(unrated, words)
    words = f"{table.name}: the group column {groups!r} is empty in"
    _refuse_rows(alone, words)
    if not firsts:
        msg = f"{table.name} has no ratings in {', '.join(map(repr, axes))}."
        raise BadRowsError(msg)
    means = [[_mean(axis) for axis in np.transpose(r)] for r in ratings.values()]
    y = pd.DataFrame(means, columns=list(axes)) if axes else np.ravel(means)
    named = np.array(list(of_pair.values())) if groups else None
    return Rated(pairs_of(firsts), y, named, n_ratings)


def _mean(ratings: Iterable[float]) -> float:
    """Return the mean of the ratings that are not NaN, or NaN."""
    there = [rating for rating in ratings if not math.isnan(rating)]
    return float(np.mean(there)) if there else math.nan


def check_ratings_differ(rated: Rated, name: str) -> None:
    """Raise a BadRowsError if all ratings, or all of one axis, are the same."""
    y = rated.y
    axes = {f" of {a!r}": y[a] for a in y} if isinstance(y, pd.DataFrame) else {"": y}
    for axis, column in axes.items():
        values = np.unique(np.asarray(column)[~np.isnan(column)])
        if len(values) == 1:
            msg = (
                f"{name}: all ratings{axis} are {values[0]:g}, so there is nothing to "
                "learn. Add pairs with other ratings."
            )
            raise BadRowsError(msg)


def few_pairs(n_pairs: int) -> str:
    """Return a warning about a small number of training pairs, else ""."""
    if n_pairs >= _FEW:
        return ""
    pairs = "1 pair is" if n_pairs == 1 else f"{n_pairs} pairs are"
    return (
        f"{pairs} few. Models of fewer than {_FEW} pairs are untested, and their "
        "metrics are inaccurate. Add rated pairs."
    )


def remarks(rated: Rated) -> list[str]:
    """Return remarks about rated pairs, for the user to read before a fit.

    They concern averaged ratings, and pairs that share texts or clips without groups.
    """
    words = []
    n_pairs = len(rated.y)
    if rated.n_ratings > n_pairs:
        words.append(
            f"{rated.n_ratings:,} rows with {n_pairs:,} distinct pairs: the ratings of "
            "repeated pairs are averaged"
        )
    identities: dict[str, Callable[[Any], str]] = {
        "text": text_identity,
        "audio": clip_identity,
    }
    for column, identity in identities.items() if rated.groups is None else ():
        cells = [cell for cell in rated.pairs[column] if isinstance(cell, str) and cell]
        # As objects, since Arrow strings refuse invalid UTF-8.
        shared = pd.Series(list(map(identity, cells)), dtype=object)
        n_shared = int(shared.duplicated(keep=False).sum())
        if n_shared:
            words.append(
                f"{n_shared:,} of {n_pairs:,} pairs share their {column} with another "
                f"pair; --groups {column} keeps them in the same fold"
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
    """Read the numbers of a role, ``"score"`` or ``"prediction"``, by key.

    Parameters
    ----------
    keys : sequence of str
        Columns of the key, or the roles ``audio`` and ``text``.
    resolved : callable, default=None
        Returns the path of a clip, so that ``a.wav``, ``./a.wav`` and ``/folder/a.wav``
        are the same clip in both tables. None compares names as they are.
    once : bool, default=False
        Whether to refuse a second rating of a key, and empty predictions. Otherwise,
        ratings of the same key are averaged. A second prediction is always refused.
    gaps : bool, default=False
        Whether ratings may be empty, as on one of several axes.

    Returns
    -------
    numbers : Series of float64
        Numbers indexed by key, a tuple, with NaN for empty cells. Its name is that of
        the table.
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
    _refuse_rows(wrong, f"{table.name}: the {role} is not a finite number in", _COMMA)
    _refuse_rows(nameless, f"{table.name}: the key is empty in")
    _refuse_rows(twice, f"{table.name}: there is a second {role} for the same key in")
    index = pd.Index(list(found), tupleize_cols=False)
    means = [_mean(each) for each in found.values()]
    return pd.Series(means, index=index, name=table.name)


def _key(name: str, cell: Any, resolved: Callable[[Any], Any] | None) -> str | None:
    """Return a part of a key, or None for an empty cell."""
    identity = group_identity(cell)
    if identity is None or not isinstance(cell, str):
        return identity
    if name == "audio" and resolved is not None:
        return resolved_path(resolved(cell))
    return identity if name == "text" else cell


def join_by_key(truth: pd.Series, scores: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return true and predicted scores of the same keys; refuse unmatched keys.

    Both arguments are results of `read_by_key`. Predictions may be NaN.
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
        msg = (
            f"{', and '.join(faults)}. The table of predictions must have every rated "
            "pair once, and no others."
        )
        raise BadRowsError(msg)
    order = {key: place for place, key in enumerate(scores.index)}
    places = [order[key] for key in truth.index]
    return truth.to_numpy(), scores.to_numpy()[places]


def _clip(row: Row) -> str:
    """Return the identity of a clip; an invalid one differs from all others."""
    is_path = isinstance(row.path, str) and row.path.strip()
    return clip_identity(row.path) if is_path else f"row {row.number}"


def _text(row: Row) -> str:
    """Return the identity of a text; an invalid one differs from all others."""
    is_text = isinstance(row.text, str) and row.text.strip()
    return text_identity(row.text) if is_text else f"row\n{row.number}"


def _place(row: Row) -> str:
    return (f"line {row.line}, " if row.line else "") + f"row {row.number}"


def _refuse_rows(
    rows: Sequence[tuple[Row, str]], words: str, hints: Sequence[tuple[Any, str]] = ()
) -> None:
    """Raise a BadRowsError that names rows; `hints` are added if a cell matches."""
    if rows:
        more = [hint for form, hint in hints if form.search(rows[0][1])]
        shown = first_few([f"row {row.number} ({cell})" for row, cell in rows])
        lines = [row.line for row, _ in rows if row.line]
        where = f" in line {first_few(lines)}" if lines else ""
        msg = f"{words} {shown}. Correct the table{where}.{''.join(more)}"
        raise BadRowsError(msg)
