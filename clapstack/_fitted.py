"""What is asked of a fitted model: its last step, its encoders, scores, its ratings."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted


class Head(NamedTuple):
    """A fitted model, cut before its last step.

    Attributes
    ----------
    before : Pipeline or None
        What makes the features; None if the model takes them as they come.
    last : estimator
        The last step.
    """

    before: Pipeline | None
    last: Any


def cut(estimator: Any) -> Head:
    """Cut a model before its last step; of a search, the best one is taken."""
    estimator = getattr(estimator, "best_estimator_", estimator)
    check_is_fitted(estimator)
    if not isinstance(estimator, Pipeline):
        return Head(None, estimator)
    before = estimator[:-1] if len(estimator.steps) > 1 else None
    return Head(before, estimator[-1])


def features_of(head: Head, X: Any) -> Any:
    """Return what the last step takes."""
    return X if head.before is None else head.before.transform(X)


def find_stack(estimator: Any, caller: str) -> Any:
    """Return the fitted stack at the end of a model.

    Raises
    ------
    TypeError
        If the model does not end in one.
    """
    last = cut(estimator).last
    if not has_held_out(last):
        msg = (
            f"{caller} needs the out-of-fold predictions of a ClapStackingRegressor; "
            f"got {type(last).__name__}. Pass a fitted stack, or a fitted pipeline "
            "that ends in one."
        )
        raise TypeError(msg)
    return last


def has_held_out(last: Any) -> bool:
    """Tell whether an estimator keeps its out-of-fold predictions."""
    return all(
        hasattr(last, name) for name in ("oof_predictions_", "oof_scores_", "y_train_")
    )


def predict(
    estimator: Any, X: Any, coverage: float | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Predict scores, and intervals where the model gives them.

    Parameters
    ----------
    estimator : estimator
        A fitted model. The features of a pipeline are computed once.
    X : array-like or DataFrame
        What it takes.
    coverage : float or None
        Share of pairs that the intervals are to hold, in (0, 1); None leaves them out.

    Returns
    -------
    y_pred : ndarray of shape (n_pairs,), float64
    interval : ndarray of shape (n_pairs, 2) or None
        None also if the model has no ``predict_interval``.
    """
    head = cut(estimator)
    features = features_of(head, X)
    y_pred = np.ravel(head.last.predict(features)).astype(np.float64)
    if coverage is None or not hasattr(head.last, "predict_interval"):
        return y_pred, None
    return y_pred, head.last.predict_interval(features, coverage=coverage)


def model_and_target(name: str) -> tuple[str, str]:
    """Split the name of a first-level prediction into its model and its target.

    A model of a family with several models is shown as ``family · model``.
    """
    model, _, target = name.rpartition("__")
    return model.replace("__", " · "), target


def encoders_of(model: Any) -> dict[str, Any]:
    """Return the transformers over frozen encoders in a model, by parameter name."""
    owners = {}
    for name, value in {"": model, **model.get_params(deep=True)}.items():
        if hasattr(value, "get_params") and not isinstance(value, type):
            own = value.get_params(deep=False)
            if {"cache", "batch_size"} <= set(own):
                owners[name] = value
    return owners


def set_up(
    model: Any,
    *,
    device: str | None = None,
    batch_size: int | None = None,
    verbose: bool = False,
) -> Any:
    """Set how the encoders of a model run; what it predicts does not depend on it.

    Parameters
    ----------
    model : estimator
        Changed in place.
    device : str, default=None
        None leaves the model's own.
    batch_size : int, default=None
        The same.
    verbose : bool, default=False
        Whether encoders show progress.

    Returns
    -------
    model : estimator
        The same.
    """
    wanted = {"device": device, "batch_size": batch_size, "verbose": verbose}
    for encoder in encoders_of(model).values():
        own = encoder.get_params(deep=False)
        encoder.set_params(
            **{
                name: value
                for name, value in wanted.items()
                if name in own and value is not None
            }
        )
    return model


def takes_keys(model: Any) -> bool:
    """Return whether a model finds clips by key, among embeddings that exist already.

    Parameters
    ----------
    model : estimator

    Returns
    -------
    by_key : bool
        What stands for a clip need not be a file then.
    """
    parts = [model, *model.get_params(deep=True).values()]
    return not encoders_of(model) and any(
        hasattr(part, "audio_embeddings") for part in parts
    )


def was_fitted_on(model: Any, y: np.ndarray) -> bool:
    """Tell whether ratings are those that a model was fitted on.

    Parameters
    ----------
    model : estimator
        A stack, or a pipeline that ends in one; others do not tell.
    y : ndarray of shape (n_pairs,)
        Ratings, in any order.

    Returns
    -------
    same : bool
    """
    own = getattr(cut(model).last, "y_train_", None)
    return own is not None and np.array_equal(np.sort(own), np.sort(y))
