"""What commands score with: a model file, or cosines without ratings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

__all__ = ["check_unsupervised", "load", "unsupervised_scorer"]


def check_unsupervised(
    unsupervised: bool, *, events: bool, family: list[str] | None, checkpoints: str
) -> None:
    """Refuse options that go with ``--unsupervised`` alone."""
    if unsupervised:
        return
    if events:
        msg = "a model has its own features; the option goes with --unsupervised."
        raise typer.BadParameter(msg, param_hint="--events")
    if family:
        msg = "a model has its own families; it goes with --unsupervised."
        raise typer.BadParameter(msg, param_hint="--family")
    if checkpoints != "published":
        msg = "a model has its own checkpoints; say with --checkpoint where they are."
        raise typer.BadParameter(msg, param_hint="--checkpoints")


def load(path: Path, trusting: dict[str, Any], **settings: Any) -> Any:
    """Return the model of a file, its encoders set up."""
    from clapstack._fitted import set_up
    from clapstack.cli.tables import open_model

    return set_up(open_model(path, **trusting), **settings)


def unsupervised_scorer(
    checkpoints: Any, families: Any, settings: dict[str, Any], events: bool
) -> Any:
    """Return the scorer of ``--unsupervised``, and of ``--events`` with it."""
    from clapstack.scoring.tables import CosineScorer, EventScorer
    from clapstack.systems import make_events, make_union

    settings = {name: value for name, value in settings.items() if value is not None}

    def union() -> Any:
        return make_union(checkpoints, families, ["cosine"], **settings)

    if events:
        return EventScorer(union(), make_events(union()))
    return CosineScorer(union())
