"""``clapstack bench``: encoders compared on rated pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clapstack._output import check_output
from clapstack.cli import _options as options
from clapstack.cli._errors import SafeCommand, SafeGroup, errors_as_messages

__all__ = ["bench_app"]

bench_app = typer.Typer(cls=SafeGroup, no_args_is_help=True)

EPILOG = """\
\b
Examples:
  clapstack bench human --data XACLE_dataset --out human
  clapstack bench human --data RELATE_wave --relate RELATE/scores
  clapstack bench human --data XACLE_dataset --family msclap
  clapstack bench human --data XACLE_dataset --family mine=my/folder
"""


@bench_app.callback()
def compare() -> None:
    """Compare encoders on rated pairs."""


@bench_app.command(cls=SafeCommand, epilog=EPILOG)
def human(
    data: Annotated[
        Path,
        typer.Option(
            "--data",
            metavar=options.FOLDER,
            help="The challenge folder; with --relate, RELATE's unpacked audio.",
        ),
    ],
    relate: Annotated[
        Path | None,
        typer.Option(
            "--relate",
            metavar=options.FOLDER,
            help="Folder 'scores' of RELATE's repository.",
        ),
    ] = None,
    family: options.EncoderFamily = None,
    checkpoints: options.Checkpoints = "published",
    bundled: options.Bundled = False,
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", metavar=options.FOLDER, help="Folder for all results."
        ),
    ] = Path("human-bench"),
    allow_overlap: options.AllowOverlap = False,
    device: options.Device = None,
    batch_size: options.BatchSize = 32,
    quiet: options.Quiet = False,
) -> None:
    """Evaluate each encoder's cosine, and a ridge on it.

    The result is a table with intervals, as Markdown and CSV. Rerun the same command to
    resume an interrupted run, or to add encoders.
    """
    from clapstack.cli import challenge as _challenge
    from clapstack.datasets import list_xacle_splits, load_relate, load_xacle

    options.checked_input(None, device)
    source = options.chosen_checkpoints("bundled" if bundled else checkpoints, None)
    families = options.checked_families(family)
    with errors_as_messages("clapstack bench human"):
        families = families or _challenge.present_encoders(bundled=source == "bundled")
        if not families:
            msg = (
                "no published encoder is on this machine (see clapstack checkpoints). "
                "Name one with --family to fetch it from the hub, or add --checkpoints "
                "bundled."
            )
            raise typer.BadParameter(msg, param_hint="--family")
        check_output(out / "human.csv")
        if relate is None:
            splits = {name: load_xacle(data, name) for name in list_xacle_splits(data)}
        else:
            splits = {
                name: load_relate(data, relate, split=name)
                for name in ("train", "validation", "test")
            }
        results = _challenge.bench_human(
            splits,
            families,
            str(source),
            out=out,
            allow_overlap=allow_overlap,
            device=device,
            batch_size=batch_size,
            verbose=not quiet,
            echo=(lambda line: None) if quiet else typer.echo,
        )
        typer.echo(f"\n{_challenge.format_human(results)}")
        typer.echo(f"The table is in {out / 'human.md'} and {out / 'human.csv'}.")
