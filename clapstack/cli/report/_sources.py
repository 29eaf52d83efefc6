"""The model file and the table of rated pairs that a report is made from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from clapstack._compat import file_digest
from clapstack.audio import audio_key
from clapstack.cli.tables import open_model, read_rated
from clapstack.scoring.tables import PairTable, keep_keys
from clapstack.sharing import describe_model


class ModelFile(NamedTuple):
    """A fitted model, its file's name and SHA-256, and what `describe_model` says."""

    name: str
    sha256: str
    model: Any
    facts: Mapping[str, Any]


class Data(NamedTuple):
    """Rated pairs that a model has not seen, and their table's name and SHA-256."""

    name: str
    pairs: pd.DataFrame
    y: np.ndarray | pd.DataFrame
    sha256: str


def read_model(
    path: Path, *, trust: bool, trust_encoders: Iterable[str] | None = None
) -> ModelFile:
    """Load a model, as `open_model` does, with what its file says of it."""
    model = open_model(path, trust=trust, trust_encoders=trust_encoders)
    facts = describe_model(model, None if trust else path)
    return ModelFile(path.name, file_digest(path), model, facts)


def read_data(
    path: Path,
    model: Any = None,
    *,
    audio_folder: Path | None = None,
    names: Mapping[str, Any] | None = None,
    axes: Sequence[str] = (),
) -> Data:
    """Read rated pairs from a file; ratings of one pair are averaged.

    Clips that `model` finds by key keep their names; None is a model that reads clips.
    `names` are those of columns by role: ``audio``, ``text``, ``score``. `axes` are the
    columns of ratings of a model of several axes.
    """
    roles = ("audio", "text", *(() if axes else ("score",)))
    table = PairTable(
        path, audio_folder=audio_folder, names=names, roles=roles, others=axes
    )
    if model is not None:
        keep_keys(table, model, audio_folder)
    rated = read_rated(table, axes=axes, skip_unrated=True)
    return Data(path.name, rated.pairs, rated.y, file_digest(path))


def content_sha256(data: Data, *, by_key: bool = False) -> str:
    """Return the SHA-256 of the clips, texts and scores, in their order.

    It stays as it is when clips are moved or the table is written in another form. Of a
    model that finds clips by key, the keys are taken in place of the clips.
    """
    digest = hashlib.sha256()
    ratings = np.asarray(data.y, np.float64).reshape(len(data.y), -1).tolist()
    for audio, text, scores in zip(
        data.pairs["audio"], data.pairs["text"], ratings, strict=True
    ):
        clip = audio if by_key else audio_key(audio)
        digest.update("\0".join([str(clip), text, *map(repr, scores)]).encode() + b"\n")
    return digest.hexdigest()
