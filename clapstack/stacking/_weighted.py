"""Fitting any regressor, with sample weights where there are any."""

from __future__ import annotations

from inspect import Parameter, signature

from sklearn import get_config
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import get_routing_for_object, process_routing


def fit_estimator(estimator, X, y, weight):
    """Fit a clone, handing it weights only where there are any.

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
    return clone(estimator).fit(X, y, **arguments)


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
        return estimator.fit_targets(X, targets, **arguments)
    # A copy each, since a regressor may work in place.
    return [fit_estimator(estimator, X.copy(), target, weight) for target in targets.T]


def asking_for_weights(estimator):
    """Return a regressor of our own making, asking for weights where that is needed."""
    if _routing():
        estimator.set_fit_request(sample_weight=True)
    return estimator


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
    if _routing():
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
    if _routing():
        asks = get_routing_for_object(estimator).consumes("fit", ["sample_weight"])
        return {"sample_weight": weight} if asks else {}
    if not isinstance(estimator, Pipeline):
        return {"sample_weight": weight}
    *steps, (last_name, last) = estimator.steps
    arguments = {
        f"{name}__sample_weight": weight for name, step in steps if _names_weight(step)
    }
    for name, value in _weight_arguments(last, weight).items():
        arguments[f"{last_name}__{name}"] = value
    return arguments


def _routing():
    return get_config()["enable_metadata_routing"]


def _names_weight(step):
    return hasattr(step, "fit") and "sample_weight" in signature(step.fit).parameters


def _forwards(estimator):
    """Tell meta-estimators, which hand what they are given to what they wrap."""
    parameters = signature(estimator.fit).parameters.values()
    return any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters)
