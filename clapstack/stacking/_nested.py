"""Nested cross-validation of the stack, for unbiased errors with few pairs.

The final level of fold k, fitted on the out-of-fold predictions of other folds, learns
from members that saw fold k. With few pairs, its errors on fold k are then too small.
The first level is therefore refitted without each pair of folds: the members without
folds k and j predict j for the final level of k, and k for that of j.
"""

from __future__ import annotations

import warnings
from functools import reduce
from typing import NamedTuple

import numpy as np

from clapstack._numerics.ranks import rank_target
from clapstack.stacking._folds import make_fold
from clapstack.stacking._intervals import DisagreementScale

# Folds are merged into at most this many blocks, which limits the work to ten further
# fits of the first level for any `cv`.
_MOST_BLOCKS = 5
# For the final level of fold k, members that saw fold k are worth about two additional
# pairs per first-level prediction. Above this many pairs per prediction, errors are
# too small by at most 1 %.
_PAIRS_PER_PREDICTION = 100


class HeldOutStack(NamedTuple):
    """A stack fitted without a block of folds.

    Attributes
    ----------
    rows : ndarray of int of shape (n_rows,)
        Rows of the block.
    members : list of int
        Folds of the nested first level whose mean predictions are its inputs.
    level : HeldOutLevel
        The final level.
    scale : DisagreementScale
        Fitted to its errors on the other blocks.
    """

    rows: np.ndarray
    members: list
    level: object
    scale: object


def nesting_pays(n_units, n_first_level):
    """Return whether the leakage through members of other folds matters.

    Parameters
    ----------
    n_units : int
        Number of exchangeable units: pairs, or groups.
    n_first_level : int
        Number of first-level predictions per pair.
    """
    return n_units < _PAIRS_PER_PREDICTION * n_first_level


def fit_nested(
    final_level,
    fit_members,
    X,
    y,
    weight,
    *,
    units,
    targets,
    splits,
    n_first_level,
):
    """Fit a stack without each block of folds.

    With only two blocks, the other block is divided into halves that predict each
    other.

    Parameters
    ----------
    final_level : FinalLevel
        Provides the parameters of the other final levels.
    fit_members : callable
        Function of a list of Fold that returns the fitted FirstLevel.
    X : ndarray or LazyTable of shape (n_pairs, n_features)
        Features.
    y : ndarray of shape (n_pairs,)
        Scores.
    weight : ndarray of shape (n_pairs,) or None
        Weights, zero allowed.
    units : ndarray of int of shape (n_pairs,)
        Number of the exchangeable unit of each pair: itself, or its group.
    targets : list of {"score", "rank"}
        Targets of the first level.
    splits : list of (ndarray of int, ndarray of int)
        Training and test rows of the folds.
    n_first_level : int
        Number of first-level predictions per pair.

    Returns
    -------
    first_level : FirstLevel
        One fold for every pair of blocks.
    stacks : list of HeldOutStack
        One per block. None is returned instead of both if the fit fails.

    Warns
    -----
    UserWarning
        If splits or regressors need more pairs than remain without two blocks.
    """
    try:
        blocks, train = _make_blocks(splits, weight, len(y))
        pieces = [_pieces(own, train, blocks, units) for own in range(len(blocks))]
        folds, number_of = _make_folds(train, pieces, y, weight, targets)
        first_level = fit_members(folds)
        stacks = []
        for block, rows, listed in zip(blocks, train, pieces, strict=True):
            counts = None if weight is None else weight[rows]
            predictions = np.empty((len(rows), n_first_level))
            own_splits = []
            for key, piece in listed:
                test = np.searchsorted(rows, piece)
                rest = np.setdiff1d(np.arange(len(rows)), test)
                own_splits.append((rest, test))
                if key in number_of:
                    made = first_level.predict_rows(X, piece, [number_of[key]])
                else:
                    made = _means(y, weight, rows[rest], targets, n_first_level)
                predictions[test] = made
            level, held_out = final_level.fit_apart(
                predictions, y[rows], counts, own_splits
            )
            scale = DisagreementScale(
                np.abs(y[rows] - held_out), level.disagreement(predictions), counts
            )
            members = [number_of[key] for key, _ in listed if key in number_of]
            stacks.append(HeldOutStack(block, members, level, scale))
    # Custom regressors may fail here because they need more rows than remain.
    except Exception as error:
        msg = (
            "oof_scores_ and prediction intervals of this fit are optimistic, because "
            f"the stack could not be refitted without two of {len(splits)} folds: "
            f"{type(error).__name__}: {error} Pass more pairs, raise cv, or use "
            "regressors that need fewer pairs."
        )
        warnings.warn(msg, stacklevel=5)
        return None
    return first_level, stacks


def _make_blocks(splits, weight, n_pairs):
    """Return the rows of each block, and the training rows without it."""
    used = np.arange(n_pairs) if weight is None else np.flatnonzero(weight)
    counted = [bool(np.isin(test, used).any()) for _, test in splits]
    n_blocks = min(sum(counted), _MOST_BLOCKS)
    # A fold of weight zero is merged into a block, because it cannot be fitted alone.
    block_of_fold = np.where(counted, np.cumsum(counted) - 1, 0) % n_blocks
    blocks, train = [], []
    for block in range(n_blocks):
        own = [splits[fold] for fold in np.flatnonzero(block_of_fold == block)]
        blocks.append(np.sort(np.concatenate([rows for _, rows in own])))
        train.append(reduce(np.intersect1d, [rows for rows, _ in own], used))
    return blocks, train


def _pieces(own, train, blocks, units):
    """Return the training rows of a block's final level, in pieces of (key, rows).

    Pieces with the same key are predicted by the same members.
    """
    pieces: list[tuple[tuple, np.ndarray]] = []
    for other, block in enumerate(blocks):
        rows = np.intersect1d(block, train[own])
        if other == own or not len(rows):
            continue
        if len(blocks) > 2:
            pieces.append(((min(own, other), max(own, other)), rows))
            continue
        different = np.unique(units[rows])
        first = units[rows] < different[len(different) // 2]
        halves = enumerate([rows[first], rows[~first]])
        pieces += [((own, other, number), half) for number, half in halves if len(half)]
    if len(pieces) < 2:
        msg = "the training parts of the splits share too few rows or groups."
        raise ValueError(msg)
    return pieces


def _make_folds(train, pieces, y, weight, targets):
    """Return the folds of the nested members, and the fold number of each key.

    Members without two blocks learn from the training rows common to both. Keys whose
    training rows have a constant score are skipped.
    """
    learned: dict[tuple, np.ndarray] = {}
    predicted: dict[tuple, np.ndarray] = {}
    for rows_of_block, listed in zip(train, pieces, strict=True):
        for key, rows in listed:
            rest = np.setdiff1d(rows_of_block, rows)
            learned[key] = np.intersect1d(learned.get(key, rest), rest)
            predicted[key] = np.union1d(predicted.get(key, rows), rows)
    able = [k for k, rows in learned.items() if len(rows) > 1 and np.ptp(y[rows]) > 0]
    for listed in pieces:
        if not any(key in able for key, _ in listed):
            msg = "the remaining pairs are fewer than two or have constant scores."
            raise ValueError(msg)
    folds = [
        make_fold(number, (learned[key], predicted[key]), y, weight, targets)
        for number, key in enumerate(able)
    ]
    return folds, {key: number for number, key in enumerate(able)}


def _means(y, weight, rows, targets, n_first_level):
    """Return mean targets, for members that cannot be fitted."""
    used = None if weight is None else weight[rows]
    made = {"score": y[rows], "rank": rank_target(y[rows], used)}
    means = [np.average(made[target], weights=used) for target in targets]
    return np.tile(means, n_first_level // len(targets))
