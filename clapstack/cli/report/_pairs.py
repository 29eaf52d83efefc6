"""Pairs by themselves: what was asked, heard and said, and why."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from clapstack._fitted import cut, features_of, takes_keys
from clapstack.cli.report._html import Markup, code, facts, joined, tag
from clapstack.cli.report._model import Data, Judged
from clapstack.cli.report._pictures import picture
from clapstack.inspection import (
    ExplanationDisplay,
    SpectrogramDisplay,
    mel_spectrogram,
)


def pairs_section(model: Any, data: Data, judged: Judged, n_shown: int) -> Markup:
    """Return the pairs whose predictions are farthest off, with sound and reasons."""
    error = np.abs(judged.y_true - judged.y_pred)
    rows = np.argsort(-error, kind="stable")[:n_shown]
    reasons, why_not = _explain(model, data.pairs.iloc[rows])
    has_clips = not takes_keys(model)
    shown = [
        _pair(
            data,
            judged,
            row,
            None if reasons is None else reasons.iloc[place],
            has_clips,
        )
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


def _pair(
    data: Data, judged: Judged, row: int, reason: pd.Series | None, has_clips: bool
) -> Markup:
    audio, text = data.pairs["audio"].iloc[row], data.pairs["text"].iloc[row]
    said = [
        ("Clip", code(audio)),
        ("Human score", f"{judged.y_true[row]:.2f}"),
        ("Predicted score", f"{judged.y_pred[row]:.2f}"),
    ]
    if judged.interval is not None:
        low, high = judged.interval[row]
        said.append(("Prediction interval", f"{low:.2f} to {high:.2f}"))
    pictures = []
    if has_clips:
        pictures.append(
            picture(
                SpectrogramDisplay(spectrogram=mel_spectrogram(audio)),
                "What was heard",
                "Log-mel spectrogram, in decibels below the loudest.",
            )
        )
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
        tag("h3", f"Row {data.pairs.index[row]}"),
        tag("blockquote", text),
        facts(said, in_a_row=True),
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
