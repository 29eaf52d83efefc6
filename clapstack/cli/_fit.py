"""``clapstack fit``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from clapstack._output import check_output
from clapstack.cli import _options as options
from clapstack.cli._errors import errors_as_messages, look_for_checkpoints

__all__ = ["fit"]

EPILOG = """\
\b
Examples:
  clapstack fit rated.csv --out model.clapstack
  clapstack fit rated.csv --out model.clapstack --groups text --folds 10
  clapstack fit meta/train.csv --audio-folder wav -o model.clapstack --jobs 4
  clapstack fit rated.csv -o model.clapstack --rating relevance --rating order
  clapstack fit rated.csv -o model.clapstack --family msclap
  clapstack fit rated.csv -o model.clapstack --family mine=my/folder

The table has a column of clips (audio), a column of texts (text) and a column of
ratings (score), or several rating columns, one per axis. If a pair has several rows,
its ratings are averaged.

The report is cross-validated: each pair is predicted by a stack fitted on other pairs.
If pairs share a text or a clip, use --groups text (or audio, or any column) to keep
them in the same fold; otherwise the report is too optimistic.

Loading the model file runs no code. The file contains no network weights.
"""


def fit(
    table: Annotated[
        str,
        typer.Argument(
            metavar="TABLE",
            help="CSV, JSON Lines or Parquet table of rated pairs; - for standard "
            "input.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar=options.FILE, help="Model file to write."),
    ],
    audio_folder: options.AudioFolder = None,
    audio_column: options.AudioColumn = None,
    text_column: options.TextColumn = None,
    score_column: options.RatingColumn = None,
    groups: Annotated[
        str | None,
        typer.Option(
            metavar=options.COLUMN,
            help="Column of groups: rows with the same value stay in the same fold.",
        ),
    ] = None,
    input_format: options.InputFormat = None,
    system: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="System to fit, by name; clapstack xacle systems lists them. "
            "Default: a stack of the three CLAP models.",
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Stack to fit: best (the default), or paper, exactly the published "
            "stack, which fits in a third of the time.",
        ),
    ] = None,
    family: options.Family = None,
    events: Annotated[
        bool,
        typer.Option(
            "--events",
            help="Add features of the sounds that a text names: which are missing, and "
            "whether their order is right. Encodes each clip twice.",
        ),
    ] = False,
    checkpoints: options.Checkpoints = "published",
    checkpoint: options.Checkpoint = None,
    folds: Annotated[
        int,
        typer.Option(
            min=0,
            metavar=options.NUMBER,
            help="Folds of the cross-validated report; 0 for no report.",
        ),
    ] = 5,
    resamples: options.Resamples = 1000,
    coverage: options.Coverage = 0.9,
    skip_bad: options.SkipBad = False,
    random_state: options.RandomState = 0,
    jobs: Annotated[
        int | None,
        typer.Option(
            metavar=options.NUMBER,
            help="Number of threads for model fitting; -1 for all cores.",
        ),
    ] = None,
    device: options.Device = None,
    batch_size: options.BatchSize = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Fit a model on rated pairs and report held-out metrics."""
    options.checked_input(input_format, device)
    if folds == 1:
        msg = "give 2 or more folds, or 0 for no report."
        raise typer.BadParameter(msg, param_hint="--folds")
    if preset is not None and system is not None:
        msg = "it cannot be combined with --system: a system has no presets."
        raise typer.BadParameter(msg, param_hint="--preset")
    if family and system is not None:
        msg = "it cannot be combined with --system: a system has its own families."
        raise typer.BadParameter(msg, param_hint="--family")
    if events and system is not None:
        msg = "it cannot be combined with --system: no published system has events."
        raise typer.BadParameter(msg, param_hint="--events")
    options.checked(preset, "--preset", ("paper", "best"))
    options.checked_systems([system] if system is not None else None)
    axes = options.several_axes(score_column)
    if axes and system is not None:
        msg = "a system predicts one score. Leave it out, or give one --score-column."
        raise typer.BadParameter(msg, param_hint="--system")
    families = options.chosen_families(family)
    chosen = options.chosen_checkpoints(checkpoints, checkpoint)
    with errors_as_messages("clapstack fit"):
        from clapstack._fitted import set_up
        from clapstack.cli.tables import (
            check_ratings_differ,
            doubt,
            few_pairs,
            fit_and_evaluate,
            read_rated,
            reading_line,
            remarks,
            report_lines,
        )
        from clapstack.scoring.tables import PairTable
        from clapstack.sharing import save_model
        from clapstack.systems import make_clap_stack, make_system

        check_output(out, table)
        usual = groups in (None, "audio", "text")
        source = PairTable(
            table,
            fmt=input_format,
            audio_folder=audio_folder,
            names={"audio": audio_column, "text": text_column, "score": score_column},
            roles=("audio", "text") if axes else ("audio", "text", "score"),
            others=(*axes, *(() if usual or groups in axes else (str(groups),))),
        )
        rated = read_rated(source, groups, axes)
        check_ratings_differ(rated, source.name)
        for words in () if quiet else remarks(rated):
            typer.echo(f"clapstack fit: {words}", err=True)
        if (words := few_pairs(len(rated.y))) and not quiet:
            typer.echo(f"clapstack fit: warning: {words}", err=True)
        settings: dict[str, Any] = {"random_state": random_state, "n_jobs": jobs}
        if system is None:
            settings |= {"families": families, "preset": preset or "best"}
            model = make_clap_stack(chosen, events=events, **settings)
        else:
            model = make_system(system, checkpoints=chosen, **settings)
        set_up(model, device=device, batch_size=batch_size, verbose=not quiet)
        look_for_checkpoints(model, "fit", quiet=quiet)
        evaluation = fit_and_evaluate(
            model,
            rated,
            folds=folds,
            coverage=coverage,
            n_resamples=resamples,
            random_state=random_state,
            skip_bad=skip_bad,
            verbose=not quiet,
        )
        options.name_bad(evaluation.bad, "fit")
        n_pairs = len(evaluation.y)
        if evaluation.report and (words := doubt(evaluation.report)) and not quiet:
            typer.echo(f"clapstack fit: warning: {words}", err=True)
        set_up(model, verbose=False)
        save_model(
            model, out, card=_card(source.name, rated, evaluation, folds, groups)
        )
        if json:
            counts = {"pairs": n_pairs, "left_out": len(evaluation.bad)}
            result = {"out": str(out), **counts, "folds": folds}
            options.print_json({**result, "report": evaluation.report})
            return
        if evaluation.report:
            typer.echo(_title(n_pairs, folds, groups, resamples))
            typer.echo("\n".join(report_lines(evaluation.report)))
            typer.echo(reading_line(evaluation.y))
        typer.echo(f"{out}: fitted on {n_pairs:,} pairs of {source.name}")


def _title(n_pairs: int, folds: int, groups: str | None, resamples: int) -> str:
    kept = f", grouped by {groups!r}" if groups else ""
    ends = "; in brackets, 95 % intervals" if resamples else ""
    return f"Cross-validated on {n_pairs:,} pairs, {folds} folds{kept}{ends}:"


def _card(
    name: str, rated: Any, evaluation: Any, folds: int, groups: str | None
) -> dict[str, Any]:
    """Return the entries of the model card about this fit."""
    data = (
        f"{rated.n_ratings} ratings of {len(evaluation.y)} pairs in {Path(name).name}."
    )
    if not evaluation.report:
        return {"data": data}
    kept = f", grouped by {groups!r}" if groups else ""
    data += f" The metrics are from cross-validation with {folds} folds{kept}."
    reports = evaluation.report
    if "n_pairs" in reports:
        reports = {"": reports}
    metrics = {
        f"{axis} {name}".strip(): value
        for axis, report in reports.items()
        for name, value in report.items()
        if name != "n_pairs"
    }
    return {"data": data, "metrics": metrics}
