"""The file of a store: tables, opening, and diagnosis of damage."""

from __future__ import annotations

import os
import shutil
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

from clapstack.store._index import KEY_BYTES, ScopeIndex

FILE = "embeddings.sqlite3"
READ_OR_STORED = "read from it or stored in it"

_FORMAT = 2  # increment when a table that earlier versions read changes
_TABLES = (
    "CREATE TABLE scopes (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
    # Each call stores one block. Numbers are never reused, so that a reader who
    # remembers one cannot mistake another block for it. The vectors precede only the
    # CRC, which is read along with them: columns after them are read through them. The
    # CRC is newer than the format, and empty in older blocks.
    """
    CREATE TABLE blocks (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        scope INTEGER NOT NULL REFERENCES scopes (id),
        width INTEGER NOT NULL,
        stored INTEGER NOT NULL,
        checksum INTEGER NOT NULL,
        keys BLOB NOT NULL,
        vectors BLOB NOT NULL,
        crc INTEGER
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
_COLUMNS = {
    "scopes": "id name",
    "blocks": "id scope width stored checksum keys vectors crc",
    "files": "path state content_key stored",
}
_COLUMNS_BEFORE = {**_COLUMNS, "blocks": _COLUMNS["blocks"].removesuffix(" crc")}
# A block of embeddings is read page by page: 7,500 rows of 512 values take 14 ms,
# 18 ms with SQLite's default of 4 KiB (measured).
_PAGE_BYTES = 32_768
_CACHE_KIB = 8_192  # a larger page cache slows down a single pass over the vectors
_BUSY_S = 60.0  # how long to wait for another process that is writing
_ROOM_BYTES = 1 << 20  # with less free space, a disk counts as full

warned: set[tuple[str, str]] = set()


class Connection(sqlite3.Connection):
    """A connection to the file of a store.

    Attributes
    ----------
    file, log : tuple of int or None
        Device and inode of the open file, since another may take its name, and of its
        write-ahead log when last used.
    log_path : Path
        Path of the log, which may not exist.
    has_crc : bool
        Whether blocks have a column for their CRC; it is added to files of earlier
        versions when they are opened for writing.
    obstacle : Exception or None
        Why the file was opened only for reading.
    indexes : dict of str to ScopeIndex
        Indexes of the scopes looked up so far.
    """

    has_crc = True
    file: tuple[int, int] | None = None
    log: tuple[int, int] | None = None
    log_path: Path
    obstacle: Exception | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.indexes: dict[str, ScopeIndex] = {}


class UnusableFileError(sqlite3.DatabaseError):
    """The file cannot be used by this version, or not in this place."""

    def __init__(self, what: str, remedy: str):
        super().__init__(what)
        self.remedy = remedy


_WRITABLE = "Make its folder writable, or copy the whole folder to a writable place."
_ELSEWHERE = "set cache=... or CLAPSTACK_CACHE to another folder"


def connect(root: Path, *, for_reading: bool = False) -> Connection:
    """Open the file for reading and writing, or only for reading if necessary."""
    file = Path(os.path.realpath(root / FILE))
    if for_reading:
        return _opened_for_reading(file)
    try:
        root.mkdir(parents=True, exist_ok=True)
        _refuse_stray_log(file)
        return _opened(file, "mode=rwc")
    except (sqlite3.OperationalError, OSError) as error:
        if not file.is_file() or "locked" in str(error):
            raise
        obstacle = error
    connection = _opened_for_reading(file)
    connection.obstacle = obstacle
    if shutil.disk_usage(root).free < _ROOM_BYTES:
        connection.obstacle = sqlite3.OperationalError("the disk is full")
    return connection


@contextmanager
def connected_alone(root: Path) -> Iterator[Connection]:
    """Open the file so that changes need no disk space.

    The journal and the index of the write-ahead log are in memory. No other process can
    use the file meanwhile, and an interruption during a change can damage it.
    """
    file = Path(os.path.realpath(root / FILE))
    connection = _opened(file, "mode=rw", alone=True)
    try:
        yield connection
        connection.execute("PRAGMA journal_mode = WAL")
    finally:
        connection.close()


def is_current(connection: Connection, root: Path) -> bool:
    """Return whether the open file still has its name."""
    return connection.file == identity_of(root / FILE)


def note_log(connection: Connection) -> None:
    """Record which log belongs to the file, after it was used."""
    connection.log = identity_of(connection.log_path)


def leave(connection: Connection) -> None:
    """Close a file that was deleted or replaced by another.

    SQLite would use the log of the old file for the new one.
    """
    log = connection.log_path
    if _has_content(log) and identity_of(log) == connection.log:
        msg = f"another file has replaced it, but {log.name} belongs to the old one"
        raise UnusableFileError(msg, "Move the log away when no process uses it.")
    connection.close()


def identity_of(file: Path) -> tuple[int, int] | None:
    """Return device and inode; None if the file does not exist."""
    try:
        status = os.stat(file)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def value(connection: sqlite3.Connection, query: str, *values: Any) -> Any:
    """Return the single value of a query's result."""
    return connection.execute(query, values).fetchone()[0]


def crc(scope: bytes, keys: bytes, vectors: bytes, stated: Any) -> int:
    """Return a CRC that binds vectors to their keys, scope and checksum."""
    joined = zlib.crc32(keys, zlib.crc32(b"%r %b" % (stated, scope)))
    return zlib.crc32(vectors, joined)


def checksum(scope: bytes, keys: bytes, vectors: bytes) -> int:
    """Return the checksum of blocks without a CRC, which earlier versions still read.

    The vectors' 32-bit words are summed, modulo 2**32, with odd weights derived from
    their positions. Every change of one word is detected, but changes of the highest
    bits of two words cancel each other out.
    """
    # Sums of unsigned integers wrap around at 2**32, as intended.
    words = np.frombuffer(vectors, np.uint32)
    weights = _weights(1 << (len(words) - 1).bit_length())[: len(words)]
    total = int(np.einsum("i,i->", words, weights))
    return (total + zlib.crc32(keys, zlib.crc32(scope))) % (1 << 32)


@lru_cache(maxsize=4)
def _weights(size: int) -> npt.NDArray[np.uint32]:
    """Return odd weights: SplitMix64 of the position."""
    mixed = np.arange(1, size + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (mixed >> np.uint64(32)).astype(np.uint32) | np.uint32(1)


def is_intact(
    scope: Any, width: Any, stated: Any, stated_crc: Any, keys: Any, vectors: Any
) -> bool:
    """Return whether a block is unchanged; damage may alter even the types."""
    is_whole = (
        isinstance(scope, bytes)
        and isinstance(keys, bytes)
        and isinstance(vectors, bytes)
        and isinstance(width, int)
        and len(keys) % KEY_BYTES == 0 < len(keys)
        and len(vectors) == len(keys) // KEY_BYTES * width * np.float32().itemsize
    )
    if not is_whole:
        return False
    if stated_crc is None:
        return bool(checksum(scope, keys, vectors) == stated)
    return bool(crc(scope, keys, vectors, stated) == stated_crc)


def fault_of_structure(connection: sqlite3.Connection) -> str | None:
    """Return the fault of the file as a whole, or None."""
    try:
        fault = value(connection, "PRAGMA integrity_check(1)")
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        return str(error)
    return None if fault == b"ok" else fault.decode(errors="replace").strip()


def block_ids(connection: sqlite3.Connection) -> list[int]:
    """Return the numbers of all blocks, in ascending order.

    A damaged file is searched from both ends of the table and of its indexes, up to
    where they are broken. The blocks found this way may not exist.
    """
    n_bytes = value(connection, "PRAGMA page_count") * value(
        connection, "PRAGMA page_size"
    )
    found: set[int] = set()
    for order in ("id", "id DESC", "scope", "scope DESC", "stored", "stored DESC"):
        # At most as many as fit in the file: damaged pages may form a loop.
        query = f"SELECT id FROM blocks ORDER BY {order} LIMIT {n_bytes // KEY_BYTES}"
        try:
            for (number,) in connection.execute(query):
                found.add(number)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:
            continue
        if order == "id" and len(found) == value(
            connection, "SELECT COUNT(*) FROM blocks"
        ):
            break
    return sorted(found)


def is_damage(error: BaseException | None) -> bool:
    """Return whether the file is damaged, rather than out of reach or read-only."""
    return isinstance(error, sqlite3.DatabaseError) and not isinstance(
        error, sqlite3.OperationalError
    )


def is_full(error: BaseException | None) -> bool:
    """Return whether the disk is full."""
    return isinstance(error, sqlite3.OperationalError) and "is full" in str(error)


def explained(root: Path, error: Exception) -> str:
    """Return an error and its remedy."""
    if isinstance(error, UnusableFileError):
        remedy = error.remedy
    elif "not a database" in str(error) or "no such" in str(error):
        remedy = f"If it is another program's file, move it away, or {_ELSEWHERE}."
    elif is_damage(error):
        remedy = (
            "It is damaged: save the intact rows with clapstack cache merge "
            f"{root} --folder NEW, and {_ELSEWHERE}, such as NEW. Lost rows are "
            "encoded again."
        )
    elif "locked" in str(error):
        remedy = f"Wait until no other process writes to it, or {_ELSEWHERE}."
    else:
        remedy = (
            f"Make it writable or free some space, {_ELSEWHERE}, or cache=None to work "
            "without a store."
        )
    return f"({error}). {remedy}"


def warn_once(root: Path, error: Exception, state: str, what: str) -> None:
    """Warn once per process and folder that nothing more is `what`."""
    if (str(root), state) in warned:
        return
    warned.add((str(root), state))
    msg = (
        f"The embedding store {root / FILE} {state}; nothing more is {what} "
        f"{explained(root, error)}"
    )
    warnings.warn(msg, stacklevel=2)


def _refuse_stray_log(file: Path) -> None:
    """Reject a write-ahead log without its file: SQLite would delete the log."""
    log = Path(f"{file}-wal")
    if not _has_content(file) and _has_content(log):
        msg = (
            f"{log.name} has rows, but the file that it belongs to is missing or empty"
        )
        raise UnusableFileError(msg, "Copy both, or move the log away.")


def _opened_for_reading(file: Path) -> Connection:
    try:
        return _opened(file, "mode=ro")
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise
    # Even readers of a write-ahead log write to the folder, so it is read-only or the
    # disk is full. Without a log, the file can be read as it is.
    if _has_content(Path(f"{file}-journal")):
        msg = f"a change was interrupted, and {file.name}-journal must undo it"
        raise UnusableFileError(msg, _WRITABLE)
    if not _has_content(Path(f"{file}-wal")):
        return _opened(file, "immutable=1")
    if os.name == "nt":
        msg = f"{file.name}-wal has rows that cannot be read in a read-only folder"
        raise UnusableFileError(msg, _WRITABLE)
    # The index of the log is kept in memory. No locks are needed: a process writing the
    # log would have its index in a file, which the first attempt would have used.
    return _opened(file, "mode=ro&vfs=unix-none", alone=True)


def _has_content(file: Path) -> bool:
    return file.is_file() and file.stat().st_size > 0


def _opened(file: Path, query: str, *, alone: bool = False) -> Connection:
    connection = sqlite3.connect(
        f"{file.as_uri()}?{query}",
        uri=True,
        timeout=_BUSY_S,
        check_same_thread=False,
        isolation_level=None,  # transactions begin explicitly
        factory=Connection,
    )
    connection.text_factory = bytes  # a damaged row may be invalid UTF-8
    try:
        if alone:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute(f"PRAGMA cache_size = {-_CACHE_KIB}")
        # Nothing is written outside the store's folder.
        connection.execute("PRAGMA temp_store = MEMORY")
        # A store may be untrusted: its schema must not call unsafe functions.
        connection.execute("PRAGMA trusted_schema = OFF")
        if query == "mode=rwc" and _is_empty(connection):
            connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
            # Must be set before the first table is created: later it would require a
            # copy of the file.
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            _use_write_ahead_log(connection)
            _make_tables(connection)
        _check_tables(connection)
        if query == "mode=rwc":
            _use_write_ahead_log(connection)
            # With a write-ahead log, a power failure loses at most the last blocks, and
            # blocks do not wait for the disk.
            connection.execute("PRAGMA synchronous = NORMAL")
            if not connection.has_crc:
                _add_crc(connection)
        elif query == "mode=rw":
            connection.execute("PRAGMA journal_mode = MEMORY")
        connection.file = identity_of(file)
        connection.log_path = Path(f"{file}-wal")
    except sqlite3.Error:
        connection.close()
        raise
    except UnicodeDecodeError as error:  # the message quotes a damaged schema
        connection.close()
        msg = "malformed database schema"
        raise sqlite3.DatabaseError(msg) from error
    return connection


def _is_empty(connection: Connection) -> bool:
    return not (
        value(connection, "PRAGMA user_version")
        or value(connection, "SELECT COUNT(*) FROM sqlite_master")
    )


def _check_tables(connection: Connection) -> None:
    """Raise UnusableFileError if this version cannot use the file as a store."""
    check_format(connection)
    query = (
        "SELECT COUNT(*) FROM sqlite_master WHERE type IN ('view', 'trigger') "
        "OR (type = 'table' AND rootpage = 0)"
    )
    if value(connection, query):  # rows of a view may never end
        msg = "it has views, triggers or virtual tables, which no store has"
        raise UnusableFileError(msg, f"Move it away, or {_ELSEWHERE}.")
    found = _columns(connection)
    connection.has_crc = found == _COLUMNS
    if found != _COLUMNS and found != _COLUMNS_BEFORE:
        msg = "it does not have the tables of an embedding store"
        raise UnusableFileError(msg, f"Move it away, or {_ELSEWHERE}.")


def check_format(connection: Connection) -> None:
    """Raise UnusableFileError if the file has another format."""
    found = value(connection, "PRAGMA user_version")
    msg = f"it has format {found}, but this version of clapstack reads format {_FORMAT}"
    if found > _FORMAT:
        raise UnusableFileError(msg, f"Upgrade clapstack, or {_ELSEWHERE}.")
    if found != _FORMAT:
        raise UnusableFileError(msg, f"Move it away, or {_ELSEWHERE}.")


def _columns(connection: Connection) -> dict[str, str]:
    query = "SELECT name FROM pragma_table_info(?)"
    return {
        table: b" ".join(
            name for (name,) in connection.execute(query, (table,))
        ).decode(errors="replace")
        for table in _COLUMNS
    }


def _add_crc(connection: Connection) -> None:
    """Add a column for the CRC of blocks, unless another process just did."""
    with _whole(connection):
        if _columns(connection) != _COLUMNS:
            connection.execute("ALTER TABLE blocks ADD COLUMN crc INTEGER")
    connection.has_crc = True


def _use_write_ahead_log(connection: Connection) -> None:
    """Switch a file to WAL; wait while another process does the same.

    SQLite itself waits for all locks except this one.
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


def _make_tables(connection: Connection) -> None:
    """Create the tables of an empty file, unless another process just did."""
    with _whole(connection):
        if _is_empty(connection):
            for statement in _TABLES:
                connection.execute(statement)


@contextmanager
def transaction(connection: Connection) -> Iterator[None]:
    """Commit all changes in this context or none; other writers wait meanwhile.

    Raises UnusableFileError if a newer version has changed the format.
    """
    with _whole(connection):
        check_format(connection)
        yield


@contextmanager
def _whole(connection: Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
