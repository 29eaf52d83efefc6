"""Boosted trees on columns that are binned once for all targets."""

from __future__ import annotations

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.ensemble import HistGradientBoostingRegressor

# As many as scikit-learn makes: its trees of bin numbers are those of the values.
_N_BINS = 255


class BoostedTrees(RegressorMixin, BaseEstimator):
    """The default boosted trees: those of scikit-learn, binned beforehand.

    Columns are cut at weighted quantiles, whichever release of scikit-learn fits the
    trees: before 1.9 it leaves the weights out there, and from then on it sorts a
    column once for every quantile.

    The penalty on leaf values takes the place of a least number of pairs in a leaf, so
    that a weight counts a pair as often as it says. Nothing is drawn: there is no early
    stopping, which would also hold out rows of its own.

    Parameters
    ----------
    max_iter : int, default=100
        Number of trees.

    Attributes
    ----------
    edges_ : ndarray of shape (n_features, n_edges), dtype float64
        What separates the bins of each column, then infinity.
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
            One target a column.
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
    """Return what separates the bins, of shape (n_features, n_edges), then infinity."""
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
    # Averaged inverted distribution function: where a step is met, the two values it
    # joins are averaged.
    reached = np.cumsum(weight[order])
    # Rounded as scikit-learn rounds: whether a step is met hangs on it.
    wanted = np.linspace(0, 100, _N_BINS + 1)[1:-1] / 100 * reached[-1]
    low = np.searchsorted(reached, wanted)
    high = np.searchsorted(reached, wanted, side="right")
    return np.unique((values[low] + values[np.minimum(high, len(values) - 1)]) / 2)


def _bin_numbers(X, edges):
    """Return the bins of all values, from 0, in the dtype that the trees take."""
    numbers = np.empty(X.shape, order="F")
    for number, (column, of_column) in enumerate(zip(X.T, edges, strict=True)):
        numbers[:, number] = np.searchsorted(of_column, column)
    return numbers
