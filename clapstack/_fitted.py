"""Questions to a fitted model: its last step, scores, held-out pairs, encoders."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted


def last_step(model: Any) -> Any:
    """Return the last step of a fitted model; of a search, that of its best model."""
    return _steps(model)[1]


def features_of(model: Any, X: Any) -> Any:
    """Return what the last step of a fitted model takes, of what the model takes."""
    before, _ = _steps(model)
    return X if before is None else before.transform(X)


def _steps(model: Any) -> tuple[Pipeline | None, Any]:
    # Not checked for being fitted: the check looks for attributes, which a regressor of
    # the user's own may lack, and others refuse by themselves.
    model = getattr(model, "best_estimator_", model)
    if not isinstance(model, Pipeline):
        return None, model
    return model[:-1] if len(model.steps) > 1 else None, model[-1]


def axes_of(model: Any) -> list[str]:
    """Return the names of the axes that a fitted model predicts; none if it has one."""
    return list(getattr(last_step(model), "axes_", ()))


def score_names(model: Any) -> list[str]:
    """Return the names of a model's scores, and of the ends of their intervals.

    ``score``, ``low`` and ``high``; or ``<axis>``, ``<axis>_low`` and ``<axis>_high``
    of each axis.
    """
    axes = axes_of(model)
    if not axes:
        return ["score", "low", "high"]
    names = [f"{axis}{end}" for axis in axes for end in ("", "_low", "_high")]
    taken = {"row", "audio", "text", "error"}
    clash = sorted({n for n in names if n in taken or names.count(n) > 1})
    if clash:
        msg = (
            f"the axes {axes} make columns of results named {clash} twice. Fit the "
            "model on columns of other names."
        )
        raise ValueError(msg)
    return names


def knows_domain(model: Any) -> bool:
    """Return whether a fitted model says which pairs are like those of its fit."""
    return getattr(last_step(model), "knows_domain_", False)


def refuse_axes(model: Any, caller: str) -> None:
    """Refuse a model of several axes where one is looked at."""
    axes = axes_of(model)
    if axes:
        msg = (
            f"{caller} looks at one axis, and the model predicts {axes}. Pass "
            f"clapstack.stacking.model_of_axis(model, {axes[0]!r})."
        )
        raise ValueError(msg)


def predict(
    model: Any, X: Any, coverage: float | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return scores of shape (n_pairs,), float64, and intervals of shape (n_pairs, 2).

    Intervals are None without `coverage`, which is the nominal one, in (0, 1), and if
    the model has no ``predict_interval``. The features of a pipeline are computed once.
    A model of several axes is refused.
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
                f"{type(last).__name__} predicts {y_pred.shape[1:]} numbers a pair, "
                "not one. Use a model of one score, or a ClapStackingRegressor, which "
                "names its axes."
            )
            raise ValueError(msg)
        y_pred = y_pred.ravel()
    if coverage is None or not hasattr(last, "predict_interval"):
        return y_pred, None
    return y_pred, last.predict_interval(features, coverage=coverage)


def predict_with_interval(model: Any, X: Any, coverage: float | None) -> np.ndarray:
    """Return score, low end and high end of each pair, of shape (n_pairs, 3).

    Of a model of several axes the shape is (n_pairs, n_axes, 3). Ends are NaN where
    `predict` gives no intervals.
    """
    y_pred, interval = _predict(model, X, coverage)
    ends = np.full((*y_pred.shape, 2), np.nan) if interval is None else interval
    return np.concatenate([y_pred[..., np.newaxis], ends], axis=-1)


def stack_of(model: Any) -> Any:
    """Return the fitted stack that a model ends in, None if it ends in no stack."""
    last = last_step(model)
    kept = ("oof_predictions_", "oof_scores_", "y_train_")
    return last if all(hasattr(last, name) for name in kept) else None


def find_stack(model: Any, caller: str) -> Any:
    """Return the fitted stack that a model ends in; a TypeError names the caller."""
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
    """Return a stack's out-of-fold predictions, a column per first-level model.

    `target` is ``"score"`` or ``"rank"``; None takes the first that the stack learned.
    """
    named = [model_and_target(name) for name in stack.first_level_names_]
    targets = list(dict.fromkeys(target for _, target in named))
    target = targets[0] if target is None else target
    if target not in targets:
        msg = f"target must be one that the stack learned, {targets}; got {target!r}."
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
    """Return whether ratings, in any order, are those that a stack was fitted on.

    Of several axes, `y` is a frame of some. It is False for models that end in no
    stack: they do not keep their ratings.
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
    """Return a copy of a model whose encoders run otherwise; the model stays as it was.

    Estimators are copied wherever they are in it, fitted ones of a search too; what
    they hold, such as arrays and encoders of one's own, is shared.
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
    """Set parameters of an estimator that has a frozen encoder, those that it has."""
    known = part.get_params(deep=False)
    if {"cache", "batch_size"} <= set(known):
        part.set_params(**{k: value for k, value in settings.items() if k in known})


def takes_keys(model: Any) -> bool:
    """Return whether a model finds clips by key, among embeddings that exist already.

    What stands for a clip need not be a file then.
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
    """Set how the encoders of a model run, in place; its predictions stay the same.

    A device or a batch size of None leaves the model's own. `checkpoints` says where
    the weights of a family are now; others than those of the fit are refused later.
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
        msg = f"the model has no encoders {unknown}; it has {list(families.values())}."
        raise ValueError(msg)
    for name, encoder in encoders.items():
        wanted = {"device": device, "batch_size": batch_size, "verbose": verbose}
        wanted["checkpoint"] = places.get(families.get(name, ""))
        given = {key: value for key, value in wanted.items() if value is not None}
        _set_encoder(encoder, given)
    return model
