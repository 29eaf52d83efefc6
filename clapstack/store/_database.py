"""The file of a store: its tables, how it is opened, what is wrong with it."""

from __future__ import annotations

import sqlite3
import time
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clapstack.store._index import KEY_BYTES

FILE = "embeddings.sqlite3"
READ_OR_STORED = "read from it or stored in it"

_FORMAT = 2  # raise it when a table changes
_TABLES = (
    "CREATE TABLE scopes (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
    # One block is what one call stored. Numbers are never used again, so that a reader
    # who remembers one cannot take another block for it. The vectors come last: what
    # stands behind them would be read through them.
    """
    CREATE TABLE blocks (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        scope INTEGER NOT NULL REFERENCES scopes (id),
        width INTEGER NOT NULL,
        stored INTEGER NOT NULL,
        checksum INTEGER NOT NULL,
        keys BLOB NOT NULL,
        vectors BLOB NOT NULL
    )
    """,
    "CREATE INDEX blocks_by_scope ON blocks (scope)",
    "CREATE INDEX blocks_by_age ON blocks (stored)",
    """
    CREATE TABLE files (
        path BLOB PRIMARY KEY,
        state TEXT NOT NULL,
        content_key TEXT NOT NULL,
        stored INTEGER NOT NULL
    ) WITHOUT ROWID
    """,
    f"PRAGMA user_version = {_FORMAT}",
)
_PAGE_BYTES = 32_768
_CACHE_KIB = 8_192  # a large cache of pages makes one pass over the vectors slower
_BUSY_S = 60.0  # how long to wait for another process that writes

warned: set[tuple[str, str]] = set()


def connect(root: Path) -> sqlite3.Connection:
    """Open the file for reading and writing, or else for reading."""
    file = root / FILE
    try:
        root.mkdir(parents=True, exist_ok=True)
        return _opened(file, "mode=rwc")
    except (sqlite3.OperationalError, OSError):
        if not file.is_file():
            raise
        try:
            return _opened(file, "mode=ro")
        except sqlite3.OperationalError:  # even a reader of a write-ahead log writes
            return _opened(file, "immutable=1")


def value(connection: sqlite3.Connection, query: str, *values: Any) -> Any:
    """Return the one value that a query gives."""
    return connection.execute(query, values).fetchone()[0]


def checksum(scope: bytes, keys: bytes, vectors: bytes) -> int:
    """Bind vectors to their keys and to their scope.

    The vectors' 32-bit words are summed, modulo 2**32, under odd weights that are mixed
    from their places. Odd, so that no change of one word goes unseen; of other damage
    one in 2**32 does, as with a CRC, which takes twice as long.
    """
    words = np.frombuffer(vectors, np.uint32)
    weights = _weights(1 << (len(words) - 1).bit_length())[: len(words)]
    total = int(np.einsum("i,i->", words, weights))
    return (total + zlib.crc32(keys, zlib.crc32(scope))) % (1 << 32)


@lru_cache(maxsize=4)
def _weights(size: int) -> npt.NDArray[np.uint32]:
    """Return odd weights: SplitMix64 of the place."""
    mixed = np.arange(1, size + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (mixed >> np.uint64(32)).astype(np.uint32) | np.uint32(1)


def is_intact(scope: Any, width: Any, stated: Any, keys: Any, vectors: Any) -> bool:
    """Tell whether a block is as it was stored; damage may change even the types."""
    return (
        isinstance(scope, bytes)
        and isinstance(keys, bytes)
        and isinstance(vectors, bytes)
        and isinstance(width, int)
        and len(keys) % KEY_BYTES == 0 < len(keys)
        and len(vectors) == len(keys) // KEY_BYTES * width * np.float32().itemsize
        and checksum(scope, keys, vectors) == stated
    )


def check_structure(connection: sqlite3.Connection) -> None:
    """Raise sqlite3.DatabaseError if the file is damaged as a whole."""
    fault = value(connection, "PRAGMA integrity_check(1)")
    if fault != b"ok":
        raise sqlite3.DatabaseError(fault.decode(errors="replace"))


def is_damage(error: Exception) -> bool:
    """Tell a damaged file from one that cannot be reached or written."""
    return isinstance(error, sqlite3.DatabaseError) and not isinstance(
        error, sqlite3.OperationalError
    )


def remedy(error: Exception) -> str:
    """Say what to do about an error."""
    if is_damage(error):
        return "Delete that folder; embeddings are made again."
    return (
        "Make it writable or free some space, set cache=... or CLAPSTACK_CACHE to "
        "another folder, or cache=None to do without."
    )


def warn_once(root: Path, error: Exception, state: str, what: str) -> None:
    """Warn, once per process and folder, that nothing more is `what`."""
    if (str(root), state) in warned:
        return
    warned.add((str(root), state))
    msg = (
        f"The embedding store {root} {state} ({error}); nothing more is {what}. "
        f"{remedy(error)}"
    )
    warnings.warn(msg, stacklevel=2)


def _opened(file: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{file.absolute().as_uri()}?{mode}",
        uri=True,
        timeout=_BUSY_S,
        check_same_thread=False,
        isolation_level=None,  # transactions begin where we say
    )
    connection.text_factory = bytes  # a damaged row need not be valid UTF-8
    try:
        connection.execute(f"PRAGMA cache_size = {-_CACHE_KIB}")
        if mode == "mode=rwc":
            connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")  # of a new file
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            _use_write_ahead_log(connection)
            connection.execute("PRAGMA synchronous = NORMAL")
            if not value(connection, "PRAGMA user_version"):
                _make_tables(connection)
        found = value(connection, "PRAGMA user_version")
        if found != _FORMAT:
            msg = f"it has format {found}, and this version reads format {_FORMAT}"
            raise sqlite3.DatabaseError(msg)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Switch a new file to WAL; wait while another process does the same.

    SQLite waits for locks by itself, except for this one.
    """
    give_up = time.monotonic() + _BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > give_up:
                raise
            time.sleep(0.01)


def _make_tables(connection: sqlite3.Connection) -> None:
    """Make the tables of an empty file, unless another process just did."""
    with transaction(connection):
        if not value(connection, "SELECT COUNT(*) FROM sqlite_master"):
            for statement in _TABLES:
                connection.execute(statement)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Write all or none of what is written within; other writers wait meanwhile."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
