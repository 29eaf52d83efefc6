"""What a model is made of, and what a report can be checked by."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from clapstack._fitted import cut, has_held_out, takes_keys
from clapstack.cli.report._html import (
    Markup,
    code,
    digest,
    facts,
    joined,
    paragraphs,
    table,
    tag,
)
from clapstack.cli.report._model import Data, ModelFile, content_sha256
from clapstack.sharing._card import FIELDS, card_texts, versions

# Fields of a card that fill paragraphs; others are a few words.
_LONG = ("description", "data", "limits")


def card_section(file: ModelFile) -> Markup:
    """Return the model card: what its owner said, and what the model shows."""
    texts = card_texts(file.manifest.get("card", {}), file.manifest)
    long = [
        part
        for field in _LONG
        for part in (tag("h3", FIELDS[field]), paragraphs(texts[field]))
    ]
    short = [(FIELDS[field], texts[field]) for field in texts if field not in _LONG]
    made = [tag("h3", "What it is made of"), facts([*_makeup(file), *short])]
    return joined([*long, *made])


def _makeup(file: ModelFile) -> list[tuple[str, Any]]:
    last = cut(file.model).last
    told = file.manifest
    n_pairs = told.get("n_pairs")
    return [
        ("Last step", code(type(last).__name__)),
        ("Takes", ", ".join(told.get("columns", []))),
        ("Fitted on", f"{n_pairs:,} pairs" if n_pairs else ""),
        ("Families", ", ".join(told.get("families", []))),
        ("Joined families", ", ".join(getattr(last, "auxiliary_", []))),
        ("First level", ", ".join(told.get("first_level", []))),
        ("Final level learns", getattr(last, "final_target_", "")),
    ]


def fingerprints_section(file: ModelFile, data: Data | None) -> Markup:
    """Return what this report can be checked by."""
    said: list[tuple[str, Any]] = [
        ("Model file", file.name),
        ("SHA-256 of the file", digest(file.sha256)),
    ]
    stack = cut(file.model).last
    if has_held_out(stack):
        scores = np.ascontiguousarray(stack.y_train_, dtype="<f8").tobytes()
        own = hashlib.sha256(scores).hexdigest()
        said.append(("SHA-256 of the scores of the fit", digest(own)))
    if data is not None:
        content = content_sha256(data, by_key=takes_keys(file.model))
        said += [
            ("Table", data.name),
            ("SHA-256 of the table", digest(data.sha256)),
            ("SHA-256 of its clips, texts and scores", digest(content)),
        ]
    encoders = [
        [
            encoder["name"],
            encoder["class"],
            code(encoder["checkpoint"]),
            encoder["revision"] or "–",
            encoder["crop"] or "–",
            digest(encoder["fingerprint"]),
        ]
        for encoder in file.manifest.get("encoders", [])
    ]
    header = ["Family", "Class", "Checkpoint", "Revision", "Crop", "Fingerprint"]
    listed = (
        table("Encoders, and fingerprints of their weights.", header, encoders)
        if encoders
        else tag("p", "The model holds no encoder: it takes features.")
    )
    here = versions()
    wrote = file.manifest.get("versions", {})
    compared = table(
        "Versions.",
        ["Package", "Fitted with", "Reported with"],
        [[name, wrote.get(name, "–"), version] for name, version in here.items()],
    )
    return joined([facts(said), listed, compared])
