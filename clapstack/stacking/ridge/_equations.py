"""Ridge systems of a family in all folds, computed from the rows in float64."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from clapstack._numerics.rows import ShiftedRows
from clapstack.stacking.ridge._fold_sums import FoldWeights, columns_of_folds


class Ridges(NamedTuple):
    """Solutions of one fold.

    Attributes
    ----------
    coef : ndarray of shape (n_columns, n_targets, n_alphas)
        Coefficients in the units of the table.
    intercept : ndarray of shape (n_targets, n_alphas)
        Intercepts.
    penalty : ndarray of shape (n_targets, n_alphas)
        Total penalties.
    """

    coef: np.ndarray
    intercept: np.ndarray
    penalty: np.ndarray


class RidgeSystems:
    """The systems ``(A + penalty) x = b`` of all folds and targets.

    A is ``Z.T @ W @ Z`` of the fold's standardised training rows, and b is
    ``Z.T @ W @ t`` for a centred target t.

    Parameters
    ----------
    X, columns, folds
        As in :func:`fit_family_ridges`.

    Attributes
    ----------
    rows : ShiftedRows
        The family's columns.
    weights : FoldWeights
        Weights and targets.
    columns : list of FoldColumns
        Standardisation of the columns in each fold.
    """

    def __init__(self, X, columns, folds):
        self.rows = ShiftedRows(X, columns)
        self.weights = FoldWeights(X.shape[0], folds)
        self.columns = columns_of_folds(self.rows, self.weights, folds)

    def penalties(self, alphas):
        """Return total penalties, (n_folds, n_alphas), from penalties per column."""
        # If no column varies, predictions are the mean for any penalty.
        n_varying = [max(1, int(fold.varying.sum())) for fold in self.columns]
        return np.multiply.outer(n_varying, alphas)

    def right_hand_sides(self):
        """Return b, of shape (n_columns, n_folds, n_targets)."""
        sides = [fold.cross / fold.scale[:, np.newaxis] for fold in self.columns]
        return np.stack(sides, axis=1)

    def residual(self, solutions, penalties):
        """Return ``b - (A + penalty) x``, in float64 and in one pass over the rows.

        Parameters
        ----------
        solutions : ndarray of shape (n_columns, n_folds, n_targets)
            x, for standardised columns.
        penalties : ndarray of shape (n_folds, n_targets)
            Total penalties.

        Returns
        -------
        residual : ndarray of shape (n_columns, n_folds, n_targets)
            Zero for constant columns.
        """
        scale, varying, mean = (
            np.array([getattr(fold, name) for fold in self.columns]).T
            for name in ("scale", "varying", "mean")
        )
        n_columns, *shape = solutions.shape
        coef = solutions / scale[:, :, np.newaxis]
        offset = np.einsum("pf,pft->ft", mean, coef)
        total = np.zeros(shape)
        # Systems are stored as rows, which is twice as fast in BLAS.
        coef = np.ascontiguousarray(coef.reshape(n_columns, -1).T)
        applied = np.zeros(coef.shape)
        for where, block in self.rows.blocks():
            predicted = (coef @ block.T).reshape(*shape, -1)
            predicted -= offset[:, :, np.newaxis]
            predicted *= self.weights.weight[where].T[:, np.newaxis]
            total += predicted.sum(axis=2)
            applied += predicted.reshape(len(coef), -1) @ block
        applied = applied.T.reshape(solutions.shape) - mean[:, :, np.newaxis] * total
        applied *= (varying / scale)[:, :, np.newaxis]
        return self.right_hand_sides() - applied - penalties * solutions

    def ridges(self, number, coef, penalty):
        """Return the ridges of a fold, from coefficients in the units of the table.

        Parameters
        ----------
        number : int
            Number of the fold.
        coef : ndarray of shape (n_columns, n_targets, n_alphas)
            Coefficients.
        penalty : ndarray, broadcast to (n_targets, n_alphas)
            Total penalties.
        """
        mean = self.columns[number].mean + self.rows.shift
        offset = np.tensordot(mean, coef, axes=1)
        intercept = self.weights.means[number][:, np.newaxis] - offset
        return Ridges(coef, intercept, np.broadcast_to(penalty, intercept.shape))
