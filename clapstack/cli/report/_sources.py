"""The model file and the table of rated pairs that a report is made from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from clapstack._compat import file_digest
from clapstack.audio import audio_key
from clapstack.cli.tables import PairTable, keep_keys, open_model, read_rated
from clapstack.sharing import describe_model


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
    facts : dict
        As from `describe_model`.
    """

    name: str
    sha256: str
    model: Any
    facts: Mapping[str, Any]


class Data(NamedTuple):
    """Rated pairs that a model has not seen.

    Attributes
    ----------
    name : str
        Name of the table.
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
    facts = describe_model(model, None if trust else path)
    return ModelFile(path.name, file_digest(path), model, facts)


def read_data(
    path: Path,
    model: Any = None,
    *,
    audio_folder: Path | None = None,
    names: Mapping[str, str | None] | None = None,
) -> Data:
    """Read rated pairs from a file.

    Parameters
    ----------
    path : Path
        A CSV, JSON Lines or Parquet file. Ratings of one pair are averaged.
    model : estimator, default=None
        What the pairs judge. If it finds clips by key, they are left as they are; None
        is a model that reads clips.
    audio_folder : Path, default=None
        What relative paths of clips are relative to; None is the folder of the table.
    names : mapping of str to str or None, default=None
        Names of the columns by role: ``audio``, ``text``, ``score``.

    Returns
    -------
    data : Data

    Raises
    ------
    ValueError
        If there is no row, a column is missing, or a score is no finite number; rows
        are named.
    """
    roles = ("audio", "text", "score")
    table = PairTable(path, audio_folder=audio_folder, names=names, roles=roles)
    if model is not None:
        keep_keys(table, model, audio_folder)
    rated = read_rated(table)
    return Data(path.name, rated.pairs, rated.y, file_digest(path))


def content_sha256(data: Data, *, by_key: bool = False) -> str:
    """Return the SHA-256 of the clips, texts and scores, in their order.

    It stays as it is when clips are moved or the table is written in another form. Of a
    model that finds clips by key, the keys are taken in place of the clips.
    """
    digest = hashlib.sha256()
    for audio, text, score in zip(
        data.pairs["audio"], data.pairs["text"], data.y, strict=True
    ):
        clip = audio if by_key else audio_key(audio)
        digest.update(f"{clip}\0{text}\0{float(score)!r}\n".encode())
    return digest.hexdigest()
