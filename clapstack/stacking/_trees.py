"""Boosted trees on columns binned once for all targets."""

from __future__ import annotations

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.ensemble import HistGradientBoostingRegressor

# The default of scikit-learn, so trees on bin numbers equal trees on the values.
_N_BINS = 255


class BoostedTrees(RegressorMixin, BaseEstimator):
    """The default boosted trees: those of scikit-learn on binned columns.

    Columns are binned at weighted quantiles with any release of scikit-learn: before
    1.9, its own binning ignores weights; from 1.9, it sorts a column once per quantile.

    A penalty on leaf values replaces the minimum number of pairs per leaf, so that a
    weight is equivalent to repetition. There is no randomness: early stopping, which
    would hold out random rows, is disabled.

    Parameters
    ----------
    max_iter : int, default=100
        Number of trees.

    Attributes
    ----------
    edges_ : ndarray of shape (n_features, n_edges), dtype float64
        Bin edges of each column, padded with infinity.
    trees_ : HistGradientBoostingRegressor
        Fitted on bin numbers.
    """

    def __init__(self, max_iter=100):
        self.max_iter = max_iter

    def fit_targets(self, X, targets, sample_weight=None):
        """Fit one regressor per target.

        Parameters
        ----------
        X : ndarray of shape (n_pairs, n_features)
            Compressed features.
        targets : ndarray of shape (n_pairs, n_targets)
            One target per column.
        sample_weight : ndarray of shape (n_pairs,), default=None
            Weights, all positive.

        Returns
        -------
        fitted : list of BoostedTrees
            One per target.
        """
        edges = _bin_edges(X, sample_weight)
        numbers = _bin_numbers(X, edges)
        fitted = []
        for target in targets.T:
            trees = make_trees(self.max_iter)
            trees.fit(numbers, target, sample_weight=sample_weight)
            fitted.append(clone(self)._take(edges, trees))
        return fitted

    def fit(self, X, y, sample_weight=None):
        """Fit to one target.

        Parameters
        ----------
        X : ndarray of shape (n_pairs, n_features)
            Compressed features.
        y : ndarray of shape (n_pairs,)
            Target.
        sample_weight : ndarray of shape (n_pairs,), default=None
            Weights, all positive.

        Returns
        -------
        self : BoostedTrees
            The fitted regressor.
        """
        (fitted,) = self.fit_targets(X, y[:, np.newaxis], sample_weight)
        return self._take(fitted.edges_, fitted.trees_)

    def predict(self, X):
        """Predict the target.

        Parameters
        ----------
        X : ndarray of shape (n_pairs, n_features)
            Compressed features.

        Returns
        -------
        y_score : ndarray of shape (n_pairs,), dtype float64
            Predictions.
        """
        return self.trees_.predict(_bin_numbers(X, self.edges_))

    def _take(self, edges, trees):
        self.edges_ = edges
        self.trees_ = trees
        return self


def make_trees(max_iter=100):
    """Return scikit-learn's trees with the settings of :class:`BoostedTrees`."""
    return HistGradientBoostingRegressor(
        learning_rate=0.08,
        max_iter=max_iter,
        max_leaf_nodes=4,
        min_samples_leaf=1,
        l2_regularization=20.0,
        early_stopping=False,
        random_state=0,
    )


def _bin_edges(X, weight):
    """Return bin edges of shape (n_features, n_edges), padded with infinity."""
    if weight is None:
        weight = np.ones(len(X))
    edges = np.full((X.shape[1], _N_BINS - 1), np.inf)
    for column, out in zip(X.T, edges, strict=True):
        found = _quantiles(column, weight)
        out[: len(found)] = found
    return edges


def _quantiles(column, weight):
    """Return the edges of one column, increasing."""
    order = np.argsort(column, kind="stable")
    values = column[order].astype(np.float64)
    distinct = np.unique(values)
    if len(distinct) <= _N_BINS:
        return (distinct[1:] + distinct[:-1]) / 2
    # Averaged inverted CDF: if a quantile is exactly at a step, the adjacent values are
    # averaged.
    reached = np.cumsum(weight[order])
    # Same rounding as scikit-learn, because it decides whether a step is hit exactly.
    wanted = np.linspace(0, 100, _N_BINS + 1)[1:-1] / 100 * reached[-1]
    low = np.searchsorted(reached, wanted)
    high = np.searchsorted(reached, wanted, side="right")
    return np.unique((values[low] + values[np.minimum(high, len(values) - 1)]) / 2)


def _bin_numbers(X, edges):
    """Return the bin numbers of all values, from 0, in the dtype of the trees."""
    numbers = np.empty(X.shape, order="F")
    for number, (column, of_column) in enumerate(zip(X.T, edges, strict=True)):
        numbers[:, number] = np.searchsorted(of_column, column)
    return numbers
