"""Fitting and predicting with any regressor, with or without sample weights."""

from __future__ import annotations

from inspect import Parameter, signature

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import get_routing_for_object, process_routing

from clapstack._compat import routing_is_on
from clapstack._numerics.checks import as_numbers, first_rows

# Larger integer weights are not treated as repetition counts.
_MOST_REPETITIONS = 10**6


def count_pairs(weight):
    """Return weights on the scale of pair counts that penalties assume, or None.

    Integer weights are repetition counts and are divided by their greatest common
    divisor. Of other weights only the ratios matter, so they are scaled to a mean of 1
    over positive weights.

    Parameters
    ----------
    weight : ndarray of shape (n_pairs,) or None
        Checked weights, zero allowed.
    """
    if weight is None:
        return None
    largest = weight.max()
    if largest < 2**53 and np.all(weight == np.rint(weight)):
        counts = weight / np.gcd.reduce(weight.astype(np.int64))
        if counts.max() <= _MOST_REPETITIONS:
            return counts
    # Divided by the largest first, so that equal weights become exactly one.
    weight = weight / largest
    return weight * (np.count_nonzero(weight) / weight.sum())


def checked_predictions(estimator, X, where, rows=None):
    """Return the checked predictions of a regressor.

    Parameters
    ----------
    estimator : regressor
        Fitted regressor.
    X : ndarray of shape (n_pairs, n_features)
        Inputs, which the regressor may modify.
    where : str
        Place of the regressor in the stack, for the error.
    rows : ndarray of int of shape (n_pairs,), default=None
        Row numbers of the pairs, for the error; None counts from 0.

    Returns
    -------
    predictions : ndarray of shape (n_pairs,), dtype float64
    """
    name = f"{type(estimator).__name__}, {where},"
    predicted = as_numbers(estimator.predict(X), f"predictions of {name}")
    if predicted.shape == (len(X), 1):
        predicted = predicted[:, 0]
    if predicted.shape != (len(X),):
        msg = (
            f"{name} predicted an array of shape {predicted.shape} for {len(X)} pairs. "
            "Its predict must return one number per pair."
        )
        raise ValueError(msg)
    wrong = np.flatnonzero(~np.isfinite(predicted))
    if wrong.size:
        shown = first_rows(wrong if rows is None else rows[wrong])
        msg = (
            f"{name} predicted NaN or infinity for {wrong.size} of {len(X)} pairs "
            f"({shown}). Change its parameters, or remove it from the stack."
        )
        raise ValueError(msg)
    return predicted


def fit_estimator(estimator, X, y, weight):
    """Fit a clone, passing weights only if there are any.

    `y` and `weight` are copied, because a regressor may modify them; `X` may be
    overwritten.

    Parameters
    ----------
    estimator : regressor
        For a pipeline, weights are passed to each step that accepts them.
    X : ndarray of shape (n_pairs, n_features)
        Inputs.
    y : ndarray of shape (n_pairs,)
        Target.
    weight : ndarray of shape (n_pairs,) or None
        Weights.

    Returns
    -------
    fitted : regressor
        The fitted clone.
    """
    arguments = {} if weight is None else _weight_arguments(estimator, weight)
    fitted = clone(estimator)
    fitted.fit(X, y.copy(), **arguments)  # some return nothing
    return fitted


def fit_per_target(estimator, X, targets, weight):
    """Fit a clone per target; in one call if the estimator supports it.

    Parameters
    ----------
    estimator : regressor
        If it has a method ``fit_targets``, that fits all clones in one call.
    X : ndarray of shape (n_pairs, n_features)
        Inputs.
    targets : ndarray of shape (n_pairs, n_targets)
        One target per column.
    weight : ndarray of shape (n_pairs,) or None
        Weights.

    Returns
    -------
    fitted : list of regressor
        The fitted clones.
    """
    if hasattr(estimator, "fit_targets"):
        arguments = {} if weight is None else _weight_arguments(estimator, weight)
        return estimator.fit_targets(X, targets.copy(), **arguments)
    return [fit_estimator(estimator, X.copy(), target, weight) for target in targets.T]


def check_weights_reach(owner, regressors, weight):
    """Raise an error if a regressor does not accept weights or has not requested them.

    Parameters
    ----------
    owner : estimator
        Estimator whose :meth:`fit` received weights.
    regressors : dict of str to regressor
        Regressors passed to it as parameters.
    weight : ndarray of shape (n_pairs,)
        Weights.
    """
    if routing_is_on():
        process_routing(owner, "fit", sample_weight=weight)
    for regressor in regressors.values():
        last = regressor
        while isinstance(last, Pipeline):
            last = last.steps[-1][1]
        if not _names_weight(last) and not _forwards(last):
            msg = (
                f"sample_weight was passed, but {type(last).__name__}.fit does not "
                "accept it. Omit sample_weight or use an estimator that accepts it."
            )
            raise ValueError(msg)


def _weight_arguments(estimator, weight):
    if routing_is_on():
        asks = get_routing_for_object(estimator).consumes("fit", ["sample_weight"])
        return {"sample_weight": weight.copy()} if asks else {}
    if not isinstance(estimator, Pipeline):
        return {"sample_weight": weight.copy()}
    *steps, (last_name, last) = estimator.steps
    arguments = {
        f"{name}__sample_weight": weight.copy()
        for name, step in steps
        if _names_weight(step)
    }
    for name, value in _weight_arguments(last, weight).items():
        arguments[f"{last_name}__{name}"] = value
    return arguments


def _names_weight(step):
    return hasattr(step, "fit") and "sample_weight" in signature(step.fit).parameters


def _forwards(estimator):
    """Return whether an estimator forwards fit parameters to a wrapped one."""
    parameters = signature(estimator.fit).parameters.values()
    return any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters)
