"""``clapstack report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clapstack._output import check_output, write_text
from clapstack.cli import _options as options
from clapstack.cli._errors import errors_as_messages

__all__ = ["report"]

EPILOG = """\
\b
Examples:
  clapstack report model.clapstack
  clapstack report model.clapstack --data rated.csv --out rated.html
  clapstack report model.clapstack --data test.jsonl --xacle-test --pairs 10

The page shows what was held out of the fit; with --data, also how well the pairs of
the table are predicted, and those that are predicted worst. It needs no network and no
other file.
"""


def report(
    model: Annotated[
        Path,
        typer.Argument(
            help="A model of clapstack fit, or of save_model.", show_default=False
        ),
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            help="CSV, JSON Lines or Parquet of rated pairs that the model has not "
            "seen.",
        ),
    ] = None,
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
        int, typer.Option(min=0, help="How many of the worst pairs are shown.")
    ] = 3,
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
    """Write a page of a model: card, metrics, pictures, fingerprints."""
    with errors_as_messages("clapstack report"):
        from clapstack._fitted import axes_of, set_up
        from clapstack.cli.report import make_report, read_data, read_model

        check_output(out, model, *filter(None, [data]))
        names = {"audio": audio_column, "text": text_column, "score": score_column}
        file = read_model(model, trust=trust, trust_encoders=trust_encoder)
        table = None
        axes = options.axes_to_judge(score_column, axes_of(file.model))
        if data is not None:
            table = read_data(
                data, file.model, audio_folder=audio_folder, names=names, axes=axes
            )
        set_up(file.model, device=device, batch_size=batch_size, verbose=not quiet)
        page = make_report(
            file,
            table,
            title=title,
            coverage=coverage,
            n_resamples=resamples,
            n_pairs=pairs,
            is_xacle_test=xacle_test,
        )
        write_text(out, page)
        if not quiet:
            typer.echo(f"{out}: {len(page) / 1e6:.1f} MB")
