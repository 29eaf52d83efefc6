"""Checks of scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_SHOWN = 5


def check_scores(
    y_true: ArrayLike, y_score: ArrayLike, name: str = "y_score"
) -> tuple[Floats, Floats]:
    true = np.asarray(y_true, dtype=np.float64)
    score = np.asarray(y_score, dtype=np.float64)
    if true.ndim != 1 or score.ndim != 1 or len(true) != len(score) or len(true) == 0:
        msg = (
            f"y_true and {name} must be one-dimensional, of one length and not empty; "
            f"got shapes {true.shape} and {score.shape}. Pass one number per pair, in "
            "the same order."
        )
        raise ValueError(msg)
    check_finite("y_true", true)
    check_finite(name, score)
    return true, score


def check_finite(name: str, values: Floats) -> None:
    rows = np.flatnonzero(~np.isfinite(values))
    if rows.size:
        shown = ", ".join(map(str, rows[:_SHOWN])) + ", …" * (rows.size > _SHOWN)
        msg = (
            f"{name} has NaN or infinity in {rows.size} of {values.size} rows (rows "
            f"{shown}). Give these rows a number, or leave them out on purpose."
        )
        raise ValueError(msg)
