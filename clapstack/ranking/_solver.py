"""Penalised linear minimisers of a loss on predictions."""

from __future__ import annotations

import warnings

import numpy as np
from scipy.linalg import blas, cholesky, eigh, solve_triangular
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning

from clapstack._numerics.rows import StandardizedTable

__all__ = ["LinearProblem"]

# So many times wider than long, a table is cheaper as an eigendecomposition of rows.
_WIDE = 3
# L-BFGS compares values of the loss. Those of 1 do not tell gradients below this from
# zero; the bound grows as the root of the value.
_ROUNDING = 1e-7


class LinearProblem:
    r"""Minimise ``loss(Z @ u) + penalty * u @ u`` over coefficients, for many losses.

    `Z` is a table with standardised columns. One Cholesky factor of the ridge system,
    ``Z.T @ W @ Z + penalty``, turns the coefficients so that near the minimum all
    directions are about equally steep, and L-BFGS needs few steps. It serves every loss
    on these rows, or on most of them.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
        Features, float32 or float64.
    weight : ndarray of shape (n_rows,)
        Positive weights of the rows.
    alpha : float
        Penalty per varying column.

    Attributes
    ----------
    table : StandardizedTable
        Means and scales of the columns.
    """

    def __init__(self, X, weight, alpha):
        self.table = StandardizedTable(X, weight=weight)
        self.penalty = float(alpha * max(1, self.table.varying.sum()))
        # A constant column becomes zero, and its coefficient as well.
        columns = (X - self.table.mean) / self.table.scale
        self._Z, self._back = columns, None
        if columns.shape[1] > _WIDE * columns.shape[0] and columns.any():
            values, vectors = eigh(columns @ columns.T)
            kept = values > values[-1] * len(values) * np.finfo(np.float64).eps
            values, vectors = np.sqrt(values[kept]), vectors[:, kept]
            self._Z = vectors * values
            self._back = columns.T @ (vectors / values)
        weighted = np.asfortranarray(self._Z * np.sqrt(weight)[:, np.newaxis])
        gram = blas.dsyrk(1.0, weighted, trans=True, lower=True)
        gram[np.diag_indices_from(gram)] += self.penalty
        self._factor = cholesky(gram, lower=True, overwrite_a=True, check_finite=False)

    def solve(self, loss, rows, *, start=None, max_iter, tol):
        """Return the minimiser for a loss on some rows.

        Parameters
        ----------
        loss : callable
            Takes predictions of shape (n_taken,); returns the loss and its gradient.
        rows : ndarray of int or slice
            Which rows those are.
        start : ndarray of shape (n_unknowns,), default=None
            What an earlier call returned; None starts from zero.
        max_iter : int
            Most steps.
        tol : float
            Largest entry of the gradient at the end, over that at zero.

        Returns
        -------
        turned : ndarray of shape (n_unknowns,)
            Minimiser, for `predict` and `coefficients`.
        n_iter : int
            Steps taken.

        Warns
        -----
        ConvergenceWarning
            If `max_iter` steps were not enough.
        """
        whole = np.zeros(len(self._Z))

        def objective(turned):
            u = self._turn(turned)
            value, whole[rows] = loss((self._Z @ u)[rows])
            gradient = self._Z.T @ whole + 2.0 * self.penalty * u
            turned_back = solve_triangular(
                self._factor, gradient, lower=True, check_finite=False
            )
            return value + self.penalty * (u @ u), turned_back

        zero = np.zeros(self._Z.shape[1])
        value, slope = objective(zero)
        steepest = np.abs(slope).max(initial=0.0)
        if steepest == 0.0:
            return zero, 0
        found = minimize(
            objective,
            zero if start is None else start,
            jac=True,
            method="L-BFGS-B",
            options={
                "maxiter": max_iter,
                "maxfun": 2 * max_iter,
                "maxcor": 20,
                "gtol": tol * steepest,
                "ftol": 0.0,
            },
        )
        if np.abs(found.jac).max() > max(tol * steepest, _ROUNDING * np.sqrt(value)):
            msg = (
                f"{found.nit} steps did not bring the gradient to {tol:g} of its size "
                "at the start. Raise max_iter, tol or alpha."
            )
            warnings.warn(msg, ConvergenceWarning, stacklevel=4)
        return found.x, int(found.nit)

    def predict(self, turned) -> np.ndarray:
        """Return the predictions of all rows, of shape (n_rows,)."""
        return self._Z @ self._turn(turned)

    def coefficients(self, turned) -> tuple[np.ndarray, float]:
        """Return coefficients and intercept for the features as they came."""
        u = self._turn(turned)
        if self._back is not None:
            u = self._back @ u
        coef = u / self.table.scale
        return coef, float(-self.table.mean @ coef)

    def _turn(self, turned):
        return solve_triangular(
            self._factor, turned, lower=True, trans="T", check_finite=False
        )
