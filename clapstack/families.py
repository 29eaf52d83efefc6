"""Feature families, read from column names: ``<family>__<feature>``."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_array, validate_data

from clapstack._compat import is_polars
from clapstack._numerics.checks import as_numbers, first_few
from clapstack._numerics.lazy_table import LazyTable

__all__ = [
    "BOOSTING",
    "CROSS",
    "KERNEL",
    "NAMELESS",
    "PAIR_BLOCKS",
    "check_features",
    "contrastive_families",
    "event_families",
    "families_of",
    "family_of",
    "pair_blocks",
]

#: The one family of an array without column names.
NAMELESS = "features"

#: The family of agreement, and models of all families, which are named like a family.
CROSS, BOOSTING, KERNEL = "cross", "boosting", "kernel"

#: Blocks of the pair feature (paper, equation 1), in their order.
PAIR_BLOCKS = ("audio", "text", "product", "absdiff", "sqdiff", "cosine")


def family_of(name: str) -> str:
    """Return the family of a column: the part of its name before the first ``__``.

    Parameters
    ----------
    name : str
        Column name, such as ``"msclap__cosine"``.

    Returns
    -------
    family : str
        The whole name if it contains no ``__``.

    Examples
    --------
    >>> from clapstack.families import family_of
    >>> family_of("msclap__cosine")
    'msclap'
    """
    return name.partition("__")[0]


def families_of(names: Iterable[str]) -> dict[str, np.ndarray]:
    """Group columns by family.

    Parameters
    ----------
    names : iterable of str
        Column names.

    Returns
    -------
    families : dict of str to ndarray of shape (n_columns,), dtype intp
        Column numbers of each family, in column order; families in the order of their
        first column.

    Examples
    --------
    >>> from clapstack.families import families_of
    >>> families_of(["a__x", "b__x", "a__y"])
    {'a': array([0, 2]), 'b': array([1])}
    """
    columns: dict[str, list[int]] = {}
    for number, name in enumerate(names):
        columns.setdefault(family_of(name), []).append(number)
    return {family: np.array(where, dtype=np.intp) for family, where in columns.items()}


def pair_blocks(names, n_features):
    """Return the columns of every block of every family.

    Parameters
    ----------
    names : sequence of str or None
        Column names; None treats all columns as one block.
    n_features : int
        Number of columns.

    Returns
    -------
    blocks : dict of str to ndarray of int
        Column numbers by ``<family>__<block>`` for the blocks of the pair feature; the
        other columns of a family form one block, named after the family.
    """
    if names is None:
        return {NAMELESS: np.arange(n_features)}
    columns: dict[str, list[int]] = {}
    for number, name in enumerate(names):
        family, _, feature = name.partition("__")
        block = feature.rstrip("0123456789")
        label = f"{family}__{block}" if block in PAIR_BLOCKS else family
        columns.setdefault(label, []).append(number)
    return {label: np.array(where, dtype=np.intp) for label, where in columns.items()}


def contrastive_families(names: Iterable[str]) -> list[str]:
    """Return the families that have a ``<family>__cosine`` column, in column order.

    Parameters
    ----------
    names : iterable of str
        Column names.

    Returns
    -------
    families : list of str
        Families of pair features from a contrastive audio-language model.

    Examples
    --------
    >>> from clapstack.families import contrastive_families
    >>> contrastive_families(["msclap__audio0", "msclap__cosine", "beats__mean0"])
    ['msclap']
    """
    return _families_with("cosine", names)


def event_families(names: Iterable[str]) -> list[str]:
    """Return the families that have a ``<family>__n_clauses`` column, in column order.

    Parameters
    ----------
    names : iterable of str
        Column names.

    Returns
    -------
    families : list of str
        Families of :class:`~clapstack.EventFeatures`.

    Examples
    --------
    >>> from clapstack.families import event_families
    >>> event_families(["msclap__cosine", "events__n_clauses", "events__claims_order"])
    ['events']
    """
    return _families_with("n_clauses", names)


def _families_with(column: str, names: Iterable[str]) -> list[str]:
    return [family_of(name) for name in names if name.partition("__")[2] == column]


def check_features(estimator: Any, X: Any, *, reset: bool) -> Any:
    """Check a table of features and record or compare its columns.

    Parameters
    ----------
    estimator : estimator
        Its ``n_features_in_`` and ``feature_names_in_`` are set or compared.
    X : array-like or StreamedFeatures of shape (n_pairs, n_features)
        Features; float32 and float64 are kept, other types become float64.
    reset : bool
        Whether to set (fit) or to compare (predict, transform).

    Returns
    -------
    X : ndarray or StreamedFeatures of shape (n_pairs, n_features)
        The features, float32 or float64; not copied if `X` is a single float array.

    Raises
    ------
    ValueError
        If `X` is not a numeric table, its columns differ from those of fit, or it has
        NaN or infinity; the message names the columns and the first row.
    """
    if isinstance(X, LazyTable):
        named = pd.DataFrame(columns=X.columns)
        validate_data(estimator, named, reset=reset, skip_check_array=True)
        X.check(type(estimator).__name__)
        return X
    if is_polars(X):  # scikit-learn before 1.9 does not read column names of polars 2
        X = pd.DataFrame(X.to_numpy(), columns=X.columns)
    owner = type(estimator).__name__
    _check_names(X, owner)
    check: dict[str, Any] = {
        "dtype": [np.float64, np.float32],
        "ensure_all_finite": False,
    }
    if isinstance(X, pd.DataFrame) and all(map(_is_float, set(X.dtypes))):
        # With a DataFrame, check_array inspects the type of every column, which takes
        # as long as the rest of predicting one pair (measured: 8 ms for 963 columns).
        validate_data(estimator, X, reset=reset, skip_check_array=True)
        X = check_array(X.to_numpy(), estimator=estimator, input_name="X", **check)
    else:
        X = validate_data(estimator, _without_text(X, owner), reset=reset, **check)
    # Unlike isfinite, a float64 sum allocates no table; it is finite for usual input.
    with np.errstate(all="ignore"):
        total = X.sum(dtype=np.float64)
    if np.isfinite(total):
        return X
    bad = ~np.isfinite(X)
    columns = np.flatnonzero(bad.any(axis=0))
    if columns.size == 0:
        return X
    names = getattr(estimator, "feature_names_in_", None)
    shown = [
        repr(str(names[column])) if names is not None else str(column)
        for column in columns
    ]
    rows = np.flatnonzero(bad.any(axis=1))
    msg = (
        f"X passed to {type(estimator).__name__} has NaN or infinity in "
        f"{columns.size} of {X.shape[1]} columns ({first_few(shown)}) and "
        f"{rows.size} of {X.shape[0]} rows (the first is row {rows[0]}). Remove those "
        "rows or encode them again."
    )
    raise ValueError(msg)


def _is_float(dtype: Any) -> bool:
    return isinstance(dtype, np.dtype) and dtype.kind == "f"


def _check_names(X: Any, owner: str) -> None:
    """Refuse column names without a readable family, such as several levels."""
    names: Any = getattr(X, "columns", ())
    if isinstance(getattr(names, "dtype", None), pd.StringDtype) and not names.hasnans:
        return  # all names are text; checking 11,064 names one by one takes 27 ms
    for name in names:
        # pandas numbers columns without names.
        if not isinstance(name, str | Integral):
            msg = (
                f"X passed to {owner} has a column named {name!r}, but families are "
                "read from text such as 'msclap__cosine'. Rename the columns. To join "
                "several levels, use X.columns = ['__'.join(map(str, name)) for name "
                "in X.columns]."
            )
            raise ValueError(msg)


def _without_text(X: Any, owner: str) -> Any:
    """Return `X` with NaN for missing values, or refuse text values.

    NumPy would use the hidden values of a masked array, and read the text "7_5" as 75.
    """
    if isinstance(X, list):
        X = np.asarray(X)
    if isinstance(X, np.ma.MaskedArray):
        return as_numbers(X, f"X passed to {owner}")
    if isinstance(X, pd.DataFrame):
        if all(pd.api.types.is_numeric_dtype(dtype) for dtype in X.dtypes):
            return X
        columns = [
            as_numbers(X.iloc[:, number], f"column {name!r} of X passed to {owner}")
            for number, name in enumerate(X.columns)
        ]
        return pd.DataFrame(np.column_stack(columns), X.index, X.columns)
    if isinstance(X, np.ndarray) and X.dtype.kind in "USMm":
        return as_numbers(X, f"X passed to {owner}")
    if isinstance(X, np.ndarray) and X.dtype == object:
        if any(isinstance(value, str | bytes) for value in X.flat):
            return as_numbers(X, f"X passed to {owner}")
        return np.where(pd.isna(X), np.nan, X)
    return X
