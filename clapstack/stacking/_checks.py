"""Checks of scores, groups and families."""

from __future__ import annotations

import numpy as np
from sklearn.utils.validation import column_or_1d

from clapstack._checks import as_numbers, check_labels, first_rows
from clapstack._tables import read_table, row_slices

_ROWS = 256


def check_y(estimator, X, y):
    """Return `y` as float64 of shape (n_pairs,), or say what is wrong with it."""
    if y is None:
        msg = (
            f"{type(estimator).__name__} requires y to be passed, but the target y is "
            "None. Pass one score per pair."
        )
        raise ValueError(msg)
    y = as_numbers(y, f"y passed to {type(estimator).__name__}")
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


def check_varies(y, weight):
    """Refuse a `y` without variance among the pairs that count."""
    used = y if weight is None else y[weight > 0]
    if np.ptp(used) == 0:
        msg = (
            f"y is constant: all of {len(used)} scores are {used[0]:g}, so there is "
            "nothing to learn. Pass scores that differ."
        )
        raise ValueError(msg)


def check_families_vary(X, columns, weight):
    """Refuse a family all of whose columns are constant among the pairs that count."""
    rows = np.arange(X.shape[0]) if weight is None else np.flatnonzero(weight)
    for family, where in columns.items():
        if not _varies(X, rows, where):
            msg = (
                f"All {len(where)} columns of family {family!r} are constant over "
                f"{len(rows)} pairs, so it says nothing. Drop the family, "
                "or check what made its features."
            )
            raise ValueError(msg)


def _varies(X, rows, columns):
    """Tell whether any of some columns varies; most do within the first rows."""
    first = read_table(X, rows[:1], columns)
    return any(
        np.any(read_table(X, rows[cut], columns) != first)
        for cut in row_slices(len(rows), _ROWS)
    )


def check_groups(X, groups):
    """Return groups as an array of shape (n_pairs,), or None if there are none."""
    if groups is None:
        return None
    remedy = "Give every pair a group; its own if it has no other."
    groups = check_labels(groups, "groups", remedy)
    if len(groups) != X.shape[0]:
        msg = f"groups must have shape ({X.shape[0]},), one a pair; got {groups.shape}."
        raise ValueError(msg)
    return groups
