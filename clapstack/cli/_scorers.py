"""Scorers of the commands: a fitted model, or cosines without ratings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from clapstack.cli._errors import look_for_checkpoints

__all__ = [
    "check_model_and_table",
    "check_unsupervised",
    "is_clip",
    "load",
    "load_encoders",
    "unsupervised_scorer",
]

_MODELS = (".clapstack", ".joblib", ".pkl")


def is_clip(name: str) -> bool:
    """Return whether a name has the suffix of an audio file."""
    from clapstack.scoring.tables import CLIP_SUFFIXES

    return Path(name).suffix.lower() in CLIP_SUFFIXES


def check_model_and_table(what: Sequence[str], command: str) -> None:
    """Refuse a missing model, a missing table, and the two in the wrong order."""
    usage = f"clapstack {command} MODEL TABLE"
    without = f"clapstack {command} --unsupervised"
    if not what:
        msg = (
            f"give a model and a table: {usage}. Without a model, use {without} TABLE."
        )
    elif len(what) == 1 and _is_model(what[0]):
        msg = f"there is no table after the model {what[0]}. Use {usage}."
    elif is_clip(what[0]):
        msg = (
            f"there is no model before {what[0]}. A single pair needs one: clapstack "
            f"score MODEL {what[0]} TEXT. In Python, Scorer.unsupervised scores pairs "
            "without a model."
        )
    elif len(what) == 1:
        msg = (
            f"there is no model before {what[0]}. Use {usage}, with a model from "
            f"clapstack fit; or, without a model, {without} {what[0]}."
        )
    elif len(what) == 2 and _is_model(what[1]) and not _is_model(what[0]):
        msg = f"the model must come first. Use clapstack {command} {what[1]} {what[0]}."
    else:
        return
    raise typer.BadParameter(msg)


def _is_model(name: str) -> bool:
    return Path(name).suffix.lower() in _MODELS


def check_unsupervised(
    unsupervised: bool, *, events: bool, family: list[str] | None, checkpoints: str
) -> None:
    """Refuse options that need ``--unsupervised`` if it is not given."""
    if unsupervised:
        return
    if events:
        msg = "it needs --unsupervised: a fitted model has its own features."
        raise typer.BadParameter(msg, param_hint="--events")
    if family:
        msg = "it needs --unsupervised: a fitted model has its own families."
        raise typer.BadParameter(msg, param_hint="--family")
    if checkpoints != "published":
        msg = (
            "it needs --unsupervised: a fitted model has its own checkpoints. If they "
            "have moved, use --checkpoint FAMILY=PATH."
        )
        raise typer.BadParameter(msg, param_hint="--checkpoints")


def load(path: Path, trusting: dict[str, Any], **settings: Any) -> Any:
    """Load a model file and configure its encoders."""
    from clapstack._fitted import set_up
    from clapstack.cli.tables import open_model

    return set_up(open_model(path, **trusting), **settings)


def load_encoders(model: Any, command: str, *, quiet: bool = False) -> None:
    """Load all encoders of a model, so that no clip is encoded if one is missing."""
    import pandas as pd
    from sklearn.base import clone

    from clapstack._fitted import encoders_of

    look_for_checkpoints(model, command, quiet=quiet)
    any_pair = pd.DataFrame({"audio": ["a"], "text": ["a"]})
    for encoder in encoders_of(model).values():
        if hasattr(encoder, "checkpoint"):
            clone(encoder).fit(any_pair)


def unsupervised_scorer(
    checkpoints: Any,
    families: Any,
    settings: dict[str, Any],
    events: bool,
    command: str,
    *,
    quiet: bool = False,
) -> Any:
    """Return the scorer of ``--unsupervised``, with or without ``--events``."""
    from clapstack.scoring.tables import CosineScorer, EventScorer
    from clapstack.systems import make_events, make_union

    settings = {name: value for name, value in settings.items() if value is not None}

    def union() -> Any:
        return make_union(checkpoints, families, ["cosine"], **settings)

    look_for_checkpoints(union(), command, quiet=quiet)
    if events:
        return EventScorer(union(), make_events(union()))
    return CosineScorer(union())
