"""``clapstack cache``: inspecting and maintaining the embedding store."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clapstack.cli import _options as options
from clapstack.cli._errors import SafeCommand, SafeGroup, errors_as_messages

if TYPE_CHECKING:
    from clapstack.store import EmbeddingStore

__all__ = ["cache_app"]

_SIZES = ("B", "kB", "MB", "GB", "TB")

cache_app = typer.Typer(
    cls=SafeGroup,
    no_args_is_help=True,
    help="Inspect and maintain the store of embeddings. Every clip and text is encoded "
    "once per encoder and kept there; deleted ones are encoded again when needed.",
)

Folder = Annotated[
    Path | None,
    typer.Option(
        metavar=options.FOLDER,
        help="Folder of the store. Default: $CLAPSTACK_CACHE, or clapstack's folder in "
        "the user cache.",
    ),
]


@cache_app.command(cls=SafeCommand)
def path(folder: Folder = None) -> None:
    """Print the folder of the store, even if it does not exist yet."""
    with _store(folder, "path") as store:
        typer.echo(store.root)


@cache_app.command(cls=SafeCommand)
def info(folder: Folder = None, as_json: options.Json = False) -> None:
    """Show the number of embeddings and their size on disk."""
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
        typer.echo(f"files    {stats.n_files:,} recognised without reading them")


@cache_app.command(cls=SafeCommand)
def verify(
    folder: Folder = None, as_json: options.Json = False, quiet: options.Quiet = False
) -> None:
    """Verify all checksums and delete damaged embeddings.

    Deleted embeddings are encoded again when needed. The exit code is 1 if anything was
    damaged. If the database file itself is damaged, nothing is deleted, and the message
    reports how many rows are intact; clapstack cache merge FOLDER --folder NEW copies
    them to a new store.
    """
    with _store(folder, "verify") as store:
        report = store.verify(verbose=not quiet)
        if as_json:
            typer.echo(json.dumps(report._asdict()))
        else:
            typer.echo(f"{report.n_checked:,} checked, {len(report.dropped):,} deleted")
            for key in report.dropped:
                typer.echo(f"  {key}")
    if report.dropped:
        raise typer.Exit(1)


@cache_app.command(cls=SafeCommand)
def prune(
    folder: Folder = None,
    max_size: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help="Size to shrink the store to, such as 500MB or 20GB."
        ),
    ] = None,
    older_than: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=36_500,
            metavar="DAYS",
            help="Delete embeddings stored more than this many days ago.",
        ),
    ] = None,
    quiet: options.Quiet = False,
) -> None:
    """Shrink the store by deleting its oldest embeddings.

    For example: clapstack cache prune --max-size 20GB
    """
    if max_size is None and older_than is None:
        msg = "give --max-size, --older-than or both."
        raise typer.BadParameter(msg)
    max_bytes = None if max_size is None else _bytes(max_size)
    age = None if older_than is None else timedelta(days=older_than)
    with _store(folder, "prune") as store:
        n_dropped = store.prune(max_bytes=max_bytes, older_than=age, verbose=not quiet)
        stats = store.stats()
        typer.echo(
            f"{n_dropped:,} deleted, {stats.n_entries:,} left, {_size(stats.n_bytes)}"
        )


@cache_app.command(cls=SafeCommand)
def merge(
    other: Annotated[
        Path,
        typer.Argument(metavar=options.FOLDER, help="Folder of the other store."),
    ],
    folder: Folder = None,
    quiet: options.Quiet = False,
) -> None:
    """Add the embeddings of another store, say of another machine.

    Each embedding is verified; damaged ones are left out, and the exit code is then 1.
    The other store is only read. Merging again changes nothing.
    """
    with _store(folder, "merge") as store:
        report = store.merge(other, verbose=not quiet)
        typer.echo(
            f"{report.n_added:,} added, {report.n_present:,} already there, "
            f"{report.n_damaged:,} damaged and left out"
        )
    if report.n_damaged:
        raise typer.Exit(1)


@contextmanager
def _store(folder: Path | None, command: str) -> Iterator[EmbeddingStore]:
    """Open the chosen store; report errors as messages."""
    from clapstack.store import EmbeddingStore, default_cache_dir

    with (
        errors_as_messages(f"clapstack cache {command}"),
        closing(EmbeddingStore(folder or default_cache_dir())) as store,
    ):
        yield store


def _bytes(size: str) -> int:
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kMGT]?B)\s*", size)
    if found is None:
        msg = f"a size has a number and a unit, such as 500MB or 20GB; got {size!r}."
        raise typer.BadParameter(msg, param_hint="--max-size")
    return int(float(found[1]) * 1000 ** _SIZES.index(found[2]))


def _size(n_bytes: int) -> str:
    power = min((len(str(n_bytes)) - 1) // 3, 4)
    return f"{n_bytes / 1000**power:.{min(power, 1)}f} {_SIZES[power]}"
