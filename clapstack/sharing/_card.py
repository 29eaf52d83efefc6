"""Description of a model in its file: facts for programs, and a card for people."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import sklearn
from sklearn.base import BaseEstimator
from sklearn.pipeline import FeatureUnion, Pipeline

import clapstack

# Fields that the user may set, with their headings, in the order of the card.
FIELDS = {
    "description": "What it is",
    "data": "Training data",
    "metrics": "Metrics",
    "limits": "Limits",
    "licence": "Licence",
    "authors": "Authors",
    "date": "Date",
}

_WHAT = (
    "A fitted scikit-learn model that predicts how well an audio clip satisfies a text "
    "prompt, from frozen audio-language embeddings. It contains no network weights: it "
    "loads the checkpoints below when it predicts, and refuses other weights."
)
_LIMITS = (
    "Scores are on the scale of the training ratings and reflect the judgement of those"
    " raters. The model has not been tested on sounds, prompt languages or raters that "
    "differ from the data above."
)
_MINI = (
    "The model uses small bundled test checkpoints, which know only the bundled sound "
    "classes."
)
_UNSAID = "Not given."


def versions() -> dict[str, str]:
    """Return the versions that a fitted model depends on."""
    return {
        "clapstack": clapstack.__version__,
        "scikit-learn": sklearn.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def facts_of(model: Any) -> dict[str, Any]:
    """Return the facts that a fitted model provides about itself.

    These are, if present, ``encoders`` (list of dict), ``columns``, ``families``,
    ``first_level``, ``axes`` (lists of str) and ``n_pairs``, the size of the training
    set.
    """
    facts: dict[str, Any] = {"encoders": []}
    for name, step in steps_of(model):
        if hasattr(step, "fingerprint_"):
            encoder: dict[str, Any] = {"name": name, "class": type(step).__name__}
            for key in ("checkpoint", "revision", "crop"):
                value = getattr(step, key, None)
                encoder[key] = None if value is None else str(value)
            facts["encoders"].append({**encoder, "fingerprint": step.fingerprint_})
        names = getattr(step, "feature_names_in_", None)
        if "columns" not in facts and names is not None and len(names) <= 2:
            facts["columns"] = [str(column) for column in names]
        if hasattr(step, "axes_"):
            facts["axes"] = list(step.axes_)
            facts["families"] = list(step.families_)
            facts["first_level"] = list(step.get_feature_names_out())
            facts["n_pairs"] = len(step.y_train_)
        elif hasattr(step, "first_level_names_"):
            facts["families"] = list(step.families_)
            facts["first_level"] = list(step.first_level_names_)
            facts["n_pairs"] = len(step.oof_predictions_)
    return facts


def check_fields(card: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the fields of a card, after refusing unknown ones."""
    card = dict(card or {})
    unknown = sorted(set(card) - set(FIELDS))
    if unknown:
        msg = f"card has unknown fields {unknown!r}. Use some of {list(FIELDS)!r}."
        raise ValueError(msg)
    metrics = card.get("metrics", {})
    if not isinstance(metrics, (Mapping, pd.Series)):
        msg = (
            "The 'metrics' of card must be a mapping or Series of numbers, such as the "
            f"result of score_report. Got {metrics!r} instead."
        )
        raise TypeError(msg)
    texts = {name: str(text) for name, text in card.items() if name != "metrics"}
    return {**texts, "metrics": {str(k): float(v) for k, v in metrics.items()}}


def card_texts(fields: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, str]:
    """Return the texts of a card by field of `FIELDS`, in that order, without metrics.

    Each text has the facts of the model, then the user's text, as paragraphs separated
    by empty lines. `fields` come from `check_fields`, `facts` from `facts_of`.
    """
    limits = [_LIMITS]
    checkpoints = [str(encoder.get("checkpoint")) for encoder in facts["encoders"]]
    if any(checkpoint.startswith("bundled:") for checkpoint in checkpoints):
        limits.append(_MINI)
    generated = {
        "description": _WHAT,
        "data": f"{facts['n_pairs']} pairs." if "n_pairs" in facts else "",
        "limits": "\n\n".join(limits),
    }
    texts = {}
    for field in FIELDS:
        if field != "metrics":
            said = [generated.get(field, ""), fields.get(field, "") or ""]
            texts[field] = "\n\n".join(part for part in said if part) or _UNSAID
    return texts


def write_card(
    fields: Mapping[str, Any], facts: Mapping[str, Any], untrusted: Sequence[str]
) -> str:
    """Return the card in Markdown.

    It has headings in the order of `FIELDS`, then instructions for loading. `untrusted`
    are types that a reader has to trust by name. `fields` come from `check_fields`,
    `facts` from `facts_of`, plus ``versions``.
    """
    metrics = _table(["metric", "value"], _metric_rows(fields["metrics"]))
    texts = {**card_texts(fields, facts), "metrics": metrics or _UNSAID}
    parts = ["# A clapstack model"]
    parts += [f"## {heading}\n\n{texts[field]}" for field, heading in FIELDS.items()]
    parts.append("## Checkpoints\n\n" + (checkpoint_table(facts) or "None."))
    parts.append("## Versions\n\n" + _table(["", ""], facts["versions"].items()))
    trust = f", trusted={list(untrusted)!r}" if untrusted else ""
    parts.append(
        "## How to load it\n\n```python\nfrom clapstack import load_model\n\n"
        f'model = load_model("PATH"{trust})\n'
        'model.predict(pandas.DataFrame({"audio": [...], "text": [...]}))\n```'
    )
    return "\n\n".join(parts) + "\n"


def checkpoint_table(facts: Mapping[str, Any]) -> str:
    """Return the table of encoders in the card; empty if there are none."""
    header = ["family", "checkpoint", "fingerprint of the weights"]
    rows = [
        (encoder["name"], encoder["checkpoint"], encoder["fingerprint"])
        for encoder in facts["encoders"]
    ]
    return _table(header, rows)


def steps_of(model: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the estimators of a pipeline, with the names of its steps."""
    if isinstance(model, Pipeline):
        inner = model.steps
    elif isinstance(model, FeatureUnion):
        inner = model.transformer_list
    else:
        yield name, model
        # Event features contain encoders.
        for key, encoder in getattr(model, "encoders_", ()):
            yield f"{name} {key}".strip(), encoder
        return
    for key, step in inner:
        if isinstance(step, BaseEstimator):
            yield from steps_of(step, key)


def _metric_rows(metrics: Mapping[str, float]) -> list[tuple[str, str]]:
    return [(name, f"{value:.4f}") for name, value in metrics.items()]


def _table(header: Sequence[str], rows: Any) -> str:
    rows = [tuple(str(cell) for cell in row) for row in rows]
    if not rows:
        return ""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
