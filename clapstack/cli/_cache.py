"""The ``clapstack cache`` command: the embedding store, from outside."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from clapstack.cli._errors import SafeGroup, errors_as_messages
from clapstack.store import EmbeddingStore, default_cache_dir

__all__ = ["cache_app"]

_SIZES = ("B", "kB", "MB", "GB", "TB")

cache_app = typer.Typer(
    cls=SafeGroup,
    no_args_is_help=True,
    help="Look after the store of embeddings. Every clip and text is encoded once per "
    "encoder and kept there; what is missing is encoded again.",
)

Folder = Annotated[
    Path | None,
    typer.Option(
        help="Folder of the store. Without it: $CLAPSTACK_CACHE, or clapstack's "
        "folder in the user's cache folder.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bar.")]
Json = Annotated[
    bool, typer.Option("--json", help="Print the result as one JSON object.")
]


@cache_app.command()
def path(folder: Folder = None) -> None:
    """Print the folder of the store, whether or not it exists."""
    with _store(folder, "path") as store:
        typer.echo(store.root)


@cache_app.command()
def info(folder: Folder = None, as_json: Json = False) -> None:
    """Show what the store holds and how much room it takes."""
    with _store(folder, "info") as store:
        stats = store.stats()
        if as_json:
            facts = {"folder": str(store.root), **stats._asdict()}
            typer.echo(json.dumps(facts))
            return
        typer.echo(f"folder   {store.root}")
        typer.echo(f"on disk  {_size(stats.n_bytes)}")
        typer.echo(f"entries  {stats.n_entries:,}")
        for width, count in sorted(stats.widths.items()):
            typer.echo(f"         {count:,} of width {width}")
        typer.echo(f"files    {stats.n_files:,} known without reading them")


@cache_app.command()
def verify(folder: Folder = None, as_json: Json = False, quiet: Quiet = False) -> None:
    """Check every embedding against its checksum; drop what is damaged.

    What is dropped is encoded again when it is needed. The exit code is 1 if anything
    was damaged. If the file is damaged as a whole nothing is dropped, and the message
    says how many rows are whole; clapstack cache merge FOLDER --folder NEW saves them.
    """
    with _store(folder, "verify") as store:
        report = store.verify(verbose=not quiet)
        if as_json:
            typer.echo(json.dumps(report._asdict()))
        else:
            typer.echo(f"{report.n_checked:,} checked, {len(report.dropped):,} dropped")
            for key in report.dropped:
                typer.echo(f"  {key}")
    if report.dropped:
        raise typer.Exit(1)


@cache_app.command()
def prune(
    folder: Folder = None,
    max_size: Annotated[
        str | None,
        typer.Option(help="Largest size to leave, such as 500MB or 20GB."),
    ] = None,
    older_than: Annotated[
        float | None,
        typer.Option(
            min=0, max=36_500, help="Drop what was stored more than so many days ago."
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Make the store smaller: drop the embeddings that were stored first.

    For example: clapstack cache prune --max-size 20GB
    """
    if max_size is None and older_than is None:
        msg = "say what to drop, with --max-size, --older-than or both."
        raise typer.BadParameter(msg)
    max_bytes = None if max_size is None else _bytes(max_size)
    age = None if older_than is None else timedelta(days=older_than)
    with _store(folder, "prune") as store:
        n_dropped = store.prune(max_bytes=max_bytes, older_than=age, verbose=not quiet)
        stats = store.stats()
        typer.echo(
            f"{n_dropped:,} dropped, {stats.n_entries:,} left, {_size(stats.n_bytes)}"
        )


@cache_app.command()
def merge(
    other: Annotated[Path, typer.Argument(help="Folder of the other store.")],
    folder: Folder = None,
    quiet: Quiet = False,
) -> None:
    """Add the embeddings of another store, such as one from a second machine.

    Each is checked on the way; damaged ones are left out, and the exit code is then 1.
    The other store is only read. Merging again changes nothing.
    """
    with _store(folder, "merge") as store:
        report = store.merge(other, verbose=not quiet)
        typer.echo(
            f"{report.n_added:,} added, {report.n_present:,} here before, "
            f"{report.n_damaged:,} damaged and left out"
        )
    if report.n_damaged:
        raise typer.Exit(1)


@contextmanager
def _store(folder: Path | None, command: str) -> Iterator[EmbeddingStore]:
    """Open the chosen store; turn what is wrong with it into one line."""
    with (
        errors_as_messages(f"clapstack cache {command}"),
        closing(EmbeddingStore(folder or default_cache_dir())) as store,
    ):
        yield store


def _bytes(size: str) -> int:
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kMGT]?B)\s*", size)
    if found is None:
        msg = f"a size is a number and a unit, such as 500MB or 20GB; got {size!r}."
        raise typer.BadParameter(msg)
    return int(float(found[1]) * 1000 ** _SIZES.index(found[2]))


def _size(n_bytes: int) -> str:
    power = min((len(str(n_bytes)) - 1) // 3, 4)
    return f"{n_bytes / 1000**power:.{min(power, 1)}f} {_SIZES[power]}"
