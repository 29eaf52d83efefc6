"""Wide ridge systems solved in Krylov spaces that grow by passes over the rows."""

from __future__ import annotations

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from clapstack._numerics.rows import ShiftedRows, next_block
from clapstack.stacking.ridge._equations import RidgeSystems, choose_alphas
from clapstack.stacking.ridge._fold_product import FoldProduct
from clapstack.stacking.ridge._fold_sums import FoldWeights, columns_of_folds
from clapstack.stacking.ridge._refine import NotRefinableError

# Directions that a pass adds to each fold. Those beyond one per target come from drawn
# right-hand sides: they take little time, for the pass is bound by reading, and the
# largest eigenvalues are found by them in half as many passes.
_WIDTH = 4
_MAX_STEPS = 96
# After so many steps, slow convergence shows.
_TRIAL_STEPS = 16
_TRIAL_RESIDUAL = 0.2
# Single precision takes this much off a residual, and about a tenth of it is wrong.
_COARSE = 1e-5
_LEAST_GAIN = 1e-2
# For several penalties a solution is compared, not kept.
_COMPARED = 1e-5
# Error that may be left in predictions, as a part of the spread of the target. It is a
# bound; what is left is smaller by the ratio of the penalty to the other eigenvalues.
_TOLERANCE = 1e-10


class KrylovSolver:
    """Ridge regressions of a wide family without a matrix of its columns.

    Each fold has a space that grows by the residuals of its targets, in single
    precision and for all folds in one pass. It serves every penalty. Residuals of the
    solutions are formed in float64, and are solved for in the same space in turn.

    Parameters
    ----------
    X, columns, folds
        As in :func:`fit_family_ridges`; the table is an array.
    """

    def __init__(self, X, columns, folds):
        rows = ShiftedRows(X, columns)
        weights = FoldWeights(X.shape[0], folds)
        seen = columns_of_folds(rows, weights, folds)
        self.folds = folds
        self.systems = RidgeSystems(rows, weights, seen, folds)
        self._product = FoldProduct(rows, weights, seen)
        self._right = [self.systems.right(number) for number in range(len(folds))]
        self._spaces = [
            _Space(right, columns.varying)
            for right, columns in zip(self._right, seen, strict=True)
        ]

    def fit(self, alphas):
        """Return ``members[target][fold]``.

        Raises
        ------
        NotRefinableError
            If the spaces grow too slowly, or single precision does not suffice.
        """
        every = range(len(self.folds))
        n_targets = self._right[0].shape[1]
        chosen = np.repeat(alphas[-1:], n_targets)
        if len(alphas) > 1:
            # The smallest penalty needs the largest space.
            smallest = self.systems.penalties(every, chosen)
            self._grow(smallest, np.full(len(self.folds), _COMPARED))
            wanted = self.systems.penalties(every, alphas)
            by_fold = [
                [space.solve(np.repeat(one, n_targets)) for one in penalties]
                for space, penalties in zip(self._spaces, wanted, strict=True)
            ]
            solutions = np.moveaxis(np.array(by_fold), 1, 3)
            held_out = self.systems.held_out(solutions)
            chosen = alphas[choose_alphas(held_out, self.folds)]
        return self.systems.members(self._exact(chosen), chosen)

    def _exact(self, alphas):
        """Return solutions of shape (n_folds, n_columns, n_targets), in float64."""
        every = list(range(len(self.folds)))
        apply, right, size = self.systems.equations(every, alphas)
        penalties = self.systems.penalties(every, alphas)
        # No eigenvalue is below the penalty, so this bounds the error of predictions.
        unit = np.sqrt(penalties) * size.reshape(penalties.shape)
        solution = np.zeros_like(right)
        residual = right
        error = _fold_errors(residual, unit)
        while np.any(error > _TOLERANCE):
            tolerance = np.where(
                error > _TOLERANCE,
                np.maximum(_COARSE, 0.3 * _TOLERANCE / np.maximum(error, _TOLERANCE)),
                np.inf,
            )
            self._grow(penalties, tolerance)
            steps = [
                space.solve(penalty) * (wanted < np.inf)
                for space, penalty, wanted in zip(
                    self._spaces, penalties, tolerance, strict=True
                )
            ]
            solution = solution + np.hstack(steps)
            residual = right - apply(solution)
            before, error = error, _fold_errors(residual, unit)
            if not np.all(error <= np.maximum(_LEAST_GAIN * before, _TOLERANCE)):
                raise NotRefinableError
            for space, left in zip(
                self._spaces, np.split(residual, len(every), axis=1), strict=True
            ):
                space.turn_to(left)
        return np.array(np.split(solution, len(every), axis=1))

    def _grow(self, penalties, tolerance):
        """Extend each space until it holds solutions to a relative residual of its own.

        A fold that is done waits for the others. Nothing that it holds depends on them,
        so it does not on the targets of the rows that it leaves out.
        """
        waiting = [False] * len(self._spaces)
        while True:
            blocks = []
            for number, space in enumerate(self._spaces):
                residual = space.residual(penalties[number])
                worst = space.relative(residual)
                waiting[number] |= worst <= tolerance[number]
                if waiting[number]:
                    blocks.append(np.zeros_like(residual))
                    continue
                slow = space.n_tried == _TRIAL_STEPS and worst > _TRIAL_RESIDUAL
                if slow or space.n_steps == space.most_steps:
                    raise NotRefinableError
                blocks.append(space.directions(residual))
            if all(waiting):
                return
            # Of one width whoever waits: BLAS rounds each column the same then.
            for number, image in enumerate(self._product(blocks)):
                if not waiting[number]:
                    self._spaces[number].add(blocks[number], image)


def _fold_errors(residual, unit):
    """Return the largest error of each fold's targets, for `unit` (folds, targets)."""
    length = np.linalg.norm(residual, axis=0).reshape(unit.shape)
    return np.max(length / unit, axis=1)


class _Space:
    """Orthonormal directions, and what the matrix of one fold makes of them.

    Parameters
    ----------
    right : ndarray of shape (n_columns, n_targets)
        Right-hand sides of the targets.
    varying : ndarray of bool of shape (n_columns,)
        Which columns vary; the others get no coefficient.
    """

    def __init__(self, right, varying):
        n_columns, self._n_targets = right.shape
        width = max(_WIDTH, self._n_targets)
        self.most_steps = min(_MAX_STEPS, n_columns // width)
        # Room that is not used takes no memory; directions are rows.
        self._directions = np.empty((self.most_steps * width, n_columns), np.float32)
        self._images = np.empty_like(self._directions)
        self._projected = np.zeros((0, 0))
        drawn = np.random.RandomState(0).uniform(
            -1.0, 1.0, (n_columns, width - self._n_targets)
        )
        self._sides = np.empty((n_columns, width), np.float32)
        self._sides[:, self._n_targets :] = drawn * varying[:, np.newaxis]
        self.n_steps = 0
        self.turn_to(right)

    def turn_to(self, right):
        """Take other right-hand sides for the targets."""
        self.n_tried = 0
        # In units of their own, so that residuals do not get lost in single precision.
        length = np.linalg.norm(right, axis=0)
        self._length = np.where(length > 0, length, 1.0)
        self._sides[:, : self._n_targets] = right / self._length
        self._along = self._held(self._directions) @ self._sides

    def add(self, block, image):
        """Add orthonormal directions and their images, of shape (n_columns, width)."""
        size, width = len(self._projected), block.shape[1]
        self._directions[size : size + width] = block.T
        self._images[size : size + width] = image.T
        self.n_steps += 1
        self.n_tried += 1
        projected = np.zeros((size + width, size + width))
        projected[:size, :size] = self._projected
        inside = self._directions[: size + width] @ image
        projected[:, size:] = inside
        projected[size:, :size] = inside[:size].T
        projected[size:, size:] = (inside[size:] + inside[size:].T) / 2.0
        self._projected = projected
        self._along = np.vstack([self._along, block.T @ self._sides])

    def solve(self, penalties):
        """Return solutions for the targets, float64 of shape (n_columns, n_targets)."""
        coordinates = self._coordinates(penalties)[:, : self._n_targets]
        directions = self._held(self._directions)
        found = directions.T @ (coordinates * self._length).astype(np.float32)
        return found.astype(np.float64)

    def residual(self, penalties):
        """Return what solutions leave of all right-hand sides, (n_columns, width)."""
        coordinates = self._coordinates(penalties).astype(np.float32)
        applied = self._held(self._images).T @ coordinates
        shifted = coordinates * self._each(penalties).astype(np.float32)
        return self._sides - applied - self._held(self._directions).T @ shifted

    def relative(self, residual):
        """Return the largest residual of a target, over its right-hand side."""
        return float(np.linalg.norm(residual[:, : self._n_targets], axis=0).max())

    def directions(self, residual):
        """Return orthonormal directions of residuals, orthogonal to the space."""
        length = np.linalg.norm(residual, axis=0)
        scaled = residual / np.where(length > 0, length, 1.0)
        return next_block(scaled, self._held(self._directions).T)[0]

    def _held(self, room):
        return room[: len(self._projected)]

    def _each(self, penalties):
        """Return a penalty per right-hand side; drawn ones have that of a target."""
        extra = self._sides.shape[1] - self._n_targets
        return np.concatenate([penalties, np.repeat(penalties.min(), extra)])

    def _coordinates(self, penalties):
        """Return solutions within the space, of shape (n_directions, width)."""
        out = np.empty(self._along.shape)
        if not len(out):  # SciPy 1.11 solves no empty system
            return out
        penalties = self._each(penalties)
        for penalty in np.unique(penalties):
            these = penalties == penalty
            shifted = self._projected + penalty * np.eye(len(self._projected))
            out[:, these] = cho_solve(cho_factor(shifted), self._along[:, these])
        return out
