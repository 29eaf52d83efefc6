"""Journal of scored rows on disk, from which an interrupted run resumes."""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows: nothing prevents two runs with the same result file
    fcntl = None  # type: ignore[assignment]

__all__ = ["Journal"]

_FORMAT = 1
_N_KEYS = 1 << 64


class Journal:
    """Records of rows, one line of JSON each, appended in any order.

    The first line is the `identity` of the run: its model and settings. An existing
    file with the same identity is continued; otherwise the journal starts again. A
    later record of a row replaces an earlier one. Lines from the first unreadable one
    on, such as a line cut off by an interruption, are dropped, and their rows are
    scored again. A file that another process is writing, or that is not a journal, is
    refused.

    Two numbers per row are kept in memory: the position of its record, and its key.

    Attributes
    ----------
    n_found : int
        Number of rows without an error that the file already had.
    is_other : bool
        Whether a journal of another identity was replaced.
    """

    def __init__(self, path: Path, identity: Mapping[str, Any]):
        self.path = path
        self.n_found = 0
        self.is_other = False
        self._starts = array("q")  # -1 where a row has no record
        self._keys = array("Q")  # 0 where the row must be scored
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
        """Return whether a row with this key has a result without an error."""
        return row < len(self._keys) and self._keys[row] == key

    def add(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Append records and wait until they are on disk.

        Each record has at least ``row``, ``key`` and ``error`` (None or a message).
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
        """Yield the latest record of each of the first `n_rows` rows, in order."""
        for start in self._starts[:n_rows]:
            self._file.seek(start)
            yield json.loads(self._file.readline())

    def close(self) -> None:
        """Close the file and keep it."""
        self._file.close()

    def delete(self) -> None:
        """Close the file and remove it."""
        self.close()
        self.path.unlink()

    def _lock(self) -> None:
        """Refuse a second run; the system releases the lock when a run ends."""
        if fcntl is None:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise self._busy() from error
        # The run that had the lock may just have finished and removed the file.
        if not self.path.exists() or not os.path.samestat(
            os.fstat(self._file.fileno()), self.path.stat()
        ):
            raise self._busy()

    def _busy(self) -> ValueError:
        msg = (
            f"another run is writing {self.path}. Wait for it to finish, or write the "
            "result to another file."
        )
        return ValueError(msg)

    def _foreign(self) -> ValueError:
        msg = (
            f"unfinished results are kept in {self.path}, but it exists and is another "
            "kind of file. Move it, or write the result to another file."
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
    """Return whether a line is the first line of some journal.

    The check is strict, because a file that passes it may be overwritten.
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
    """Return the record of a line, or None if it is cut off or damaged."""
    try:
        record = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    if not isinstance(record, dict) or not {"row", "key", "error"} <= set(record):
        return None
    # Every row has a line, so the file has fewer rows than bytes.
    is_row = _is_below(record["row"], n_bytes) and _is_below(record["key"], _N_KEYS)
    return record if is_row else None


def _is_below(number: Any, stop: int) -> bool:
    return type(number) is int and 0 <= number < stop
