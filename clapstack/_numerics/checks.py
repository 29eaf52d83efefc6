"""Checks of numbers, scores, weights and labels in any container."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import column_or_1d

Floats = NDArray[np.float64]

_SHOWN = 5
_LONGEST_SHOWN = 200  # characters of a name, which may come from an untrusted file


def first_few(items: Sequence[Any] | NDArray[Any]) -> str:
    """Name the first few items and count the others, for error messages.

    Examples
    --------
    >>> from clapstack._numerics.checks import first_few
    >>> first_few("abcdefg")
    'a, b, c, d, e and 2 more'
    """
    shown = ", ".join(str(item)[:_LONGEST_SHOWN] for item in items[:_SHOWN])
    more = len(items) - _SHOWN
    return f"{shown} and {more:,} more" if more > 0 else shown


def first_rows(rows: NDArray[np.intp]) -> str:
    """Name the first few rows, for error messages."""
    return f"rows {first_few(rows)}"


def as_numbers(values: Any, name: str) -> NDArray[np.float64]:
    """Return values as float64, with NaN for missing values.

    Parameters
    ----------
    values : array-like
        Numbers or booleans: an array or masked array, a list, a Series of any dtype
        (including nullable and Arrow dtypes) or a DataFrame.
    name : str
        Description of the values, for the error message.

    Returns
    -------
    numbers : ndarray of float64
        A new array.

    Raises
    ------
    ValueError
        If a value is text, a date, complex or another object: NumPy would read the text
        "7_5" as 75, convert dates to nanoseconds, and drop imaginary parts.
    """
    if isinstance(values, np.ma.MaskedArray):
        # NumPy would use the hidden values.
        out = as_numbers(np.ma.getdata(values), name)
        out[np.ma.getmaskarray(values)] = np.nan
        return out
    dtype = getattr(values, "dtype", None)
    if isinstance(dtype, pd.api.extensions.ExtensionDtype):
        series = pd.Series(values)
        if pd.api.types.is_numeric_dtype(dtype) and dtype.kind != "c":
            return series.to_numpy(np.float64, na_value=np.nan, copy=True)
        values = series.to_numpy(object)
    try:
        array = np.asarray(values)
    except ValueError as error:
        msg = f"{name} must be one number per row, or a table of numbers: {error}"
        raise ValueError(msg) from error
    if array.dtype.kind in "biuf":
        return array.astype(np.float64)
    if array.dtype.kind != "O":
        msg = (
            f"{name} must be numbers; its dtype is {array.dtype}. Convert text with "
            "pd.to_numeric."
        )
        raise ValueError(msg)
    out = np.empty(array.shape)
    for place, value in np.ndenumerate(array):
        if isinstance(value, numbers.Real | Decimal | np.bool_):
            try:
                out[place] = value
            except OverflowError:  # only integers and fractions raise it
                out[place] = -np.inf if value < 0 else np.inf
        elif value is None or value is pd.NA:
            out[place] = np.nan
        else:
            msg = (
                f"{name} must be numbers; row {place[0] if place else 0} has "
                f"{value!r:.60}. Convert text with pd.to_numeric."
            )
            raise ValueError(msg)
    return out


def check_weight(sample_weight: Any, n_rows: int) -> NDArray[np.float64] | None:
    """Return weights as float64 of shape (n_rows,), or None if there are none."""
    if sample_weight is None:
        return None
    weight = as_numbers(sample_weight, "sample_weight")
    if weight.shape != (n_rows,):
        msg = (
            f"sample_weight must have shape ({n_rows},), one weight per pair; got "
            f"{weight.shape}."
        )
        raise ValueError(msg)
    rows = np.flatnonzero(~(np.isfinite(weight) & (weight >= 0)))
    if rows.size:
        msg = (
            f"sample_weight must be finite and not negative; {rows.size} of "
            f"{len(weight)} rows are not ({first_rows(rows)}). Use 0 to ignore a pair."
        )
        raise ValueError(msg)
    if not weight.any():
        msg = "sample_weight is zero for all pairs. Pass at least one positive weight."
        raise ValueError(msg)
    return weight


def check_labels(labels: Any, name: str, remedy: str) -> NDArray[Any]:
    """Return labels as a sortable array: unchanged, or numbered in sorted order.

    Labels are numbered if they have several types, which NumPy would convert to text
    (so that 1 and "1" would be equal), or if they are tuples, which it would convert to
    rows.

    Parameters
    ----------
    labels : array-like of shape (n_rows,)
        Hashable values, none missing.
    name : str
        Description of the labels, for error messages.
    remedy : str
        Advice for missing labels, for the error message.

    Returns
    -------
    labels : ndarray of shape (n_rows,)
        Equal for equal labels.

    Raises
    ------
    ValueError
        If the labels are not one column, or a label is missing or not hashable.
    """
    array = _label_array(labels)
    if array.ndim != 1:
        msg = (
            f"{name} must be one column of labels; got shape {array.shape}. Number the "
            "combinations of several columns with table.groupby([...]).ngroup()."
        )
        raise ValueError(msg)
    missing = pd.isna(array)
    if isinstance(labels, np.ma.MaskedArray):
        missing |= np.ma.getmaskarray(labels).reshape(array.shape)
    if array.dtype == object:
        parts = [isinstance(v, tuple) and any(map(pd.isna, v)) for v in array]
        missing |= np.array(parts, dtype=bool)
    rows = np.flatnonzero(missing)
    if rows.size:
        msg = (
            f"{name} has missing values in {rows.size} of {len(array)} rows "
            f"({first_rows(rows)}). {remedy}"
        )
        raise ValueError(msg)
    if array.dtype != object or all(isinstance(value, str) for value in array):
        return array
    if all(type(value) is int for value in array):
        whole = np.array(array.tolist())
        if whole.dtype.kind in "iu":  # no larger than 64 bits
            return whole
    try:
        codes, found = pd.factorize(array)
    except TypeError as error:
        msg = f"{name} must be hashable labels, such as text or numbers: {error}."
        raise ValueError(msg) from error
    # Sorted by value, or by type, so that folds do not depend on the order of the rows.
    try:
        order = sorted(range(len(found)), key=found.__getitem__)
    except TypeError:
        order = sorted(
            range(len(found)), key=lambda i: (type(found[i]).__name__, repr(found[i]))
        )
    numbered: NDArray[Any] = np.argsort(order)[codes]
    return numbered


def _label_array(labels: Any) -> NDArray[Any]:
    """Return labels as an array without changing their types."""
    if isinstance(labels, np.ndarray):
        labels = np.ma.getdata(labels)
        return labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if hasattr(labels, "to_pylist"):  # Arrow, whose cells have their own type
        labels = labels.to_pylist()
    if hasattr(labels, "to_numpy"):
        return _label_array(np.asarray(labels.to_numpy()))
    if hasattr(labels, "__array__"):
        return _label_array(np.asarray(labels))
    if not np.iterable(labels):
        return np.asarray(labels)
    listed = list(labels)
    array = np.empty(len(listed), dtype=object)
    array[:] = listed
    return array


def check_y(estimator, X, y):
    """Return checked `y` as float64 of shape (n_pairs,)."""
    if y is None:
        msg = (
            f"{type(estimator).__name__} requires y to be passed, but the target y is "
            "None. Pass one score per pair."
        )
        raise ValueError(msg)
    y = as_numbers(y, f"y passed to {type(estimator).__name__}")
    refuse_columns(estimator, y)
    y = column_or_1d(y, warn=True)
    if len(y) != X.shape[0]:
        msg = (
            f"X and y passed to {type(estimator).__name__} have inconsistent numbers "
            f"of samples: [{X.shape[0]}, {len(y)}]. Pass one score per pair, in the "
            "order of X."
        )
        raise ValueError(msg)
    rows = np.flatnonzero(~np.isfinite(y))
    if rows.size:
        msg = (
            f"y passed to {type(estimator).__name__} has NaN or infinity in "
            f"{rows.size} of {len(y)} rows ({first_rows(rows)}). Remove those pairs "
            "from X and y."
        )
        raise ValueError(msg)
    return y


def refuse_columns(estimator, y):
    """Raise an error if `y` has several columns, for estimators of one output."""
    shape = np.shape(y)
    if len(shape) == 2 and shape[1] > 1:
        msg = (
            f"y passed to {type(estimator).__name__} has several columns; got shape "
            f"{shape}. Fit one column at a time, or use a ClapStackingRegressor, which "
            "supports several axes."
        )
        raise ValueError(msg)


def check_varies(y, weight):
    """Raise an error if `y` is constant over pairs of positive weight."""
    used = y if weight is None else y[weight > 0]
    if np.ptp(used) == 0:
        msg = (
            f"y is constant: all {len(used)} scores are {used[0]:g}, so there is "
            "nothing to learn. Pass scores that differ."
        )
        raise ValueError(msg)


def check_scores(
    y_true: ArrayLike, y_score: ArrayLike, name: str = "y_score"
) -> tuple[Floats, Floats]:
    """Return checked true and predicted scores as float64 of shape (n_pairs,)."""
    true, score = as_numbers(y_true, "y_true"), as_numbers(y_score, name)
    if true.ndim != 1 or score.ndim != 1 or len(true) != len(score) or len(true) == 0:
        msg = (
            f"y_true and {name} must be one-dimensional, not empty and of the same "
            f"length; got shapes {true.shape} and {score.shape}. Pass one number per "
            "pair, in the same order."
        )
        raise ValueError(msg)
    check_finite("y_true", true)
    check_finite(name, score)
    return true, score


def check_finite(name: str, values: Floats) -> None:
    """Raise an error that names the rows of NaN and infinity in 1-D values."""
    rows = np.flatnonzero(~np.isfinite(values))
    if rows.size:
        msg = (
            f"{name} has NaN or infinity in {rows.size} of {values.size} rows "
            f"({first_rows(rows)}). Fill in these values, or remove the rows "
            "deliberately."
        )
        raise ValueError(msg)


def check_share(name: str, value: Any, usual: float) -> None:
    """Refuse a parameter that is not a number between 0 and 1."""
    is_number = isinstance(value, numbers.Real)
    if not is_number or not 0 < value < 1:
        msg = (
            f"{name} must be a number between 0 and 1; got {value!r}. {usual} is usual."
        )
        raise ValueError(msg)


def check_count(name: str, value: Any, least: int, usual: int) -> None:
    """Refuse a parameter that is not an integer of at least `least`."""
    is_whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not is_whole or value < least:
        msg = (
            f"{name} must be an integer of at least {least}; got {value!r}. "
            f"{usual} is usual."
        )
        raise ValueError(msg)


def check_seed(random_state: Any) -> np.random.Generator:
    """Return a generator seeded with `random_state`, or refuse it."""
    try:
        return np.random.default_rng(random_state)
    except (TypeError, ValueError) as error:
        msg = (
            "random_state must be None or an integer of at least 0; got "
            f"{random_state!r}. The same integer gives the same result."
        )
        raise ValueError(msg) from error


def check_preferences(
    preferences: Any, n_rows: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
    """Return preferences as two rows each, and the share of votes for the first.

    Parameters
    ----------
    preferences : array-like of shape (n_preferences, 2) or (n_preferences, 3)
        Row numbers of the better and the worse item; or two row numbers and the share
        of votes for the first, in [0, 1], 0.5 for a tie.
    n_rows : int
        Number of rows.

    Returns
    -------
    first, second : ndarray of shape (n_preferences,), intp
        Row numbers.
    share : ndarray of shape (n_preferences,), float64

    Raises
    ------
    ValueError
        If the shape is wrong, a row does not exist or is compared with itself, or a
        share is outside [0, 1].
    """
    table = as_numbers(preferences, "preferences")
    if table.ndim != 2 or table.shape[1] not in (2, 3) or len(table) == 0:
        msg = (
            "preferences must have shape (n_preferences, 2), with the better and the "
            "worse row, or (n_preferences, 3), with two rows and the share of votes "
            f"for the first; got {table.shape}."
        )
        raise ValueError(msg)
    rows = table[:, :2]
    share = table[:, 2] if table.shape[1] == 3 else np.ones(len(table))
    missing = ~np.isin(rows, np.arange(n_rows)).all(axis=1)
    faults = {
        f"have invalid row numbers; valid are integers from 0 to {n_rows - 1}. If X "
        "was subset, renumber the preferences": missing,
        "compare a row with itself": rows[:, 0] == rows[:, 1],
        "have a share of votes outside [0, 1]": ~((share >= 0) & (share <= 1)),
    }
    for what, wrong in faults.items():
        if wrong.any():
            msg = (
                f"{np.count_nonzero(wrong):,} of {len(table):,} preferences "
                f"({first_rows(np.flatnonzero(wrong))}) {what}."
            )
            raise ValueError(msg)
    first, second = rows.astype(np.intp).T
    return first, second, share
