"""Scorers of the commands: a fitted model, or cosines without ratings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from clapstack.cli._errors import look_for_checkpoints

__all__ = ["check_unsupervised", "load", "load_encoders", "unsupervised_scorer"]


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
