"""The ridge systems of a family in all folds: what they are, and what solves them."""

from __future__ import annotations

import numpy as np

from clapstack.stacking._targets import weighted_srcc
from clapstack.stacking.ridge._estimator import StandardizedRidge

# Blocks of a pass over all rows are cut by size alone.
_PASS_ROWS = 1 << 40


def choose_alphas(held_out, folds):
    """Return the number of the penalty of each target whose SRCC is best.

    Of equals it is the first. At all pairs of two sets of human scores, SRCC and MSE
    choose alike; at 100 to 1,000 pairs SRCC chooses better in every draw.

    Parameters
    ----------
    held_out : list of ndarray of shape (n_test, n_targets, n_alphas)
        Predictions of the test rows of each fold.
    folds : list of Fold
        Whose test rows they are.

    Returns
    -------
    best : ndarray of int of shape (n_targets,)
        Numbers of penalties.
    """
    predicted = np.concatenate(held_out)
    true = np.concatenate([fold.test_targets for fold in folds])
    weight = None
    if folds[0].test_weight is not None:
        weight = np.concatenate([fold.test_weight for fold in folds])
    best = []
    for target in range(true.shape[1]):
        scores = [
            weighted_srcc(true[:, target], column, weight)
            for column in predicted[:, target].T
        ]
        best.append(int(np.argmax(scores)))
    return np.array(best)


class RidgeSystems:
    """Ridge systems on standardised columns, read from the rows in float64.

    Parameters
    ----------
    rows : ShiftedRows
        The family's columns.
    weights : FoldWeights
        Weights and targets.
    columns : list of FoldColumns
        The columns as each fold sees them.
    folds : list of Fold
        The folds.

    Attributes
    ----------
    n_varying : list of int
        By how much each fold multiplies a penalty per column.
    """

    def __init__(self, rows, weights, columns, folds):
        self.rows = rows
        self.weights = weights
        self.columns = columns
        self.folds = folds
        self.n_varying = [max(1, int(c.varying.sum())) for c in columns]

    def right(self, fold):
        """Return the right-hand sides of a fold, (n_columns, n_targets)."""
        columns = self.columns[fold]
        return columns.cross / columns.scale[:, np.newaxis]

    def penalties(self, batch, alphas):
        """Return the whole penalties, of shape (n_batch, n_alphas)."""
        return np.multiply.outer([self.n_varying[f] for f in batch], alphas)

    def equations(self, batch, alphas):
        """Return the systems of some folds and all targets, by fold, then by target.

        Parameters
        ----------
        batch : list of int
            Numbers of folds.
        alphas : ndarray of shape (n_targets,)
            Penalties per column.

        Returns
        -------
        apply : callable
            Multiplies the matrices by the columns of an ndarray of shape
            (n_columns, n_systems), in float64, in one pass over the rows.
        right : ndarray of shape (n_columns, n_systems)
            Right-hand sides.
        size : ndarray of shape (n_systems,)
            Spread of the target times the root of the weight.
        """
        n_targets = len(alphas)
        scale = np.array([self.columns[f].scale for f in batch]).T
        varying = np.array([self.columns[f].varying for f in batch]).T
        mean = np.array([self.columns[f].mean for f in batch]).T
        weight = self.weights.weight[:, batch]
        penalties = self.penalties(batch, alphas)
        shape = (self.rows.shape[1], len(batch), n_targets)

        def apply(vectors):
            vectors = vectors.reshape(shape)
            right = vectors / scale[:, :, np.newaxis]
            offset = np.einsum("pf,pft->ft", mean, right)
            total = np.zeros((len(batch), n_targets))
            # Systems are rows here, which BLAS goes over twice as fast.
            right = np.ascontiguousarray(right.reshape(shape[0], -1).T)
            out = np.zeros(right.shape)
            for where, block in self.rows.blocks(_PASS_ROWS):
                predicted = (right @ block.T).reshape(len(batch), n_targets, -1)
                predicted -= offset[:, :, np.newaxis]
                predicted *= weight[where].T[:, np.newaxis]
                total += predicted.sum(axis=2)
                out += predicted.reshape(len(right), -1) @ block
            out = out.T.reshape(shape) - mean[:, :, np.newaxis] * total
            out /= scale[:, :, np.newaxis]
            out *= varying[:, :, np.newaxis]
            return (out + penalties * vectors).reshape(shape[0], -1)

        right = np.hstack([self.right(fold) for fold in batch])
        spread = self.weights.spread[batch]
        size = spread * np.sqrt([[self.columns[f].weight] for f in batch])
        return apply, right, size.ravel()

    def held_out(self, solutions):
        """Return predictions of the test rows of each fold, for `choose_alphas`."""
        shape = solutions.shape[2:]
        coefs, offsets, places, out = [], [], [], []
        for solution, columns, fold in zip(
            solutions, self.columns, self.folds, strict=True
        ):
            coefs.append(solution.reshape(len(solution), -1) / columns.scale[:, None])
            offsets.append(columns.mean @ coefs[-1])
            places.append(np.full(self.rows.shape[0], -1))
            places[-1][fold.test] = np.arange(len(fold.test))
            out.append(np.empty((len(fold.test), *shape)))
        for where, block in self.rows.blocks(_PASS_ROWS):
            for number, coef in enumerate(coefs):
                here = places[number][where]
                tested = here >= 0
                predicted = block[tested] @ coef - offsets[number]
                out[number][here[tested]] = predicted.reshape(-1, *shape)
        means = self.weights.means[:, :, np.newaxis]
        return [part + mean for part, mean in zip(out, means, strict=True)]

    def members(self, solutions, chosen):
        """Return ``members[target][fold]`` of the solutions at some alphas."""
        members = []
        for target, alpha in enumerate(chosen):
            by_fold = []
            for fold, columns in enumerate(self.columns):
                coef = solutions[fold][:, target] / columns.scale
                mean = columns.mean + self.rows.shift
                intercept = float(self.weights.means[fold, target] - mean @ coef)
                penalty = float(alpha * self.n_varying[fold])
                ridge = StandardizedRidge(float(alpha))
                by_fold.append(ridge._take((coef, intercept, penalty), len(coef)))
            members.append(by_fold)
        return members
