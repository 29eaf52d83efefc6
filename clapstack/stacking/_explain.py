"""Contributions of families to predictions, exact for a linear final level."""

from __future__ import annotations

import numpy as np
import pandas as pd

from clapstack._numerics.lazy_table import read_table, row_slices
from clapstack._numerics.rows import matmul
from clapstack.families import BOOSTING, KERNEL, family_of
from clapstack.stacking.ridge import StandardizedRidge

_OWN_COLUMNS = ("baseline", "calibration", "prediction")
_MEAN_ROWS = 4096
# Above rounding errors, and within the documented accuracy of the sum.
_TOLERANCE = 1e-9


def column_means(X, columns, weight):
    """Return weighted means of some columns of a table, read in blocks.

    Parameters
    ----------
    X : ndarray or LazyTable of shape (n_pairs, n_features)
        Features.
    columns : ndarray of int of shape (n_columns,)
        Column numbers.
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
    """Split predictions into contributions of the families, the trees and the map.

    Parameters
    ----------
    X : ndarray or LazyTable of shape (n_pairs, n_features)
        Features.
    first_level : FirstLevel
        The fitted members.
    final_level : FinalLevel
        The fitted final level.
    families : list of str
        Families with models of their own.
    auxiliary : dict of str to (columns, means)
        Columns of auxiliary families in `X`, and their means over the training pairs.
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
    """Return the coefficients and the intercept of a linear regressor.

    They are derived from its predictions, so that pipelines and searches of linear
    regressors work, too.

    Parameters
    ----------
    estimator : regressor
        Fitted on standardised inputs.
    inputs : ndarray of shape (n_pairs, n_inputs)
        Standardised inputs, on which linearity is checked.

    Returns
    -------
    coef : ndarray of shape (n_inputs,)
        Coefficients.
    intercept : float
        Prediction of zeros.

    Raises
    ------
    ValueError
        If it is not linear on `inputs` and on random standardised inputs.
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
                f"explain needs a linear final level, but {who} is not linear, so its "
                "predictions are not a sum over families. Set final_estimator to None, "
                "'mean' or a linear regressor."
            )
            raise ValueError(msg)
    return coef, intercept


def _empty_parts(names, n_pairs):
    """Return zeros of shape (n_pairs,) by name, or refuse reserved names."""
    taken = [name for name in names if name in _OWN_COLUMNS]
    if taken:
        msg = (
            f"X has families named {taken!r}, but explain uses these names for other "
            "columns of its output. Rename the families and fit again."
        )
        raise ValueError(msg)
    return {name: np.zeros(n_pairs) for name in names}


def _columns_by_model(first_level):
    """Return the positions of each model's predictions in the final level's inputs."""
    places, start = {}, 0
    for model, by_target in first_level.estimators.items():
        places[model] = slice(start, start + len(by_target))
        start += len(by_target)
    return places


def _joined(model, first_level, auxiliary):
    """Return the auxiliary families among the inputs of a model."""
    if model in (BOOSTING, KERNEL):
        return []
    taken = first_level.columns[model]
    return [name for name, (columns, _) in auxiliary.items() if columns[0] in taken]


def _are_ridges(by_target):
    """Return whether all members, ``by_target[target][fold]``, are our ridges."""
    return all(type(m) is StandardizedRidge for ms in by_target.values() for m in ms)


def _mean_coef(by_target):
    """Return coefficients averaged over folds, of shape (n_columns, n_targets)."""
    means = [np.mean([m.coef_ for m in ms], axis=0) for ms in by_target.values()]
    return np.transpose(means)


def _line(increasing_map):
    """Return slope and offset of the least-squares line through the knots of a map."""
    if increasing_map is None:
        return 1.0, 0.0
    slope, offset = np.polyfit(increasing_map.x_knots_, increasing_map.y_knots_, 1)
    return float(slope), float(offset)
