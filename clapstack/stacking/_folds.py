"""Splits of the training pairs, made once for every family."""

from __future__ import annotations

from numbers import Integral
from typing import NamedTuple

import numpy as np
from sklearn.model_selection import GroupKFold, KFold, check_cv

_SHOWN = 5


class Fold(NamedTuple):
    """One training part, ready to fit on.

    Attributes
    ----------
    train : ndarray of int
        Rows to learn from; rows of weight zero are left out.
    weight : ndarray of shape (n_train,) or None
        Weights of the training rows, all positive.
    targets : ndarray of shape (n_train, n_targets)
        Targets, computed from the training rows alone.
    test : ndarray of int
        Rows to predict; rows of weight zero are left out.
    test_weight : ndarray of shape (n_test,) or None
        Weights of the test rows, all positive.
    test_targets : ndarray of shape (n_test, n_targets)
        Targets of the test rows; ranks are those among the training rows.
    """

    train: np.ndarray
    weight: np.ndarray | None
    targets: np.ndarray
    test: np.ndarray
    test_weight: np.ndarray | None
    test_targets: np.ndarray


def make_splits(cv, X, y, groups, random_state):
    """Return one list of (train, test) rows that predicts every row once.

    Parameters
    ----------
    cv : int, splitter or iterable of (train, test)
        An int means shuffled k-fold, or group k-fold where `groups` are given.
    X : ndarray of shape (n_pairs, n_features)
        Features.
    y : ndarray of shape (n_pairs,)
        Scores.
    groups : array-like of shape (n_pairs,) or None
        Group of each pair.
    random_state : int, RandomState instance or None
        Shuffles the k-fold.

    Returns
    -------
    splits : list of (ndarray of int, ndarray of int)
        Training and test rows.

    Raises
    ------
    ValueError
        If there are too few rows or groups, or if the splits do not predict each row
        exactly once from other rows.
    """
    n_pairs = X.shape[0]
    if isinstance(cv, Integral):
        if groups is None:
            counted, n_counted = f"n_samples={n_pairs}", n_pairs
            splitter = KFold(cv, shuffle=True, random_state=random_state)
        else:
            n_counted = len(np.unique(groups))
            counted = f"{n_counted} different groups"
            splitter = GroupKFold(cv)
        if n_counted < cv:
            msg = (
                f"cv={cv} folds need at least {cv} pairs or groups; X has {counted}. "
                "Lower cv or bring more pairs."
            )
            raise ValueError(msg)
    else:
        splitter = check_cv(cv)
    splits = [
        (np.asarray(train), np.asarray(test))
        for train, test in splitter.split(X, y, groups)
    ]
    _check_partition(splits, n_pairs)
    return splits


def _check_partition(splits, n_pairs):
    counts = np.zeros(n_pairs, dtype=int)
    for number, (train, test) in enumerate(splits):
        counts[test] += 1
        shared = np.intersect1d(train, test)
        if shared.size:
            msg = (
                f"cv split {number} has {shared.size} rows both in training and in "
                f"test (the first is row {shared[0]}): their predictions would not be "
                "out of fold. Remove them from one side."
            )
            raise ValueError(msg)
    wrong = np.flatnonzero(counts != 1)
    if wrong.size:
        msg = (
            "cv must predict every row exactly once; "
            f"{wrong.size} of {n_pairs} rows are in no or in several test parts "
            f"(rows {', '.join(map(str, wrong[:_SHOWN]))}"
            f"{', …' if wrong.size > _SHOWN else ''}). Use a splitter that partitions "
            "the rows, such as KFold or GroupKFold."
        )
        raise ValueError(msg)
