"""Displays as SVG images inside a page."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np

from clapstack._fitted import held_out_predictions
from clapstack.cli.tables import Evaluation
from clapstack.inspection import (
    CalibrationCurveDisplay,
    FamilyAgreementDisplay,
    FamilyScoresDisplay,
    LeaderboardDisplay,
    PredictionDisplay,
    ResidualsDisplay,
    family_scores,
)

Picture = dict[str, Any]

_PIXELS = 96  # per inch, in CSS


def picture(display: Any) -> Picture:
    """Return the attributes of an image with its SVG inside, so nothing is fetched."""
    width, height = display.size
    source = base64.b64encode(display.to_svg()).decode()
    return {
        "src": f"data:image/svg+xml;base64,{source}",
        "alt": display.describe(),
        "width": round(width * _PIXELS),
        "height": round(height * _PIXELS),
    }


def score_pictures(evaluation: Evaluation, coverage: float) -> dict[str, Any]:
    """Return the pictures of human and predicted scores."""
    scores: dict[str, Any] = {"y_true": evaluation.y, "y_pred": evaluation.scores[:, 0]}
    band: dict[str, Any] = {}
    # Ends are NaN without intervals, and infinite for too few training pairs.
    if np.isfinite(evaluation.scores).all():
        band = {"interval": evaluation.scores[:, 1:], "coverage": coverage}
    drawn = {
        "has_band": bool(band),
        "prediction": picture(PredictionDisplay(**scores, **band)),
        "calibration": None,
        "residuals": picture(ResidualsDisplay(**scores)),
    }
    if len(evaluation.y) > 1:
        drawn["calibration"] = picture(CalibrationCurveDisplay(**scores))
    return drawn


def family_pictures(stack: Any, n_resamples: int) -> dict[str, Any]:
    """Return the pictures of the families of a stack."""
    predictions = held_out_predictions(stack)
    scores = family_scores(stack, n_resamples=n_resamples)
    drawn = {"families": picture(FamilyScoresDisplay(scores=scores)), "agreement": None}
    if predictions.shape[1] > 1:
        drawn["agreement"] = picture(FamilyAgreementDisplay(predictions=predictions))
    return drawn


def ranking_picture(evaluation: Evaluation, name: str) -> Picture:
    """Return the picture of a result in the ranking of the challenge."""
    report = evaluation.report
    low, high = report.get("srcc_low"), report.get("srcc_high")
    display = LeaderboardDisplay(value=report["srcc"], low=low, high=high, name=name)
    return picture(display)
