"""Fitting any regressor, with sample weights where there are any, and predicting."""

from __future__ import annotations

from inspect import Parameter, signature

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import get_routing_for_object, process_routing

from clapstack._compat import routing_is_on
from clapstack._numerics.checks import as_numbers, first_rows

# Whole weights above this are no counts of repetitions.
_MOST_REPETITIONS = 10**6


def count_pairs(weight):
    """Return weights on the scale on which penalties take them, or None.

    Penalties compare their size with how many pairs there are. Whole weights count
    pairs, so they stay, but for a common divisor; any others only compare pairs, and
    are brought to a mean of 1, so that their scale does not matter.

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
    # Over the largest first, so that equal weights become ones to the last bit.
    weight = weight / largest
    return weight * (np.count_nonzero(weight) / weight.sum())


def checked_predictions(estimator, X, where, rows=None):
    """Return the predictions of a regressor, or name it if they cannot be used.

    Parameters
    ----------
    estimator : regressor
        Fitted.
    X : ndarray of shape (n_pairs, n_features)
        Inputs; a copy where others want them, since a regressor may work in place.
    where : str
        Its place in the stack, for the error.
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
            f"({shown}). Choose other settings for it, or leave it out."
        )
        raise ValueError(msg)
    return predicted


def fit_estimator(estimator, X, y, weight):
    """Fit a clone, handing it weights only where there are any.

    It gets `y` and `weight` of its own, since a regressor may work in place. `X` it may
    overwrite.

    Parameters
    ----------
    estimator : regressor
        A pipeline hands the weights to each of its steps that takes them.
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
    """Fit a clone per target; together, if the estimator can share work between them.

    Parameters
    ----------
    estimator : regressor
        One with a method ``fit_targets`` fits all of its clones in one call.
    X : ndarray of shape (n_pairs, n_features)
        Inputs.
    targets : ndarray of shape (n_pairs, n_targets)
        One target a column.
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
    """Refuse weights where a regressor takes none, or does not say whether it does.

    Parameters
    ----------
    owner : estimator
        Whose :meth:`fit` was given weights.
    regressors : dict of str to regressor
        Regressors that were passed to it.
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
                f"sample_weight was given, but {type(last).__name__}.fit takes none. "
                "Leave sample_weight out or choose an estimator that accepts it."
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
    """Tell meta-estimators, which hand what they are given to what they wrap."""
    parameters = signature(estimator.fit).parameters.values()
    return any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters)
