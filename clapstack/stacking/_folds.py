"""Cross-validation splits of the training pairs, shared by all families."""

from __future__ import annotations

from numbers import Integral
from typing import NamedTuple

import numpy as np
from sklearn.model_selection import GroupKFold, KFold, check_cv

from clapstack._numerics.checks import first_rows
from clapstack._numerics.ranks import rank_among, rank_target


class Fold(NamedTuple):
    """Training and test part of one split, with weights and targets.

    Attributes
    ----------
    train : ndarray of int
        Rows to learn from; rows of weight zero are left out.
    weight : ndarray of shape (n_train,) or None
        Weights of the training rows, all positive.
    targets : ndarray of shape (n_train, n_targets)
        Targets, computed from the training rows only.
    test : ndarray of int
        Rows to predict; rows of weight zero are left out.
    test_weight : ndarray of shape (n_test,) or None
        Weights of the test rows, all positive.
    test_targets : ndarray of shape (n_test, n_targets)
        Targets of the test rows; ranks are relative to the training rows.
    """

    train: np.ndarray
    weight: np.ndarray | None
    targets: np.ndarray
    test: np.ndarray
    test_weight: np.ndarray | None
    test_targets: np.ndarray


def make_splits(cv, X, y, groups, random_state):
    """Return a list of (train, test) rows in which every row is tested once.

    Parameters
    ----------
    cv : int, splitter or iterable of (train, test)
        An int means shuffled k-fold, or group k-fold if `groups` are given.
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
        If there are too few rows or groups, or the splits do not predict each row
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
                "Lower cv or pass more pairs."
            )
            raise ValueError(msg)
    else:
        splitter = check_cv(cv)
    rows = np.arange(n_pairs)
    splits = [
        (_take(rows, train, number), _take(rows, test, number))
        for number, (train, test) in enumerate(splitter.split(X, y, groups))
    ]
    _check_partition(splits, n_pairs)
    if groups is not None:
        _check_groups_stay_together(splits, groups)
    return splits


def make_fold(number, split, y, weight, targets):
    """Return a split with its weights and targets.

    Parameters
    ----------
    number : int
        Number of the split, for error messages.
    split : tuple of (ndarray of int, ndarray of int)
        Training and test rows.
    y : ndarray of shape (n_pairs,)
        Scores.
    weight : ndarray of shape (n_pairs,) or None
        Weights, zero allowed.
    targets : list of {"score", "rank"}
        Targets to learn.

    Returns
    -------
    fold : Fold
        Rows, weights and targets.

    Raises
    ------
    ValueError
        If there are fewer than two training rows of positive weight, or their scores
        are all equal.
    """
    train, test = split
    used = test_weight = None
    if weight is not None:
        train, test = (rows[weight[rows] > 0] for rows in split)
        used, test_weight = weight[train], weight[test]
    if train.size < 2:
        counted = "" if weight is None else " of positive sample_weight"
        msg = (
            f"The training part of cv split {number} has {train.size} rows{counted}; "
            "at least two are needed. Pass more pairs or use other splits."
        )
        raise ValueError(msg)
    if np.ptp(y[train]) == 0:
        msg = (
            f"y is constant in the training part of cv split {number}: all "
            f"{train.size} scores are {y[train[0]]:g}, so there is nothing to learn. "
            "Pass more pairs, or use splits or groups that mix the scores."
        )
        raise ValueError(msg)
    made = {"score": y[train], "rank": rank_target(y[train], used)}
    held_out = {"score": y[test], "rank": rank_among(y[test], y[train], used)}
    return Fold(
        train,
        used,
        np.column_stack([made[target] for target in targets]),
        test,
        test_weight,
        np.column_stack([held_out[target] for target in targets]),
    )


def _take(rows, part, number):
    """Return a part of a split, row numbers or a mask, as row numbers."""
    try:
        return rows[np.asarray(part)]
    except IndexError as error:
        msg = (
            f"cv split {number} does not match X with {len(rows)} rows: {error}. Make "
            "the splits from the pairs passed to fit, or pass a splitter."
        )
        raise ValueError(msg) from error


def _check_partition(splits, n_pairs):
    counts = np.zeros(n_pairs, dtype=int)
    for number, (train, test) in enumerate(splits):
        np.add.at(counts, test, 1)
        if test.size == 0:
            msg = f"cv split {number} has no test rows. Remove that split."
            raise ValueError(msg)
        shared = np.intersect1d(train, test)
        if shared.size:
            msg = (
                f"cv split {number} has {shared.size} rows in both the training and "
                f"the test part (the first is row {shared[0]}), so their predictions "
                "would not be out of fold. Remove them from one part."
            )
            raise ValueError(msg)
    wrong = np.flatnonzero(counts != 1)
    if wrong.size:
        msg = (
            "cv must predict every row exactly once, but "
            f"{wrong.size} of {n_pairs} rows are in no test part or in several "
            f"({first_rows(wrong)}). Use a splitter that partitions the rows, such as "
            "KFold or GroupKFold."
        )
        raise ValueError(msg)


def _check_groups_stay_together(splits, groups):
    for number, (train, test) in enumerate(splits):
        shared = np.intersect1d(groups[train], groups[test])
        if shared.size:
            torn = [rows[groups[rows] == shared[0]][0] for rows in (train, test)]
            msg = (
                f"cv split {number} splits {shared.size} groups between the training "
                f"and the test part (the first is that of rows {torn[0]} and "
                f"{torn[1]}). Use a splitter that keeps groups together, such as "
                "GroupKFold or an int, or omit groups."
            )
            raise ValueError(msg)
