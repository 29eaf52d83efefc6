"""Conformal prediction intervals from out-of-fold residuals."""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import nnls

# Bisection halves the bracket: from any rating scale to below 1e-9 of it.
_N_HALVINGS = 40
_LEAST_SCALE = 0.1
_RATINGS = (0.0, 10.0)  # the scale of human listeners


class DisagreementScale:
    """Expected size of an error, rising with the disagreement of the first level.

    ``a + b * disagreement`` with a, b ≥ 0, fitted to absolute residuals by least
    squares; never below a tenth of its mean, so that no interval closes.

    Parameters
    ----------
    absolute_residuals, disagreement : ndarray of shape (n_pairs,)
        Out of fold.
    """

    def __init__(self, absolute_residuals, disagreement):
        design = np.column_stack([np.ones_like(disagreement), disagreement])
        self.coef, _ = nnls(design, absolute_residuals)
        self.floor = _LEAST_SCALE * max(absolute_residuals.mean(), np.finfo(float).tiny)

    def __call__(self, disagreement):
        """Return the scale of each pair, of shape (n_pairs,)."""
        return np.maximum(self.coef[0] + self.coef[1] * disagreement, self.floor)


def cross_conformal_interval(predictions, residuals, scale, coverage):
    """Return CV+ intervals.

    With prediction f₋ₖ(x) of the members that did not see fold k, and scaled residual
    Rᵢ of a pair in fold k(i), the ends of the interval of x are quantiles of
    ``f₋ₖ₍ᵢ₎(x) - s(x) Rᵢ`` and ``f₋ₖ₍ᵢ₎(x) + s(x) Rᵢ`` over all training pairs (Barber,
    Candès, Ramdas and Tibshirani, "Predictive inference with the jackknife+", 2021).

    Parameters
    ----------
    predictions : ndarray of shape (n_folds, n_pairs)
        Of the pairs to cover, by the members of each fold.
    residuals : list of ndarray
        Absolute out-of-fold residuals of each fold's training pairs, over their scale.
    scale : ndarray of shape (n_pairs,)
        s(x), positive; ones for intervals of like width.
    coverage : float
        In (0, 1).

    Returns
    -------
    interval : ndarray of shape (n_pairs, 2)
        Low and high ends; infinite where there are too few residuals for `coverage`.
    """
    residuals = [np.sort(part) for part in residuals]
    n_residuals = sum(map(len, residuals))
    rank = math.ceil(coverage * (n_residuals + 1))
    if rank > n_residuals:
        return np.tile([-np.inf, np.inf], (predictions.shape[1], 1))
    high = _order_statistic(predictions, residuals, scale, rank)
    low = -_order_statistic(-predictions, residuals, scale, rank)
    return np.column_stack([low, high])


def _order_statistic(predictions, residuals, scale, rank):
    """Return the `rank`-th smallest of ``predictions[k] + scale * residuals[k]``.

    Counting how many are below a value is a binary search per fold, so the value is
    found by bisection without forming the values.
    """
    low = predictions.min(axis=0)
    high = predictions.max(axis=0) + scale * max(
        part[-1] for part in residuals if len(part)
    )
    for _ in range(_N_HALVINGS):
        middle = (low + high) / 2
        count = sum(
            np.searchsorted(part, (middle - prediction) / scale, side="right")
            for part, prediction in zip(residuals, predictions, strict=True)
        )
        enough = count >= rank
        high = np.where(enough, middle, high)
        low = np.where(enough, low, middle)
    return high


class HeldOutErrors:
    """What the out-of-fold errors of the training pairs say about new ones.

    Parameters
    ----------
    y, scores, disagreement : ndarray of shape (n_pairs,)
        True scores, out-of-fold predictions, and their first level's disagreement.
    test_rows : list of ndarray of int
        Rows that each split held out, those of weight zero left out.
    """

    def __init__(self, y, scores, disagreement, test_rows):
        error = np.abs(y - scores)
        rows = np.concatenate(test_rows)
        self.scale = DisagreementScale(error[rows], disagreement[rows])
        self.errors = [error[part] for part in test_rows]
        self.scaled = [error[p] / self.scale(disagreement[p]) for p in test_rows]
        low, high = _RATINGS
        self.bounded = bool(y.min() >= low and y.max() <= high)

    def interval(self, predictions, disagreement, coverage, *, scaled):
        """Return intervals of new pairs; see `cross_conformal_interval`."""
        scale = self.scale(disagreement) if scaled else np.ones(len(disagreement))
        residuals = self.scaled if scaled else self.errors
        interval = cross_conformal_interval(predictions, residuals, scale, coverage)
        return np.clip(interval, *_RATINGS) if self.bounded else interval
