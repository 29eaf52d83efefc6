"""``clapstack evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from clapstack.cli import _options as options
from clapstack.cli._errors import told

__all__ = ["evaluate"]

EPILOG = """\
\b
Examples:
  clapstack evaluate model.clapstack rated.csv
  clapstack evaluate scores.csv rated.csv
  clapstack evaluate predictions.jsonl ratings.csv --key id --json

A file that ends in .csv, .jsonl, .ndjson or .parquet is a table of predictions, with a
column score (or pred_score, prediction_score); anything else is a model. Predictions
are matched by the columns audio and text, or by --key; what has no partner is an error,
never left out in silence. Relative clips of both tables lie in the folder of TABLE, or
in --audio-folder.
"""


def evaluate(
    predictor: Annotated[
        Path,
        typer.Argument(help="A model, or a table of predictions.", show_default=False),
    ],
    table: Annotated[
        str,
        typer.Argument(
            help="CSV, JSON Lines or Parquet of rated pairs; - for standard input.",
            show_default=False,
        ),
    ],
    key: Annotated[
        list[str] | None,
        typer.Option(
            help="A column that both tables have and that tells pairs apart. May be "
            "given repeatedly."
        ),
    ] = None,
    audio_folder: options.AudioFolder = None,
    audio_column: options.AudioColumn = None,
    text_column: options.TextColumn = None,
    score_column: options.ScoreColumn = None,
    prediction_column: Annotated[
        str | None,
        typer.Option(help="Column of predictions. Usually: score, pred_score."),
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
    """Judge a model, or predictions, by ratings."""
    options.checked_format(input_format, "--input-format", "csv", "jsonl", "parquet")
    with told("clapstack evaluate"):
        from clapstack._fitted import set_up
        from clapstack.cli.tables import PairTable, keep_keys, open_model, report_lines
        from clapstack.tables import is_table

        names = {
            "audio": audio_column,
            "text": text_column,
            "score": score_column,
            "prediction": prediction_column,
        }

        def rated(*roles: str, others: tuple[str, ...] = ()) -> Any:
            return PairTable(
                table,
                fmt=input_format,
                audio_folder=audio_folder,
                names=names,
                roles=(*roles, "score"),
                others=others,
            )

        if is_table(predictor):
            report, n_skipped = _of_predictions(
                predictor, rated, names, key, resamples, skip_bad
            )
        else:
            settings: dict[str, Any] = {"device": device, "batch_size": batch_size}
            settings["verbose"] = not quiet
            source = rated("audio", "text")
            source.check()
            model = set_up(
                open_model(predictor, trust=trust, trust_encoders=trust_encoder),
                **settings,
            )
            keep_keys(source, model, audio_folder)
            judged = _of_model(
                model, source, coverage, resamples, skip_bad, verbose=not quiet
            )
            options.name_bad(judged.bad, "evaluate")
            report, n_skipped = judged.report, len(judged.bad)
        if json:
            options.print_json({"left_out": n_skipped, "report": report})
            return
        typer.echo("\n".join(report_lines(report)))
        left_out = f", {n_skipped:,} left out" if n_skipped else ""
        typer.echo(f"N    {report['n_pairs']}{left_out}")


def _of_model(
    model: Any,
    source: Any,
    coverage: float,
    resamples: int,
    skip_bad: bool,
    *,
    verbose: bool,
) -> Any:
    from clapstack._fitted import was_fitted_on
    from clapstack.cli.tables import judge_model, read_rated

    pairs = read_rated(source)
    if was_fitted_on(model, pairs.y):
        words = (
            "clapstack evaluate: warning: these are the ratings that the model was "
            "fitted on, so the metrics are too good; clapstack report shows what was "
            "held out of the fit"
        )
        typer.echo(words, err=True)
    return judge_model(
        model,
        pairs,
        coverage=coverage,
        n_resamples=resamples,
        skip_bad=skip_bad,
        verbose=verbose,
    )


def _of_predictions(
    path: Path,
    rated: Any,
    names: dict[str, str | None],
    key: list[str] | None,
    resamples: int,
    skip_bad: bool,
) -> tuple[dict[str, float], int]:
    import numpy as np

    from clapstack.cli.tables import (
        PairTable,
        join_by_key,
        judge,
        read_by_key,
        suspicion,
    )
    from clapstack.exceptions import BadRowsError

    roles = () if key else ("audio", "text")
    keys = tuple(key) if key else roles
    others = tuple(key or ())
    predicted = PairTable(
        path, names=names, roles=(*roles, "prediction"), others=others
    )
    table = rated(*roles, others=others)
    truth = read_by_key(table, "score", keys, table.resolved)
    found = read_by_key(predicted, "prediction", keys, table.resolved)
    y, scores = join_by_key(truth, found)
    empty = np.isnan(scores)
    if empty.any() and not skip_bad:
        msg = (
            f"{path} has no score in {empty.sum():,} rows. Leave them out with "
            "--skip-bad, or score them again."
        )
        raise BadRowsError(msg)
    if empty.all():
        msg = f"{path} has no score at all. Score its pairs first."
        raise BadRowsError(msg)
    if words := suspicion(y[~empty], scores[~empty]):
        typer.echo(f"clapstack evaluate: warning: {words}", err=True)
    points = np.full((len(y), 3), np.nan)
    points[:, 0] = scores
    report = judge(y[~empty], points[~empty], coverage=np.nan, n_resamples=resamples)
    return report, int(empty.sum())
