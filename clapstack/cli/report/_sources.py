"""The sources of a report: a model file, rated pairs or scored pairs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from clapstack._compat import file_digest
from clapstack.audio import audio_key
from clapstack.cli._options import finite_or_empty
from clapstack.cli.tables import open_model, read_rated
from clapstack.scoring.tables import ModelScorer, PairTable, Row, score_to_frame
from clapstack.sharing import describe_model
from clapstack.tables import find_column


class ModelFile(NamedTuple):
    """A fitted model, its file's name and SHA-256, and its `describe_model` facts."""

    name: str
    sha256: str
    model: Any
    facts: Mapping[str, Any]


class Data(NamedTuple):
    """Rated pairs that the model has not seen, and their table's name and SHA-256."""

    name: str
    pairs: pd.DataFrame
    y: np.ndarray | pd.DataFrame
    sha256: str


class Scores(NamedTuple):
    """Scores of unrated pairs.

    Attributes
    ----------
    name : str
        Name of the table.
    pairs : DataFrame
        Columns row, audio, text, score (NaN if missing) and system.
    table : PairTable
        The table itself.
    by : str
        Column of systems; empty if there is none.
    sha256 : str or None
        SHA-256 of the file; None for a folder.
    why_not : str
        Reason why rows have no score.
    model : ModelFile or None
        Model that made the scores; None if they were read from the table.
    n_unlike : int or None
        Number of pairs unlike the training pairs; None if the model cannot tell.
    """

    name: str
    pairs: pd.DataFrame
    table: PairTable
    by: str
    sha256: str | None
    why_not: str
    model: ModelFile | None
    n_unlike: int | None = None


def read_model(
    path: Path, *, trust: bool, trust_encoders: Iterable[str] | None = None
) -> ModelFile:
    """Load a model with `open_model`, and the facts in its file."""
    model = open_model(path, trust=trust, trust_encoders=trust_encoders)
    facts = describe_model(model, None if trust else path)
    return ModelFile(path.name, file_digest(path), model, facts)


def read_data(table: PairTable, *, axes: Sequence[str] = ()) -> Data:
    """Read rated pairs, averaging several ratings of a pair.

    `axes` are the rating columns, for a model of several axes.
    """
    table.roles = ("audio", "text", *(() if axes else ("score",)))
    table.others = tuple(axes)
    rated = read_rated(table, axes=axes, skip_unrated=True)
    return Data(table.path.name, rated.pairs, rated.y, file_digest(table.path))


def read_scores(table: PairTable, by: str | None) -> Scores:
    """Read pairs with scores, as ``clapstack score`` writes them.

    `by` is the column of systems; None uses the column system, if there is one.
    """
    table.others = _systems(table, by)
    table.roles = ("audio", "text", "score")
    rows = list(table.rows())
    scores = [
        finite_or_empty(row.cells["score"], "score", f"row {row.number}")
        for row in rows
    ]
    return _scores(table, rows, scores, "see its column error")


def score_pairs(
    table: PairTable, by: str | None, file: ModelFile, axis: str = "score"
) -> Scores:
    """Score unrated pairs; `axis` is one axis of a model of several."""
    table.others = _systems(table, by)
    scorer = ModelScorer(file.model, "", 0.9)
    scored = score_to_frame(table, scorer, chunk_size=1024, verbose=False)
    errors = scored["error"].dropna()
    why_not = "; ".join(f"row {row}: {error}" for row, error in errors[:1].items())
    scores = _scores(table, table.rows(), scored[axis], why_not, file)
    if "in_domain" not in scored:
        return scores
    return scores._replace(n_unlike=int((scored["in_domain"] == 0).sum()))


def _systems(table: PairTable, by: str | None) -> tuple[str, ...]:
    return (by,) if by else tuple(find_column(table.header, ["system"]))


def _scores(
    table: PairTable,
    rows: Iterable[Row],
    scores: Iterable[float],
    why_not: str,
    model: ModelFile | None = None,
) -> Scores:
    by = next(iter(table.others), "")
    cells = [
        (row.number, row.audio, row.text, str(row.cells.get(by, ""))) for row in rows
    ]
    pairs = pd.DataFrame(
        cells, columns=["row", "audio", "text", "system"], dtype=object
    ).assign(score=list(scores))
    digest = file_digest(table.path) if table.path.is_file() else None
    name = table.path.name or str(table.path)
    return Scores(name, pairs, table, by, digest, why_not, model)


def content_sha256(data: Data, *, by_key: bool = False) -> str:
    """Return the SHA-256 of the clips, texts and scores, in order.

    It does not change when clips are moved or the table is saved in another format. If
    the model looks clips up by key, the keys replace the clips.
    """
    digest = hashlib.sha256()
    ratings = np.asarray(data.y, np.float64).reshape(len(data.y), -1).tolist()
    for audio, text, scores in zip(
        data.pairs["audio"], data.pairs["text"], ratings, strict=True
    ):
        clip = audio if by_key else audio_key(audio)
        digest.update("\0".join([str(clip), text, *map(repr, scores)]).encode() + b"\n")
    return digest.hexdigest()
