"""Tables of pandas, polars, Arrow and datasets; pandas alone is imported."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import pandas as pd

# Who holds one of these has imported its module.
_FRAMES = (
    ("polars", "DataFrame"),
    ("pyarrow", "Table"),
    ("pyarrow", "RecordBatch"),
    ("datasets", "Dataset"),
)


def is_frame(X: Any) -> bool:
    """Return whether `X` is a table of pandas, polars, Arrow or datasets."""
    return isinstance(X, pd.DataFrame) or any(
        _is_of(X, module, name) for module, name in _FRAMES
    )


def is_polars(X: Any) -> bool:
    """Return whether `X` is a polars DataFrame."""
    return _is_of(X, "polars", "DataFrame")


def columns_of(X: Any) -> list[Any]:
    """Return the names of the columns of such a table, in order."""
    if isinstance(X, pd.DataFrame) or is_polars(X):
        return list(X.columns)
    if _is_of(X, "datasets", "Dataset"):
        return list(X.column_names)
    return list(X.schema.names)


def to_pandas(X: Any, columns: Sequence[str]) -> pd.DataFrame:
    """Return some columns of such a table as a pandas DataFrame.

    Cells of other tables than pandas' become Python objects: lists, dicts and None.
    Audio columns of a Dataset are not decoded, so that a clip is read here as its file
    would be, and by one decoder.
    """
    if isinstance(X, pd.DataFrame):
        return X[list(columns)]
    if _is_of(X, "datasets", "Dataset"):
        cells = _of_dataset(X, columns)
    elif is_polars(X):
        cells = {name: X.get_column(name).to_list() for name in columns}
    else:
        cells = {name: X.column(name).to_pylist() for name in columns}
    return pd.DataFrame(
        {name: pd.Series(column, dtype=object) for name, column in cells.items()}
    )


def _of_dataset(X: Any, columns: Sequence[str]) -> dict[str, list[Any]]:
    from datasets import Audio

    X = X.with_format(None).select_columns(list(columns))
    for name in columns:
        if isinstance(X.features[name], Audio):
            X = X.cast_column(name, Audio(decode=False))
    return {name: list(X[name]) for name in columns}


def _is_of(X: Any, module: str, name: str) -> bool:
    kind = getattr(sys.modules.get(module), name, None)
    return kind is not None and isinstance(X, kind)
