"""Reading rows and columns of arrays, and of tables that compute their rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np

Rows: TypeAlias = "slice | np.ndarray"
Part: TypeAlias = "tuple[slice | np.ndarray, np.ndarray]"

_MANY_RUNS = 64


class LazyTable(ABC):
    """A numeric table whose rows are computed when they are read.

    Attributes
    ----------
    shape : tuple of (n_rows, n_columns)
        Size of the table.
    dtype : dtype
        Type of the values.
    columns : ndarray of str objects of shape (n_columns,)
        Names of the columns.
    """

    shape: tuple[int, int]
    dtype: np.dtype
    columns: np.ndarray

    @abstractmethod
    def reader(self, columns: np.ndarray) -> Callable[[Rows], Iterator[Part]]:
        """Return a function that yields selected rows and columns, in parts.

        Parameters
        ----------
        columns : ndarray of int of shape (n_taken,)
            Column numbers.

        Returns
        -------
        parts : callable
            Accepts a slice or an array of row numbers. For each part of `columns`,
            yields positions in `columns` and values of shape (n_rows, n_positions).
        """

    @abstractmethod
    def check(self, owner: str) -> None:
        """Raise an error for NaN and infinity, naming the estimator `owner`."""


def column_reader(X, columns: np.ndarray) -> Callable[[Rows], Iterator[Part]]:
    """Return the output of :meth:`LazyTable.reader`, also for arrays.

    Parts of an array are views if the rows are a slice and the columns are a few
    contiguous runs; otherwise, they are copies.
    """
    if isinstance(X, LazyTable):
        return X.reader(columns)
    runs = column_runs(columns)

    def parts(rows: Rows) -> Iterator[Part]:
        if not isinstance(rows, slice):
            yield slice(None), X[np.ix_(rows, columns)]
            return
        for here, there in runs:
            yield here, X[rows, there]

    return parts


def read_table(X, rows: Rows, columns: np.ndarray | None = None) -> np.ndarray:
    """Return rows and columns of a table as an array of its dtype, possibly a view."""
    if columns is None:
        columns = np.arange(X.shape[1])
    n_rows = len(range(*rows.indices(X.shape[0])) if isinstance(rows, slice) else rows)
    out = np.empty((n_rows, len(columns)), X.dtype)
    for where, values in column_reader(X, columns)(rows):
        if values.shape[1] == len(columns):
            return values
        out[:, where] = values
    return out


def row_slices(n_rows: int, step: int) -> list[slice]:
    """Cut rows into slices of `step` rows; the last one may be shorter."""
    return [slice(start, min(start + step, n_rows)) for start in range(0, n_rows, step)]


def as_slice(numbers: np.ndarray) -> Rows:
    """Return consecutive numbers as a slice, and other numbers unchanged."""
    if len(numbers) and np.all(np.diff(numbers) == 1):
        return slice(int(numbers[0]), int(numbers[-1]) + 1)
    return numbers


def column_runs(columns: np.ndarray) -> list[tuple[slice, Rows]]:
    """Cut columns into contiguous runs, as positions in `columns` and columns."""
    if not len(columns):
        return []
    breaks = np.flatnonzero(np.diff(columns) != 1) + 1
    starts = np.concatenate([[0], breaks])
    stops = np.concatenate([breaks, [len(columns)]])
    if len(starts) > _MANY_RUNS:
        return [(slice(None), columns)]
    return [
        (slice(a, b), slice(columns[a], columns[a] + b - a))
        for a, b in zip(starts, stops, strict=True)
    ]
