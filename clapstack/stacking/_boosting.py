"""Boosted trees on a compressed concatenation of all families."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor

from clapstack._linalg import StandardizedTable, matmul


def make_boosting():
    """Return the default boosted trees.

    The penalty on leaf values takes the place of a least number of pairs in a leaf, so
    that a weight counts a pair as often as it says. Nothing is drawn: there is no early
    stopping, which would also hold out rows of its own.
    """
    return HistGradientBoostingRegressor(
        learning_rate=0.08,
        max_iter=100,
        max_leaf_nodes=4,
        min_samples_leaf=1,
        l2_regularization=20.0,
        early_stopping=False,
        random_state=0,
    )


@dataclass(frozen=True)
class Compressor:
    """SVD of all standardised columns, fitted on the training rows of one fold.

    Attributes
    ----------
    projection : ndarray of shape (n_features, n_components)
        Right singular vectors over the columns' standard deviations.
    offset : ndarray of shape (n_components,)
        Projection of the columns' means.
    """

    projection: np.ndarray
    offset: np.ndarray

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Project pairs; float32 of shape (n_pairs, n_components).

        Trees compare values, and float32 makes ties of what differs by rounding alone.
        """
        return (matmul(X, self.projection) - self.offset).astype(np.float32)


def fit_compressor(X, columns, fold, n_components):
    """Fit a compressor on the training rows of a fold.

    Parameters
    ----------
    X : ndarray of shape (n_pairs, n_features)
        Features of all families.
    columns : ndarray of int of shape (n_features,)
        All columns, in an order that does not depend on the order of families.
    fold : Fold
        Rows and weights to fit on.
    n_components : int
        Width; capped by the numerical rank.

    Returns
    -------
    compressor : Compressor
        The fitted compressor.
    """
    table = StandardizedTable(X, rows=fold.train, columns=columns, weight=fold.weight)
    vectors = table.right_singular_vectors(n_components)
    projection = np.empty((X.shape[1], vectors.shape[1]))
    projection[columns] = vectors / table.scale[:, np.newaxis]
    return Compressor(projection, table.mean @ projection[columns])
