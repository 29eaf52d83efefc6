"""Several rating axes: one stack per axis, fitted on the pairs rated on it."""

from __future__ import annotations

from copy import copy
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.model_selection import PredefinedSplit
from sklearn.pipeline import Pipeline

from clapstack._compat import _safe_indexing, axis_names, is_frame
from clapstack._numerics.checks import as_numbers, check_weight, first_few, first_rows
from clapstack.families import check_features
from clapstack.stacking._checks import check_groups
from clapstack.stacking._folds import make_splits

# Set by a fit on one axis, besides the attributes that end in an underscore.
_PRIVATE = (
    "_auxiliary_columns",
    "_errors",
    "_final_level",
    "_first_level",
    "_nested",
    "_novelty",
)


class Axes(NamedTuple):
    """Ratings on several axes.

    Attributes
    ----------
    names : list of str
        Names of the axes.
    y : ndarray of shape (n_pairs, n_axes), float64
        Ratings; NaN where a pair is not rated on an axis.
    """

    names: list[str]
    y: np.ndarray


def read_axes(y, owner):
    """Return ratings on several axes, or None if `y` has one column.

    Parameters
    ----------
    y : array-like of shape (n_pairs,) or (n_pairs, n_axes)
        Ratings. DataFrame columns name the axes; those of an array are called ``axis0``
        and so on.
    owner : str
        Name of the caller, for the errors.

    Returns
    -------
    axes : Axes or None
    """
    try:
        shape = y.shape if hasattr(y, "shape") else np.asarray(y).shape
    except ValueError:  # rows of unequal length; the check of one column reports them
        return None
    if len(shape) != 2 or shape[1] < 2:
        return None
    ratings = as_numbers(y, f"y passed to {owner}")
    names = axis_names(y, f"y passed to {owner}")
    rows = np.flatnonzero(np.isinf(ratings).any(axis=1))
    if rows.size:
        msg = (
            f"y passed to {owner} has infinity in {rows.size} of {len(ratings)} rows "
            f"({first_rows(rows)}). Use NaN where a pair is not rated on an axis."
        )
        raise ValueError(msg)
    rated = ~np.isnan(ratings)
    rows = np.flatnonzero(~rated.any(axis=1))
    if rows.size:
        msg = (
            f"y passed to {owner} has no rating on any axis in {rows.size} of "
            f"{len(ratings)} rows ({first_rows(rows)}). Remove those pairs from X and "
            "y."
        )
        raise ValueError(msg)
    empty = [names[column] for column in np.flatnonzero(~rated.any(axis=0))]
    if empty:
        msg = (
            f"y passed to {owner} has no rating at all on {first_few(empty)}. Remove "
            "those columns."
        )
        raise ValueError(msg)
    return Axes(names, ratings)


def forget_fit(stack):
    """Remove attributes of an earlier fit: one and several axes set different ones."""
    for name in list(vars(stack)):
        if name in _PRIVATE or (name.endswith("_") and not name.startswith("_")):
            delattr(stack, name)


def fit_axes(stack, X, axes, sample_weight, groups):
    """Fit a clone of a stack on the rated pairs of each axis.

    Parameters
    ----------
    stack : ClapStackingRegressor
        Receives the attributes of a fit on several axes.
    X : array-like or StreamedFeatures of shape (n_pairs, n_features)
        Features.
    axes : Axes
        Ratings.
    sample_weight : array-like of shape (n_pairs,) or (n_pairs, n_axes), or None
        Weights; either one per pair, or one column per axis.
    groups : array-like of shape (n_pairs,) or None
        Group of each pair.

    Returns
    -------
    stack : ClapStackingRegressor
    """
    table = check_features(stack, X, reset=True)
    n_pairs = table.shape[0]
    if len(axes.y) != n_pairs:
        msg = (
            f"X and y passed to {type(stack).__name__} have inconsistent numbers of "
            f"samples: [{n_pairs}, {len(axes.y)}]. Pass one row of ratings per pair, "
            "in the order of X."
        )
        raise ValueError(msg)
    groups = check_groups(table, groups)
    rated = ~np.isnan(axes.y)
    weights = _weights(sample_weight, axes, rated)
    splits = None
    if _lists_rows(stack.cv):
        whole = np.zeros(n_pairs)
        splits = make_splits(stack.cv, table, whole, groups, stack.random_state)
    plain = copy(stack)
    plain.cv = None if splits else stack.cv  # a generator cannot be cloned
    stack.axes_ = axes.names
    stack.estimators_by_axis_ = {}
    stack.y_train_ = axes.y
    stack.oof_scores_ = np.full(axes.y.shape, np.nan)
    for number, name in enumerate(axes.names):
        rows = np.flatnonzero(rated[:, number])
        weight = weights[number]
        member = clone(plain)
        try:
            if splits:
                member.cv = _restricted(splits, rows, n_pairs)
            member.fit(
                _take_rows(X, rows),
                axes.y[rows, number],
                sample_weight=None if weight is None else weight[rows],
                groups=None if groups is None else groups[rows],
            )
        except ValueError as error:
            msg = f"On axis {name!r}, with {len(rows)} rated pairs: {error}"
            raise ValueError(msg) from error
        stack.estimators_by_axis_[name] = member
        stack.oof_scores_[rows, number] = member.oof_scores_
    stack.families_ = member.families_
    return stack


def model_of_axis(model, axis):
    """Return the model of one axis from a model fitted on several.

    Parameters
    ----------
    model : estimator
        A fitted :class:`~clapstack.ClapStackingRegressor`, or a pipeline or search that
        ends in one.
    axis : str
        One of its ``axes_``.

    Returns
    -------
    model : estimator
        The stack of that axis, preceded by the other steps of a pipeline. It shares its
        fitted attributes with `model`, and works wherever a model of one axis does.

    Raises
    ------
    ValueError
        If the model has no such axis.

    Examples
    --------
    >>> import numpy as np
    >>> from clapstack import ClapStackingRegressor
    >>> from clapstack.stacking import model_of_axis
    >>> X = np.random.default_rng(0).normal(size=(60, 3))
    >>> Y = np.column_stack([X[:, 0], X[:, 1]])
    >>> stack = ClapStackingRegressor(boosting=False).fit(X, Y)
    >>> model_of_axis(stack, "axis1").predict(X).shape
    (60,)
    """
    model = getattr(model, "best_estimator_", model)
    *before, (name, stack) = getattr(model, "steps", [("", model)])
    axes = getattr(stack, "axes_", [])
    if axis not in axes:
        msg = f"the model has no axis {axis!r}; it has {axes}."
        raise ValueError(msg)
    stack = stack.estimators_by_axis_[axis]
    return Pipeline([*before, (name, stack)]) if before else stack


def on_axes(stack, method, X, **settings):
    """Return the output of a method of each axis' stack, in the order of `axes_`."""
    check_features(stack, X, reset=False)
    members = stack.estimators_by_axis_.values()
    return [getattr(member, method)(X, **settings) for member in members]


def explain_axes(stack, X):
    """Return the contributions to the predictions on all axes side by side."""
    parts = on_axes(stack, "explain", X)
    return pd.concat(parts, axis=1, keys=stack.axes_, names=["axis", "part"])


def score_axes(stack, X, y, sample_weight):
    """Return the mean over axes of R², on the pairs rated on each axis."""
    axes = read_axes(y, type(stack).__name__)
    same = axes is not None and axes.y.shape[1] == len(stack.axes_)
    if not same or (is_frame(y) and axes.names != stack.axes_):
        msg = (
            f"y must have one column per axis, {stack.axes_}, in this order; got "
            f"{axes.names if axes else 'one column'}."
        )
        raise ValueError(msg)
    rated = ~np.isnan(axes.y)
    weights = _weights(sample_weight, axes, rated)
    values = []
    for number, member in enumerate(stack.estimators_by_axis_.values()):
        rows = np.flatnonzero(rated[:, number])
        weight = None if weights[number] is None else weights[number][rows]
        values.append(member.score(_take_rows(X, rows), axes.y[rows, number], weight))
    return float(np.mean(values))


def _take_rows(X, rows):
    """Return some rows of a table in its own type; the table itself for all rows."""
    if len(rows) == (X.shape[0] if hasattr(X, "shape") else len(X)):
        return X
    return _safe_indexing(X, rows)


def _weights(sample_weight, axes, rated):
    """Return the weights of each axis: the same for all, one column each, or None.

    Weights without a rating are not checked.
    """
    if sample_weight is None:
        return [None] * len(axes.names)
    n_pairs = len(rated)
    weights = as_numbers(sample_weight, "sample_weight")
    if weights.ndim == 1:
        return [check_weight(weights, n_pairs)] * len(axes.names)
    if weights.shape != rated.shape:
        msg = (
            f"sample_weight must have shape ({n_pairs},), one weight per pair, or "
            f"{rated.shape}, one per pair and axis; got {weights.shape}."
        )
        raise ValueError(msg)
    if is_frame(sample_weight):
        given = axis_names(sample_weight, "sample_weight")
        if given != axes.names:
            msg = (
                f"sample_weight has the columns {given}, but the axes of y are "
                f"{axes.names}. Pass one column per axis, in this order."
            )
            raise ValueError(msg)
    checked = []
    for name, column in zip(axes.names, np.where(rated, weights, 0.0).T, strict=True):
        try:
            checked.append(check_weight(column, n_pairs))
        except ValueError as error:
            msg = f"On axis {name!r}: {error}"
            raise ValueError(msg) from error
    return checked


def _lists_rows(cv):
    """Return whether `cv` lists rows of the whole table instead of making splits."""
    is_number = cv is None or isinstance(cv, int | np.integer)
    return isinstance(cv, PredefinedSplit) or not (is_number or hasattr(cv, "split"))


def _restricted(splits, rows, n_pairs):
    """Return splits of the whole table restricted and renumbered to some rows."""
    place = np.full(n_pairs, -1)
    place[rows] = np.arange(len(rows))
    taken = [[place[part] for part in split] for split in splits]
    return [tuple(part[part >= 0] for part in split) for split in taken]
