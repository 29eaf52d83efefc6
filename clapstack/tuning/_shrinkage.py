"""Shrinkage of maps towards the identity."""

from __future__ import annotations

import numpy as np

from clapstack._numerics.ranks import clearly_positive
from clapstack.tuning._maps import apply_map

__all__ = ["check_shrinkages", "choose_shrinkage"]


def check_shrinkages(shrinkage) -> list[float]:
    """Return shrinkages as a list, the largest first, or refuse them."""
    checked = np.atleast_1d(np.asarray(shrinkage, dtype=np.float64))
    sound = (
        checked.ndim == 1 and checked.size and np.all((checked > 0) & (checked <= 1))
    )
    if not sound:
        msg = (
            "The 'shrinkage' parameter of ProjectionTuning must be a number in (0, 1] "
            f"or a sequence of some. Got {shrinkage!r} instead."
        )
        raise ValueError(msg)
    return [float(one) for one in np.unique(checked)[::-1]]


def choose_shrinkage(a, b, y, weight, splits, shrinkages, fit) -> float:
    """Return the largest shrinkage that the next smaller one does not clearly beat.

    Parameters
    ----------
    a, b : ndarray of shape (n_pairs, projection_dim)
        Unit embeddings.
    y, weight : ndarray of shape (n_pairs,)
        Scores and weights.
    splits : list of (ndarray of int, ndarray of int)
        Training and test rows; not looked at where there is no choice.
    shrinkages : list of float
        The largest first.
    fit : callable
        Takes training embeddings, scores, weights and shrinkages; returns their maps.

    Returns
    -------
    shrinkage : float
        A smaller one is taken if the squared error of a line in held-out cosines falls
        by more than its standard error.
    """
    if len(shrinkages) == 1:
        return shrinkages[0]
    cosines = np.full((len(shrinkages), len(y)), np.nan)
    for train, test in splits:
        fitted = fit(a[train], b[train], y[train], weight[train], shrinkages)
        for cosine, (audio, text) in zip(cosines, fitted, strict=True):
            mapped = apply_map(audio, a[test]), apply_map(text, b[test])
            cosine[test] = np.einsum("ij,ij->i", *mapped)
    rows = np.concatenate([test for _, test in splits])
    weight = weight[rows] / weight[rows].sum()
    untuned = np.einsum("ij,ij->i", a[rows], b[rows])
    errors = [_line_errors(cosine[rows], y[rows], weight) for cosine in cosines]
    best = 0
    for number in range(1, len(shrinkages)):
        if clearly_positive(errors[best] - errors[number], weight, untuned):
            best = number
    return shrinkages[best]


def _line_errors(x, y, weight):
    """Return squared errors of the best rising line."""
    x, y = x - weight @ x, y - weight @ y
    spread = weight @ x**2
    slope = max(0.0, weight @ (x * y)) / spread if spread > 0 else 0.0
    return (y - slope * x) ** 2
