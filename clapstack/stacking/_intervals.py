"""Conformal prediction intervals from out-of-fold residuals."""

from __future__ import annotations

import numpy as np
from scipy.optimize import nnls

# Each bisection halves the bracket: 40 reduce any rating scale to below 1e-9 of it.
_N_HALVINGS = 40
_LEAST_SCALE = 0.1
# Relative rounding error of a sum of weights, which must not change a rank.
_ROUNDING = 1e-12
_RATINGS = (0.0, 10.0)  # the scale of human listeners


class DisagreementScale:
    """Expected absolute error, given the disagreement of the first level.

    ``a + b * disagreement`` with a, b ≥ 0, fitted to absolute residuals by least
    squares; at least a tenth of their mean, so that intervals keep a positive width.

    Parameters
    ----------
    absolute_residuals, disagreement : ndarray of shape (n_pairs,)
        Out-of-fold values.
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
        """Return the scale of each pair, with the shape of `disagreement`."""
        return np.maximum(self.coef[0] + self.coef[1] * disagreement, self.floor)


def weight_of_a_new_unit(weight, units):
    """Return the weight of a new pair relative to the training pairs.

    It is the expected weight of units that occur in proportion to their weights m,
    ``sum(m²) / sum(m)``. The finite-sample correction of a quantile then depends on the
    effective number of units, ``sum(m)² / sum(m²)``, regardless of the scale of the
    weights and of repetitions.

    Parameters
    ----------
    weight : ndarray of shape (n_pairs,) or None
        Weights, zero allowed; None weights all pairs equally.
    units : ndarray of int of shape (n_pairs,)
        Number of the exchangeable unit of each pair: itself, or its group.

    Returns
    -------
    weight : float
        A positive weight.
    """
    mass = np.bincount(units, weights=weight)
    return float(np.sum(mass**2) / np.sum(mass))


def cross_conformal_interval(
    predictions, residuals, scale, coverage, *, weights=None, new_weight=1.0
):
    """Return CV+ intervals.

    With the prediction f₋ₖ(x) of a model fitted without fold k, and the scaled residual
    Rᵢ of a training pair in fold k(i), the ends of the interval of x are quantiles of
    ``f₋ₖ₍ᵢ₎(x) - s₋ₖ₍ᵢ₎(x) Rᵢ`` and ``f₋ₖ₍ᵢ₎(x) + s₋ₖ₍ᵢ₎(x) Rᵢ`` over all training
    pairs (Barber, Candès, Ramdas and Tibshirani, "Predictive inference with the
    jackknife+", 2021).

    Parameters
    ----------
    predictions : ndarray of shape (n_folds, n_pairs)
        Predictions of new pairs by the models without each fold.
    residuals : list of ndarray
        Absolute residuals of the pairs in each fold, divided by their scale.
    scale : ndarray of shape (n_folds, n_pairs) or (n_pairs,)
        Positive scale of the new pairs; ones for intervals of similar width.
    coverage : float
        Nominal coverage, in (0, 1).
    weights : list of ndarray, default=None
        Positive weights of the residuals; None weights them equally.
    new_weight : float, default=1.0
        Weight of a new pair.

    Returns
    -------
    interval : ndarray of shape (n_pairs, 2)
        Lower and upper ends; infinite if there are too few residuals for `coverage`.
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
    # If coverage is below one half, the ends can be in the wrong order.
    return np.sort(np.column_stack([low, high]), axis=1)


class _SortedResiduals:
    """Sorted residuals of a fold, with cumulative weights."""

    def __init__(self, residuals, weights):
        order = np.argsort(residuals, kind="stable")
        self.values = residuals[order]
        self.weight_below = np.concatenate([[0.0], np.cumsum(weights[order])])

    def weight_up_to(self, bound):
        """Return the total weight of residuals up to each bound."""
        return self.weight_below[np.searchsorted(self.values, bound, side="right")]


def _quantile(predictions, folds, scale, wanted):
    """Return weighted quantiles of ``predictions[k] + scale[k] * residuals[k]``.

    The weight below a value needs one binary search per fold, so bisection computes the
    quantile without forming the sums.
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
    """Out-of-fold errors of the training pairs, and prediction intervals from them.

    Parameters
    ----------
    y, scores, disagreement : ndarray of shape (n_pairs,)
        True scores, out-of-fold predictions, and the disagreement of their first level.
    weight : ndarray of shape (n_pairs,) or None
        Weights, zero allowed.
    units : ndarray of int of shape (n_pairs,)
        Number of the exchangeable unit of each pair: itself, or its group.
    test_rows : list of ndarray of int
        Test rows of each fold.
    scales : list of DisagreementScale
        One per fold, fitted to errors on other folds.
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
        # Older files have one scale and no weights.
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
            Values of new pairs, from the models without each fold.
        coverage : float
            Nominal coverage, in (0, 1).
        scaled : bool
            Whether widths depend on the disagreement.
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
