"""The sections of a report."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from clapstack._report._html import (
    Markup,
    code,
    facts,
    joined,
    paragraphs,
    table,
    tag,
)
from clapstack._report._model import Data, Judged, ModelFile, content_sha256
from clapstack._report._pictures import picture
from clapstack.inspection import (
    CalibrationCurveDisplay,
    ExplanationDisplay,
    FamilyAgreementDisplay,
    FamilyScoresDisplay,
    LeaderboardDisplay,
    PredictionDisplay,
    ResidualsDisplay,
    SpectrogramDisplay,
    mel_spectrogram,
)
from clapstack.inspection._agreement import held_out_predictions
from clapstack.inspection._canvas import percent
from clapstack.inspection._families import family_scores
from clapstack.inspection._models import cut, features_of
from clapstack.sharing._card import FIELDS, versions

METRICS = ("srcc", "lcc", "ktau", "mse")
_MEANING = {
    "srcc": "order (Spearman)",
    "lcc": "straightness (Pearson)",
    "ktau": "order (Kendall's tau-b)",
    "mse": "mean squared error",
}


def section(heading: str, *content: Any) -> Markup:
    """Return a section under a heading, which the contents can link to."""
    return tag("section", tag("h2", heading), *content, id=anchor(heading))


def anchor(heading: str) -> str:
    """Return the address of a section inside the page."""
    return re.sub(r"\W+", "-", heading.lower()).strip("-")


def tiles(judged: Judged) -> Markup:
    """Return the four metrics, large."""
    shown = [
        tag(
            "div",
            tag("span", f"{name.upper()}, {_MEANING[name]}"),
            tag("b", f"{judged.metrics[name]:.3f}"),
            tag("span", _interval(judged.metrics, name)),
            class_="tile",
        )
        for name in METRICS
    ]
    return tag("div", *shown, class_="tiles")


def metrics_table(
    judged: Sequence[Judged], said: Mapping[str, float], n_resamples: int
) -> Markup:
    """Return the metrics of all that was judged, and what the card says of itself."""
    rows: list[list[Any]] = []
    for one in judged:
        cells: list[Any] = [one.label, f"{len(one.y_true):,}"]
        for name in METRICS:
            small = _interval(one.metrics, name)
            cells.append(
                joined([f"{one.metrics[name]:.4f} ", tag("small", small)])
                if small
                else f"{one.metrics[name]:.4f}"
            )
        rows.append(cells)
    if any(name in said for name in METRICS):
        told = [f"{said[name]:.4f}" if name in said else "–" for name in METRICS]
        rows.append(["As the model card says", "–", *told])
    note = "In brackets: 95 % bootstrap intervals over pairs." if n_resamples else ""
    header = ["Pairs", "Number", *(name.upper() for name in METRICS)]
    return table(note or "Metrics.", header, rows)


def score_pictures(judged: Judged, coverage: float) -> list[Markup]:
    """Return the pictures of human and predicted scores."""
    scores: dict[str, Any] = {"y_true": judged.y_true, "y_pred": judged.y_pred}
    with_band = judged.interval is not None
    band = (
        f" The band averages the {percent(coverage)} prediction intervals of pairs of "
        "like prediction; the share inside counts each pair against its own."
    )
    drawn = [
        picture(
            PredictionDisplay(
                **scores,
                interval=judged.interval,
                coverage=coverage if with_band else None,
            ),
            "Human against predicted scores",
            "Each point is a pair; on the grey line the two are equal."
            + (band if with_band else ""),
        ),
        picture(
            ResidualsDisplay(**scores),
            "Errors",
            "Human minus predicted. Lines: the mean, and the percentiles between which "
            "90 % of errors lie, among pairs of like prediction.",
        ),
    ]
    if len(judged.y_true) > 1:
        calibration = picture(
            CalibrationCurveDisplay(**scores),
            "Calibration",
            "Mean human score of pairs of like prediction, with its 95 % interval. On "
            "the grey line a prediction means what it says.",
        )
        drawn.insert(1, calibration)
    return drawn


def family_pictures(model: Any, n_resamples: int) -> list[Markup]:
    """Return the pictures of a stack's families."""
    stack = cut(model).last
    drawn = [
        picture(
            FamilyScoresDisplay(scores=family_scores(stack, n_resamples=n_resamples)),
            "Families",
            "SRCC of what each family's regressors say of pairs that were held out of "
            "them, beside that of the whole stack (its interval in grey).",
        )
    ]
    predictions = held_out_predictions(stack)
    if predictions.shape[1] > 1:
        drawn.append(
            picture(
                FamilyAgreementDisplay(predictions=predictions),
                "Agreement between families",
                "SRCC between their out-of-fold predictions. Families that agree less "
                "have more to tell each other.",
            )
        )
    return drawn


def ranking_picture(judged: Judged, name: str) -> Markup:
    """Return the result among those of the challenge."""
    return picture(
        LeaderboardDisplay(
            value=judged.metrics["srcc"],
            low=judged.metrics.get("srcc_low"),
            high=judged.metrics.get("srcc_high"),
            name=name,
        ),
        "In the ranking of XACLE 2026",
        "By SRCC on the test split. It has a place there only if the table is the "
        "official test split, judged by its listeners.",
    )


def pairs_section(model: Any, data: Data, judged: Judged, n_shown: int) -> Markup:
    """Return the pairs whose predictions are farthest off, with sound and reasons."""
    error = np.abs(judged.y_true - judged.y_pred)
    rows = np.argsort(-error, kind="stable")[:n_shown]
    reasons, why_not = _explain(model, data.pairs.iloc[rows])
    shown = [
        _pair(data, judged, row, None if reasons is None else reasons.iloc[place])
        for place, row in enumerate(rows)
    ]
    introduction = [
        tag(
            "p",
            f"The {len(rows)} pairs of {data.name} whose predictions are farthest from "
            "the human scores.",
        ),
        tag("p", f"Their scores are not split among families: {why_not}")
        if why_not
        else "",
    ]
    return joined([*introduction, *shown])


def _pair(data: Data, judged: Judged, row: int, reason: pd.Series | None) -> Markup:
    audio, text = data.pairs["audio"].iloc[row], data.pairs["text"].iloc[row]
    said = [
        ("Clip", code(audio)),
        ("Human score", f"{judged.y_true[row]:.2f}"),
        ("Predicted score", f"{judged.y_pred[row]:.2f}"),
    ]
    if judged.interval is not None:
        low, high = judged.interval[row]
        said.append(("Prediction interval", f"{low:.2f} to {high:.2f}"))
    pictures = [
        picture(
            SpectrogramDisplay(spectrogram=mel_spectrogram(audio)),
            "What was heard",
            "Log-mel spectrogram, in decibels below the loudest.",
        )
    ]
    if reason is not None:
        pictures.append(
            picture(
                ExplanationDisplay(contributions=reason),
                "What made the score",
                "From the baseline, what each family adds or takes away.",
            )
        )
    return tag(
        "article",
        tag("h3", f"Pair {row + 1}"),
        tag("blockquote", text),
        facts(said),
        tag("div", *pictures, class_="pictures"),
    )


def _explain(model: Any, pairs: pd.DataFrame) -> tuple[pd.DataFrame | None, str]:
    """Return the parts of scores, or why there are none."""
    head = cut(model)
    if not hasattr(head.last, "explain"):
        return None, f"{type(head.last).__name__} has no method 'explain'."
    features = features_of(head, pairs)
    try:
        return head.last.explain(features), ""
    except ValueError as error:  # a final level that is not linear
        return None, str(error)


def card_section(file: ModelFile) -> Markup:
    """Return the model card: what its owner said, and what the model shows."""
    said = file.manifest.get("card", {})
    parts = []
    for field, heading in FIELDS.items():
        if field != "metrics":
            text = str(said.get(field) or "Not given.")
            parts += [tag("h3", heading), paragraphs(text)]
    return joined([*parts, tag("h3", "What it is made of"), facts(_makeup(file))])


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
        ("SHA-256 of the file", code(file.sha256)),
    ]
    if data is not None:
        said += [
            ("Table", data.name),
            ("SHA-256 of the table", code(data.sha256)),
            ("SHA-256 of its clips, texts and scores", code(content_sha256(data))),
        ]
    encoders = [
        [
            encoder["name"],
            encoder["class"],
            code(encoder["checkpoint"]),
            encoder["revision"] or "–",
            encoder["crop"] or "–",
            code(encoder["fingerprint"]),
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


def _interval(metrics: Mapping[str, float], name: str) -> str:
    if f"{name}_low" not in metrics:
        return ""
    return f"[{metrics[f'{name}_low']:.3f}, {metrics[f'{name}_high']:.3f}]"
