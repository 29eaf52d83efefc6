"""Novelty of pairs: conformal p-values from kernel models."""

from __future__ import annotations

import numpy as np

from clapstack._numerics.lazy_table import read_table
from clapstack.stacking._intervals import weight_of_a_new_unit

# Training pairs to compare with; more would take seconds and change p-values by less
# than .01.
_COMPARED = 1000


class HeldOutNovelty:
    """Out-of-fold novelty of the training pairs.

    Parameters
    ----------
    members : list of KernelRegressor
        One per fold.
    columns : ndarray of int of shape (n_columns,)
        Input columns of the members.
    X : ndarray or LazyTable of shape (n_pairs, n_features)
        Features.
    splits : list of (ndarray of int, ndarray of int)
        Training and test rows of the folds.
    weight : ndarray of shape (n_pairs,) or None
        Weights, zero allowed.
    units : ndarray of int of shape (n_pairs,)
        Number of the exchangeable unit of each pair: itself, or its group.
    """

    def __init__(self, members, columns, X, splits, weight, units):
        counted = np.ones(len(units), bool) if weight is None else weight > 0
        step = -(-int(counted.sum()) // _COMPARED)
        rows = [test[counted[test]][::step] for _, test in splits]
        self.novelty = [
            member.novelty(read_table(X, own, columns))
            for member, own in zip(members, rows, strict=True)
        ]
        weight = np.ones(len(units)) if weight is None else weight
        self.weights = [weight[own] for own in rows]
        every = np.concatenate(rows)
        self.new_weight = weight_of_a_new_unit(weight[every], units[every])

    def p_values(self, members, columns, X):
        """Return the weight share of training pairs at least as novel as each row."""
        least = self.new_weight
        total = least + sum(own.sum() for own in self.weights)
        for member, novelty, weight in zip(
            members, self.novelty, self.weights, strict=True
        ):
            found = member.novelty(read_table(X, slice(None), columns))
            order = np.argsort(novelty)
            below = np.concatenate([[0.0], np.cumsum(weight[order])])
            place = np.searchsorted(novelty[order], found, side="left")
            least = least + below[-1] - below[place]
        return least / total
