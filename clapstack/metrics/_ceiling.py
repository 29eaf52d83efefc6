"""Noise ceiling: the best result that the raters' disagreement allows."""

from __future__ import annotations

import warnings
from numbers import Real
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from sklearn.exceptions import UndefinedMetricWarning

from clapstack._numerics.checks import as_numbers, check_finite, check_labels


class NoiseCeiling(NamedTuple):
    """Expected metrics of a perfect predictor of the pairs' true scores.

    Attributes
    ----------
    reliability : float
        Share of the variance of mean ratings that comes from differences between pairs,
        in [0, 1].
    lcc : float
        Expected LCC of the true scores with the mean ratings: the square root of the
        reliability.
    mse : float
        Expected MSE of the true scores against the mean ratings.
    """

    reliability: float
    lcc: float
    mse: float


def noise_ceiling(
    pair_ids: ArrayLike, ratings: ArrayLike, *, n_raters: float | None = None
) -> NoiseCeiling:
    """Estimate the metrics that a perfect predictor would reach on noisy ratings.

    No system can be expected to do better, because mean ratings contain the noise of
    the raters.

    Parameters
    ----------
    pair_ids : array-like of shape (n_ratings,)
        Pair that each rating belongs to.
    ratings : array-like of shape (n_ratings,)
        One rating per row. Pairs may have different numbers of ratings.
    n_raters : float, default=None
        Number of ratings averaged per pair. None uses the harmonic mean of the counts
        in the data, which keeps the mean error variance.

    Returns
    -------
    ceiling : NoiseCeiling
        ``(reliability, lcc, mse)``.

    Raises
    ------
    ValueError
        If the inputs differ in length or contain NaN or infinity (the message names the
        rows), if there are fewer than two pairs or no pair has two ratings, or if
        `n_raters` is not above 0.

    Notes
    -----
    The model has one-way random effects: a rating is the true score of its pair plus
    noise. Differences between raters are part of the noise, as if every pair had its
    own raters. The variances come from the analysis of variance for unequal counts (a
    negative estimate counts as 0), and the reliability is ICC(1, k) [1]_ with
    k = `n_raters`.

    References
    ----------
    .. [1] P. E. Shrout and J. L. Fleiss, "Intraclass correlations: uses in assessing
       rater reliability", Psychological Bulletin 86(2), 1979.
       https://doi.org/10.1037/0033-2909.86.2.420

    Examples
    --------
    >>> from clapstack.metrics import noise_ceiling
    >>> ceiling = noise_ceiling(["a", "a", "b", "b"], [1.0, 3.0, 8.0, 10.0])
    >>> round(ceiling.reliability, 4), ceiling.mse
    (0.9592, 1.0)
    """
    is_number = isinstance(n_raters, Real)
    if n_raters is not None and not (is_number and n_raters > 0):
        msg = (
            f"n_raters must be a number above 0; got {n_raters!r}. Pass how many "
            "ratings each pair will have, or None for those in the data."
        )
        raise ValueError(msg)
    rating = as_numbers(ratings, "ratings")
    pairs = check_labels(pair_ids, "pair_ids", "Name the pair of every rating.")
    if rating.shape != pairs.shape:
        msg = (
            f"pair_ids and ratings must have the same length; got shapes {pairs.shape} "
            f"and {rating.shape}. Pass one row per rating."
        )
        raise ValueError(msg)
    check_finite("ratings", rating)
    _, inverse = np.unique(pairs, return_inverse=True)
    counts = np.bincount(inverse).astype(np.float64)
    n_pairs, n_ratings = len(counts), len(rating)
    if n_pairs < 2 or n_ratings == n_pairs:
        msg = (
            "noise_ceiling needs at least two pairs, and at least one pair with two "
            f"ratings; got {n_ratings} ratings of {n_pairs} pairs. Pass one row per "
            "rating, not per pair."
        )
        raise ValueError(msg)
    means = np.bincount(inverse, weights=rating) / counts
    within = np.sum((rating - means[inverse]) ** 2) / (n_ratings - n_pairs)
    between = np.sum(counts * (means - rating.mean()) ** 2) / (n_pairs - 1)
    count = (n_ratings - np.sum(counts**2) / n_ratings) / (n_pairs - 1)
    true_variance = max((between - within) / count, 0.0)
    error = within / (stats.hmean(counts) if n_raters is None else n_raters)
    if true_variance + error == 0:
        warnings.warn(
            "All ratings are equal, so the reliability is undefined and set to 0.0.",
            UndefinedMetricWarning,
            stacklevel=2,
        )
        return NoiseCeiling(0.0, 0.0, 0.0)
    reliability = float(true_variance / (true_variance + error))
    return NoiseCeiling(reliability, reliability**0.5, float(error))
