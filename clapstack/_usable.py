"""Computing on the pairs that can be used, and naming the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from clapstack.exceptions import BadPair, BadPairsError

__all__ = ["Usable", "on_usable_rows"]


class Usable(NamedTuple):
    """What was computed, and for which rows.

    Attributes
    ----------
    values : object
        What the function returned for the usable rows; None if there are none.
    positions : ndarray of int
        Where these rows stand in the table.
    bad : list of BadPair
        The others, with their positions in the table, in order.
    """

    values: Any
    positions: np.ndarray
    bad: list[BadPair]


def on_usable_rows(
    compute: Callable[[pd.DataFrame], Any],
    pairs: pd.DataFrame,
    known: Iterable[BadPair] = (),
) -> Usable:
    """Compute on the rows that can be used.

    A function that meets bad rows has stored all others by the time it says so; what
    it is asked again it looks up. Encoders may differ in what they can use, so it may
    be asked more than twice.

    Parameters
    ----------
    compute : callable
        Takes pairs, returns whatever it computes, or raises BadPairsError.
    pairs : DataFrame of shape (n_pairs, n_columns)
        With the columns ``audio`` and ``text``.
    known : iterable of BadPair, default=()
        Rows that are known not to be usable; they are not tried.

    Returns
    -------
    usable : Usable
    """
    bad = list(known)
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
