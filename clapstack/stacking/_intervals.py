"""Conformal prediction intervals from out-of-fold residuals."""

from __future__ import annotations

import numpy as np
from scipy.optimize import nnls

# Bisection halves the bracket: from any rating scale to below 1e-9 of it.
_N_HALVINGS = 40
_LEAST_SCALE = 0.1
# Relative error of a sum of weights, which must not decide about a rank.
_ROUNDING = 1e-12
_RATINGS = (0.0, 10.0)  # the scale of human listeners


class DisagreementScale:
    """Expected size of an error, rising with the disagreement of the first level.

    ``a + b * disagreement`` with a, b ≥ 0, fitted to absolute residuals by least
    squares; never below a tenth of its mean, so that no interval closes.

    Parameters
    ----------
    absolute_residuals, disagreement : ndarray of shape (n_pairs,)
        Out of fold.
    weight : ndarray of shape (n_pairs,), default=None
        Positive weights.
    """

    def __init__(self, absolute_residuals, disagreement, weight=None):
        design = np.column_stack([np.ones_like(disagreement), disagreement])
        root = np.sqrt(np.ones_like(disagreement) if weight is None else weight)
        self.coef, _ = nnls(design * root[:, np.newaxis], absolute_residuals * root)
        mean = np.average(absolute_residuals, weights=weight)
        self.floor = _LEAST_SCALE * max(mean, np.finfo(float).tiny)

    def __call__(self, disagreement):
        """Return the scale of each pair, of the shape of `disagreement`."""
        return np.maximum(self.coef[0] + self.coef[1] * disagreement, self.floor)


def weight_of_a_new_unit(weight, units):
    """Return the weight that a new pair takes among those of the fit.

    It is the mean weight of units that occur as often as their weights say,
    ``sum(m²) / sum(m)``. So the finite-sample correction of a quantile goes by the
    effective number of units, ``sum(m)² / sum(m²)``, whatever the scale of the weights
    and however often a unit is repeated.

    Parameters
    ----------
    weight : ndarray of shape (n_pairs,) or None
        Weights, zero allowed; None counts every pair once.
    units : ndarray of int of shape (n_pairs,)
        Number of the exchangeable unit of each pair: itself, or its group.

    Returns
    -------
    weight : float
        Positive.
    """
    mass = np.bincount(units, weights=weight)
    return float(np.sum(mass**2) / np.sum(mass))


def cross_conformal_interval(
    predictions, residuals, scale, coverage, *, weights=None, new_weight=1.0
):
    """Return CV+ intervals.

    With prediction f₋ₖ(x) of what did not see fold k, and scaled residual Rᵢ of a pair
    in fold k(i), the ends of the interval of x are quantiles of
    ``f₋ₖ₍ᵢ₎(x) - s₋ₖ₍ᵢ₎(x) Rᵢ`` and ``f₋ₖ₍ᵢ₎(x) + s₋ₖ₍ᵢ₎(x) Rᵢ`` over all training
    pairs (Barber, Candès, Ramdas and Tibshirani, "Predictive inference with the
    jackknife+", 2021).

    Parameters
    ----------
    predictions : ndarray of shape (n_folds, n_pairs)
        Of the pairs to cover, by what did not see each fold.
    residuals : list of ndarray
        Absolute out-of-fold residuals of each fold's training pairs, over their scale.
    scale : ndarray of shape (n_folds, n_pairs) or (n_pairs,)
        Positive; ones for intervals of like width.
    coverage : float
        In (0, 1).
    weights : list of ndarray, default=None
        Positive weights of the residuals; None counts each once.
    new_weight : float, default=1.0
        Weight of a new pair.

    Returns
    -------
    interval : ndarray of shape (n_pairs, 2)
        Low and high ends; infinite where there are too few residuals for `coverage`.
    """
    if weights is None:
        weights = [np.ones(len(part)) for part in residuals]
    scale = np.broadcast_to(scale, predictions.shape)
    folds = [_SortedResiduals(*both) for both in zip(residuals, weights, strict=True)]
    total = sum(part.sum() for part in weights)
    wanted = coverage * (total + new_weight) * (1 - _ROUNDING)
    if wanted > total:
        return np.tile([-np.inf, np.inf], (predictions.shape[1], 1))
    high = _quantile(predictions, folds, scale, wanted)
    low = -_quantile(-predictions, folds, scale, wanted)
    # Below a coverage of one half the low end may come out above the high one.
    return np.sort(np.column_stack([low, high]), axis=1)


class _SortedResiduals:
    """Residuals of a fold in increasing order, with the sums of weights up to each."""

    def __init__(self, residuals, weights):
        order = np.argsort(residuals, kind="stable")
        self.values = residuals[order]
        self.weight_below = np.concatenate([[0.0], np.cumsum(weights[order])])

    def weight_up_to(self, bound):
        """Return the weight of residuals up to each of some bounds."""
        return self.weight_below[np.searchsorted(self.values, bound, side="right")]


def _quantile(predictions, folds, scale, wanted):
    """Return where the weight of ``predictions[k] + scale[k] * residuals[k]`` is met.

    Summing the weight below a value is a binary search per fold, so the value is found
    by bisection without forming the values.
    """
    largest = max(fold.values[-1] for fold in folds if len(fold.values))
    low = predictions.min(axis=0)
    high = (predictions + scale * largest).max(axis=0)
    for _ in range(_N_HALVINGS):
        middle = (low + high) / 2
        weight = sum(
            fold.weight_up_to((middle - prediction) / width)
            for fold, prediction, width in zip(folds, predictions, scale, strict=True)
        )
        enough = weight >= wanted
        high = np.where(enough, middle, high)
        low = np.where(enough, low, middle)
    return high


class HeldOutErrors:
    """Out-of-fold errors of the training pairs, and the intervals that follow.

    Parameters
    ----------
    y, scores, disagreement : ndarray of shape (n_pairs,)
        True scores, out-of-fold predictions, and the disagreement of their first level.
    weight : ndarray of shape (n_pairs,) or None
        Weights, zero allowed.
    units : ndarray of int of shape (n_pairs,)
        Number of the exchangeable unit of each pair: itself, or its group.
    test_rows : list of ndarray of int
        Rows that each fold held out.
    scales : list of DisagreementScale
        One per fold, from errors of other folds.
    """

    def __init__(self, y, scores, disagreement, weight, units, test_rows, scales):
        counted = np.ones(len(y), bool) if weight is None else weight > 0
        rows = [test[counted[test]] for test in test_rows]
        error = np.abs(y - scores)
        self.scales = scales
        self.errors = [error[part] for part in rows]
        self.scaled = [
            error[part] / scale(disagreement[part])
            for part, scale in zip(rows, scales, strict=True)
        ]
        self.weights = None if weight is None else [weight[part] for part in rows]
        self.new_weight = weight_of_a_new_unit(weight, units)
        low, high = _RATINGS
        self.bounded = bool(y[counted].min() >= low and y[counted].max() <= high)

    def __setstate__(self, state):
        # Files of before have one scale and no weights.
        one = state.pop("scale", None)
        if one is not None:
            state.update(scales=[one] * len(state["errors"]), weights=None)
            state["new_weight"] = 1.0
        self.__dict__.update(state)

    def interval(self, predictions, disagreement, coverage, *, scaled):
        """Return intervals of new pairs; see `cross_conformal_interval`.

        Parameters
        ----------
        predictions, disagreement : ndarray of shape (n_folds, n_pairs)
            By what did not see each fold.
        coverage : float
            In (0, 1).
        scaled : bool
            Whether widths follow the disagreement.
        """
        scale = np.ones_like(predictions)
        if scaled:
            by_fold = zip(self.scales, disagreement, strict=True)
            scale = np.array([of_fold(part) for of_fold, part in by_fold])
        interval = cross_conformal_interval(
            predictions,
            self.scaled if scaled else self.errors,
            scale,
            coverage,
            weights=self.weights,
            new_weight=self.new_weight,
        )
        return np.clip(interval, *_RATINGS) if self.bounded else interval
