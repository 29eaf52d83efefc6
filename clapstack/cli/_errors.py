"""Errors as one-line messages and exit codes; tracebacks only with ``--debug``."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from clapstack.cli._terminal import CLOSED_PIPE, STDOUT, one_line, safe_streams
from clapstack.exceptions import (
    BadPairsError,
    BadRowsError,
    CheckpointError,
    MissingCheckpointError,
    ModelFileError,
    TableError,
)

__all__ = [
    "BELOW",
    "SafeCommand",
    "SafeGroup",
    "errors_as_messages",
    "hub_way",
    "look_for_checkpoints",
    "show_tracebacks",
]

_TRACEBACKS: ContextVar[bool] = ContextVar("tracebacks", default=False)
# Options of the running command.
_OPTIONS: ContextVar[frozenset[str]] = ContextVar("options", default=frozenset())
# Published checkpoints that the running command needs and that are not on this machine.
_ABSENT: ContextVar[dict[str, str] | None] = ContextVar("absent", default=None)
# Exit codes, besides 0 for success and typer's 2 for a wrong command. The guide and
# clapstack --help list them.
_REFUSED = 1
_UNREADABLE = 3
BELOW = 4  # a mean score below --fail-under
_FAILED = 70  # EX_SOFTWARE of sysexits.h
_INTERRUPTED = 130  # 128 + SIGINT, as in a shell
# Errors whose messages are written for users. Others are bugs, or a machine out of
# resources, and are shown with their type.
_PLAIN = (OSError, ValueError, ImportError)
_SHOWN = 20


class SafeCommand(TyperCommand):
    """A command whose help shows metavars without the types that typer adds."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the parts of the usage line."""
        return ["[OPTIONS]", *map(_argument, _parameters(self, ctx, "argument"))]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the lists of arguments and options."""
        for title, kind in (("Arguments", "argument"), ("Options", "option")):
            rows = []
            for each in _parameters(self, ctx, kind):
                if record := each.get_help_record(ctx):
                    name = _argument(each) if kind == "argument" else record[0]
                    rows.append((name, record[1]))
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


def _parameters(command: Any, ctx: Any, kind: str) -> list[Any]:
    return [p for p in command.get_params(ctx) if p.param_type_name == kind]


def _argument(parameter: Any) -> str:
    metavar = parameter.metavar or parameter.name.upper()
    # A metavar may show itself which of its parts are optional.
    is_whole = parameter.required or "[" in metavar
    return metavar if is_whole else f"[{metavar}]"


class SafeGroup(TyperGroup):
    """A group of commands that prints through safe streams."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command."""
        with safe_streams():
            return super().main(*args, **kwargs)

    def resolve_command(self, ctx: Any, args: Any) -> Any:
        """Find the command to run."""
        found = super().resolve_command(ctx, args)
        parameters = getattr(found[1], "params", ())
        known = {option for each in parameters for option in each.opts}
        if "--unsupervised" in known - set(found[2]):  # a model has its own encoders
            known -= {"--checkpoints", "--family"}
        _OPTIONS.set(frozenset(known))
        return found


def show_tracebacks(wanted: bool) -> None:
    """Set whether errors are shown with their traceback, as with ``--debug``."""
    _TRACEBACKS.set(wanted)


@contextmanager
def errors_as_messages(command: str) -> Iterator[None]:
    """Turn an error into a message of `command` on standard error, and an exit code.

    The code is 1 for unusable rows and for data or settings that do not allow what was
    asked, 3 for a file or a package that is missing or unusable, 70 for errors that no
    input should cause, 130 for an interruption, and 141 if the reader of standard
    output closed the pipe.
    """
    with warnings.catch_warnings():
        if not _TRACEBACKS.get():
            warnings.showwarning = _warner(command)
        try:
            yield
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise  # typer words these itself
        except KeyboardInterrupt as error:
            typer.echo(f"{command}: interrupted", err=True)
            raise typer.Exit(_INTERRUPTED) from error
        except Exception as error:
            if isinstance(error, BrokenPipeError) and error.filename == STDOUT:
                raise typer.Exit(CLOSED_PIPE) from error
            if _TRACEBACKS.get():
                raise
            typer.echo(f"{command}: {_words(error)}", err=True)
            raise typer.Exit(_code(error)) from error


def _code(error: Exception) -> int:
    if not isinstance(error, _PLAIN):
        return _FAILED
    kinds = (OSError, ImportError, MissingCheckpointError, ModelFileError, TableError)
    unreadable = isinstance(error, kinds)
    is_of_rows = isinstance(error, BadRowsError)
    return _UNREADABLE if unreadable and not is_of_rows else _REFUSED


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.strerror}: {one_line(error.filename)}"
    if isinstance(error, BadPairsError):
        return _bad_pairs(error)
    if isinstance(error, CheckpointError) and "--checkpoint" not in str(error):
        return f"{error}{_offline_way(str(error))}"
    if isinstance(error, _PLAIN):
        return str(error)
    kind = type(error).__name__
    return f"{kind}: {error} (rerun with clapstack --debug … to see the traceback)"


def _bad_pairs(error: BadPairsError) -> str:
    """Name the first rows of an error, and the option that names and skips them all."""
    lines = [f"{len(error.rows):,} of {error.n_pairs:,} pairs cannot be used:"]
    lines += [
        f"  row {row.index}{row.source and f', {row.source}'}: {row.reason}"
        for row in error.rows[:_SHOWN]
    ]
    if len(error.rows) > _SHOWN:
        lines.append(f"  … and {len(error.rows) - _SHOWN:,} more")
    if "--skip-bad" in _OPTIONS.get() and len(error.rows) < error.n_pairs:
        lines.append("--skip-bad leaves out these rows, and names every one.")
    return "\n".join(lines)


def look_for_checkpoints(model: Any, command: str, *, quiet: bool = False) -> None:
    """Announce a download of published checkpoints, before a wait without output.

    If it fails, the message names all that are missing and how to provide them.
    """
    from huggingface_hub import constants

    from clapstack._fitted import encoders_of
    from clapstack.systems import hub_downloads, list_checkpoints

    table = list_checkpoints()
    absent = set(filter(hub_downloads, table["checkpoint"][~table["present"]]))
    found = {
        name.rpartition("__")[2]: str(encoder.checkpoint)
        for name, encoder in encoders_of(model).items()
        if str(getattr(encoder, "checkpoint", "")) in absent
    }
    _ABSENT.set(found)
    if found and not quiet and not constants.HF_HUB_OFFLINE:
        places = ", ".join(dict.fromkeys(found.values()))
        words = f"downloading {places} from the Hugging Face hub …"
        typer.echo(f"clapstack {command}: {words}", err=True)


def _offline_way(message: str) -> str:
    """Return how to provide missing weights to the running command."""
    from clapstack.systems import FAMILIES, hub_downloads

    options = _OPTIONS.get()
    published = {n: f.published for n, f in FAMILIES.items()}
    # A file on the hub is named after its repository, in a sentence of its own.
    named = {
        n: p for n, p in published.items() if repr(p) in message or f"{p} " in message
    }
    absent = {**dict(list(named.items())[:1]), **(_ABSENT.get() or {})} if named else {}
    lines = []
    others = [place for place in absent.values() if place not in message]
    if others:
        lines.append(f"Also missing: {' and '.join(dict.fromkeys(others))}.")
    has_bundled = absent and all(
        name in FAMILIES and FAMILIES[name].bundled for name in absent
    )
    if has_bundled and "--checkpoints" in options:
        lines.append(
            "To try the command without these weights, add --checkpoints bundled: "
            "small test checkpoints that know only the bundled sounds."
        )
    if "--checkpoint" in options:
        places = [f"{n}=models/{place.split('/')[-1]}" for n, place in absent.items()]
        lines.append("If the weights are on this machine, give their paths:")
        lines += [f"  --checkpoint {each}" for each in places or ["FAMILY=PATH"]]
    downloads = [each for place in absent.values() for each in hub_downloads(place)]
    if downloads:
        lines.append(f"Or {hub_way(downloads)}")
    return "".join(f"\n{line}" for line in lines)


def hub_way(downloads: Iterable[str]) -> str:
    """Return how to fill the hub's cache on a machine without a network."""
    from huggingface_hub import constants

    parts = list(dict.fromkeys(downloads))
    runs = ", ".join(f"hf download {part}" for part in parts)
    folders = (f"models--{part.split()[0].replace('/', '--')}" for part in parts)
    return (
        f"run {runs} on a machine with a network, and copy "
        f"{', '.join(dict.fromkeys(folders))} from its hub cache to "
        f"{constants.HF_HUB_CACHE} on this one."
    )


def _warner(command: str) -> Any:
    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: Any = None,
        line: str | None = None,
    ) -> None:
        typer.echo(f"{command}: warning: {message}", err=True)

    return show
