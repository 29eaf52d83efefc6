"""Detection of collapsed towers from the embeddings of distinct inputs."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clapstack.exceptions import CollapsedTowerWarning

# For unrelated texts, a known collapsed tower has a mean pairwise cosine of 0.9993, and
# working towers of the same kind 0.2 to 0.3.
_COLLAPSED_COSINE = 0.99
_FEWEST_INPUTS = 8
# A few hand-made features of the same sign can be nearly parallel without a fault.
_LEAST_WIDTH = 16


def warn_if_collapsed(
    tower: str, source: str, units: NDArray[np.floating], inputs: Sequence[Any] | None
) -> bool:
    """Warn if distinct inputs have nearly the same embedding.

    Parameters
    ----------
    tower : {"audio", "text"}
        Tower of the embeddings.
    source : str
        Name of the model, for the message.
    units : ndarray of shape (n_inputs, projection_dim)
        Embeddings of unit norm.
    inputs : sequence of length n_inputs, or None
        Embedded strings or arrays; None if all are known to be distinct.

    Returns
    -------
    collapsed : bool
        Whether a warning was issued. At least eight distinct inputs and 16 dimensions
        are needed.

    Warns
    -----
    CollapsedTowerWarning
        If the embeddings are nearly the same.
    """
    if not _all_but_the_same(units):
        return False
    if inputs is not None:
        # Repeated inputs are searched only if the embeddings look collapsed.
        contents = [
            x if isinstance(x, str) else np.asarray(x).tobytes() for x in inputs
        ]
        units = units[list({c: row for row, c in enumerate(contents)}.values())]
        if not _all_but_the_same(units):
            return False
    msg = (
        f"The {tower} tower of {source} gives {len(units)} distinct inputs nearly the "
        f"same embedding: their mean pairwise cosine is {_mean_cosine(units):.4f} "
        f"instead of the usual 0.2 to 0.3. Unless the inputs are very similar (such as "
        f"silence), the tower has collapsed and its features are useless. Download the "
        f"weights again, or use another checkpoint."
    )
    warnings.warn(msg, CollapsedTowerWarning, stacklevel=4)
    return True


def _mean_cosine(units: NDArray[np.floating]) -> float:
    """Return the mean cosine of all pairs of two different rows."""
    n = len(units)
    total = units.sum(axis=0, dtype=np.float64)
    return float((total @ total - n) / (n * (n - 1)))


def _all_but_the_same(units: NDArray[np.floating]) -> bool:
    """Return whether unit rows, (n_inputs, projection_dim), are nearly equal."""
    return (
        len(units) >= _FEWEST_INPUTS
        and units.shape[1] >= _LEAST_WIDTH
        and _mean_cosine(units) > _COLLAPSED_COSINE
    )
