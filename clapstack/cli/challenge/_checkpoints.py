"""Early checks of a system's weights: whether they are present and allowed."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from clapstack._fitted import encoders_of
from clapstack.cli._errors import hub_way
from clapstack.exceptions import CheckpointError
from clapstack.systems import (
    FAMILIES,
    describe_system,
    has_seen_ratings,
    hub_downloads,
    list_systems,
)


class MissingCheckpointsError(CheckpointError):
    """Weights could not be loaded; the message lists their files and where to put them.

    `faults` has the reason by family and checkpoint, `users` the systems by family.
    """

    def __init__(
        self, faults: Mapping[tuple[str, str], str], users: Mapping[str, list[str]]
    ):
        lines = ["These checkpoints are required but could not be loaded:"]
        for (family, checkpoint), reason in faults.items():
            systems = users[family]
            known = [describe_system(n) for n in systems if n in list_systems()]
            spare = known and all(family in record.optional for record in known)
            option = "--checkpoint" if family in FAMILIES else "--family"
            remedy = f"{option} {family}=PATH"
            if spare:
                remedy += f", or --without {family}"
            files = "those of this checkpoint"
            if family in FAMILIES:
                files = FAMILIES[family].files
            lines += [
                "",
                f"  {family}: {checkpoint}",
                *_entry("used by", ", ".join(systems)),
                *_entry("files", files),
                *_entry("where", f"any folder on this machine: {remedy}"),
            ]
            if family in FAMILIES and (downloads := hub_downloads(checkpoint)):
                lines += _entry("hub", f"or {hub_way(downloads)}")
            lines += _entry("reason", reason)
        lines += [
            "",
            "Nothing was computed, and no other weights replace these. To try the",
            "command without them, use --checkpoints bundled: small test checkpoints",
            "that know only the bundled sounds.",
        ]
        super().__init__("\n".join(lines))


def _entry(name: str, text: str) -> list[str]:
    """Return lines for a terminal of 80 columns; no path or name is broken."""
    return textwrap.wrap(
        text,
        80,
        initial_indent=f"    {name:<11}",
        subsequent_indent=" " * 15,
        break_long_words=False,
        break_on_hyphens=False,
    )


def load_weights(
    pipelines: Mapping[str, Pipeline], X: pd.DataFrame
) -> dict[str, dict[str, str]]:
    """Load every encoder once; return fingerprints by system and family.

    Nothing is encoded.
    """
    fingerprints: dict[str, dict[str, str]] = {}
    known: dict[tuple[str, str], str] = {}
    faults: dict[tuple[str, str], str] = {}
    users: dict[str, list[str]] = {}
    for name, pipeline in pipelines.items():
        fingerprints[name] = {}
        for family, transformer in checkpoints_of(pipeline):
            place = (family, str(getattr(transformer, "checkpoint", transformer)))
            users.setdefault(family, []).append(name)
            if place not in known and place not in faults:
                try:
                    known[place] = clone(transformer).fit(X[:1]).fingerprint_
                except CheckpointError as error:
                    faults[place] = str(error)
            if place in known:
                fingerprints[name][family] = known[place]
    if faults:
        raise MissingCheckpointsError(faults, users)
    return fingerprints


def checkpoints_of(pipeline: Pipeline) -> Iterator[tuple[str, Any]]:
    """Yield the families of a pipeline with encoders, and their transformers."""
    for name, transformer in encoders_of(pipeline).items():
        yield name.rpartition("__")[2], transformer


def broken_rules(pipelines: Mapping[str, Pipeline]) -> list[str]:
    """Describe the checkpoints of systems that the challenge does not allow."""
    return [
        f"{name}: {family} = {transformer.checkpoint} was trained on human ratings, "
        f"but the challenge allows only those of its training split"
        for name, pipeline in pipelines.items()
        for family, transformer in checkpoints_of(pipeline)
        if has_seen_ratings(getattr(transformer, "checkpoint", ""))
    ]
