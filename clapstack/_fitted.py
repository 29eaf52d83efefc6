"""Access to fitted models: last step, scores, out-of-fold predictions and encoders."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from clapstack._numerics.suggestions import did_you_mean


def last_step(model: Any) -> Any:
    """Return the last step of a fitted model, or of the best model of a search."""
    return _steps(model)[1]


def features_of(model: Any, X: Any) -> Any:
    """Return the input of the last step of a fitted model."""
    before, _ = _steps(model)
    return X if before is None else before.transform(X)


def _steps(model: Any) -> tuple[Pipeline | None, Any]:
    # No check_is_fitted: it looks for attributes, which a custom regressor may lack.
    # Other estimators check themselves.
    model = getattr(model, "best_estimator_", model)
    if not isinstance(model, Pipeline):
        return None, model
    return model[:-1] if len(model.steps) > 1 else None, model[-1]


def axes_of(model: Any) -> list[str]:
    """Return the names of the axes of a fitted model; an empty list if it has one."""
    return list(getattr(last_step(model), "axes_", ()))


def score_names(model: Any) -> list[str]:
    """Return the names of the result columns for scores and intervals of a model.

    These are ``score``, ``low`` and ``high``; or ``<axis>``, ``<axis>_low`` and
    ``<axis>_high`` for each axis.
    """
    axes = axes_of(model)
    if not axes:
        return ["score", "low", "high"]
    names = [f"{axis}{end}" for axis in axes for end in ("", "_low", "_high")]
    taken = {"row", "audio", "text", "error"}
    clash = sorted({n for n in names if n in taken or names.count(n) > 1})
    if clash:
        msg = (
            f"the axes {axes} would give two result columns of the same name, {clash}. "
            "Rename the columns of y and fit the model again."
        )
        raise ValueError(msg)
    return names


def knows_domain(model: Any) -> bool:
    """Return whether a fitted model flags pairs that are unlike its training pairs."""
    return getattr(last_step(model), "knows_domain_", False)


def refuse_axes(model: Any, caller: str) -> None:
    """Refuse a model with several axes if only one can be handled."""
    axes = axes_of(model)
    if axes:
        msg = (
            f"{caller} needs a model with one axis, but the model predicts {axes}. "
            "Select one with clapstack.stacking.model_of_axis(model, "
            f"{axes[0]!r})."
        )
        raise ValueError(msg)


def predict(
    model: Any, X: Any, coverage: float | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return scores of shape (n_pairs,), float64, and intervals of shape (n_pairs, 2).

    Intervals are None without a nominal `coverage` in (0, 1), and if the model has no
    ``predict_interval``. The features of a pipeline are computed once. A model with
    several axes is refused.
    """
    refuse_axes(model, "The display")
    return _predict(model, X, coverage)


def _predict(
    model: Any, X: Any, coverage: float | None
) -> tuple[np.ndarray, np.ndarray | None]:
    features, last = features_of(model, X), last_step(model)
    y_pred = np.asarray(last.predict(features), dtype=np.float64)
    if not axes_of(model):
        if y_pred.size != len(y_pred):
            msg = (
                f"{type(last).__name__} predicts an array of shape {y_pred.shape[1:]} "
                "per pair, not one number. Use a model of one score, or a "
                "ClapStackingRegressor, which names its axes."
            )
            raise ValueError(msg)
        y_pred = y_pred.ravel()
    if coverage is None or not hasattr(last, "predict_interval"):
        return y_pred, None
    return y_pred, last.predict_interval(features, coverage=coverage)


def predict_with_interval(model: Any, X: Any, coverage: float | None) -> np.ndarray:
    """Return score, low end and high end of each pair, of shape (n_pairs, 3).

    For a model with several axes, the shape is (n_pairs, n_axes, 3). Ends are NaN if
    `predict` returns no intervals.
    """
    y_pred, interval = _predict(model, X, coverage)
    ends = np.full((*y_pred.shape, 2), np.nan) if interval is None else interval
    return np.concatenate([y_pred[..., np.newaxis], ends], axis=-1)


def stack_of(model: Any) -> Any:
    """Return the fitted stack at the end of a model, or None."""
    last = last_step(model)
    kept = ("oof_predictions_", "oof_scores_", "y_train_")
    return last if all(hasattr(last, name) for name in kept) else None


def find_stack(model: Any, caller: str) -> Any:
    """Return the fitted stack at the end of a model; a TypeError names the caller."""
    refuse_axes(model, caller)
    stack = stack_of(model)
    if stack is None:
        check_is_fitted(model)
        msg = (
            f"{caller} needs the out-of-fold predictions of a ClapStackingRegressor; "
            f"got {type(last_step(model)).__name__}. Pass a fitted stack, or a fitted "
            "pipeline that ends in one."
        )
        raise TypeError(msg)
    return stack


def held_out_predictions(stack: Any, target: str | None = None) -> pd.DataFrame:
    """Return a stack's out-of-fold predictions, with one column per first-level model.

    `target` is ``"score"`` or ``"rank"``; None uses the first target of the stack.
    """
    named = [model_and_target(name) for name in stack.first_level_names_]
    targets = list(dict.fromkeys(target for _, target in named))
    target = targets[0] if target is None else target
    if target not in targets:
        msg = f"target must be one of the stack's targets, {targets}; got {target!r}."
        raise ValueError(msg)
    kept = [number for number, (_, one) in enumerate(named) if one == target]
    return pd.DataFrame(
        stack.oof_predictions_[:, kept], columns=[named[number][0] for number in kept]
    )


def model_and_target(name: str) -> tuple[str, str]:
    """Split the name of a first-level prediction into its model and its target.

    A model of a family with several models is shown as ``family · model``.
    """
    model, _, target = name.rpartition("__")
    return model.replace("__", " · "), target


def was_fitted_on(model: Any, y: np.ndarray | pd.DataFrame) -> bool:
    """Return whether ratings, in any order, are the training ratings of a stack.

    With several axes, `y` is a frame of some of them. The result is False for models
    that do not end in a stack, because they do not keep their ratings.
    """
    own = getattr(last_step(model), "y_train_", None)
    if own is None:
        return False
    if isinstance(y, pd.DataFrame):
        axes = axes_of(model)
        own = own[:, [axes.index(axis) for axis in y.columns]]
    first, second = np.sort(own, axis=0), np.sort(np.asarray(y), axis=0)
    return np.array_equal(first, second, equal_nan=True)


def encoders_of(model: Any) -> dict[str, Any]:
    """Return the transformers over frozen encoders in a model, by parameter name."""
    owners = {}
    for name, value in {"": model, **model.get_params(deep=True)}.items():
        if hasattr(value, "get_params") and not isinstance(value, type):
            own = value.get_params(deep=False)
            if {"cache", "batch_size"} <= set(own):
                owners[name] = value
    return owners


def with_encoders_set(model: Any, **settings: Any) -> Any:
    """Return a copy of a model with other encoder settings; the model is unchanged.

    All estimators in the model are copied, including the fitted ones of a search. Their
    contents, such as arrays and custom encoders, are shared.
    """
    copies: dict[int, Any] = {}

    def own(part: Any) -> Any:
        if type(part) in (list, tuple):
            return type(part)(map(own, part))
        if type(part) is dict:
            return {name: own(value) for name, value in part.items()}
        if not hasattr(part, "get_params") or isinstance(part, type):
            return part
        if id(part) not in copies:
            copies[id(part)] = twin = copy.copy(part)
            vars(twin).update({name: own(value) for name, value in vars(part).items()})
            _set_encoder(twin, settings)
        return copies[id(part)]

    return own(model)


def _set_encoder(part: Any, settings: Mapping[str, Any]) -> None:
    """Set those of the parameters that an estimator with a frozen encoder has."""
    known = part.get_params(deep=False)
    if {"cache", "batch_size"} <= set(known):
        part.set_params(**{k: value for k, value in settings.items() if k in known})


def takes_keys(model: Any) -> bool:
    """Return whether a model looks up precomputed embeddings of clips by key.

    Clips then need not be files.
    """
    parts = [model, *model.get_params(deep=True).values()]
    return not encoders_of(model) and any(
        hasattr(part, "audio_embeddings") for part in parts
    )


def set_up(
    model: Any,
    *,
    device: str | None = None,
    batch_size: int | None = None,
    verbose: bool = False,
    checkpoints: Mapping[str, str | None] | None = None,
) -> Any:
    """Change how the encoders of a model run, in place, but not its predictions.

    A device or batch size of None keeps the model's setting. `checkpoints` gives new
    places of the weights by family; weights that differ from those of the fit are
    refused later.
    """
    places = dict(checkpoints or {})
    encoders = encoders_of(model)
    families = {
        name: name.rpartition("__")[2]
        for name, encoder in encoders.items()
        if hasattr(encoder, "checkpoint")
    }
    unknown = sorted(places.keys() - families.values())
    if unknown:
        msg = (
            f"the model has no encoder family {unknown[0]!r}."
            f"{did_you_mean(unknown[0], families.values())} It has "
            f"{', '.join(families.values()) or 'none'}."
        )
        raise ValueError(msg)
    for name, encoder in encoders.items():
        wanted = {"device": device, "batch_size": batch_size, "verbose": verbose}
        wanted["checkpoint"] = places.get(families.get(name, ""))
        given = {key: value for key, value in wanted.items() if value is not None}
        _set_encoder(encoder, given)
    return model
