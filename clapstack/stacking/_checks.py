"""Checks of groups and families."""

from __future__ import annotations

import numpy as np

from clapstack._numerics.checks import check_labels
from clapstack._numerics.lazy_table import read_table, row_slices

_ROWS = 256


def check_families_vary(X, columns, weight):
    """Refuse a family whose columns are all constant over pairs of positive weight."""
    rows = np.arange(X.shape[0]) if weight is None else np.flatnonzero(weight)
    for family, where in columns.items():
        if not _varies(X, rows, where):
            msg = (
                f"All {len(where)} columns of family {family!r} are constant over "
                f"{len(rows)} pairs, so it is uninformative. Drop the family, or check "
                "how its features were computed."
            )
            raise ValueError(msg)


def _varies(X, rows, columns):
    """Return whether any of some columns varies; most do within the first rows."""
    first = read_table(X, rows[:1], columns)
    return any(
        np.any(read_table(X, rows[cut], columns) != first)
        for cut in row_slices(len(rows), _ROWS)
    )


def check_groups(X, groups):
    """Return groups as an array of shape (n_pairs,), or None if there are none."""
    if groups is None:
        return None
    remedy = "Assign a group to each pair; a unique one if it shares no group."
    groups = check_labels(groups, "groups", remedy)
    if len(groups) != X.shape[0]:
        msg = (
            f"groups must have shape ({X.shape[0]},), one label per pair; got "
            f"{groups.shape}."
        )
        raise ValueError(msg)
    return groups
