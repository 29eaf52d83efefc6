"""The sections of a report."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from clapstack._fitted import cut
from clapstack.cli.report._html import (
    Markup,
    joined,
    table,
    tag,
)
from clapstack.cli.report._model import Judged
from clapstack.cli.report._pictures import picture
from clapstack.inspection import (
    CalibrationCurveDisplay,
    FamilyAgreementDisplay,
    FamilyScoresDisplay,
    LeaderboardDisplay,
    PredictionDisplay,
    ResidualsDisplay,
)
from clapstack.inspection._agreement import held_out_predictions
from clapstack.inspection._canvas import percent
from clapstack.inspection._families import family_scores

METRICS = ("srcc", "lcc", "ktau", "mse")
_MEANING = {
    "srcc": "order (Spearman)",
    "lcc": "linear (Pearson)",
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


def _interval(metrics: Mapping[str, float], name: str) -> str:
    if f"{name}_low" not in metrics:
        return ""
    return f"[{metrics[f'{name}_low']:.3f}, {metrics[f'{name}_high']:.3f}]"
