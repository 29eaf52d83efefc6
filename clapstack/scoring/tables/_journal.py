"""Results of rows on disk while a table is worked on: they outlive a kill."""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows: two runs into one result are not kept apart there
    fcntl = None  # type: ignore[assignment]

__all__ = ["Journal"]

_FORMAT = 1
_N_KEYS = 1 << 64


class Journal:
    """Records of rows, one a line of JSON, appended in any order.

    The first line says what the results follow from, `identity`: the model, its
    settings. A file that is there is continued if its first line says the same;
    otherwise it is begun anew. A record whose row was written before takes its place. A
    last line that a kill tore is cut off, and so is all that follows a line that cannot
    be read: those rows are worked on again. A file that another process writes, or that
    is no journal, is refused.

    Two numbers a row are held in memory: where its record starts, and its key.

    Attributes
    ----------
    n_found : int
        Rows without an error that were there already.
    is_other : bool
        Whether there was a journal that followed from something else.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any]):
        self.path = path
        self.n_found = 0
        self.is_other = False
        self._starts = array("q")  # -1 where a row has no record
        self._keys = array("Q")  # 0 where it must be worked on
        head = _head({"journal": _FORMAT, **identity})
        if path.exists() and not path.is_file():
            raise self._foreign()
        self._file = open(path, "a+b")  # noqa: SIM115 - closed by close()
        try:
            self._lock()
            self._recover(head, set(identity))
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def has(self, row: int, key: int) -> bool:
        """Return whether a row with this key has a result that is no error."""
        return row < len(self._keys) and self._keys[row] == key

    def add(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Append records and wait until they are on disk.

        Each has ``row``, ``key`` and ``error`` (None or words) at least.
        """
        position = self._file.seek(0, os.SEEK_END)
        for record in records:
            line = json.dumps(record).encode() + b"\n"
            self._file.write(line)
            self._note(record, position)
            position += len(line)
        self._file.flush()
        os.fsync(self._file.fileno())

    def records(self, n_rows: int) -> Iterator[dict[str, Any]]:
        """Yield the latest record of each of the first rows, in order of rows."""
        for start in self._starts[:n_rows]:
            self._file.seek(start)
            yield json.loads(self._file.readline())

    def close(self) -> None:
        """Close the file; it stays."""
        self._file.close()

    def delete(self) -> None:
        """Close the file and remove it."""
        self.close()
        self.path.unlink()

    def _lock(self) -> None:
        """Refuse a second run; the lock of one that was killed is gone with it."""
        if fcntl is None:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise self._busy() from error
        # The run that held the lock until now has removed the file.
        if not self.path.exists() or not os.path.samestat(
            os.fstat(self._file.fileno()), self.path.stat()
        ):
            raise self._busy()

    def _busy(self) -> ValueError:
        msg = f"another run writes {self.path}. Wait for it, or write elsewhere."
        return ValueError(msg)

    def _foreign(self) -> ValueError:
        msg = (
            f"{self.path} is where unfinished results go, and it is a file of another "
            "kind. Move it away, or write the result elsewhere."
        )
        return ValueError(msg)

    def _recover(self, head: bytes, fields: set[str]) -> None:
        self._file.seek(0)
        first = self._file.readline()
        if first != head:
            is_torn = not first.endswith(b"\n") and head.startswith(first)
            if not (is_torn or _is_head(first, fields)):
                raise self._foreign()
            self.is_other = not is_torn
            self._file.truncate(0)
            self._file.write(head)
            self._file.flush()
            return
        position = len(head)
        n_bytes = os.fstat(self._file.fileno()).st_size
        for line in self._file:
            record = _read(line, n_bytes)
            if record is None:
                break
            self._note(record, position)
            position += len(line)
        self._file.truncate(position)
        self.n_found = sum(1 for key in self._keys if key)

    def _note(self, record: Mapping[str, Any], position: int) -> None:
        row = record["row"]
        missing = row + 1 - len(self._keys)
        self._keys.extend([0] * missing)
        self._starts.extend([-1] * missing)
        self._starts[row] = position
        self._keys[row] = 0 if record["error"] else record["key"]


def _head(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True).encode() + b"\n"


def _is_head(line: bytes, fields: set[str]) -> bool:
    """Return whether a line is the first of a journal, of these results or of others.

    JSON that speaks of journals is not enough: what is no journal is not overwritten.
    """
    try:
        content = json.loads(line)
    except ValueError:
        return False
    return (
        isinstance(content, dict)
        and type(content.get("journal")) is int
        and not fields.isdisjoint(content)
        and line == _head(content)
    )


def _read(line: bytes, n_bytes: int) -> dict[str, Any] | None:
    """Return the record of a line, None if it is torn or damaged."""
    try:
        record = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    if not isinstance(record, dict) or not {"row", "key", "error"} <= set(record):
        return None
    # A row has a line, so that a file of so many bytes has fewer rows.
    is_row = _is_below(record["row"], n_bytes) and _is_below(record["key"], _N_KEYS)
    return record if is_row else None


def _is_below(number: Any, stop: int) -> bool:
    return type(number) is int and 0 <= number < stop
