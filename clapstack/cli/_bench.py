"""The ``clapstack bench`` command: encoders compared on rated pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clapstack.cli import _options as options
from clapstack.cli._errors import SafeGroup, errors_as_messages

__all__ = ["bench_app"]

bench_app = typer.Typer(cls=SafeGroup, no_args_is_help=True)

EPILOG = """\
\b
Examples:
  clapstack bench human --data XACLE_dataset --out human
  clapstack bench human --data RELATE_wave --relate RELATE/scores
  clapstack bench human --data XACLE_dataset --encoder mga_clap=model.pt

Without --encoder and --bundled: all encoders whose published weights are in the working
folder or in the hub's cache. A family may be given with several checkpoints.
"""


@bench_app.callback()
def compare() -> None:
    """Compare encoders on rated pairs."""


@bench_app.command(epilog=EPILOG)
def human(
    data: Annotated[
        Path,
        typer.Option(
            "--data", help="XACLE's folder; with --relate, RELATE's unpacked audio."
        ),
    ],
    relate: Annotated[
        Path | None,
        typer.Option("--relate", help="Folder 'scores' of RELATE's repository."),
    ] = None,
    encoder: Annotated[
        list[str] | None,
        typer.Option(
            "--encoder",
            metavar="FAMILY=CHECKPOINT",
            help="An encoder to judge: a path, or a hub id. May be given repeatedly.",
        ),
    ] = None,
    bundled: Annotated[
        bool,
        typer.Option("--bundled", help="The mini checkpoints; they know few sounds."),
    ] = False,
    out: Annotated[
        Path, typer.Option("--out", help="Folder of records and tables.")
    ] = Path("human-bench"),
    allow_overlap: Annotated[
        bool,
        typer.Option("--allow-overlap", help="Go on if training pairs are held out."),
    ] = False,
    device: options.Device = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Clips in a pass.")] = 32,
    quiet: options.Quiet = False,
) -> None:
    """Judge each encoder's cosine, and a ridge on it, against people's ratings.

    Writes a table with intervals, as Markdown and CSV. Rerun the same command to resume
    an interrupted run, or to add encoders.
    """
    from clapstack.cli import challenge as _challenge
    from clapstack.datasets import list_xacle_splits, load_relate, load_xacle
    from clapstack.systems import bundled_checkpoints

    with errors_as_messages("clapstack bench human"):
        encoders = options.family_checkpoints(encoder, "--encoder")
        if bundled:
            minis = bundled_checkpoints().items()
            encoders += [(name, place) for name, place in minis if place is not None]
        if not encoders:
            encoders = _challenge.present_encoders()
        if not encoders:
            msg = (
                "no published encoder is on this machine. Give one with --encoder "
                "FAMILY=CHECKPOINT, which fetches a hub id, or pass --bundled."
            )
            raise typer.BadParameter(msg, param_hint="--encoder")
        if relate is None:
            splits = {name: load_xacle(data, name) for name in list_xacle_splits(data)}
        else:
            splits = {
                name: load_relate(data, relate, split=name)
                for name in ("train", "validation", "test")
            }
        results = _challenge.bench_human(
            splits,
            encoders,
            out=out,
            allow_overlap=allow_overlap,
            device=device,
            batch_size=batch_size,
            verbose=not quiet,
            echo=(lambda line: None) if quiet else typer.echo,
        )
        typer.echo(f"\n{_challenge.format_human(results)}")
        typer.echo(f"The table is in {out / 'human.md'} and {out / 'human.csv'}.")
