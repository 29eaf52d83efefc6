"""Frames of pandas and of polars, which nothing here has to import."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import pandas as pd


def is_polars(X: Any) -> bool:
    """Tell whether `X` is a polars DataFrame."""
    polars = sys.modules.get("polars")
    return polars is not None and isinstance(X, polars.DataFrame)


def to_pandas(X: Any, columns: Sequence[str]) -> pd.DataFrame:
    """Return some columns of a frame of either kind as a pandas DataFrame.

    Those of a polars frame become Python objects: lists, dicts and None.
    """
    if not is_polars(X):
        return X[list(columns)]
    return pd.DataFrame(
        {
            name: pd.Series(X.get_column(name).to_list(), dtype=object)
            for name in columns
        }
    )
