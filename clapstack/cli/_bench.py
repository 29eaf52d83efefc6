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
  clapstack bench human --data XACLE_dataset --family msclap --family mine=my/folder
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
    family: Annotated[
        list[str] | None,
        typer.Option(
            "--family",
            metavar="NAME[=CHECKPOINT]",
            help="An encoder to judge, as for clapstack fit; repeatedly. Without it: "
            "all whose published weights are on this machine.",
        ),
    ] = None,
    bundled: options.Bundled = False,
    out: Annotated[
        Path, typer.Option("--out", help="Folder of records and tables.")
    ] = Path("human-bench"),
    allow_overlap: options.AllowOverlap = False,
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

    families = options.by_name(family, "--family")
    with errors_as_messages("clapstack bench human"):
        families = families or _challenge.present_encoders(bundled=bundled)
        if not families:
            msg = (
                "no published encoder is on this machine (see clapstack checkpoints). "
                "Give one with --family, which fetches what is on the hub, or pass "
                "--bundled."
            )
            raise typer.BadParameter(msg, param_hint="--family")
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
            "bundled" if bundled else "published",
            out=out,
            allow_overlap=allow_overlap,
            device=device,
            batch_size=batch_size,
            verbose=not quiet,
            echo=(lambda line: None) if quiet else typer.echo,
        )
        typer.echo(f"\n{_challenge.format_human(results)}")
        typer.echo(f"The table is in {out / 'human.md'} and {out / 'human.csv'}.")
