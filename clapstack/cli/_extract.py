"""``clapstack extract``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from clapstack._output import check_output
from clapstack.cli import _options as options
from clapstack.cli._errors import errors_as_messages

__all__ = ["extract"]

_SUFFIXES = (".npz", ".parquet")
EPILOG = """\
\b
Examples:
  clapstack extract clips.csv
  clapstack extract clips.csv --out embeddings.npz
  clapstack extract clips.csv --out features.parquet --blocks product,cosine
  clapstack extract clips.csv --family msclap --checkpoint msclap=my/CLAP.pth
  clapstack extract clips.csv --family mine=my/folder

Every clip and text is encoded once and kept in the store (clapstack cache), where fit
and score find it. After a kill, the same command encodes only what is missing.

With --out, each family's blocks become arrays of a .npz file, or columns of a .parquet
file: msclap__audio and msclap__text are unit embeddings, what StreamedFeatures takes.
row holds the numbers of the rows; those that cannot be used are not there, and the exit
code is 1.
"""


def extract(
    table: Annotated[
        str,
        typer.Argument(
            help="CSV, JSON Lines or Parquet of pairs; - for standard input.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="A .npz or .parquet file to write."),
    ] = None,
    family: options.Family = None,
    blocks: Annotated[
        str,
        typer.Option(
            help="Parts of the pair feature: any of audio, text, product, absdiff, "
            "sqdiff, cosine, with commas."
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
        int, typer.Option(min=1, help="Rows held in memory at once.")
    ] = 1024,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Encode a table into the store, and into a file if wanted."""
    options.checked_format(input_format, "--input-format", "csv", "jsonl", "parquet")
    families = options.chosen_families(family)
    chosen = options.chosen_checkpoints(checkpoints, checkpoint)
    if out is not None and out.suffix.lower() not in _SUFFIXES:
        msg = f"it ends in .npz or .parquet; got {str(out)!r}."
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
