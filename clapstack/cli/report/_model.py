"""What a report knows of a model, and of the pairs that it is judged by."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from clapstack._compat import file_digest
from clapstack._fitted import cut, has_held_out, predict, was_fitted_on
from clapstack.audio import audio_key
from clapstack.cli.tables._models import open_model
from clapstack.metrics import score_report
from clapstack.sharing._archive import open_archive
from clapstack.sharing._card import facts_of

_CHUNK = 1024


class ModelFile(NamedTuple):
    """A fitted model and the file that it came in.

    Attributes
    ----------
    name : str
        Name of the file.
    sha256 : str
        Of its bytes.
    model : estimator
        The model.
    manifest : dict
        What the file says of it: ``card``, ``encoders``, ``versions`` and so on; what a
        file of joblib does not say is left out.
    """

    name: str
    sha256: str
    model: Any
    manifest: Mapping[str, Any]


class Judged(NamedTuple):
    """Pairs with human and predicted scores.

    Attributes
    ----------
    label : str
        What the pairs are called.
    y_true, y_pred : ndarray of shape (n_pairs,)
        Scores.
    interval : ndarray of shape (n_pairs, 2) or None
        Prediction intervals.
    metrics : dict of str to float
        As from `score_report`.
    """

    label: str
    y_true: np.ndarray
    y_pred: np.ndarray
    interval: np.ndarray | None
    metrics: dict[str, float]


class Data(NamedTuple):
    """Rated pairs that a model has not seen.

    Attributes
    ----------
    name : str
        What the table is called.
    pairs : DataFrame of shape (n_pairs, 2)
        ``audio`` and ``text``.
    y : ndarray of shape (n_pairs,)
        Human scores.
    sha256 : str
        Of the bytes of the table.
    """

    name: str
    pairs: pd.DataFrame
    y: np.ndarray
    sha256: str


def _predict(
    model: Any, pairs: pd.DataFrame, coverage: float
) -> tuple[np.ndarray, np.ndarray | None]:
    """Predict some pairs at a time: their features are wide."""
    parts = [
        predict(model, pairs.iloc[start : start + _CHUNK], coverage)
        for start in range(0, len(pairs), _CHUNK)
    ]
    intervals = [interval for _, interval in parts if interval is not None]
    return (
        np.concatenate([y_pred for y_pred, _ in parts]),
        np.concatenate(intervals) if intervals else None,
    )


def read_model(
    path: Path, *, trust: bool, trust_encoders: Iterable[str] | None = None
) -> ModelFile:
    """Load a model with what its file says of it.

    Parameters
    ----------
    path : Path
        A file of ``save_model``.
    trust : bool
        Whether it is a file of joblib, which runs what is in it.
    trust_encoders : iterable of str, default=None
        Classes of the user's own that it may hold.

    Returns
    -------
    file : ModelFile
    """
    model = open_model(path, trust=trust, trust_encoders=trust_encoders)
    manifest: Mapping[str, Any] = facts_of(model)
    if not trust:
        with open_archive(path) as archive:
            manifest = archive.manifest
    return ModelFile(path.name, file_digest(path), model, manifest)


def content_sha256(data: Data, *, by_key: bool = False) -> str:
    """Return the SHA-256 of what is judged: clips, texts and scores, in their order.

    It stays as it is when clips are moved or the table is written in another form. Of a
    model that finds clips by key, the keys are what is judged.
    """
    digest = hashlib.sha256()
    for audio, text, score in zip(
        data.pairs["audio"], data.pairs["text"], data.y, strict=True
    ):
        clip = audio if by_key else audio_key(audio)
        digest.update(f"{clip}\0{text}\0{float(score)!r}\n".encode())
    return digest.hexdigest()


def held_out(model: Any, n_resamples: int) -> Judged | None:
    """Judge what the stack of a model held out of its fit; None without a stack."""
    stack = cut(model).last
    if not has_held_out(stack):
        return None
    metrics = score_report(stack.y_train_, stack.oof_scores_, n_resamples=n_resamples)
    return Judged(
        "Training pairs, out of fold",
        stack.y_train_,
        stack.oof_scores_,
        None,
        metrics,
    )


def judge(model: Any, data: Data, coverage: float, n_resamples: int) -> Judged:
    """Judge a model by pairs that it has not seen.

    Raises
    ------
    ValueError
        If they are the pairs of its fit.
    """
    if was_fitted_on(model, data.y):
        msg = (
            f"{data.name} has the scores of the pairs that the model was fitted on, "
            "and would flatter it. Leave it out: the report shows what was held out of "
            "the fit. Or give a table of other pairs."
        )
        raise ValueError(msg)
    y_pred, interval = _predict(model, data.pairs, coverage)
    if interval is not None and np.isinf(interval).any():
        interval = None  # too few pairs were fitted for this coverage
    metrics = score_report(data.y, y_pred, n_resamples=n_resamples)
    return Judged(data.name, data.y, y_pred, interval, metrics)
