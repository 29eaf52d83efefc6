"""Losses of an order of predictions, with their gradients, in O(n log n)."""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

from clapstack._numerics.ranks import rank_target

__all__ = ["LOSSES", "ListNetLoss", "PairwiseLoss", "SpearmanLoss"]


class PairwiseLoss:
    r"""Squared hinge on all pairs of rows that differ in `y`.

    The mean of :math:`\max(0, 1 - (f_i - f_j))^2` over all :math:`y_i > y_j`, times
    half the total weight.

    Parameters
    ----------
    y : ndarray of shape (n_rows,)
        True scores; tied rows are no pair.
    weight : ndarray of shape (n_rows,)
        Positive weights; a pair weighs the product of those of its rows.

    Notes
    -----
    Two rows differ in the dense rank of `y`, so there is one highest bit in which the
    ranks differ. Sorting the rows of each bit by what stands above it, then by
    prediction, makes the partners of a row neighbours, whose sums are differences of
    cumulative sums: O(n log n) per bit, and no pair is left out or drawn.
    """

    def __init__(self, y, weight):
        _, rank = np.unique(y, return_inverse=True)
        self.weight = weight
        total = weight.sum()
        pairs = (total**2 - np.sum(np.bincount(rank, weights=weight) ** 2)) / 2.0
        self._unit = total / (2.0 * pairs) if pairs > 0 else 0.0
        self._bits = [
            _Bit(rank >> (bit + 1), (rank >> bit) & 1)
            for bit in range(int(rank.max()).bit_length())
        ]

    def __call__(self, f: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the loss and its gradient at predictions of shape (n_rows,)."""
        f = f - f.mean()
        value, gradient = 0.0, np.zeros(len(f))
        low, span = f.min(), np.ptp(f) + 2.0
        for bit in self._bits:
            keys = bit.group * span + (f - low)
            value += bit.add(f, self.weight, keys, gradient)
        return self._unit * value, self._unit * gradient


class _Bit:
    """The pairs whose ranks differ in one bit, and agree above it."""

    def __init__(self, group, upper):
        self.group = group
        self.upper = np.flatnonzero(upper)
        self.lower = np.flatnonzero(upper == 0)
        # Sorted by group, the rows of either side end and start here.
        self._end = np.searchsorted(
            np.sort(group[self.lower]), group[self.upper], side="right"
        )
        self._start = np.searchsorted(np.sort(group[self.upper]), group[self.lower])

    def add(self, f, weight, keys, gradient):
        """Add to the gradient, and return the loss, of this bit's pairs."""
        upper = self.upper[np.argsort(keys[self.upper], kind="stable")]
        lower = self.lower[np.argsort(keys[self.lower], kind="stable")]
        # Lower rows that are too near to an upper one, or above it.
        start = np.searchsorted(keys[lower], keys[self.upper] - 1.0, side="right")
        count, first, second = _sums(weight[lower], f[lower], start, self._end)
        gap = 1.0 - f[self.upper]
        value = weight[self.upper] @ (count * gap**2 + 2.0 * gap * first + second)
        gradient[self.upper] -= 2.0 * weight[self.upper] * (count * gap + first)
        # Upper rows that are too near to a lower one, or below it.
        end = np.searchsorted(keys[upper], keys[self.lower] + 1.0, side="left")
        count, first, _ = _sums(weight[upper], f[upper], self._start, end)
        gap = 1.0 + f[self.lower]
        gradient[self.lower] += 2.0 * weight[self.lower] * (count * gap - first)
        return float(value)


class ListNetLoss:
    r"""Cross-entropy of the chances to be ranked first (ListNet, top one).

    With the weights :math:`w` and standardised scores :math:`z`, rows are first with
    chance :math:`p_i \propto w_i e^{z_i}` by the scores and
    :math:`q_i \propto w_i e^{f_i}` by the predictions. The loss is the divergence of
    `q` from `p` times the total weight; it depends on the distances of scores.

    Parameters
    ----------
    y : ndarray of shape (n_rows,)
        True scores.
    weight : ndarray of shape (n_rows,)
        Positive weights.
    """

    def __init__(self, y, weight):
        self.weight = weight
        mean = np.average(y, weights=weight)
        spread = np.sqrt(np.average((y - mean) ** 2, weights=weight))
        z = (y - mean) / spread if spread > 0 else np.zeros(len(y))
        self._log_weight = np.log(weight)
        log_p = z + self._log_weight
        log_p -= logsumexp(log_p)
        self._p = np.exp(log_p)
        self._least = self._p @ log_p

    def __call__(self, f: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the loss and its gradient at predictions of shape (n_rows,)."""
        log_q = f + self._log_weight
        log_q = log_q - logsumexp(log_q)
        total = self.weight.sum()
        value = total * (self._least - self._p @ log_q)
        return float(value), total * (np.exp(log_q) - self._p)


class SpearmanLoss:
    r"""Squared distance between the ranks of `y` and soft ranks of the predictions.

    The soft rank of a row is the weighted mean of :math:`S(f_i - f_j)` over all rows,
    where `S` rises from 0 at -1 to 1 at 1, in two parabolas. Far apart, predictions
    have hard ranks, and least squares of ranks is greatest SRCC; close together, soft
    ranks are the predictions themselves, and the loss is that of ridge regression on
    ranks. It is not convex.

    Parameters
    ----------
    y : ndarray of shape (n_rows,)
        True scores; tied rows share the mean of their ranks.
    weight : ndarray of shape (n_rows,)
        Positive weights, which count repetitions.
    """

    def __init__(self, y, weight):
        self.weight = weight
        self._total = weight.sum()
        self._true = rank_target(y, weight)

    def __call__(self, f: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the loss and its gradient at predictions of shape (n_rows,)."""
        f = f - f.mean()
        order = np.argsort(f, kind="stable")
        f, weight = f[order], self.weight[order]
        below = np.searchsorted(f, f - 1.0, side="right")
        here = np.searchsorted(f, f, side="right")
        above = np.searchsorted(f, f + 1.0, side="left")
        near, first, second = _sums(weight, f, below, here)
        ranks = _sums(weight, f, np.zeros_like(below), here)[0]
        gap = 1.0 - f
        ranks -= (near * gap**2 + 2.0 * gap * first + second) / 2.0
        near, first, second = _sums(weight, f, here, above)
        gap = 1.0 + f
        ranks += (near * gap**2 - 2.0 * gap * first + second) / 2.0
        error = ranks / self._total - self._true[order]

        def smoothed(values):
            """Return sums of values weighted by how near their rows are."""
            count, first, _ = _sums(values, f, below, here)
            out = count * (1.0 - f) + first
            count, first, _ = _sums(values, f, here, above)
            return out + count * (1.0 + f) - first

        gradient = np.empty(len(f))
        slope = error * smoothed(weight) - smoothed(weight * error)
        gradient[order] = 2.0 * weight * slope / self._total
        return float(weight @ error**2), gradient


def _sums(weight, f, start, end):
    """Return sums of weight, weight f and weight f² over ranges of sorted rows.

    Ranges that end before they start are empty.
    """
    end = np.maximum(start, end)
    sums = []
    for values in (weight, weight * f, weight * f**2):
        cumulated = np.concatenate([[0.0], np.cumsum(values)])
        sums.append(cumulated[end] - cumulated[start])
    return sums


LOSSES = {"pairwise": PairwiseLoss, "listnet": ListNetLoss, "spearman": SpearmanLoss}
