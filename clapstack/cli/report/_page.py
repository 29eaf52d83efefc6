"""The report of a model, as a single HTML file."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pandas as pd

from clapstack._fitted import (
    axes_of,
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
from clapstack.cli.report._players import player
from clapstack.cli.report._sources import Data, ModelFile, content_sha256
from clapstack.cli.tables import (
    Evaluation,
    Rated,
    by_axis,
    evaluate,
    evaluate_model,
)
from clapstack.inspection import (
    EventExplanation,
    ExplanationDisplay,
    SpectrogramDisplay,
    explain_events,
    has_event_encoders,
    mel_spectrogram,
)
from clapstack.stacking import model_of_axis

_METRICS = {
    "srcc": "Rank correlation",
    "lcc": "Linear correlation",
    "ktau": "Kendall correlation",
    "mse": "Mean squared error",
}
_SECTIONS = {
    "new": "New pairs",
    "own": "Held-out training pairs",
    "pairs": "Worst predictions",
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

    The same model and data always produce the same page.

    Parameters
    ----------
    data : Data, default=None
        Rated pairs that the model has not seen; its training pairs are refused.
    title : str, default=None
        Title of the page. None uses the file name.
    coverage : float, default=0.9
        Nominal coverage of the prediction intervals.
    n_resamples : int, default=1000
        Bootstrap resamples for the metrics' intervals; 0 for no intervals.
    n_pairs : int, default=3
        Number of worst predictions of `data` to show one by one.
    is_xacle_test : bool, default=False
        Whether `data` is the official test split of XACLE 2026, so that the result can
        be placed in its ranking.
    """
    if is_xacle_test and (data is None or axes_of(file.model)):
        msg = (
            "The XACLE ranking needs the rated test split as data, and a model that "
            "predicts a single score."
        )
        raise ValueError(msg)
    title = title or file.name
    evaluation = None
    if data is not None:  # refused before anything is drawn
        evaluation = _evaluate(file.model, data, coverage, n_resamples)
    views = [
        _view(file.model, data, evaluation, axis, coverage, n_resamples, n_pairs)
        for axis in axes_of(file.model) or [""]
    ]
    content = None
    if data is not None:
        content = content_sha256(data, by_key=takes_keys(file.model))
    if is_xacle_test and evaluation is not None:
        views[0]["new"]["ranking"] = ranking_picture(evaluation, title)
    for view in views:
        said = [f"{view['axis']} {name}".strip() for name in _METRICS]
        view["has_card"] = any(name in file.facts["metrics"] for name in said)
    last = last_step(file.model)
    each = getattr(last, "estimators_by_axis_", {"": last}).values()
    targets = dict.fromkeys(getattr(one, "final_target_", "") for one in each)
    return template("report.html").render(
        views=views,
        content_sha256=content,
        headings=_headings(views),
        title=title,
        file=file,
        facts=file.facts,
        data=data,
        coverage=coverage,
        n_resamples=n_resamples,
        metrics=_METRICS,
        sections=_SECTIONS,
        last_step=type(last).__name__,
        joined=getattr(next(iter(each)), "auxiliary_", []),
        final_target=", ".join(targets),
        scores_sha256=_scores_sha256(last),
    )


def _view(
    model: Any,
    data: Data | None,
    evaluation: Evaluation | None,
    axis: str,
    coverage: float,
    n_resamples: int,
    n_pairs: int,
) -> dict[str, Any]:
    """Return the content of the page for one axis, or ``""`` for the only one."""
    if axis:
        model = model_of_axis(model, axis)
    shown: dict[str, Any] = dict.fromkeys(("own", "new", "pairs"))
    shown |= {"axis": axis, "why_not": ""}
    stack = stack_of(model)
    if stack is not None:
        of_fit = evaluate(stack.y_train_, stack.oof_scores_, n_resamples=n_resamples)
        shown["own"] = {
            "label": _SECTIONS["own"],
            "report": of_fit.report,
            **score_pictures(of_fit, coverage),
            **family_pictures(stack, n_resamples),
        }
    rated = {} if evaluation is None else by_axis(evaluation.y, evaluation.scores)
    if data is not None and evaluation is not None and axis in rated:
        rows, y, scores = rated[axis]
        report = evaluation.report[axis] if axis else evaluation.report
        of_axis = Evaluation(report, y, scores, [])
        shown["new"] = {
            "label": data.name,
            "report": report,
            **score_pictures(of_axis, coverage),
            "ranking": None,
        }
        shown |= _worst_pairs(model, data.pairs.iloc[rows], of_axis, n_pairs)
    return shown


def template(name: str) -> Any:
    """Load the template of a page."""
    import jinja2

    # File names and texts come from strangers, so every value is escaped. A variable
    # that a template misspells is an error.
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("clapstack.cli.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def _headings(views: list[dict[str, Any]]) -> list[str]:
    """Return the headings of the sections on the page."""
    there = [
        f"{view['axis']}: {heading.lower()}" if view["axis"] else heading
        for view in views
        for name, heading in _SECTIONS.items()
        if view[name]
    ]
    return ["Metrics", *there, "Model card", "Fingerprints and versions"]


def _evaluate(model: Any, data: Data, coverage: float, n_resamples: int) -> Evaluation:
    if was_fitted_on(model, data.y):
        msg = (
            f"{data.name} has the training ratings of the model, so its metrics would "
            "be too optimistic. Leave it out, since the report shows held-out metrics "
            "of the training pairs anyway, or give a table of other pairs."
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
    model: Any, rated: pd.DataFrame, evaluation: Evaluation, n_shown: int
) -> dict[str, Any]:
    """Return the pairs with the largest errors, with audio and explanations."""
    error = np.abs(evaluation.y - evaluation.scores[:, 0])
    rows = np.argsort(-error, kind="stable")[:n_shown]
    worst = rated.iloc[rows]
    reasons, why_not = _explain(model, worst) if n_shown else (None, "")
    pairs = []
    for place, row in enumerate(rows):
        audio = worst["audio"].iloc[place]
        heard = reason = events = sound = None
        if not takes_keys(model):
            sound = player(audio)
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
                "player": sound,
                "spectrogram": heard,
                "explanation": reason,
                "events": events,
            }
        )
    return {"pairs": pairs, "why_not": why_not}


def _events(model: Any, audio: Any, text: str) -> EventExplanation | None:
    """Return the events of a text in a clip, or None without a CLAP encoder."""
    if not has_event_encoders(model):
        return None
    return explain_events(audio, text, model)


def _explain(model: Any, pairs: pd.DataFrame) -> tuple[pd.DataFrame | None, str]:
    """Return the contributions to each score, or the reason why there are none."""
    last = last_step(model)
    if not hasattr(last, "explain"):
        return None, f"{type(last).__name__} has no method 'explain'."
    features = features_of(model, pairs)
    try:
        return last.explain(features), ""
    except ValueError as error:  # the final level is not linear
        return None, str(error)


def _scores_sha256(last: Any) -> str | None:
    scores = getattr(last, "y_train_", None)
    if scores is None:
        return None
    return hashlib.sha256(
        np.ascontiguousarray(scores, dtype="<f8").tobytes()
    ).hexdigest()
