"""Fitted models as the command line meets them: loaded, set up, asked."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

__all__ = [
    "encoders_of",
    "file_digest",
    "open_model",
    "predict_with_interval",
    "set_up",
    "was_fitted_on",
]


def open_model(path: Path, *, trust: bool = False) -> Any:
    """Load a fitted model from a file.

    Parameters
    ----------
    path : Path
        A file of ``save_model``.
    trust : bool, default=False
        Whether it is a file of joblib, which runs what is in it.

    Returns
    -------
    model : estimator
    """
    if trust:
        import joblib

        return joblib.load(path)
    from clapstack.sharing import load_model

    return load_model(path)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


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
    last = model[-1] if isinstance(model, Pipeline) else model
    own = getattr(last, "y_train_", None)
    return own is not None and np.array_equal(np.sort(own), np.sort(y))


def predict_with_interval(
    model: Any, pairs: pd.DataFrame, coverage: float
) -> np.ndarray:
    """Predict scores, with intervals where the model gives them.

    Parameters
    ----------
    model : estimator
        Takes pairs. Intervals come from its own ``predict_interval``, or from that of
        the last step of a pipeline, whose features are then computed once.
    pairs : DataFrame of shape (n_pairs, 2)
        Columns ``audio`` and ``text``.
    coverage : float
        In (0, 1).

    Returns
    -------
    scores : ndarray of shape (n_pairs, 3), float64
        Score, low end, high end; NaN ends where the model gives no intervals.
    """
    scores = np.full((len(pairs), 3), np.nan)
    last, inputs = model, pairs
    if not hasattr(model, "predict_interval") and isinstance(model, Pipeline):
        last = model[-1]
        inputs = model[:-1].transform(pairs) if len(model) > 1 else pairs
    scores[:, 0] = np.ravel(last.predict(inputs))
    if hasattr(last, "predict_interval"):
        scores[:, 1:] = last.predict_interval(inputs, coverage=coverage)
    return scores
