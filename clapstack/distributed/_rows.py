"""Computing on the usable rows of one partition, and naming the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from clapstack.pairs import on_usable_rows

ERROR = "error"  # the column that says why a row failed


def rows_frame(
    pairs: pd.DataFrame,
    function: Callable[[pd.DataFrame], np.ndarray],
    names: Sequence[str],
    dtype: Any,
    keep: Sequence[str],
) -> pd.DataFrame:
    """Compute columns for the rows that can be used, and say why the others cannot.

    `function` takes some rows of a partition and returns an array of shape (n_rows,
    n_names), or raises BadPairsError. The frame has the index and the columns `keep` of
    `pairs`; `names`, NaN where a row failed; and ``error``, missing where it did not.
    """
    values = np.full((len(pairs), len(names)), np.nan, dtype)
    good, computed, errors = try_rows(pairs, function)
    if len(good):
        values[good] = computed
    return pd.concat(
        [
            pairs[list(keep)],
            pd.DataFrame(values, index=pairs.index, columns=list(names)),
            pd.Series(errors, index=pairs.index, name=ERROR, dtype="string"),
        ],
        axis=1,
    )


def try_rows(
    pairs: pd.DataFrame, function: Callable[[pd.DataFrame], np.ndarray]
) -> tuple[np.ndarray, Any, np.ndarray]:
    """Call a function with the rows that can be used.

    A model stops at its first step that meets bad rows, so it is called again without
    them; what was encoded before is in the store.

    Returns
    -------
    good : ndarray of int of shape (n_good,)
        Positions of the rows that can be used.
    computed : ndarray of shape (n_good, n_names) or None
        What the function returned of them; None if there are none.
    errors : ndarray of object of shape (n_pairs,)
        Why a row cannot be used; None for the others.
    """
    usable = on_usable_rows(function, pairs)
    errors = np.full(len(pairs), None, dtype=object)
    for row in usable.bad:
        source = f"{row.source}: " if row.source else ""
        errors[row.position] = f"{source}{row.reason}"
    return usable.positions, usable.values, errors
