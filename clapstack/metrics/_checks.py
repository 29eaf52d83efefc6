"""Checks of scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clapstack._checks import as_numbers, first_rows

Floats = NDArray[np.float64]


def check_scores(
    y_true: ArrayLike, y_score: ArrayLike, name: str = "y_score"
) -> tuple[Floats, Floats]:
    true, score = as_numbers(y_true, "y_true"), as_numbers(y_score, name)
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
        msg = (
            f"{name} has NaN or infinity in {rows.size} of {values.size} rows "
            f"({first_rows(rows)}). Give these rows a number, or leave them out on "
            "purpose."
        )
        raise ValueError(msg)
