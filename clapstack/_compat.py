"""Compatibility with Python, scikit-learn and table libraries.

Private scikit-learn names, backports such as ``itertools.batched`` (Python 3.12), and
access to tables of pandas, polars, Arrow and datasets, of which only pandas is
imported.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import wraps
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from sklearn import config_context, get_config
from sklearn.utils import _safe_indexing
from sklearn.utils._param_validation import (
    HasMethods,
    Hidden,
    Interval,
    Options,
    StrOptions,
)
from sklearn.utils._set_output import _get_output_config

__all__ = [
    "HasMethods",
    "Hidden",
    "Interval",
    "Options",
    "StrOptions",
    "_fit_context",
    "_get_output_config",
    "_safe_indexing",
    "asking_for_weights",
    "axis_names",
    "batched",
    "cells_of",
    "columns_of",
    "file_digest",
    "is_dataset",
    "is_frame",
    "is_polars",
    "routing_is_on",
    "to_pandas",
]

T = TypeVar("T")
# Whoever has one of these objects has already imported its module.
_FRAMES = (
    ("polars", "DataFrame"),
    ("pyarrow", "Table"),
    ("pyarrow", "RecordBatch"),
    ("datasets", "Dataset"),
)
_CELLS = 64  # cells of a Dataset read at once; they may contain clips


def _fit_context(*, prefer_skip_nested_validation):
    """Return a decorator that checks parameters before a fit and undoes a failed fit.

    A fit sets attributes as it proceeds, starting with the width of `X`. Without the
    reset, a fit that fails halfway would pass `check_is_fitted` and mix attributes of
    two fits. This replaces scikit-learn's decorator instead of wrapping it, because the
    `stacklevel` of warnings counts the calls in between.

    Parameters
    ----------
    prefer_skip_nested_validation : bool
        Whether to skip the parameter checks of estimators fitted within this fit.
    """

    def decorator(fit_method):
        @wraps(fit_method)
        def wrapper(estimator, *args, **kwargs):
            skip = get_config()["skip_parameter_validation"]
            # A shallow copy is enough: fits replace attributes and never edit them.
            before = vars(estimator).copy()
            try:
                if not skip:
                    estimator._validate_params()
                nested = skip or prefer_skip_nested_validation
                with config_context(skip_parameter_validation=nested):
                    return fit_method(estimator, *args, **kwargs)
            except BaseException:
                vars(estimator).clear()
                vars(estimator).update(before)
                raise

        return wrapper

    return decorator


def routing_is_on():
    """Return whether scikit-learn routes sample weights and other metadata."""
    return get_config()["enable_metadata_routing"]


def asking_for_weights(estimator):
    """Return one of our own regressors, requesting weights if routing is enabled."""
    if routing_is_on():
        estimator.set_fit_request(sample_weight=True)
    return estimator


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of `size` items; the last one may be shorter.

    Same as ``itertools.batched`` in Python 3.12.

    Examples
    --------
    >>> from clapstack._compat import batched
    >>> list(batched("abcde", 2))
    [['a', 'b'], ['c', 'd'], ['e']]
    """
    remaining = iter(items)
    while batch := list(islice(remaining, size)):
        yield batch


def file_digest(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file, in hexadecimal.

    Same as ``hashlib.file_digest`` in Python 3.11.
    """
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def is_frame(X: Any) -> bool:
    """Return whether `X` is a table of pandas, polars, Arrow or datasets."""
    return isinstance(X, pd.DataFrame) or any(
        _is_of(X, module, name) for module, name in _FRAMES
    )


def is_dataset(X: Any) -> bool:
    """Return whether `X` is a Hugging Face Dataset."""
    return _is_of(X, "datasets", "Dataset")


def is_polars(X: Any) -> bool:
    """Return whether `X` is a polars DataFrame."""
    return _is_of(X, "polars", "DataFrame")


def columns_of(X: Any) -> list[Any]:
    """Return the column names of such a table, in order."""
    if isinstance(X, pd.DataFrame) or is_polars(X):
        return list(X.columns)
    if is_dataset(X):
        return list(X.column_names)
    return list(X.schema.names)


def axis_names(y: Any, what: str) -> list[str]:
    """Return the column names of ratings, or ``axis0`` and so on for an array.

    `what` describes the ratings in the error about duplicate names.
    """
    if not is_frame(y):
        return [f"axis{number}" for number in range(np.shape(y)[1])]
    names = [str(name) for name in columns_of(y)]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        msg = (
            f"{what} has more than one column named {sorted(twice)}. Each axis needs a "
            "unique name; rename the columns."
        )
        raise ValueError(msg)
    return names


def to_pandas(X: Any, columns: Sequence[str]) -> pd.DataFrame:
    """Return some columns of such a table as a pandas DataFrame.

    Cells of tables other than pandas become Python objects: lists, dicts and None.
    Audio columns of a Dataset are not decoded, so that clips are read by the same
    decoder as files.
    """
    if isinstance(X, pd.DataFrame):
        return X[list(columns)]
    if is_dataset(X):
        cells = {name: list(cells_of(X, name)) for name in columns}
    elif is_polars(X):
        cells = {name: X.get_column(name).to_list() for name in columns}
    else:
        cells = {name: X.column(name).to_pylist() for name in columns}
    return pd.DataFrame(
        {name: pd.Series(column, dtype=object) for name, column in cells.items()}
    )


def cells_of(X: Any, column: Any) -> Iterator[Any]:
    """Yield the cells of a column of such a table, as from `to_pandas`.

    Cells of a Dataset are read a few at a time, since clips may not fit into memory.
    """
    if not is_dataset(X):
        yield from to_pandas(X, [column])[column].tolist()
        return
    from datasets import Audio

    X = X.with_format(None).select_columns([column])
    if isinstance(X.features[column], Audio):
        X = X.cast_column(column, Audio(decode=False))
    for batch in X.iter(_CELLS):
        yield from batch[column]


def _is_of(X: Any, module: str, name: str) -> bool:
    kind = getattr(sys.modules.get(module), name, None)
    return kind is not None and isinstance(X, kind)
