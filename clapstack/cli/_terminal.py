r"""Standard streams for a command line: control characters escaped, failures in words.

File names, texts and column names come from strangers. Printed as they are, they could
move the cursor, change the title of a terminal or hide what stands before them, so what
is printed for people shows control characters as ``\u001b``.
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
    "data_stream",
    "one_line",
    "open_closed_streams",
    "safe_streams",
]

# C0 but tab and newline, delete, C1, marks that change the direction of writing, line
# separators, and what stands for bytes that are no UTF-8.
_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
    "\ud800-\udfff]"
)


def one_line(text: Any) -> str:
    """Return a text with control characters escaped, line ends among them."""
    return _escaped(str(text)).replace("\n", "\\n").replace("\t", "\\t")


def open_closed_streams() -> None:
    """Give standard streams that the caller closed a place, before any file is opened.

    Otherwise the next file that is opened would have the number of standard output, and
    get what libraries print. Input and output stay unusable, so that a result that goes
    nowhere is an error; messages are dropped.
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
    """Escape what is printed within; exit with 3 if standard output cannot be written.

    A message that cannot be written is dropped: the result is worth more.
    """
    before = sys.stdout, sys.stderr
    sys.stdout = _Stream(_raw(sys.stdout), "standard output")
    sys.stderr = _Stream(_raw(sys.stderr))
    try:
        yield
    except OSError as error:
        if not isinstance(sys.stdout, _Stream) or error is not sys.stdout.failure:
            raise
        print(f"clapstack: {error.strerror}: {error.filename}", file=sys.stderr)  # noqa: T201
        sys.exit(3)  # as for any file that cannot be written
    finally:
        sys.stdout, sys.stderr = before


def data_stream(errors: str) -> Any:
    """Return standard output for a table: UTF-8 without escapes, but on a terminal.

    `errors` says what becomes of text that UTF-8 cannot encode.
    """
    raw = _raw(sys.stdout)
    if raw.isatty():
        return sys.stdout
    if isinstance(raw, io.TextIOWrapper):
        raw.reconfigure(encoding="utf-8", errors=errors)
    return _Stream(raw, "standard output", escapes=False)


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
    """A stream that escapes control characters and whose errors have its name.

    Without a name, errors are dropped.
    """

    def __init__(self, raw: Any, name: str = "", *, escapes: bool = True):
        self.raw = raw
        self.failure: OSError | None = None
        self._name = name
        self._escapes = escapes
        if escapes and isinstance(raw, io.TextIOWrapper):
            raw.reconfigure(errors="backslashreplace")  # what its encoding lacks

    @property
    def unescaped(self) -> _Stream | None:
        """The same for progress bars, which move the cursor; None but on a terminal.

        A log would have a line for each of their steps.
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
            # What is left in the buffer would fail again when the interpreter ends.
            with suppress(OSError), open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), self.raw.fileno())
            if self._name:
                error.filename = error.filename or self._name
                self.failure = error
                raise
