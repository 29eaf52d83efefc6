"""Krylov solver for wide ridge systems."""

from __future__ import annotations

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from clapstack._numerics.galerkin import GalerkinBasis, next_block
from clapstack.stacking.ridge._equations import RidgeSystems
from clapstack.stacking.ridge._fold_product import FoldProduct

# Directions added to each fold per pass: one per target, the others from random
# right-hand sides. A pass is bound by reading, so these cost little time, and they
# halve the number of passes to the largest eigenvalues. More do not pay off: for 8,000
# x 5,648, width 8 takes 32 passes instead of 39, but 1.2 times as long (16: 27 passes,
# 1.6).
_WIDTH = 4
_MAX_STEPS = 96
# Slow convergence is detected after this many steps.
_TRIAL_STEPS = 16
_TRIAL_RESIDUAL = 0.2
# A single-precision basis reaches a relative residual of 1e-6 to 1e-5, so this is
# achievable. An outer step must then leave at most a hundredth of the error.
_COARSE = 3e-5
_LEAST_GAIN = 1e-2
# Tolerance for comparing penalties, whose solutions are not kept.
_COMPARED = 3e-5
# Bound on the error of predictions, relative to the spread of the target. The actual
# error is smaller by the ratio of the penalty to the other eigenvalues.
_TOLERANCE = 1e-10


class NotConvergedError(ArithmeticError):
    """The Krylov method did not converge, or not to float64 rounding."""


class KrylovSolver:
    """Ridge regressions of a wide family without a Gram matrix.

    Method and notation as in :mod:`clapstack.stacking.ridge`.

    Parameters
    ----------
    X, columns, folds
        As in :func:`fit_family_ridges`; each row is held out once.
    max_steps : int, default=96
        Maximum number of blocks in a basis.
    """

    def __init__(self, X, columns, folds, *, max_steps=_MAX_STEPS):
        self.systems = RidgeSystems(X, columns, folds)
        self._product = FoldProduct(
            self.systems.rows, self.systems.weights, self.systems.columns
        )
        self._right = self.systems.right_hand_sides()
        self._bases = [
            RidgeBasis(self._right[:, number], fold.varying, max_steps)
            for number, fold in enumerate(self.systems.columns)
        ]

    def compare(self, alphas):
        """Return `Ridges` of every fold for all penalties, to about single precision.

        Raises
        ------
        NotConvergedError
            If the bases converge too slowly.
        """
        n_targets = self._right.shape[2]
        penalties = self.systems.penalties(alphas)
        # The smallest penalty needs the largest basis, which then works for all.
        smallest = np.repeat(penalties.min(axis=1)[:, np.newaxis], n_targets, axis=1)
        self._grow(smallest, np.full(len(penalties), _COMPARED))
        ridges = []
        for number, basis in enumerate(self._bases):
            solutions = [basis.solve(np.full(n_targets, p)) for p in penalties[number]]
            ridges.append(
                self._ridges(number, np.stack(solutions, axis=2), penalties[number])
            )
        return ridges

    def solve(self, alphas):
        """Return `Ridges` of every fold for one penalty per target, to rounding.

        Iterative refinement: float64 residuals are solved for in the same bases.

        Parameters
        ----------
        alphas : ndarray of shape (n_targets,)
            Penalties per varying column.

        Returns
        -------
        ridges : list of Ridges
            Solutions for one penalty each.

        Raises
        ------
        NotConvergedError
            If the bases converge too slowly, or single precision is not enough.
        """
        penalties = self.systems.penalties(alphas)
        weight = np.array([fold.weight for fold in self.systems.columns])
        size = self.systems.weights.spread * np.sqrt(weight)[:, np.newaxis]
        # No eigenvalue is below the penalty, so this bounds the error of predictions.
        unit = np.sqrt(penalties) * size
        solution = np.zeros_like(self._right)
        residual = self._right
        error = _fold_errors(residual, unit)
        while np.any(error > _TOLERANCE):
            wanted = np.maximum(
                _COARSE, 0.3 * _TOLERANCE / np.maximum(error, _TOLERANCE)
            )
            wanted[error <= _TOLERANCE] = np.inf
            self._grow(penalties, wanted)
            for number, basis in enumerate(self._bases):
                if error[number] > _TOLERANCE:
                    solution[:, number] += basis.solve(penalties[number])
            residual = self.systems.residual(solution, penalties)
            before, error = error, _fold_errors(residual, unit)
            if not np.all(error <= np.maximum(_LEAST_GAIN * before, _TOLERANCE)):
                raise NotConvergedError
            for number, basis in enumerate(self._bases):
                basis.set_right_hand_sides(residual[:, number])
        return [
            self._ridges(number, one[:, :, np.newaxis], penalties[number][:, None])
            for number, one in enumerate(np.moveaxis(solution, 1, 0))
        ]

    def _ridges(self, number, solutions, penalty):
        """Return `Ridges` from standardised (n_columns, n_targets, n_alphas) ones."""
        scale = self.systems.columns[number].scale[:, np.newaxis, np.newaxis]
        return self.systems.ridges(number, solutions / scale, penalty)

    def _grow(self, penalties, tolerance):
        """Extend each basis until it reaches its own relative residual.

        Converged folds wait for the others. Bases of different folds are independent,
        so a basis does not depend on the targets of the rows that its fold holds out.
        """
        waiting = [False] * len(self._bases)
        while True:
            blocks = []
            for number, basis in enumerate(self._bases):
                residual = basis.residual(penalties[number])
                worst = basis.relative(residual)
                waiting[number] |= worst <= tolerance[number]
                if waiting[number]:
                    blocks.append(np.zeros_like(residual))
                    continue
                slow = basis.n_tried == _TRIAL_STEPS and worst > _TRIAL_RESIDUAL
                if slow or basis.n_steps == basis.most_steps:
                    raise NotConvergedError
                blocks.append(basis.next_directions(residual))
            if all(waiting):
                return
            # All folds have the same width, so that BLAS rounds each column the same.
            for number, product in enumerate(self._product(blocks)):
                if not waiting[number]:
                    self._bases[number].extend(blocks[number], product)


def _fold_errors(residual, unit):
    """Return the largest error of each fold's targets, for `unit` (folds, targets)."""
    return np.max(np.linalg.norm(residual, axis=0) / unit, axis=1)


class RidgeBasis(GalerkinBasis):
    """The growing basis of one fold, and its projected right-hand sides.

    Parameters
    ----------
    right : ndarray of shape (n_columns, n_targets)
        Right-hand sides of the targets.
    varying : ndarray of bool of shape (n_columns,)
        Whether a column varies; others have a coefficient of zero.
    max_steps : int
        Maximum number of blocks.

    Attributes
    ----------
    right_hand_sides : ndarray of shape (n_columns, width), dtype float32
        Those of the targets, scaled to unit length, and random ones.
    n_steps, n_tried : int
        Number of blocks, in total and since the right-hand sides were set.
    """

    def __init__(self, right, varying, max_steps):
        n_columns, self._n_targets = right.shape
        width = max(_WIDTH, self._n_targets)
        self.most_steps = min(max_steps, n_columns // width)
        super().__init__(
            n_columns, self.most_steps * width, np.float32, keep_products=True
        )
        drawn = np.random.RandomState(0).uniform(
            -1.0, 1.0, (n_columns, width - self._n_targets)
        )
        self.right_hand_sides = np.empty((n_columns, width), np.float32)
        self.right_hand_sides[:, self._n_targets :] = drawn * varying[:, np.newaxis]
        self.n_steps = 0
        self.set_right_hand_sides(right)

    def set_right_hand_sides(self, right):
        """Replace the targets' sides, (n_columns, n_targets), and keep the basis."""
        self.n_tried = 0
        # Unit length avoids underflow of small residuals in single precision.
        length = np.linalg.norm(right, axis=0)
        self._length = np.where(length > 0, length, 1.0)
        self.right_hand_sides[:, : self._n_targets] = right / self._length
        self._inside = self.directions.T @ self.right_hand_sides

    def extend(self, block, product):
        """Add directions and their products, both of shape (n_columns, width)."""
        self.add(block, product)
        self._inside = np.vstack([self._inside, block.T @ self.right_hand_sides])
        self.n_steps += 1
        self.n_tried += 1

    def solve(self, penalties):
        """Return solutions for the targets, float64 of shape (n_columns, n_targets)."""
        coordinates = self._coordinates(penalties)[:, : self._n_targets]
        scaled = (coordinates * self._length).astype(np.float32)
        return (self.directions @ scaled).astype(np.float64)

    def residual(self, penalties):
        """Return the residuals of all right-hand sides, (n_columns, width)."""
        coordinates = self._coordinates(penalties).astype(np.float32)
        shifted = coordinates * self._each(penalties).astype(np.float32)
        applied = self.products @ coordinates
        return self.right_hand_sides - applied - self.directions @ shifted

    def relative(self, residual):
        """Return the largest residual of a target, relative to its right-hand side."""
        return float(np.linalg.norm(residual[:, : self._n_targets], axis=0).max())

    def next_directions(self, residual):
        """Return residuals, orthonormalised and orthogonal to the basis."""
        length = np.linalg.norm(residual, axis=0)
        scaled = residual / np.where(length > 0, length, 1.0)
        return next_block(scaled, self.directions)[0]

    def _each(self, penalties):
        """Return a penalty per right-hand side; random ones have the smallest."""
        extra = self.right_hand_sides.shape[1] - self._n_targets
        return np.concatenate([penalties, np.repeat(penalties.min(), extra)])

    def _coordinates(self, penalties):
        """Return ``(H + penalty)^-1 Q.T b``, of shape (n_directions, width)."""
        out = np.empty(self._inside.shape)
        if not len(out):  # SciPy 1.11 does not solve empty systems
            return out
        penalties = self._each(penalties)
        for penalty in np.unique(penalties):
            these = penalties == penalty
            shifted = self.projected + penalty * np.eye(len(self.projected))
            try:
                factor = cho_factor(shifted)
            except np.linalg.LinAlgError as error:
                # The penalty is below the single-precision rounding of eigenvalues.
                raise NotConvergedError from error
            out[:, these] = cho_solve(factor, self._inside[:, these])
        return out
