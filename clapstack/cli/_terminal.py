r"""Standard streams that escape control characters and report failures.

File names, texts and column names come from strangers. Printed as they are, they could
move the cursor, change the title of a terminal or hide the text before them, so
messages show control characters as ``\u001b``.
"""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

__all__ = [
    "CLOSED_PIPE",
    "STDOUT",
    "data_stream",
    "one_line",
    "open_closed_streams",
    "safe_streams",
]

STDOUT = "standard output"
CLOSED_PIPE = 141  # 128 + SIGPIPE, as in a shell; nothing is printed about it

# C0 except tab and newline, delete, C1, marks that change the writing direction, line
# separators, and surrogates that represent invalid UTF-8 bytes.
_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
    "\ud800-\udfff]"
)


def one_line(text: Any) -> str:
    """Return a text with control characters escaped, including line ends."""
    return _escaped(str(text)).replace("\n", "\\n").replace("\t", "\\t")


def open_closed_streams() -> None:
    """Reserve the numbers of standard streams that the caller closed.

    Otherwise the next file to be opened would get the number of standard output, and
    with it everything that libraries print. Input and output stay unusable, so that a
    result that goes nowhere is an error; messages are dropped.
    """
    for number, flags in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, flags)  # takes the lowest number that is free
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


@contextmanager
def safe_streams() -> Iterator[None]:
    """Escape printed text; exit if standard output cannot be written.

    The exit code is 141 if the reader closed the pipe (``| head``), else 3. A message
    that cannot be written is dropped, since the result is worth more.
    """
    before = sys.stdout, sys.stderr
    output = sys.stdout = _Stream(_raw(sys.stdout), STDOUT)
    sys.stderr = _Stream(_raw(sys.stderr))
    try:
        yield
    except SystemExit:
        if isinstance(output.failure, BrokenPipeError):  # click exits with 1
            sys.exit(CLOSED_PIPE)
        raise
    except OSError as error:
        if error is not output.failure:
            raise
        print(f"clapstack: {error.strerror}: {error.filename}", file=sys.stderr)  # noqa: T201
        sys.exit(3)  # as for any other output file
    finally:
        sys.stdout, sys.stderr = before


def data_stream(errors: str) -> Any:
    """Return standard output for a table: UTF-8, and no escapes unless on a terminal.

    `errors` is the error handler for text that UTF-8 cannot encode.
    """
    raw = _raw(sys.stdout)
    if raw.isatty():
        return sys.stdout
    if isinstance(raw, io.TextIOWrapper):
        raw.reconfigure(encoding="utf-8", errors=errors)
    return _Stream(raw, STDOUT, escapes=False)


def _raw(stream: Any) -> Any:
    if stream is None:  # closed before Python began
        return _Nowhere()
    return stream.raw if isinstance(stream, _Stream) else stream


def _escaped(text: str) -> str:
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class _Nowhere(io.TextIOBase):
    encoding = "utf-8"

    def write(self, text: str) -> int:
        return len(text)


class _Stream(io.TextIOBase):
    """A stream that escapes control characters and puts its name into errors.

    Without a name, errors are dropped.
    """

    def __init__(self, raw: Any, name: str = "", *, escapes: bool = True):
        self.raw = raw
        self.failure: OSError | None = None
        self._name = name
        self._escapes = escapes
        if escapes and isinstance(raw, io.TextIOWrapper):
            raw.reconfigure(errors="backslashreplace")  # for a small encoding

    @property
    def unescaped(self) -> _Stream | None:
        """Stream for progress bars, which move the cursor; None unless on a terminal.

        In a log, each step of a bar would be a line.
        """
        return _Stream(self.raw, escapes=False) if self.isatty() else None

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self.raw.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return self.raw.errors

    def write(self, text: str) -> int:
        with self._named():
            self.raw.write(_escaped(text) if self._escapes else text)
        return len(text)

    def flush(self) -> None:
        with self._named():
            self.raw.flush()

    def isatty(self) -> bool:
        return self.raw.isatty()

    def fileno(self) -> int:
        return self.raw.fileno()

    def writable(self) -> bool:
        return True

    @contextmanager
    def _named(self) -> Iterator[None]:
        if self.failure is not None:
            raise self.failure
        try:
            yield
        except OSError as error:
            # The rest of the buffer would fail again when the interpreter exits.
            with suppress(OSError), open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), self.raw.fileno())
            if self._name:
                error.filename = error.filename or self._name
                self.failure = error
                raise
