"""Computations on the usable rows of one partition, with errors for the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from clapstack.pairs import on_usable_rows

ERROR = "error"  # column with the reason why a row failed


def rows_frame(
    pairs: pd.DataFrame,
    function: Callable[[pd.DataFrame], np.ndarray],
    names: Sequence[str],
    dtype: Any,
    keep: Sequence[str],
) -> pd.DataFrame:
    """Compute columns for the usable rows, and report errors for the others.

    `function` accepts some rows of a partition and returns an array of shape (n_rows,
    n_names), or raises BadPairsError. The result has the index and the columns `keep`
    of `pairs`; `names`, NaN for failed rows; and ``error``, missing for other rows.
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
    """Call a function with the usable rows.

    A model stops at the first step that detects bad rows, and is called again without
    them. Embeddings computed before are in the store.

    Returns
    -------
    good : ndarray of int of shape (n_good,)
        Positions of the usable rows.
    computed : ndarray of shape (n_good, n_names) or None
        Output of the function for them; None if there are none.
    errors : ndarray of object of shape (n_pairs,)
        Reason why a row is unusable; None for the others.
    """
    usable = on_usable_rows(function, pairs)
    errors = np.full(len(pairs), None, dtype=object)
    for row in usable.bad:
        source = f"{row.source}: " if row.source else ""
        errors[row.position] = f"{source}{row.reason}"
    return usable.positions, usable.values, errors
