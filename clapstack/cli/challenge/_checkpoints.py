"""Checks of a system's weights before anything else: present, and allowed."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from clapstack._fitted import encoders_of
from clapstack.exceptions import CheckpointError
from clapstack.systems import (
    FAMILIES,
    describe_system,
    has_seen_ratings,
    list_systems,
)


class MissingCheckpointsError(CheckpointError):
    """Weights that could not be loaded, with the files and where to put them.

    `faults` says what is wrong by family and checkpoint, `users` which systems want a
    family.
    """

    def __init__(
        self, faults: Mapping[tuple[str, str], str], users: Mapping[str, list[str]]
    ):
        lines = ["These checkpoints are needed and could not be loaded:"]
        for (family, checkpoint), reason in faults.items():
            systems = users[family]
            known = [describe_system(n) for n in systems if n in list_systems()]
            spare = known and all(family in record.optional for record in known)
            option = "--checkpoint" if family in FAMILIES else "--family"
            remedy = f"{option} {family}=PATH"
            if spare:
                remedy += f", or --without {family}"
            files = FAMILIES[family].files if family in FAMILIES else "its own"
            lines += [
                "",
                f"  {family}: {checkpoint}",
                *_entry("wanted by", ", ".join(systems)),
                *_entry("files", files),
                *_entry("where", f"anywhere on this machine: {remedy}"),
                *_entry("reason", reason),
            ]
        lines += [
            "",
            "Nothing was computed, and nothing was taken in their place. --bundled",
            "runs on the mini checkpoints, which know the bundled sounds only.",
        ]
        super().__init__("\n".join(lines))


def _entry(name: str, text: str) -> list[str]:
    """Return lines of 88 characters; no path or name is broken."""
    return textwrap.wrap(
        text,
        88,
        initial_indent=f"    {name:<11}",
        subsequent_indent=" " * 15,
        break_long_words=False,
        break_on_hyphens=False,
    )


def load_weights(
    pipelines: Mapping[str, Pipeline], X: pd.DataFrame
) -> dict[str, dict[str, str]]:
    """Load every encoder once; return fingerprints by system and family.

    Nothing of `X` is encoded.
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
    """Yield the families of a pipeline and their transformers over encoders."""
    for name, transformer in encoders_of(pipeline).items():
        yield name.rpartition("__")[2], transformer


def broken_rules(pipelines: Mapping[str, Pipeline]) -> list[str]:
    """Say which checkpoints of systems the challenge does not allow."""
    return [
        f"{name}: {family} = {transformer.checkpoint} was trained on people's ratings; "
        f"the challenge allows those of its training split alone"
        for name, pipeline in pipelines.items()
        for family, transformer in checkpoints_of(pipeline)
        if has_seen_ratings(getattr(transformer, "checkpoint", ""))
    ]
