"""``clapstack evaluate``."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from clapstack.cli import _options as options
from clapstack.cli._errors import errors_as_messages
from clapstack.cli._scorers import load_encoders

__all__ = ["evaluate"]

EPILOG = """\
\b
Examples:
  clapstack evaluate model.clapstack rated.csv
  clapstack evaluate scores.csv rated.csv
  clapstack evaluate predictions.jsonl ratings.csv --key id --json
  clapstack evaluate scores.csv rated.csv --rating relevance --rating order

A file that ends in .csv, .jsonl, .ndjson or .parquet is read as a table of predictions
with a column score (or pred_score, prediction_score), any other file as a model.
Predictions and ratings are matched by audio and text, or by --key; a row without a
partner is an error, never left out silently. Relative audio paths of both tables start
from --audio-folder, or from the folder of TABLE. A model of several axes is evaluated
on all of them, or on those of --score-column.
"""


def evaluate(
    predictor: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL|PREDICTIONS",
            help="A model file, or a table of predictions.",
            show_default=False,
        ),
    ],
    table: Annotated[
        str,
        typer.Argument(
            metavar="TABLE",
            help="CSV, JSON Lines or Parquet table of rated pairs; - for standard "
            "input.",
            show_default=False,
        ),
    ],
    key: Annotated[
        list[str] | None,
        typer.Option(
            metavar=options.COLUMN,
            help="Column that identifies a pair in both tables. Repeatable.",
        ),
    ] = None,
    audio_folder: options.AudioFolder = None,
    audio_column: options.AudioColumn = None,
    text_column: options.TextColumn = None,
    score_column: options.RatingColumn = None,
    prediction_column: Annotated[
        list[str] | None,
        typer.Option(
            metavar=options.COLUMN,
            help="Column of predictions. Default: score, or pred_score. For several "
            "axes, give one per --score-column; default: the same names.",
        ),
    ] = None,
    input_format: options.InputFormat = None,
    resamples: options.Resamples = 1000,
    coverage: options.Coverage = 0.9,
    skip_bad: options.SkipBad = False,
    device: options.Device = None,
    batch_size: options.BatchSize = None,
    trust: options.Trust = False,
    trust_encoder: options.TrustEncoder = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Evaluate a model, or a table of predictions, with ratings."""
    options.checked_input(input_format, device)
    with errors_as_messages("clapstack evaluate"):
        from clapstack._fitted import axes_of, set_up, was_fitted_on
        from clapstack.cli.tables import (
            evaluate_model,
            evaluate_predictions,
            open_model,
            read_rated,
        )
        from clapstack.scoring.tables import PairTable, keep_keys
        from clapstack.tables import is_table

        def columns(score: Any, prediction: Any = None) -> dict[str, Any]:
            usual = {"audio": audio_column, "text": text_column}
            return {**usual, "score": score, "prediction": prediction}

        def rated(
            *roles: str, others: tuple[str, ...] = (), score: Any = score_column
        ) -> Any:
            return PairTable(
                table,
                fmt=input_format,
                audio_folder=audio_folder,
                names=columns(score),
                roles=roles,
                others=others,
            )

        if is_table(predictor):
            roles = () if key else ("audio", "text")
            keys = tuple(key or ())
            reports, n_skipped = {}, 0
            for axis, score, prediction in _by_axis(
                score_column, prediction_column, table
            ):
                source = rated(*roles, "score", others=keys, score=score)
                predicted = PairTable(
                    predictor,
                    names=columns(score, prediction),
                    roles=(*roles, "prediction"),
                    others=keys,
                )
                evaluation, n_empty = evaluate_predictions(
                    predicted,
                    source,
                    keys or roles,
                    n_resamples=resamples,
                    skip_empty=skip_bad,
                    gaps=bool(axis),
                    resolved=source.resolved,
                )
                reports[axis] = evaluation.report
                n_skipped = max(n_skipped, n_empty)
            report = reports.get("", reports)
        else:
            model = open_model(predictor, trust=trust, trust_encoders=trust_encoder)
            axes = options.axes_to_judge(score_column, axes_of(model))
            score = () if axes else ("score",)
            source = rated("audio", "text", *score, others=axes)
            source.check()
            set_up(model, device=device, batch_size=batch_size, verbose=not quiet)
            load_encoders(model, "evaluate", quiet=quiet)
            keep_keys(source, model, audio_folder)
            pairs = read_rated(source, axes=axes, skip_unrated=True)
            if was_fitted_on(model, pairs.y):
                warnings.warn(
                    "these are the training ratings of the model, so the metrics are "
                    "too optimistic; clapstack report shows its held-out metrics",
                    stacklevel=1,
                )
            evaluation = evaluate_model(
                model,
                pairs,
                coverage=coverage,
                n_resamples=resamples,
                skip_bad=skip_bad,
                verbose=not quiet,
            )
            options.name_bad(evaluation.bad, "evaluate")
            report, n_skipped = evaluation.report, len(evaluation.bad)
        if json:
            options.print_json({"left_out": n_skipped, "report": report})
        else:
            print_metrics(report, n_skipped)


def _by_axis(
    score_column: list[str] | None, prediction_column: list[str] | None, table: str
) -> list[tuple[str, Any, Any]]:
    """Return the name, rating column and prediction column of each axis."""
    axes = options.several_axes(score_column)
    predictions = prediction_column or axes
    if not axes:
        if len(predictions) > 1:
            msg = "several prediction columns need a --score-column each."
            raise typer.BadParameter(msg, param_hint="--prediction-column")
        return [("", score_column, prediction_column)]
    if len(predictions) != len(axes):
        msg = (
            f"give one for each of the {len(axes)} --score-column options, or none; "
            f"got {len(predictions)}."
        )
        raise typer.BadParameter(msg, param_hint="--prediction-column")
    if table == "-":
        msg = "several axes need a file, not -: the table is read once per axis."
        raise typer.BadParameter(msg, param_hint="TABLE")
    return list(zip(axes, axes, predictions, strict=True))


def print_metrics(report: dict[str, Any], n_left_out: int = 0) -> None:
    """Print metrics and the number of pairs as text."""
    from clapstack.cli.tables import report_lines

    lines = report_lines(report)
    left_out = f"{n_left_out:,} left out" if n_left_out else ""
    if "n_pairs" in report:
        lines.append(", ".join(filter(None, [f"N    {report['n_pairs']}", left_out])))
    elif left_out:
        lines.append(left_out)
    typer.echo("\n".join(lines))
