"""The ``clapstack report`` command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["report"]

EPILOG = """\
\b
Examples:
  clapstack report model.clapstack
  clapstack report model.clapstack --data rated.csv --out rated.html
"""


def report(
    model: Annotated[
        Path,
        typer.Argument(
            exists=True,
            dir_okay=False,
            help="A fitted pipeline, from clapstack.save_model.",
        ),
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="CSV of rated pairs that the model has not seen: audio, text, score.",
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", dir_okay=False, help="The page to write.")
    ] = Path("report.html"),
    title: Annotated[
        str | None, typer.Option(help="Title; without it, the name of the file.")
    ] = None,
    audio_folder: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            help="What relative paths of clips are relative to. Without it: the folder "
            "of the table.",
        ),
    ] = None,
    coverage: Annotated[
        float,
        typer.Option(
            min=0.01, max=0.999, help="Share of scores that intervals are to hold."
        ),
    ] = 0.9,
    resamples: Annotated[
        int,
        typer.Option(min=0, help="Bootstrap resamples of the metrics; 0 for none."),
    ] = 1000,
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
    device: Annotated[
        str | None,
        typer.Option(help="Where encoders run, such as cpu or cuda:0."),
    ] = None,
    trust: Annotated[
        bool,
        typer.Option(
            "--trust",
            help="MODEL is a file of joblib, which runs what is in it when it is "
            "loaded, and you trust it.",
        ),
    ] = False,
) -> None:
    """Write one HTML page of a fitted model: card, metrics, pictures, fingerprints.

    The page needs no network, and no other file.
    """
    from clapstack._report import make_report, read_data, read_model, set_device

    try:
        file = read_model(model, trust=trust)
        if device is not None:
            set_device(file.model, device)
        table = None if data is None else read_data(data, audio_folder)
        page = make_report(
            file,
            table,
            title=title,
            coverage=coverage,
            n_resamples=resamples,
            n_pairs=pairs,
            is_xacle_test=xacle_test,
        )
        out.write_text(page, encoding="utf-8")
    except (ImportError, OSError, ValueError) as error:
        typer.echo(f"clapstack report: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"{out}: {len(page) / 1e6:.1f} MB")
