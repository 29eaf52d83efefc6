"""Low-rank maps of two embeddings that bring their cosine nearer to scores."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from clapstack._numerics.rows import matmul

__all__ = ["CosineProblem", "apply_map"]

# Length of the largest column at the start, where zero would be a saddle.
_START = 0.1


class CosineProblem:
    r"""Penalised least squares of scores on the cosine of mapped embeddings.

    Audio embeddings become the direction of :math:`(I + U V^\top) a`, text embeddings
    that of :math:`(I + S T^\top) b`. The loss is the share of the variance of `y` that
    a line in their cosine leaves, plus half the penalty times the squared entries of
    `U`, `V`, `S` and `T`, which draws the maps to the identity.

    Parameters
    ----------
    a, b : ndarray of shape (n_pairs, projection_dim)
        Audio and text embeddings of unit norm, float64.
    y : ndarray of shape (n_pairs,)
        Scores that are not all the same.
    weight : ndarray of shape (n_pairs,)
        Positive weights.
    rank : int
        Columns of `U`, `V`, `S` and `T`.

    Attributes
    ----------
    largest_penalty : float
        The least penalty at which no small map improves on the identity.

    Notes
    -----
    The squared entries of two factors bound the sum of singular values of their product
    (the nuclear norm), so a penalty thins out directions. It is not convex: the start
    is the steepest descent from the identity, which is found by an SVD, so that nothing
    is drawn. All that is done per step are products with few columns.
    """

    def __init__(self, a, b, y, weight, rank):
        self._a, self._b = a, b
        self._weight = weight / weight.sum()
        y = y - self._weight @ y
        self._y = y / np.sqrt(self._weight @ y**2)
        self._squares = np.sum(a * a, axis=1), np.sum(b * b, axis=1)
        self._products = np.sum(a * b, axis=1)
        self._shape = (2, 2, a.shape[1], min(rank, a.shape[1]))
        steepest = [np.linalg.svd(-side) for side in self._slope_at_identity()]
        self.largest_penalty = float(max(values[0] for _, values, _ in steepest))
        self._start = np.zeros(self._shape)
        k = self._shape[3]
        for side, (left, values, right) in enumerate(steepest):
            if values[0] > 0:
                length = _START * np.sqrt(values[:k] / values[0])
                self._start[side] = left[:, :k] * length, right[:k].T * length

    def fit(self, penalty: float, max_iter: int) -> np.ndarray:
        """Return the maps, of shape (2, 2, projection_dim, rank).

        The first axis is audio and text, the second left and right factor. At a penalty
        of `largest_penalty` or more they are zero.
        """
        if penalty >= self.largest_penalty:
            return np.zeros(self._shape)

        def objective(flat):
            value, gradient = self.loss(flat.reshape(self._shape))
            value += penalty * (flat @ flat) / 2.0
            return value, gradient.ravel() + penalty * flat

        found = minimize(
            objective,
            self._start.ravel(),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": max_iter},
        )
        return found.x.reshape(self._shape)

    def loss(self, maps):
        """Return the unpenalised loss and its gradient, of the shape of `maps`."""
        (U, V), (S, T) = maps
        a_U, a_V, a_S = np.split(self._a @ np.hstack([U, V, S]), 3, axis=1)
        b_S, b_T, b_U = np.split(self._b @ np.hstack([S, T, U]), 3, axis=1)
        inner, text_gram, audio_gram = U.T @ S, S.T @ S, U.T @ U
        audio_norm = self._squares[0] + _rows(a_V, 2.0 * a_U + a_V @ audio_gram)
        text_norm = self._squares[1] + _rows(b_T, 2.0 * b_S + b_T @ text_gram)
        product = self._products + _rows(a_V, b_U + b_T @ inner.T) + _rows(b_T, a_S)
        length = np.sqrt(audio_norm * text_norm)
        cosine = product / length
        value, slope = self._left_by_line(cosine)
        # What the loss changes by with the product and with the squared norms.
        by_product = (slope / length)[:, np.newaxis]
        by_audio = (-slope * cosine / (2.0 * audio_norm))[:, np.newaxis]
        by_text = (-slope * cosine / (2.0 * text_norm))[:, np.newaxis]
        to_a_V = by_product * (b_U + b_T @ inner.T)
        to_a_V += 2.0 * by_audio * (a_U + a_V @ audio_gram)
        to_b_T = by_product * (a_S + a_V @ inner)
        to_b_T += 2.0 * by_text * (b_S + b_T @ text_gram)
        from_a = self._a.T @ np.hstack([2 * by_audio * a_V, to_a_V, by_product * b_T])
        from_b = self._b.T @ np.hstack([2 * by_text * b_T, to_b_T, by_product * a_V])
        to_U, to_V, to_S = np.split(from_a, 3, axis=1)
        also_S, to_T, also_U = np.split(from_b, 3, axis=1)
        to_inner = a_V.T @ (by_product * b_T)
        to_U = to_U + also_U + S @ to_inner.T + 2.0 * U @ (a_V.T @ (by_audio * a_V))
        to_S = to_S + also_S + U @ to_inner + 2.0 * S @ (b_T.T @ (by_text * b_T))
        return value, np.array([[to_U, to_V], [to_S, to_T]])

    def _left_by_line(self, cosine):
        """Return the variance that the best line leaves, and its slope per cosine."""
        around = cosine - self._weight @ cosine
        spread = self._weight @ around**2
        if spread == 0:
            return 1.0, np.zeros(len(cosine))
        steepness = self._weight @ (around * self._y) / spread
        error = self._y - steepness * around
        return float(self._weight @ error**2), -2 * steepness * self._weight * error

    def _slope_at_identity(self):
        """Return the slopes of the loss by both whole maps, where they are identity."""
        length = np.sqrt(self._squares[0] * self._squares[1])
        cosine = self._products / length
        _, slope = self._left_by_line(cosine)
        for own, other, squares in (
            (self._a, self._b, self._squares[0]),
            (self._b, self._a, self._squares[1]),
        ):
            along = (slope / length)[:, np.newaxis] * other
            along -= (slope * cosine / squares)[:, np.newaxis] * own
            yield along.T @ own


def apply_map(factors, embeddings):
    """Return unit embeddings after one map.

    Parameters
    ----------
    factors : ndarray of shape (2, projection_dim, rank)
        Left and right factor.
    embeddings : ndarray of shape (n_pairs, projection_dim)
        Unit embeddings.

    Returns
    -------
    mapped : ndarray of shape (n_pairs, projection_dim), float64
        Unit embeddings.
    """
    left, right = factors
    embeddings = np.asarray(embeddings, dtype=np.float64)
    mapped = embeddings + matmul(matmul(embeddings, right), left.T)
    return mapped / np.linalg.norm(mapped, axis=1, keepdims=True)


def _rows(first, second):
    return np.einsum("ij,ij->i", first, second)
