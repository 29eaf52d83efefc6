"""Fitted models as the command line meets them: loaded, set up, asked."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from clapstack._tabular._read import PairTable

__all__ = [
    "encoders_of",
    "file_digest",
    "keep_keys",
    "open_model",
    "predict_with_interval",
    "set_up",
    "takes_keys",
    "was_fitted_on",
]


def open_model(
    path: Path, *, trust: bool = False, trust_encoders: Iterable[str] | None = None
) -> Any:
    """Load a fitted model from a file.

    Parameters
    ----------
    path : Path
        A file of ``save_model``.
    trust : bool, default=False
        Whether it is a file of joblib, which runs what is in it.
    trust_encoders : iterable of str, default=None
        Classes of the user's own that it may hold, ``module:Class``. Their modules are
        imported, and no others: a file does not choose what is imported.

    Returns
    -------
    model : estimator

    Raises
    ------
    ImportError
        If a class of `trust_encoders` is not found.
    ModelFileError
        As :func:`~clapstack.load_model`.
    ValueError
        If a file of joblib holds a class that is not found.
    """
    trusted = [_find_class(name) for name in trust_encoders or ()]
    if not trust:
        from clapstack.sharing import load_model

        return load_model(path, trusted=trusted)
    import joblib

    try:
        return joblib.load(path)
    except (AttributeError, ImportError) as error:
        msg = (
            f"{path} holds a class whose code is not found: {error}. A class of a "
            "script or notebook must be put into a module that is installed or on "
            "PYTHONPATH, and the model saved again from there; a file of save_model "
            "needs no more than --trust-encoder MODULE:CLASS."
        )
        raise ValueError(msg) from error


def _find_class(name: str) -> type:
    """Import a class that the user named."""
    module, _, short = name.partition(":")
    if not short:
        module, _, short = name.rpartition(".")
    if not (module and short):
        msg = (
            "--trust-encoder takes MODULE:CLASS, such as my_package:MyEncoder; got "
            f"{name!r}."
        )
        raise ValueError(msg)
    try:
        found = getattr(importlib.import_module(module), short, None)
    except ImportError as error:
        # The current folder is no such place for an installed command, on purpose:
        # files that lie about are not imported.
        msg = (
            f"--trust-encoder {name}: {error}. Install the module, or name its folder "
            "in PYTHONPATH."
        )
        raise ImportError(msg) from error
    if not isinstance(found, type):
        msg = f"--trust-encoder {name}: the module {module!r} has no class {short!r}."
        raise ImportError(msg)
    return found


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


def keep_keys(table: PairTable, model: Any, audio_folder: Path | None) -> None:
    """Leave keys as they stand in a table, where a model finds clips by key.

    Parameters
    ----------
    table : PairTable
        Changed in place.
    model : estimator
        What the pairs are for.
    audio_folder : Path or None
        Set before each clip all the same if the user gave one.
    """
    if audio_folder is None and takes_keys(model):
        table.folder = ""


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
