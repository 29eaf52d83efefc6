"""Out-of-fold predictions that learned nothing from a further fold."""

from __future__ import annotations

import warnings
from functools import reduce
from typing import NamedTuple

import numpy as np

from clapstack.stacking._folds import make_fold
from clapstack.stacking._intervals import DisagreementScale
from clapstack.stacking._targets import rank_target

# Folds are taken together into so many blocks at most, which bounds the work at ten
# further fits of the first level, whatever `cv` says. More blocks gain little: with
# ten folds, intervals of 20 pairs are 4 % narrower with ten blocks, of 100 pairs 1 %.
_MOST_BLOCKS = 5
# The final level of fold k gains from members that saw fold k about as much as from
# two pairs more for each prediction that it weighs, so above this many pairs for each
# the errors are too small by 1 % at most.
_PAIRS_PER_PREDICTION = 100


class Nest(NamedTuple):
    """What the final level may learn from if it is not to learn from a block of folds.

    Attributes
    ----------
    rows : ndarray of int of shape (n_rows,)
        Pairs of positive weight outside the block.
    inputs : ndarray of shape (n_rows, n_first_level)
        Their predictions, by members that saw neither them nor the block.
    splits : list of (ndarray of int, ndarray of int)
        The splits that made the predictions, in places of `rows`.
    """

    rows: np.ndarray
    inputs: np.ndarray
    splits: list


def nesting_pays(n_units, n_first_level):
    """Return whether what leaks through the members of other folds is to be counted.

    Parameters
    ----------
    n_units : int
        Number of exchangeable units: pairs, or groups.
    n_first_level : int
        Number of first-level predictions of a pair.
    """
    return n_units < _PAIRS_PER_PREDICTION * n_first_level


def fit_nested_levels(
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
    with_features,
):
    """Fit final levels that learn nothing from a fold.

    Parameters
    ----------
    final_level : FinalLevel
        Fits others of its kind.
    fit_members, X, y, weight, units, targets, splits, n_first_level
        As :func:`make_nests` takes them.
    with_features : callable
        Takes predictions, X and the rows that they are of, and returns the inputs of
        the final level.

    Returns
    -------
    levels : tuple of HeldOutLevel
        One per fold; folds of one block share it.
    scales : tuple of DisagreementScale
        One per fold.
        None instead of both if they cannot be fitted.

    Warns
    -----
    UserWarning
        If splits or regressors need more pairs than two blocks leave.
    """
    try:
        nests, block_of_fold = make_nests(
            fit_members, X, y, weight, units, targets, splits, n_first_level
        )
        fitted = []
        for rows, predictions, own_splits in nests:
            inputs = with_features(predictions, X, rows)
            counts = None if weight is None else weight[rows]
            level, held_out = final_level.fit_apart(inputs, y[rows], counts, own_splits)
            scale = DisagreementScale(
                np.abs(y[rows] - held_out),
                level.disagreement(inputs, n_first_level),
                counts,
            )
            fitted.append((level, scale))
    # Any regressor may be passed in, and some need more rows than are left here.
    except Exception as error:
        msg = (
            "oof_scores_ and prediction intervals of this fit are optimistic: what "
            f"they need was not fitted on the pairs that two of {len(splits)} folds "
            f"leave, for {type(error).__name__}: {error} Bring more pairs, raise cv, "
            "or use regressors that need fewer pairs."
        )
        warnings.warn(msg, stacklevel=5)
        return None
    return tuple(zip(*(fitted[block] for block in block_of_fold), strict=True))


def make_nests(fit_members, X, y, weight, units, targets, splits, n_first_level):
    """Return what to fit the final level on without each block of folds.

    The members that predict block c for the final level of block b see neither; they
    predict b for that of c, too. Where there are two blocks, halves of the other one
    predict one another.

    Parameters
    ----------
    fit_members : callable
        Takes a list of Fold and returns the FirstLevel fitted on them.
    X : ndarray or LazyTable of shape (n_pairs, n_features)
        Features.
    y : ndarray of shape (n_pairs,)
        Scores.
    weight : ndarray of shape (n_pairs,) or None
        Weights, zero allowed.
    units : ndarray of int of shape (n_pairs,)
        Number of the exchangeable unit of each pair.
    targets : list of {"score", "rank"}
        What the first level learns.
    splits : list of (ndarray of int, ndarray of int)
        Training and test rows of the folds.
    n_first_level : int
        Number of first-level predictions of a pair.

    Returns
    -------
    nests : list of Nest
        One per block.
    block_of_fold : ndarray of int of shape (n_folds,)
        The block of each fold.

    Raises
    ------
    ValueError
        If nothing is left to learn from without two blocks.
    """
    block_of_fold, train, test = _make_blocks(splits, weight, len(y))
    pieces = [_pieces(block, train[block], test, units) for block in range(len(test))]
    if any(len(listed) < 2 for listed in pieces):
        msg = "the training parts of the splits have too few rows or groups in common."
        raise ValueError(msg)
    learned, predicted = _rows_of_parts(train, pieces)
    fitted = [k for k, rows in learned.items() if len(rows) > 1 and np.ptp(y[rows]) > 0]
    folds = [
        make_fold(number, (learned[key], predicted[key]), y, weight, targets)
        for number, key in enumerate(fitted)
    ]
    members = fit_members(folds) if folds else None
    number_of = {key: number for number, key in enumerate(fitted)}
    nests = []
    for rows, listed in zip(train, pieces, strict=True):
        inputs = np.empty((len(rows), n_first_level))
        splits_of_rows = []
        for key, piece in listed:
            places = np.searchsorted(rows, piece)
            rest = np.setdiff1d(np.arange(len(rows)), places)
            splits_of_rows.append((rest, places))
            if members is not None and key in number_of:
                inputs[places] = members.predict_rows(X, piece, number_of[key])
            else:
                inputs[places] = _means(y, weight, rows[rest], targets, n_first_level)
        nests.append(Nest(rows, inputs, splits_of_rows))
    return nests, block_of_fold


def _make_blocks(splits, weight, n_pairs):
    """Return the block of each fold, and training and test rows of each block."""
    used = np.arange(n_pairs) if weight is None else np.flatnonzero(weight)
    counted = [k for k, (_, test) in enumerate(splits) if np.isin(test, used).any()]
    n_blocks = min(len(counted), _MOST_BLOCKS)
    # A fold of weight zero has no error that counts, so any block serves.
    block_of_fold = np.zeros(len(splits), dtype=int)
    block_of_fold[counted] = np.arange(len(counted)) % n_blocks
    train, test = [], []
    for block in range(n_blocks):
        own = [splits[k] for k in counted if block_of_fold[k] == block]
        train.append(reduce(np.intersect1d, [rows for rows, _ in own], used))
        test.append(np.intersect1d(np.concatenate([rows for _, rows in own]), used))
    return block_of_fold, train, test


def _pieces(block, train, test, units):
    """Return what the final level of a block learns from, in pieces of (key, rows).

    Pieces of one key are predicted by the same members.
    """
    others = [number for number in range(len(test)) if number != block]
    pieces: list[tuple[tuple, np.ndarray]] = []
    for other in others:
        if len(test) > 2:
            pieces.append(((min(block, other), max(block, other)), test[other]))
        else:
            first, second = _halves(test[other], units)
            pieces += [((block, other, 0), first), ((block, other, 1), second)]
    within = [(key, np.intersect1d(rows, train)) for key, rows in pieces]
    return [(key, rows) for key, rows in within if len(rows)]


def _rows_of_parts(train, pieces):
    """Return the rows that the members of each key learn from, and those they predict.

    Members of two whole blocks learn from what both blocks may learn from.
    """
    learned: dict[tuple, np.ndarray] = {}
    predicted: dict[tuple, np.ndarray] = {}
    for rows_of_block, listed in zip(train, pieces, strict=True):
        for key, rows in listed:
            rest = np.setdiff1d(rows_of_block, rows)
            learned[key] = np.intersect1d(learned.get(key, rest), rest)
            predicted[key] = np.union1d(predicted.get(key, rows), rows)
    return learned, predicted


def _halves(rows, units):
    """Cut rows in two between units."""
    different = np.unique(units[rows])
    first = units[rows] < different[len(different) // 2]
    return rows[first], rows[~first]


def _means(y, weight, rows, targets, n_first_level):
    """Return what members predict that have nothing to learn from but some scores."""
    used = None if weight is None else weight[rows]
    made = {"score": y[rows], "rank": rank_target(y[rows], used)}
    means = [np.average(made[target], weights=used) for target in targets]
    return np.tile(means, n_first_level // len(targets))
