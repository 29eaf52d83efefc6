"""Metrics of scores with several axes, each from the pairs rated on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clapstack._compat import axis_names, is_frame
from clapstack._numerics.checks import as_numbers, check_labels

Pairs = tuple[NDArray[Any], ...]


def by_axis(y_true: Any, *scores: Any) -> dict[str, Pairs] | None:
    """Split true and predicted scores by axis; return None if there is only one.

    Parameters
    ----------
    y_true : array-like of shape (n_pairs,) or (n_pairs, n_axes)
        Ratings, NaN where a pair is not rated on an axis.
    *scores : array-like of the shape of `y_true`
        Predictions.

    Returns
    -------
    axes : dict of str to tuple of ndarray
        For each axis, a mask of the rated pairs of shape (n_pairs,), then their ratings
        and predictions of shape (n_rated,). Axes take the column names of a frame; the
        axes of an array are called ``axis0``, ``axis1`` and so on.

    Raises
    ------
    ValueError
        If shapes or column names differ, or an axis has no rating.
    """
    true = as_numbers(y_true, "y_true")
    if true.ndim != 2 or true.shape[1] < 2:
        return None
    predicted = [as_numbers(values, "y_score") for values in scores]
    for values in predicted:
        if values.shape != true.shape:
            msg = (
                f"y_true has shape {true.shape}, with {true.shape[1]} axes, but "
                f"y_score has shape {values.shape}. Pass one column per axis, in the "
                "order of y_true."
            )
            raise ValueError(msg)
    names = axis_names(y_true, "y_true")
    for frame in filter(is_frame, scores if is_frame(y_true) else ()):
        given = axis_names(frame, "y_score")
        if given != names:
            msg = (
                f"y_true has the columns {names}, but y_score has {given}. Give both "
                "the same column names in the same order."
            )
            raise ValueError(msg)
    axes = {}
    for number, name in enumerate(names):
        rated = ~np.isnan(true[:, number])
        if not rated.any():
            msg = f"y_true has no rating on {name!r}. Leave that column out."
            raise ValueError(msg)
        columns = [values[rated, number] for values in (true, *predicted)]
        axes[name] = (rated, *columns)
    return axes


def table_over_axes(
    axes: Mapping[str, Pairs], row: Callable[..., Mapping[str, Any]], groups: Any = None
) -> pd.DataFrame:
    """Return a table with one row per axis, computed by `row`.

    `row` is called with the ratings and predictions of the axis and, if there are
    groups, with ``groups=`` those of the rated pairs.
    """
    records = []
    for rated, *columns in axes.values():
        own = {}
        if groups is not None:
            own["groups"] = group_codes(groups, len(rated))[rated]
        records.append(row(*columns, **own))
    return pd.DataFrame(records, index=pd.Index(list(axes), name="axis"))


def group_codes(groups: Any, n_rows: int) -> NDArray[np.intp]:
    """Return the group of each row as a number, after checking the labels."""
    labels = check_labels(groups, "groups", "Give every row a group.")
    if len(labels) != n_rows:
        msg = (
            f"groups must have shape ({n_rows},), one label per row; got "
            f"{labels.shape}. Pass the group of every row, in the order of the scores."
        )
        raise ValueError(msg)
    codes, found = pd.factorize(labels)
    if len(found) < 2:
        msg = (
            f"groups has only one group, {found[0]!r:.60}, so every resample would be "
            "the same. Pass at least two groups, or None."
        )
        raise ValueError(msg)
    return codes
