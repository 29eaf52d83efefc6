"""The compression of all families that boosted trees are fitted on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from clapstack._numerics.lazy_table import read_table, row_slices
from clapstack._numerics.rows import ShiftedRows, StandardizedTable, matmul
from clapstack._numerics.svd import block_lanczos, right_singular_vectors
from clapstack.stacking.ridge import (
    HELD_BYTES,
    FoldProduct,
    FoldWeights,
    columns_of_folds,
    hold_out_once,
)

# From this size, the compression uses an iteration instead of a Gram matrix.
_LARGE = 1024
# float32 can reach 3e-7. At this tolerance, the vectors explain at least 99.96 % of the
# sum of squares that the exact ones explain, and are as stable against rounding.
_TOLERANCE = 1e-3
# 45 MB for 11,064 columns.
_TRANSFORMED_ROWS = 1024


@dataclass(frozen=True)
class Compressor:
    """SVD of all standardised columns, fitted on the training rows of one fold.

    Attributes
    ----------
    projection : ndarray of shape (n_features, n_components), dtype float32
        Right singular vectors divided by the columns' standard deviations.
    offset : ndarray of shape (n_components,)
        Projection of the columns' means.
    """

    projection: np.ndarray
    offset: np.ndarray

    def transform(self, X, rows: np.ndarray | None = None) -> np.ndarray:
        """Project pairs, or some rows of them; float32 of shape (n_rows, n_components).

        In float32, values that differ only by rounding are ties for the trees.
        """
        projection = self.projection.astype(np.float64)
        n_rows = X.shape[0] if rows is None else len(rows)
        out = np.empty((n_rows, len(self.offset)), np.float32)
        for cut in row_slices(n_rows, _TRANSFORMED_ROWS):
            taken = read_table(X, cut if rows is None else rows[cut])
            out[cut] = matmul(taken, projection) - self.offset
        return out


class Compression(NamedTuple):
    """Input of one fold's trees.

    Attributes
    ----------
    compressor : Compressor
        Fitted on the training rows.
    train : ndarray of shape (n_train, n_components), dtype float32, or None
        Compressed training rows, if fitting has computed them.
    """

    compressor: Compressor
    train: np.ndarray | None


def fit_compressors(
    X,
    columns,
    folds,
    n_components,
    *,
    solver=None,
    tolerance=_TOLERANCE,
    held_bytes=HELD_BYTES,
):
    """Fit a compressor on the training rows of every fold.

    Large tables use one block Lanczos iteration in float32 for all folds at once, on
    one standardised float32 copy of the table; small ones a float64 Gram matrix per
    fold.

    Parameters
    ----------
    X : ndarray or LazyTable of shape (n_pairs, n_features)
        Features of all families.
    columns : ndarray of int of shape (n_features,)
        All columns, in an order that is independent of the order of families.
    folds : list of Fold
        Rows and weights to fit on.
    n_components : int
        Width; capped by the numerical rank.
    solver : {"lanczos", "gram"}, default=None
        Method; None selects it by size. If "lanczos" does not converge, "gram" is used.
    tolerance : float, default=1e-3
        Residual of the iteration, relative to the largest value.
    held_bytes : int, default=1 GiB
        Largest copy to keep in memory; a larger one is read again for each pass.

    Returns
    -------
    compressions : list of Compression
        One per fold.
    """
    if solver is None:
        smallest = min(len(columns), *(len(fold.train) for fold in folds))
        large = smallest >= max(_LARGE, 8 * n_components)
        solver = "lanczos" if large and hold_out_once(folds) else "gram"
    if solver == "lanczos":
        compressions = _fit_together(
            X, columns, folds, n_components, tolerance, held_bytes
        )
        if compressions is not None:
            return compressions
    return [_fit_alone(X, columns, fold, n_components) for fold in folds]


def _fit_alone(X, columns, fold, n_components):
    """Return the compression of one fold from its float64 Gram matrix."""
    table = StandardizedTable(X, rows=fold.train, columns=columns, weight=fold.weight)
    vectors = right_singular_vectors(table, n_components)
    compressor = _compressor(columns, vectors, table.mean, table.scale)
    return Compression(compressor, None)


def _fit_together(X, columns, folds, n_components, tolerance, held_bytes):
    """Return one compression per fold, or None if the iteration does not converge."""
    rows = ShiftedRows(X, columns)
    weights = FoldWeights(X.shape[0], folds)
    seen = columns_of_folds(rows, weights, folds)
    product = FoldProduct(rows, weights, seen, along=True, held_bytes=held_bytes)
    found = block_lanczos(
        product,
        rows.shape[1],
        n_components,
        n_tables=len(folds),
        width=max(1, n_components // 4),
        tolerance=tolerance,
        dtype=np.float32,
    )
    if found is None:
        return None
    compressions = []
    for number, (vectors, coordinates) in enumerate(found):
        mean = seen[number].mean + rows.shift
        compressor = _compressor(columns, vectors, mean, seen[number].scale)
        train = product.rows_along(number, coordinates)
        if train is not None:
            train = train[folds[number].train]
        compressions.append(Compression(compressor, train))
    return compressions


def _compressor(columns, vectors, mean, scale):
    """Return the compressor of (n_columns, k) vectors of standardised columns."""
    projection = np.empty((len(columns), vectors.shape[1]), np.float32)
    projection[columns] = vectors / scale[:, np.newaxis]
    # Computed from the rounded projection, so that the mean is mapped to zero.
    return Compressor(projection, mean @ projection[columns].astype(np.float64))
