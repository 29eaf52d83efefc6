"""``clapstack report``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from clapstack._output import check_output, write_text
from clapstack.cli import _options as options
from clapstack.cli._errors import errors_as_messages
from clapstack.tables import find_column, is_table

__all__ = ["report"]

EPILOG = """\
\b
Examples:
  clapstack report model.clapstack
  clapstack report model.clapstack --data rated.csv --out rated.html
  clapstack report model.clapstack --data test.jsonl --xacle-test --pairs 10
  clapstack report model.clapstack --data clips/ --prompts prompts.json
  clapstack report scores.csv --audio-folder clips/ --by generator

Of a model, the page shows what was held out of the fit; with --data, also how well the
pairs of the table are predicted, and those that are predicted worst. Of a table without
ratings, or of one that clapstack score wrote, it shows how scores are spread, systems
side by side, and the best and worst pairs. Pairs have players. The page needs no
network and no other file.
"""


def report(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL|TABLE",
            help="A model of clapstack fit, or of save_model; or a table that "
            "clapstack score wrote.",
            show_default=False,
        ),
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            help="A table of pairs that the model has not seen, with ratings or "
            "without; or a folder of clips with their texts.",
        ),
    ] = None,
    prompts: options.Prompts = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", dir_okay=False, help="The page to write.")
    ] = Path("report.html"),
    title: Annotated[
        str | None, typer.Option(help="Title; without it, the name of the file.")
    ] = None,
    audio_folder: options.AudioFolder = None,
    audio_column: options.AudioColumn = None,
    text_column: options.TextColumn = None,
    score_column: options.ScoreColumn = None,
    coverage: options.Coverage = 0.9,
    resamples: options.Resamples = 1000,
    pairs: Annotated[
        int,
        typer.Option(
            min=0,
            help="How many of the worst pairs are shown, and of the best without "
            "ratings. Each has up to 10 s of sound in the page, 1.3 MB at most.",
        ),
    ] = 3,
    by: Annotated[
        str | None,
        typer.Option(
            help="Without ratings: column of what made each clip. Usually: system."
        ),
    ] = None,
    xacle_test: Annotated[
        bool,
        typer.Option(
            "--xacle-test",
            help="The table is the official test split of XACLE 2026: show where the "
            "result stands in its ranking.",
        ),
    ] = False,
    device: options.Device = None,
    batch_size: options.BatchSize = None,
    trust: options.Trust = False,
    trust_encoder: options.TrustEncoder = None,
    quiet: options.Quiet = False,
) -> None:
    """Write a page of a model, or of scores: metrics, pictures, players."""
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

        is_scored = data is None and is_table(model)
        source = model if is_scored else data
        table = None
        if source is None:
            _refuse({"--prompts": prompts}, "it goes with --data.")
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
                keep_keys(table, file.model, audio_folder)
                if _is_rated(table, axes, score_column):
                    rated = read_data(table, axes=axes)
                else:
                    scores = score_pairs(table, by, file, _one_axis(axes))
        if scores is not None:
            _refuse({"--xacle-test": xacle_test}, "the pairs have no ratings.")
            page = make_scores_report(scores, title=title, n_pairs=pairs)
        else:
            _refuse({"--by": by}, "it goes with pairs without ratings.")
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
    """Refuse options that would do nothing."""
    for name, value in given.items():
        if value:
            raise typer.BadParameter(why, param_hint=name)


def _is_rated(table: Any, axes: Sequence[str], score_column: Any) -> bool:
    """Return whether a table has ratings, or was said to."""
    if axes:
        return any(find_column(table.header, [axis]) for axis in axes)
    return bool(score_column) or table.has("score")


def _one_axis(axes: Sequence[str]) -> str:
    if len(axes) > 1:
        msg = f"the model predicts {', '.join(axes)}; a page of scores shows one."
        raise typer.BadParameter(msg, param_hint="--score-column")
    return axes[0] if axes else "score"
