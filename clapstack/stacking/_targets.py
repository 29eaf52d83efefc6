"""Rank targets and the SRCC that chooses between them."""

from __future__ import annotations

import numpy as np

from clapstack._numerics.ranks import rank_target, weight_up_to

__all__ = ["rank_target", "weighted_srcc"]


def rank_among(y_new, y, sample_weight=None) -> np.ndarray:
    """Return the ranks that new values would have among `y`, as `rank_target` counts.

    A value of `y` gets its own rank, another the share of `y` below it.
    """
    values, shares, _ = weight_up_to(y, sample_weight)
    below = shares[np.searchsorted(values, y_new, side="left")]
    return (below + shares[np.searchsorted(values, y_new, side="right")]) / 2.0


def weighted_srcc(y_true, y_score, sample_weight=None) -> float:
    """Return the SRCC, with weights that count repetitions; 0.0 if undefined."""
    # Ranks of float32 values: what differs by rounding alone is a tie.
    true = rank_target(np.asarray(y_true, dtype=np.float32), sample_weight)
    score = rank_target(np.asarray(y_score, dtype=np.float32), sample_weight)
    if np.ptp(true) == 0 or np.ptp(score) == 0:
        return 0.0
    covariance = np.cov(true, score, aweights=sample_weight)
    return float(covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]))
