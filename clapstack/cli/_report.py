"""``clapstack report``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from clapstack._optional import import_optional
from clapstack._output import check_output, write_text
from clapstack.cli import _options as options
from clapstack.cli._errors import errors_as_messages
from clapstack.cli._scorers import load_encoders

__all__ = ["report"]

EPILOG = """\
\b
Examples:
  clapstack report model.clapstack
  clapstack report model.clapstack --data rated.csv --out rated.html
  clapstack report model.clapstack --data test.jsonl --xacle-test --pairs 10
  clapstack report model.clapstack --data clips/ --prompts prompts.json
  clapstack report scores.csv --audio-folder clips/ --by generator

For a model, the page shows how well it predicts its training pairs while they are held
out. With a rated table in --data, it also shows how well the model predicts these pairs
and the worst predictions. For unrated pairs, or a table from clapstack score, it shows
the distribution of scores, a comparison of systems, and the best and worst pairs with
audio players. The page is a single file and needs no network.
"""


def report(
    what: Annotated[
        list[Path],
        typer.Argument(
            metavar="MODEL|TABLE",
            help="A model file from clapstack fit or save_model, or a table from "
            "clapstack score.",
            show_default=False,
        ),
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="TABLE",
            help="Table of new pairs, rated or not, or a folder of clips with their "
            "texts.",
        ),
    ] = None,
    prompts: options.Prompts = None,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            dir_okay=False,
            metavar=options.FILE,
            help="HTML file to write.",
        ),
    ] = Path("report.html"),
    title: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Title of the page. Default: the file name."),
    ] = None,
    audio_folder: options.AudioFolder = None,
    audio_column: options.AudioColumn = None,
    text_column: options.TextColumn = None,
    score_column: options.RatingColumn = None,
    coverage: options.Coverage = 0.9,
    resamples: options.Resamples = 1000,
    pairs: Annotated[
        int,
        typer.Option(
            min=0,
            metavar=options.NUMBER,
            help="Number of worst pairs to show, and of best pairs if there are no "
            "ratings. Each adds up to 10 s of audio (at most 1.3 MB) to the page.",
        ),
    ] = 3,
    by: Annotated[
        str | None,
        typer.Option(
            metavar=options.COLUMN,
            help="For unrated pairs: column with the system that made each clip. "
            "Default: system.",
        ),
    ] = None,
    xacle_test: Annotated[
        bool,
        typer.Option(
            "--xacle-test",
            help="The table is the official test split of XACLE 2026: also show the "
            "result's place in its ranking.",
        ),
    ] = False,
    device: options.Device = None,
    batch_size: options.BatchSize = None,
    trust: options.Trust = False,
    trust_encoder: options.TrustEncoder = None,
    quiet: options.Quiet = False,
) -> None:
    """Write an HTML report of a model, or of a scored table."""
    options.checked_input(None, device)
    if len(what) > 1:
        msg = (
            f"give one model or table; got {len(what)}. To show several systems on one "
            "page, put their rows into one table with a column that names the system, "
            "and give that column with --by. clapstack compare accepts several tables."
        )
        raise typer.BadParameter(msg, param_hint="MODEL|TABLE")
    model = what[0]
    with errors_as_messages("clapstack report"):
        from clapstack._fitted import axes_of, set_up
        from clapstack.cli.report import (
            make_report,
            make_scores_report,
            read_data,
            read_model,
            read_scores,
            score_pairs,
        )
        from clapstack.scoring.tables import PairTable, keep_keys
        from clapstack.tables import is_table

        import_optional("matplotlib", extra="plot", caller="clapstack report")
        is_scored = data is None and is_table(model)
        source = model if is_scored else data
        table = None
        if source is None:
            _refuse(
                {"--prompts": prompts, "--xacle-test": xacle_test}, "it needs --data."
            )
        else:
            names = {"audio": audio_column, "text": text_column, "score": score_column}
            table = PairTable(source, prompts, audio_folder=audio_folder, names=names)
        check_output(out, model, *(table.files if table else ()))
        scores = rated = None
        if is_scored and table is not None:
            scores = read_scores(table, by)
        else:
            file = read_model(model, trust=trust, trust_encoders=trust_encoder)
            set_up(file.model, device=device, batch_size=batch_size, verbose=not quiet)
            axes = options.axes_to_judge(score_column, axes_of(file.model))
            if table is not None:
                load_encoders(file.model, "report", quiet=quiet)
                keep_keys(table, file.model, audio_folder)
                if _is_rated(table, axes, score_column):
                    rated = read_data(table, axes=axes)
                else:
                    scores = score_pairs(table, by, file, _one_axis(axes))
        if scores is not None:
            _refuse({"--xacle-test": xacle_test}, "it needs a table with ratings.")
            page = make_scores_report(scores, title=title, n_pairs=pairs)
        else:
            _refuse({"--by": by}, "it applies only to pairs without ratings.")
            page = make_report(
                file,
                rated,
                title=title,
                coverage=coverage,
                n_resamples=resamples,
                n_pairs=pairs,
                is_xacle_test=xacle_test,
            )
        write_text(out, page)
        if scores is not None and (n_bad := int(scores.pairs["score"].isna().sum())):
            words = f"{n_bad:,} of {len(scores.pairs):,} rows have no score"
            typer.echo(f"clapstack report: {words}; {scores.why_not}", err=True)
        if not quiet:
            typer.echo(f"{out}: {len(page) / 1e6:.1f} MB")


def _refuse(given: dict[str, Any], why: str) -> None:
    """Refuse options that would have no effect."""
    for name, value in given.items():
        if value:
            raise typer.BadParameter(why, param_hint=name)


def _is_rated(table: Any, axes: Sequence[str], score_column: Any) -> bool:
    """Return whether a table has ratings, or ``--score-column`` names some."""
    from clapstack.tables import find_column

    if axes:
        return any(find_column(table.header, [axis]) for axis in axes)
    return bool(score_column) or table.has("score")


def _one_axis(axes: Sequence[str]) -> str:
    if len(axes) > 1:
        msg = (
            f"the model predicts {', '.join(axes)}, and a page of unrated pairs shows "
            "one axis. Name it with this option."
        )
        raise typer.BadParameter(msg, param_hint="--score-column")
    return axes[0] if axes else "score"
