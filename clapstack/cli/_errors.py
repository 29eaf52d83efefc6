"""Errors of the command line: one line each, or a traceback where it is wanted."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import typer
from typer.core import TyperGroup

from clapstack.cli._terminal import one_line, safe_streams
from clapstack.exceptions import (
    BadRowsError,
    CheckpointError,
    ModelFileError,
    TableError,
)

__all__ = ["BELOW", "SafeGroup", "errors_as_messages", "show_tracebacks"]

_TRACEBACKS: ContextVar[bool] = ContextVar("tracebacks", default=False)
# Of the command that runs.
_OPTIONS: ContextVar[frozenset[str]] = ContextVar("options", default=frozenset())
# Exit codes, beside 0 for success and 2 for a wrong command, which is typer's. The
# guide and clapstack --help list them.
_REFUSED = 1
_UNREADABLE = 3
BELOW = 4  # a mean score below --fail-under
_FAILED = 70  # as sysexits.h has it
_INTERRUPTED = 130  # as shells have it
# What is wrong with the input, in words meant for its owner. Others are bugs, or a
# machine that gives out, and are shown with their type.
_PLAIN = (OSError, ValueError, ImportError)


class SafeGroup(TyperGroup):
    """A group of commands that prints through streams that are safe."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command."""
        with safe_streams():
            return super().main(*args, **kwargs)

    def resolve_command(self, ctx: Any, args: Any) -> Any:
        """Find the command that runs."""
        found = super().resolve_command(ctx, args)
        parameters = getattr(found[1], "params", ())
        _OPTIONS.set(frozenset(o for each in parameters for o in each.opts))
        return found


def show_tracebacks(wanted: bool) -> None:
    """Say whether errors are shown with their traceback, as ``--debug`` asks."""
    _TRACEBACKS.set(wanted)


@contextmanager
def errors_as_messages(command: str) -> Iterator[None]:
    """Turn an error into a message of `command` on standard error, and an exit code.

    The code is 1 for rows that cannot be used and for what the data or the settings do
    not allow, 3 for a file or a package that is missing or cannot be used, 70 for
    errors that no input should cause, and 130 for an interruption.
    """
    with warnings.catch_warnings():
        if not _TRACEBACKS.get():
            warnings.showwarning = _warner(command)
        try:
            yield
        except (typer.Exit, typer.Abort, typer.BadParameter, BrokenPipeError):
            raise  # typer's own words, and a reader who has read enough
        except KeyboardInterrupt as error:
            typer.echo(f"{command}: interrupted", err=True)
            raise typer.Exit(_INTERRUPTED) from error
        except Exception as error:
            if _TRACEBACKS.get():
                raise
            typer.echo(f"{command}: {_words(error)}", err=True)
            raise typer.Exit(_code(error)) from error


def _code(error: Exception) -> int:
    if not isinstance(error, _PLAIN):
        return _FAILED
    unreadable = isinstance(error, (OSError, ImportError, ModelFileError, TableError))
    is_of_rows = isinstance(error, BadRowsError)
    return _UNREADABLE if unreadable and not is_of_rows else _REFUSED


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.strerror}: {one_line(error.filename)}"
    if isinstance(error, CheckpointError) and "--checkpoint" not in str(error):
        return f"{error}{_where_to_say()}"
    if isinstance(error, _PLAIN):
        return str(error)
    kind = type(error).__name__
    return f"{kind}: {error} (clapstack --debug … shows where it happened)"


def _where_to_say() -> str:
    """Name the option that says where weights are, if the command has it."""
    if "--checkpoint" not in _OPTIONS.get():
        return ""
    return "\nSay with --checkpoint FAMILY=PATH where the weights of a family are."


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
