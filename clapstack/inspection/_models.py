"""What the pictures ask of a fitted model."""

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
        A fitted model.
    X : array-like or DataFrame
        What it takes.
    coverage : float or None
        Share of pairs that the intervals are to hold; None leaves them out.

    Returns
    -------
    y_pred : ndarray of shape (n_pairs,)
    interval : ndarray of shape (n_pairs, 2) or None
        None also if the model has no ``predict_interval``.
    """
    head = cut(estimator)
    features = features_of(head, X)  # once: it encodes clips
    y_pred = np.asarray(head.last.predict(features), dtype=np.float64)
    if coverage is None or not hasattr(head.last, "predict_interval"):
        return y_pred, None
    return y_pred, head.last.predict_interval(features, coverage=coverage)


def model_and_target(name: str) -> tuple[str, str]:
    """Split the name of a first-level prediction into its model and its target.

    A model of a family with several models is shown as ``family · model``.
    """
    model, _, target = name.rpartition("__")
    return model.replace("__", " · "), target
