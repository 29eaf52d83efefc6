"""``clapstack extract``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from clapstack._output import check_output
from clapstack.cli import _options as options
from clapstack.cli._errors import errors_as_messages, look_for_checkpoints

__all__ = ["extract"]

_SUFFIXES = (".npz", ".parquet")
_BLOCKS = ("audio", "text", "product", "absdiff", "sqdiff", "cosine")
EPILOG = """\
\b
Examples:
  clapstack extract clips.csv
  clapstack extract clips.csv --out embeddings.npz
  clapstack extract clips.csv --out features.parquet --blocks product,cosine
  clapstack extract clips.csv --family msclap --checkpoint msclap=my/CLAP.pth
  clapstack extract clips.csv --family mine=my/folder

Every clip and text is encoded once and kept in the store (clapstack cache), where fit
and score find it. Rerun the same command to resume an interrupted run; only missing
embeddings are encoded.

With --out, each family's blocks also become arrays of a .npz file or columns of a
.parquet file. msclap__audio and msclap__text are unit embeddings, which
StreamedFeatures accepts. row contains the row numbers; unusable rows are left out, and
the exit code is then 1.
"""


def extract(
    table: Annotated[
        str,
        typer.Argument(
            metavar="TABLE",
            help="CSV, JSON Lines or Parquet table of pairs; - for standard input.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar=options.FILE,
            help="Also write the embeddings to a .npz or .parquet file.",
        ),
    ] = None,
    family: options.Family = None,
    blocks: Annotated[
        str,
        typer.Option(
            metavar="BLOCKS",
            help="Parts of the pair feature, separated by commas: audio, text, "
            "product, absdiff, sqdiff, cosine.",
        ),
    ] = "audio,text",
    checkpoints: options.Checkpoints = "published",
    checkpoint: options.Checkpoint = None,
    audio_folder: options.AudioFolder = None,
    audio_column: options.AudioColumn = None,
    text_column: options.TextColumn = None,
    input_format: options.InputFormat = None,
    device: options.Device = None,
    batch_size: options.BatchSize = None,
    chunk_size: Annotated[
        int,
        typer.Option(
            min=1, metavar=options.NUMBER, help="Rows kept in memory at a time."
        ),
    ] = 1024,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Encode a table into the store, and optionally into a file."""
    options.checked_input(input_format, device)
    for block in blocks.split(","):
        options.checked(block, "--blocks", _BLOCKS)
    families = options.chosen_families(family)
    chosen = options.chosen_checkpoints(checkpoints, checkpoint)
    if out is not None and out.suffix.lower() not in _SUFFIXES:
        msg = f"the name must end in .npz or .parquet; got {str(out)!r}."
        raise typer.BadParameter(msg, param_hint="--out")
    with errors_as_messages("clapstack extract"):
        from clapstack.cli import tables as _tabular
        from clapstack.scoring.tables import PairTable
        from clapstack.systems import make_union

        if out is not None:
            check_output(out, table)
        source = PairTable(
            table,
            fmt=input_format,
            audio_folder=audio_folder,
            names={"audio": audio_column, "text": text_column},
        )
        source.check()
        settings: dict[str, Any] = {"device": device, "verbose": not quiet}
        if batch_size is not None:
            settings["batch_size"] = batch_size
        union = make_union(chosen, families, blocks.split(","), **settings)
        look_for_checkpoints(union, "extract", quiet=quiet)
        n_rows, bad, widths = _tabular.extract(
            source, union, out, chunk_size=chunk_size, verbose=not quiet
        )
        options.name_bad(bad, "extract")
        if json:
            counts = {"rows": n_rows, "failed": len(bad)}
            place = None if out is None else str(out)
            options.print_json({"out": place, **counts, "arrays": widths})
        elif not quiet:
            where = "the store" if out is None else f"the store and in {out}"
            done = n_rows - len(bad)
            typer.echo(f"{done:,} of {n_rows:,} rows are in {where}", err=True)
    if bad:
        raise typer.Exit(1)
