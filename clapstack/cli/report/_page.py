"""A report as one page that holds all it shows."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pandas as pd

from clapstack._fitted import (
    features_of,
    last_step,
    stack_of,
    takes_keys,
    was_fitted_on,
)
from clapstack.cli.report._pictures import (
    family_pictures,
    picture,
    ranking_picture,
    score_pictures,
)
from clapstack.cli.report._sources import Data, ModelFile, content_sha256
from clapstack.cli.tables import Evaluation, Rated, evaluate, evaluate_model
from clapstack.inspection import (
    EventExplanation,
    ExplanationDisplay,
    SpectrogramDisplay,
    explain_events,
    has_event_encoders,
    mel_spectrogram,
)

_METRICS = {
    "srcc": "order (Spearman)",
    "lcc": "linear (Pearson)",
    "ktau": "order (Kendall's tau-b)",
    "mse": "mean squared error",
}


def make_report(
    file: ModelFile,
    data: Data | None = None,
    *,
    title: str | None = None,
    coverage: float = 0.9,
    n_resamples: int = 1000,
    n_pairs: int = 3,
    is_xacle_test: bool = False,
) -> str:
    """Return the report of a fitted model as one HTML page, which fetches nothing.

    The same model and data give the same page.

    Parameters
    ----------
    data : Data, default=None
        Rated pairs that the model has not seen; those of its fit are refused.
    title : str, default=None
        Title of the page; None takes the name of the file.
    coverage : float, default=0.9
        Nominal coverage of the prediction intervals.
    n_resamples : int, default=1000
        Bootstrap resamples of the metrics; 0 leaves intervals out.
    n_pairs : int, default=3
        Pairs of `data` that are shown by themselves.
    is_xacle_test : bool, default=False
        Whether `data` is the official test split of XACLE 2026, so that the result has
        a place in its ranking.
    """
    if is_xacle_test and data is None:
        msg = "A place in the ranking takes the test split; give it as data."
        raise ValueError(msg)
    title = title or file.name
    evaluation = None
    if data is not None:  # refused before anything is drawn
        evaluation = _evaluate(file.model, data, coverage, n_resamples)
    stack = stack_of(file.model)
    shown: dict[str, Any] = dict.fromkeys(("own", "new", "pairs", "content_sha256"))
    if stack is not None:
        of_fit = evaluate(stack.y_train_, stack.oof_scores_, n_resamples=n_resamples)
        shown["own"] = {
            "label": "Training pairs, out of fold",
            "report": of_fit.report,
            **score_pictures(of_fit, coverage),
            **family_pictures(stack, n_resamples),
        }
    if data is not None and evaluation is not None:
        shown["new"] = {
            "label": data.name,
            "report": evaluation.report,
            **score_pictures(evaluation, coverage),
            "ranking": ranking_picture(evaluation, title) if is_xacle_test else None,
        }
        shown |= _worst_pairs(file.model, data, evaluation, n_pairs)
        by_key = takes_keys(file.model)
        shown["content_sha256"] = content_sha256(data, by_key=by_key)
    last = last_step(file.model)
    return _template().render(
        **shown,
        headings=_headings(shown),
        title=title,
        file=file,
        facts=file.facts,
        data=data,
        coverage=coverage,
        n_resamples=n_resamples,
        metrics=_METRICS,
        last_step=type(last).__name__,
        joined=getattr(last, "auxiliary_", []),
        final_target=getattr(last, "final_target_", ""),
        scores_sha256=None if stack is None else _scores_sha256(stack),
    )


def _template() -> Any:
    import jinja2

    # Names of files and texts come from strangers: all that is not in the template is
    # escaped, and a name that the template misspells is an error.
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("clapstack.cli.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html")


def _headings(shown: dict[str, Any]) -> list[str]:
    """Return the headings of the sections that the page has."""
    sections = {"new": "New pairs", "own": "Out of fold", "pairs": "Pairs"}
    there = [heading for name, heading in sections.items() if shown[name]]
    return ["Metrics", *there, "Model card", "Fingerprints and versions"]


def _evaluate(model: Any, data: Data, coverage: float, n_resamples: int) -> Evaluation:
    if was_fitted_on(model, data.y):
        msg = (
            f"{data.name} has the scores of the pairs that the model was fitted on, "
            "and would flatter it. Leave it out: the report shows what was held out of "
            "the fit. Or give a table of other pairs."
        )
        raise ValueError(msg)
    return evaluate_model(
        model,
        Rated(data.pairs, data.y, None, len(data.y)),
        coverage=coverage,
        n_resamples=n_resamples,
        skip_bad=False,
        verbose=False,
    )


def _worst_pairs(
    model: Any, data: Data, evaluation: Evaluation, n_shown: int
) -> dict[str, Any]:
    """Return the pairs whose predictions are farthest off, with sound and reasons."""
    error = np.abs(evaluation.y - evaluation.scores[:, 0])
    rows = np.argsort(-error, kind="stable")[:n_shown]
    worst = data.pairs.iloc[rows]
    reasons, why_not = _explain(model, worst) if n_shown else (None, "")
    pairs = []
    for place, row in enumerate(rows):
        audio = worst["audio"].iloc[place]
        heard = reason = events = None
        if not takes_keys(model):
            events = _events(model, audio, worst["text"].iloc[place])
            spectrogram = mel_spectrogram(audio)
            heard = picture(SpectrogramDisplay(spectrogram=spectrogram, events=events))
        if reasons is not None:
            reason = picture(ExplanationDisplay(contributions=reasons.iloc[place]))
        pairs.append(
            {
                "row": worst.index[place],
                "audio": audio,
                "text": worst["text"].iloc[place],
                "human": evaluation.y[row],
                "scores": evaluation.scores[row],
                "spectrogram": heard,
                "explanation": reason,
                "events": events,
            }
        )
    return {"pairs": pairs, "why_not": why_not}


def _events(model: Any, audio: Any, text: str) -> EventExplanation | None:
    """Return what is heard of a text, None if no encoder takes clips and texts."""
    if not has_event_encoders(model):
        return None
    return explain_events(audio, text, model)


def _explain(model: Any, pairs: pd.DataFrame) -> tuple[pd.DataFrame | None, str]:
    """Return the parts of scores, or why there are none."""
    last = last_step(model)
    if not hasattr(last, "explain"):
        return None, f"{type(last).__name__} has no method 'explain'."
    features = features_of(model, pairs)
    try:
        return last.explain(features), ""
    except ValueError as error:  # a final level that is not linear
        return None, str(error)


def _scores_sha256(stack: Any) -> str:
    scores = np.ascontiguousarray(stack.y_train_, dtype="<f8").tobytes()
    return hashlib.sha256(scores).hexdigest()
