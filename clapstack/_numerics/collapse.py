"""Collapsed towers, found in the embeddings of distinct inputs."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clapstack.exceptions import CollapsedTowerWarning

# A tower that is known to have collapsed gives unrelated texts a mean pairwise cosine
# of 0.9993; its sound sisters give 0.2 to 0.3.
_COLLAPSED_COSINE = 0.99
_FEWEST_INPUTS = 8
# A few features made by hand, of one sign, are nearly parallel without any fault.
_LEAST_WIDTH = 16


def warn_if_collapsed(
    tower: str, source: str, units: NDArray[np.floating], inputs: Sequence[Any] | None
) -> bool:
    """Warn if distinct inputs have all but the same embedding.

    Parameters
    ----------
    tower : {"audio", "text"}
        Whose embeddings they are.
    source : str
        Where they come from, for the message.
    units : ndarray of shape (n_inputs, projection_dim)
        Embeddings of unit norm.
    inputs : sequence of length n_inputs, or None
        What was embedded: strings or arrays; None if all are known to be distinct.

    Returns
    -------
    collapsed : bool
        Whether it warned. Fewer than eight distinct inputs, or 16 values in each
        embedding, are too few to say.

    Warns
    -----
    CollapsedTowerWarning
        If they have.
    """
    if not _all_but_the_same(units):
        return False
    if inputs is not None:
        # Only now is it worth finding inputs that came more than once.
        contents = [
            x if isinstance(x, str) else np.asarray(x).tobytes() for x in inputs
        ]
        units = units[list({c: row for row, c in enumerate(contents)}.values())]
        if not _all_but_the_same(units):
            return False
    msg = (
        f"The {tower} tower of {source} gives {len(units)} distinct inputs "
        f"all but the same embedding: their mean pairwise cosine is "
        f"{_mean_cosine(units):.4f}, where 0.2 to 0.3 is usual. Unless the inputs "
        f"are alike (silence, say), the tower has collapsed and its features tell "
        f"nothing: fetch the weights again, or use another checkpoint."
    )
    warnings.warn(msg, CollapsedTowerWarning, stacklevel=4)
    return True


def _mean_cosine(units: NDArray[np.floating]) -> float:
    """Return the mean cosine of all pairs of two different rows."""
    n = len(units)
    total = units.sum(axis=0, dtype=np.float64)
    return float((total @ total - n) / (n * (n - 1)))


def _all_but_the_same(units: NDArray[np.floating]) -> bool:
    """Return whether unit rows, (n_inputs, projection_dim), all but coincide."""
    return (
        len(units) >= _FEWEST_INPUTS
        and units.shape[1] >= _LEAST_WIDTH
        and _mean_cosine(units) > _COLLAPSED_COSINE
    )
