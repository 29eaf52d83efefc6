"""Weights of the blocks in the kernel, learned by marginal likelihood."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.linalg import block_diag, cholesky, get_lapack_funcs
from scipy.optimize import minimize

from clapstack.families import family_of

# Of the prior variance of a row: with less noise, errors of float32 products show.
_LEAST_NOISE = 0.01
# Standard deviations of the logarithms: shared by blocks of one kind, shared by those
# of one family, of each block alone, and of amplitude and noise.
_SHARED_BY_KIND, _SHARED_BY_FAMILY, _OWN, _SCALES = 1.0, 0.5, 0.7, 1.5
# Medians before any data: all radial and all linear weights of the cosines and of the
# other blocks, all bilinear weights, amplitude and noise. Rows of a block have a mean
# square of 1.
_RADIAL, _LINEAR = {True: 0.6, False: 0.3}, {True: 0.4, False: 0.1}
_BILINEAR, _AMPLITUDE, _NOISE = 0.2, 0.1, 0.5
# L-BFGS stops where a step gains less than this part of the criterion, which is
# about half of the number of rows.
_MOST_STEPS, _TOLERANCE = 60, 1e-4
# Prior standard deviations that a hyperparameter may move: its exponential is finite.
_REACH = 5.0


@dataclass(frozen=True)
class KernelWeights:
    """Hyperparameters, for a target of variance 1.

    Attributes
    ----------
    radial, linear : ndarray of shape (n_blocks,)
        What multiplies squared distances and products of the rows of each block.
    bilinear : ndarray of shape (n_families,)
        What multiplies the product, over audio and text, of the products of rows.
    amplitude : float
        Variance of the radial part.
    noise : float
        Variance of a target of weight 1 around the process.
    """

    radial: np.ndarray
    linear: np.ndarray
    bilinear: np.ndarray
    amplitude: float
    noise: float


class Prior:
    """Log-normal prior of the weights, in coordinates that are standard normal.

    Blocks of one kind, such as all products, share a factor, and so do those of one
    family: a hundred pairs can show which kind matters, but not which of 25 blocks.

    Parameters
    ----------
    labels : list of str
        Blocks, ``<family>__<kind>``.
    families : list of str
        Families that have a bilinear part.
    """

    def __init__(self, labels, families):
        kinds = [label.partition("__")[2] for label in labels]
        cosine = np.array([kind == "cosine" for kind in kinds])
        shares = np.where(cosine, 1 / max(1, cosine.sum()), 1 / max(1, (~cosine).sum()))
        totals = [
            np.where(cosine, total[True], total[False]) for total in (_RADIAL, _LINEAR)
        ]
        bilinear = [_BILINEAR / len(families) for _ in families]
        medians = [*totals[0] * shares, *totals[1] * shares, *bilinear]
        self.median = np.log([*medians, _AMPLITUDE, _NOISE])
        each = np.hstack(
            [
                _SHARED_BY_KIND * _indicators(kinds),
                _SHARED_BY_FAMILY * _indicators([family_of(label) for label in labels]),
                _OWN * np.eye(len(labels)),
            ]
        )
        own = _OWN * np.eye(len(families))
        products = np.hstack([_SHARED_BY_KIND * np.ones((len(own), 1)), own])
        self.mixing = block_diag(each, each, products, _SCALES * np.eye(2))
        self.size = self.mixing.shape[1]
        self._ends = [len(labels), 2 * len(labels), 2 * len(labels) + len(families)]

    def weights(self, place) -> KernelWeights:
        """Return the weights at a place of shape (size,)."""
        values = np.exp(self.median + self.mixing @ place)
        radial, linear, bilinear, scales = np.split(values, self._ends)
        least = _LEAST_NOISE * (scales[0] + linear.sum() + bilinear.sum())
        return KernelWeights(radial, linear, bilinear, scales[0], scales[1] + least)


def _indicators(labels):
    distinct = sorted(set(labels))
    return np.array([[float(label == one) for one in distinct] for label in labels])


def learn_weights(grams, targets, weights, prior) -> KernelWeights:
    """Return the weights of the blocks that suit some rows best.

    Parameters
    ----------
    grams : list of ndarray of shape (n_products, n_rows * (n_rows + 1) / 2)
        For each part of the rows: products of the rows of every block, and those of
        audio times those of text of every family that has a bilinear part, as
        `lower_triangle` returns them.
    targets : list of ndarray of shape (n_rows,)
        Standardised.
    weights : list of ndarray of shape (n_rows,)
        Positive weights of the rows.
    prior : Prior
        Of the weights.

    Returns
    -------
    weights : KernelWeights
        At the maximum of the posterior density.
    """
    parts = list(zip(grams, targets, weights, strict=True))

    def criterion(place):
        each = [unlikelihood(place, *part, prior) for part in parts]
        values, gradients = zip(*each, strict=True)
        return place @ place / 2 + sum(values), place + np.sum(gradients, axis=0)

    found = minimize(
        criterion,
        np.zeros(prior.size),
        jac=True,
        method="L-BFGS-B",
        bounds=[(-_REACH, _REACH)] * prior.size,
        options={"maxiter": _MOST_STEPS, "ftol": _TOLERANCE},
    )
    return prior.weights(found.x)


def lower_triangle(matrix):
    """Return the lower triangle of a matrix, row by row.

    The work on these is bound by memory, and half of a symmetric matrix is enough.
    """
    return matrix[np.tril_indices(len(matrix))]


@lru_cache(maxsize=4)
def _triangle(n_rows):
    """Return rows, columns and flat places of a lower triangle, and its diagonal.

    Places are those in a matrix that is held by column, as LAPACK takes it.
    """
    row, column = np.tril_indices(n_rows)
    diagonal = np.cumsum(np.arange(1, n_rows + 1)) - 1
    return row, column, row + n_rows * column, diagonal


def unlikelihood(place, grams, target, weight, prior):
    """Return the negative log likelihood of a part, less a constant, and its gradient.

    Parameters
    ----------
    place : ndarray of shape (prior.size,)
        Where.
    grams, target, weight : ndarray
        Of the part, as :func:`learn_weights` takes them.
    prior : Prior
        Of the weights.

    Returns
    -------
    value : float
    gradient : ndarray of shape (prior.size,)
    """
    n_rows, dtype = len(target), grams.dtype
    weights = prior.weights(place)
    n_blocks = len(weights.radial)
    row, column, flat, diagonal = _triangle(n_rows)
    radial = np.concatenate([weights.radial, np.zeros(len(weights.bilinear))])
    linear = np.concatenate([weights.linear, weights.bilinear])
    near, product = np.stack([radial, linear]).astype(dtype) @ grams
    own = near[diagonal]
    distance = np.maximum(own[row] + own[column] - 2 * near, 0)
    shape = 1 / (1 + distance)
    amplitude = dtype.type(weights.amplitude)

    covariance = amplitude * shape + product
    covariance[diagonal] += weights.noise / weight
    kernel = np.zeros((n_rows, n_rows), dtype, order="F")
    kernel.ravel(order="K")[flat] = covariance
    # In the precision of the products: the noise keeps the factor far from singular.
    factor = cholesky(kernel, lower=True, overwrite_a=True, check_finite=False)
    solve, invert = get_lapack_funcs(("potrs", "potri"), (factor,))
    half_log_det = np.log(np.diag(factor), dtype=np.float64).sum()
    coef, _ = solve(factor, target, lower=1)
    inverse, _ = invert(factor, lower=1, overwrite_c=1)

    # Both halves of the symmetric derivative by the kernel count.
    by_kernel = inverse.ravel(order="F")[flat] - coef[row] * coef[column]
    by_noise = by_kernel[diagonal] @ (1 / weight) / 2
    by_kernel[diagonal] /= 2
    by_amplitude = by_kernel * shape
    by_near = amplitude * by_amplitude * shape
    by_own = np.bincount(row, by_near) + np.bincount(column, by_near)
    sums = grams @ np.stack([by_near, by_kernel], axis=1)
    by_distance = grams[:, diagonal] @ by_own - 2 * sums[:, 0]
    by_least = _LEAST_NOISE * by_noise
    least = _LEAST_NOISE * (weights.amplitude + linear.sum())
    gradient = np.concatenate(
        [
            -(radial * by_distance)[:n_blocks],
            linear * (sums[:, 1] + by_least),
            [weights.amplitude * (by_amplitude.sum() + by_least)],
            [(weights.noise - least) * by_noise],
        ]
    )
    return target @ coef / 2 + half_log_det, prior.mixing.T @ gradient
