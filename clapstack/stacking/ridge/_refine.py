"""Ridge systems solved in float64 from a float32 factor, many penalties at once."""

from __future__ import annotations

import numpy as np
from scipy.linalg import lapack

# Error that is left in predictions, as a part of the spread of the target.
_TOLERANCE = 1e-12
# A pass over the rows must take this much off the error, or the factor is no use.
_LEAST_GAIN = 0.1
_MAX_PASSES = 8
# Shifted solves stop at this relative residual, or at this many.
_SHIFT_TOLERANCE = 1e-4
_MAX_STEPS = 80


class NotRefinableError(ArithmeticError):
    """The float32 factor is too coarse for the system."""


class RidgeFactor:
    """A Cholesky factor that solves ridge systems of one fold at several penalties.

    At the penalty of the factor a solution is one pair of triangular solves. At others
    it is found in the Krylov space of the inverse, which is the same for all penalties:
    a few more solves, and no further factor.

    Parameters
    ----------
    gram : ndarray of shape (n_columns, n_columns), dtype float32
        Centred Gram matrix in its lower triangle; it is overwritten.
    scale : ndarray of shape (n_columns,)
        Standard deviation of the columns, in the Gram matrix's units.
    penalty : float
        Penalty of the factor, on standardised columns.

    Raises
    ------
    NotRefinableError
        If the matrix is not positive definite in single precision.
    """

    def __init__(self, gram, scale, penalty):
        gram[np.diag_indices_from(gram)] += (penalty * scale**2).astype(np.float32)
        self._factor, info = lapack.spotrf(gram, lower=1, overwrite_a=1, clean=0)
        if info:
            raise NotRefinableError
        self._scale = scale[:, np.newaxis]
        self._penalty = penalty

    def solve(self, right, penalties):
        """Solve one system per column of `right`, at several penalties each.

        Parameters
        ----------
        right : ndarray of shape (n_columns, n_systems)
            Right-hand sides, for standardised columns.
        penalties : ndarray of shape (n_systems, n_penalties)
            Penalties.

        Returns
        -------
        solutions : ndarray of shape (n_columns, n_systems, n_penalties)
            Approximate solutions, to about single precision.
        """
        shifts = penalties - self._penalty
        first = self.inverse(right)
        solutions = np.repeat(first[:, :, np.newaxis], penalties.shape[1], axis=2)
        length = np.linalg.norm(first, axis=0)
        live = np.flatnonzero((length > 0) & np.any(shifts != 0, axis=1))
        if live.size:
            shifted = self._krylov(first[:, live], length[live], shifts[live])
            moved = shifts[live] != 0
            solutions[:, live] = np.where(moved, shifted, solutions[:, live])
        return solutions

    def inverse(self, right):
        """Solve at the factor's own penalty."""
        right = np.asfortranarray(right * self._scale, dtype=np.float32)
        solution, _ = lapack.spotrs(self._factor, right, lower=1, overwrite_b=1)
        return solution * self._scale

    def _krylov(self, first, length, shifts):
        """Solve ``(I + shift * inverse) x = first`` by the Lanczos process."""
        n_systems = len(length)
        basis = [first / length]
        diagonal = np.empty((_MAX_STEPS, n_systems))
        beside = np.empty((_MAX_STEPS, n_systems))
        floor = np.minimum(1.0, 1.0 + shifts / self._penalty)
        for step in range(_MAX_STEPS):
            new = self.inverse(basis[-1])
            diagonal[step] = np.einsum("ij,ij->j", basis[-1], new)
            # Twice, so that the basis is orthogonal to rounding.
            for _ in range(2):
                for vector in basis:
                    new -= vector * np.einsum("ij,ij->j", vector, new)
            beside[step] = np.linalg.norm(new, axis=0)
            coefficients = _tridiagonal(diagonal, beside, step + 1, shifts)
            residual = np.abs(shifts * beside[step][:, None] * coefficients[-1])
            if np.all(residual <= _SHIFT_TOLERANCE * floor):
                break
            basis.append(new / np.where(beside[step] > 0, beside[step], 1.0))
        else:
            raise NotRefinableError
        coefficients = coefficients * length[:, np.newaxis]
        out = np.zeros((*first.shape, shifts.shape[1]))
        for vector, coefficient in zip(basis, coefficients, strict=False):
            out += vector[:, :, np.newaxis] * coefficient
        return out


def _tridiagonal(diagonal, beside, size, shifts):
    """Solve ``(I + shift * T) x = e1``, shape (size, n_systems, n_penalties)."""
    out = np.empty((size, *shifts.shape))
    for system in range(shifts.shape[0]):
        matrix = np.diag(diagonal[:size, system])
        inner = beside[: size - 1, system]
        matrix += np.diag(inner, 1) + np.diag(inner, -1)
        values, vectors = np.linalg.eigh(matrix)
        filtered = 1.0 / (1.0 + np.multiply.outer(values, shifts[system]))
        out[:, system] = vectors @ (filtered * vectors[0][:, np.newaxis])
    return out


def refine(apply, precondition, right, scale, start=None):
    """Solve symmetric positive definite systems by conjugate gradients.

    All systems share the passes over the rows.

    Parameters
    ----------
    apply : callable
        Takes an ndarray of shape (n_columns, n_systems), returns the matrices times its
        columns, exact to float64.
    precondition : callable
        Takes and returns the same shape; an approximate inverse.
    right : ndarray of shape (n_columns, n_systems)
        Right-hand sides.
    scale : ndarray of shape (n_systems,)
        Spread of the target times the root of the weight: the size that energies are
        compared with.
    start : ndarray of shape (n_columns, n_systems), default=None
        Solutions to about single precision, if they are at hand.

    Returns
    -------
    solutions : ndarray of shape (n_columns, n_systems)
        Solutions, exact to float64 rounding in what they predict.

    Raises
    ------
    NotRefinableError
        If a pass does not take nine tenths off the error.
    """
    # An energy error is at least the root of the sum of squared errors of predictions.
    goal = (_TOLERANCE * scale) ** 2
    solution = precondition(right) if start is None else start
    residual = right - apply(solution)
    step = precondition(residual)
    direction = step
    energy = np.einsum("ij,ij->j", residual, step)
    whole = np.einsum("ij,ij->j", right, solution)
    found = np.zeros_like(right)
    # A step that nobody looks at gains as the one before. What is done stays as it is:
    # it does not depend on the systems that share its passes.
    late = energy * _ratio(energy, whole, whole > 0) > goal
    found[:, ~late] = (solution + step)[:, ~late]
    for _ in range(_MAX_PASSES):
        if not late.any():
            break
        live = late & (energy > 0)
        moved = apply(direction)
        curvature = np.einsum("ij,ij->j", direction, moved)
        if np.any(live & ~(curvature > 0)):
            raise NotRefinableError
        length = _ratio(energy, curvature, live)
        solution = solution + length * direction
        left = residual - length * moved
        step = precondition(left)
        before, energy = energy, np.einsum("ij,ij->j", left, step)
        gain = _ratio(energy, before, live)
        done = late & ~(energy * gain > goal)
        found[:, done] = (solution + step)[:, done]
        late &= ~done
        if not np.all(gain[late] <= _LEAST_GAIN**2):
            raise NotRefinableError
        # The preconditioner is not quite linear, so this form of the update.
        change = np.einsum("ij,ij->j", step, left - residual)
        direction = step + _ratio(change, before, live) * direction
        residual = left
    if late.any():
        raise NotRefinableError
    return found


def _ratio(numerator, denominator, where):
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=where)
