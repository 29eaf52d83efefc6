"""Block weights of the kernel, learned by marginal likelihood."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.linalg import block_diag, cholesky, get_lapack_funcs
from scipy.optimize import minimize

from clapstack.families import family_of

# Relative to the prior variance of a row: below, errors of float32 products appear.
_LEAST_NOISE = 0.01
# Standard deviations of the logarithms: shared by blocks of one kind, shared by blocks
# of one family, of each block, and of amplitude and noise.
_SHARED_BY_KIND, _SHARED_BY_FAMILY, _OWN, _SCALES = 1.0, 0.5, 0.7, 1.5
# Prior medians: total radial and linear weights of the cosines (True) and of the other
# blocks, total bilinear weight, amplitude and noise. Rows of a block have a mean square
# of 1.
_RADIAL, _LINEAR = {True: 0.6, False: 0.3}, {True: 0.4, False: 0.1}
_BILINEAR, _AMPLITUDE, _NOISE = 0.2, 0.1, 0.5
# L-BFGS stops if a step improves the criterion, about half the number of rows, by less
# than this share.
_MOST_STEPS, _TOLERANCE = 60, 1e-4
# Bounds in prior standard deviations, which keep exponentials finite.
_REACH = 5.0


@dataclass(frozen=True)
class KernelWeights:
    """Hyperparameters, for a target of variance 1.

    Attributes
    ----------
    radial, linear : ndarray of shape (n_blocks,)
        Factors of the squared distances, and of the products, of each block's rows.
    bilinear : ndarray of shape (n_families,)
        Factors of the audio products times the text products.
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
    """Log-normal prior of the weights, in standard normal coordinates.

    Blocks of one kind, such as all products, share a factor, and so do blocks of one
    family: a hundred pairs can show which kind matters, but not which of 25 blocks.

    Parameters
    ----------
    labels : list of str
        Blocks, ``<family>__<kind>``.
    families : list of str
        Families with a bilinear part.
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
        """Return the weights at prior coordinates of shape (size,)."""
        values = np.exp(self.median + self.mixing @ place)
        radial, linear, bilinear, scales = np.split(values, self._ends)
        least = _LEAST_NOISE * (scales[0] + linear.sum() + bilinear.sum())
        return KernelWeights(radial, linear, bilinear, scales[0], scales[1] + least)


def _indicators(labels):
    distinct = sorted(set(labels))
    return np.array([[float(label == one) for one in distinct] for label in labels])


def learn_weights(grams, targets, weights, prior) -> KernelWeights:
    """Return the block weights of maximum posterior density.

    Parameters
    ----------
    grams : list of ndarray of shape (n_products, n_rows * (n_rows + 1) / 2)
        For each part of the rows: row products of each block, and audio products times
        text products of each family with a bilinear part, from `lower_triangle`.
    targets : list of ndarray of shape (n_rows,)
        Standardised targets.
    weights : list of ndarray of shape (n_rows,)
        Positive weights of the rows.
    prior : Prior
        Prior of the weights.

    Returns
    -------
    weights : KernelWeights
        The learned weights.
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

    Half of a symmetric matrix is enough, and the computations are bound by memory.
    """
    return matrix[np.tril_indices(len(matrix))]


@lru_cache(maxsize=4)
def _triangle(n_rows):
    """Return rows, columns and flat positions of a lower triangle, and its diagonal.

    Positions refer to a column-major matrix, as used by LAPACK.
    """
    row, column = np.tril_indices(n_rows)
    diagonal = np.cumsum(np.arange(1, n_rows + 1)) - 1
    return row, column, row + n_rows * column, diagonal


def unlikelihood(place, grams, target, weight, prior):
    """Return the negative log likelihood of a part, up to a constant, and its gradient.

    Parameters
    ----------
    place : ndarray of shape (prior.size,)
        Prior coordinates.
    grams, target, weight : ndarray
        Data of the part, as in :func:`learn_weights`.
    prior : Prior
        Prior of the weights.

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
    # Single precision is enough: the noise keeps the matrix far from singular.
    factor = cholesky(kernel, lower=True, overwrite_a=True, check_finite=False)
    solve, invert = get_lapack_funcs(("potrs", "potri"), (factor,))
    half_log_det = np.log(np.diag(factor), dtype=np.float64).sum()
    coef, _ = solve(factor, target, lower=1)
    inverse, _ = invert(factor, lower=1, overwrite_c=1)

    # Both halves of the symmetric derivative by the kernel contribute.
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
