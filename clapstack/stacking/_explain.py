"""What each family adds to a prediction: the exact parts of a linear final level."""

from __future__ import annotations

import numpy as np
import pandas as pd

from clapstack._numerics.lazy_table import read_table, row_slices
from clapstack._numerics.rows import matmul
from clapstack.families import BOOSTING, KERNEL, family_of
from clapstack.stacking.ridge import StandardizedRidge

_OWN_COLUMNS = ("baseline", "calibration", "prediction")
_MEAN_ROWS = 4096
# Beyond rounding, and within what the parts are promised to add up to.
_TOLERANCE = 1e-9


def column_means(X, columns, weight):
    """Return weighted means of some columns of a table, read block by block.

    Parameters
    ----------
    X : ndarray or LazyTable of shape (n_pairs, n_features)
        Features.
    columns : ndarray of int of shape (n_columns,)
        Numbers of columns.
    weight : ndarray of shape (n_pairs,) or None
        Weights, zero allowed.

    Returns
    -------
    means : ndarray of shape (n_columns,), dtype float64
    """
    weight = np.ones(X.shape[0]) if weight is None else weight
    total = np.zeros(len(columns))
    for rows in row_slices(X.shape[0], _MEAN_ROWS):
        total += weight[rows] @ read_table(X, rows, columns).astype(np.float64)
    return total / weight.sum()


def explain_predictions(X, first_level, final_level, families, auxiliary, index):
    """Split predictions into what each family, the trees and the map add.

    Parameters
    ----------
    X : ndarray or LazyTable of shape (n_pairs, n_features)
        Features.
    first_level : FirstLevel
        The fitted members.
    final_level : FinalLevel
        The fitted final level.
    families : list of str
        Families that stand alone.
    auxiliary : dict of str to (columns, means)
        Families joined to others: their columns in `X`, and the columns' means over
        the training pairs.
    index : Index
        Labels of the pairs.

    Returns
    -------
    parts : DataFrame of shape (n_pairs, n_parts)
        As :meth:`ClapStackingRegressor.explain` returns it.
    """
    parts = _empty_parts([*families, *auxiliary, BOOSTING], X.shape[0])
    inputs = first_level.predict(X)
    standard = final_level.scaler_.transform(inputs)
    coef, intercept = affine_parts(final_level.estimator_, standard)
    for model, own in _columns_by_model(first_level).items():
        share = standard[:, own] @ coef[own]
        joined = _joined(model, first_level, auxiliary)
        if joined and _are_ridges(first_level.estimators[model]):
            in_units = coef[own] / final_level.scaler_.scale_[own]
            ridge = _mean_coef(first_level.estimators[model]) @ in_units
            for name in joined:
                columns, means = auxiliary[name]
                places = np.isin(first_level.columns[model], columns)
                moved = (
                    matmul(X, ridge[places], columns=columns) - means @ ridge[places]
                )
                parts[name] += moved
                share = share - moved
            joined = []
        name = "+".join([family_of(model), *joined])
        parts[name] = parts.get(name, 0.0) + share
    slope, offset = _line(final_level.map_)
    prediction = final_level.predict(inputs)
    straight = slope * (standard @ coef + intercept) + offset
    return pd.DataFrame(
        {
            "baseline": np.full(X.shape[0], slope * intercept + offset),
            **{name: slope * part for name, part in parts.items()},
            "calibration": prediction - straight,
            "prediction": prediction,
        },
        index=index,
    )


def affine_parts(estimator, inputs):
    """Return the coefficients and the intercept of a regressor that is linear.

    It is asked, not looked into, so that pipelines and searches of linear regressors
    serve as well.

    Parameters
    ----------
    estimator : regressor
        Fitted on standardised inputs.
    inputs : ndarray of shape (n_pairs, n_inputs)
        Standardised inputs, on which it has to be linear.

    Returns
    -------
    coef : ndarray of shape (n_inputs,)
        Coefficients.
    intercept : float
        Prediction of zeros.

    Raises
    ------
    ValueError
        If it is not linear, there or on inputs like those that it was fitted on.
    """
    n_inputs = inputs.shape[1]
    intercept = float(estimator.predict(np.zeros((1, n_inputs)))[0])
    coef = estimator.predict(np.eye(n_inputs)) - intercept
    drawn = np.random.default_rng(0).normal(scale=2.0, size=(64, n_inputs))
    for asked in (drawn, inputs):
        predicted = estimator.predict(asked)
        error = np.abs(predicted - (asked @ coef + intercept)).max()
        if error > _TOLERANCE * max(1.0, np.abs(predicted).max()):
            who = type(estimator).__name__
            msg = (
                f"explain needs a final level that is linear; {who} is not, so what it "
                "predicts is no sum over families. Leave final_estimator at None, or "
                "use 'mean' or a linear regressor."
            )
            raise ValueError(msg)
    return coef, intercept


def _empty_parts(names, n_pairs):
    """Return zeros of shape (n_pairs,) by name, or refuse names of our own columns."""
    taken = [name for name in names if name in _OWN_COLUMNS]
    if taken:
        msg = (
            f"explain has columns of its own named {taken!r}, and X has families of "
            "that name. Rename their columns and fit again."
        )
        raise ValueError(msg)
    return {name: np.zeros(n_pairs) for name in names}


def _columns_by_model(first_level):
    """Return the places of each model's predictions among the final level's inputs."""
    places, start = {}, 0
    for model, by_target in first_level.estimators.items():
        places[model] = slice(start, start + len(by_target))
        start += len(by_target)
    return places


def _joined(model, first_level, auxiliary):
    """Return the auxiliary families that a model takes beside its own."""
    if model in (BOOSTING, KERNEL):
        return []
    taken = first_level.columns[model]
    return [name for name, (columns, _) in auxiliary.items() if columns[0] in taken]


def _are_ridges(by_target):
    """Return whether all members, ``by_target[target][fold]``, are our ridges."""
    return all(type(m) is StandardizedRidge for ms in by_target.values() for m in ms)


def _mean_coef(by_target):
    """Return coefficients over the fold members, of shape (n_columns, n_targets)."""
    means = [np.mean([m.coef_ for m in ms], axis=0) for ms in by_target.values()]
    return np.transpose(means)


def _line(increasing_map):
    """Return slope and offset of the straight part of a map."""
    if increasing_map is None:
        return 1.0, 0.0
    slope, offset = np.polyfit(increasing_map.x_knots_, increasing_map.y_knots_, 1)
    return float(slope), float(offset)
