"""Embeddings on disk, keyed by content, shared by runs and processes."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import sys
import threading
import time
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from clapstack._batched import batched
from clapstack._optional import progress
from clapstack.audio import FileState

__all__ = [
    "EmbeddingStore",
    "MergeReport",
    "StoreStats",
    "VerifyReport",
    "default_cache_dir",
    "embedding_key",
    "open_store",
    "text_key",
]

T = TypeVar("T")
FloatArray = npt.NDArray[np.float32]
Row = tuple[int, bytes, int, int, bytes]  # rowid, key, checksum, stored, vector

_FILE = "embeddings.sqlite3"
_FORMAT = 1  # raise it when a table changes
_TABLES = (
    # The vector comes last: what stands behind it would be read through it.
    """
    CREATE TABLE embeddings (
        key TEXT PRIMARY KEY,
        checksum INTEGER NOT NULL,
        stored INTEGER NOT NULL,
        vector BLOB NOT NULL
    )
    """,
    "CREATE INDEX embeddings_by_age ON embeddings (stored)",
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
_KEYS_PER_QUERY = 500  # every build of SQLite takes 999 variables
_ROWS_PER_STEP = 1_000  # of long work: other writers have their turn between steps
_PAGE_BYTES = 16_384  # 7 vectors of 512, or 3 of 1,024, to a page
_PAGES_PER_STEP = 1_024
_CACHE_KIB = 65_536  # the index of 400,000 rows; the default holds 15,000
_BUSY_S = 60.0  # how long to wait for another process that writes

_warned: set[tuple[str, str]] = set()
_inherited: list[sqlite3.Connection] = []


class StoreStats(NamedTuple):
    """What a store holds.

    Attributes
    ----------
    n_entries : int
        Number of embeddings.
    n_files : int
        Number of audio files whose content is known without reading them.
    n_bytes : int
        Size on disk, in bytes.
    widths : dict of int to int
        Number of embeddings of each width.
    """

    n_entries: int
    n_files: int
    n_bytes: int
    widths: dict[int, int]


class VerifyReport(NamedTuple):
    """What `EmbeddingStore.verify` found.

    Attributes
    ----------
    n_checked : int
        Number of embeddings.
    dropped : list of str
        Keys of those that did not match their checksum.
    """

    n_checked: int
    dropped: list[str]


class MergeReport(NamedTuple):
    """What `EmbeddingStore.merge` did.

    Attributes
    ----------
    n_added : int
        Number of embeddings that are new here.
    n_present : int
        Number that were here before.
    n_damaged : int
        Number that did not match their checksum and were left out.
    """

    n_added: int
    n_present: int
    n_damaged: int


class EmbeddingStore:
    """Embeddings in one SQLite file, safe with many writers at once.

    Parameters
    ----------
    root : path-like
        Folder of the store. It is made when something is first stored or looked up.
        It should be on a local disk: SQLite's write-ahead log does not work across
        machines.

    Attributes
    ----------
    root : Path
        Folder of the store.

    Notes
    -----
    One connection is opened per process, when it is first needed, and never crosses a
    fork; a pickled store carries its folder only. Each `put` is one transaction: a
    killed writer loses that batch and nothing else. Rows are immutable: of two writers
    of one key the first wins, and as keys stand for content they agree. A row whose
    checksum does not match is dropped with a warning.

    A run never fails for its store. When nothing can be written (read-only folder, full
    disk), one warning per process and folder says so, and the object goes on reading
    what is there; when nothing can be read either (damaged file), it does neither. Only
    `stats`, `verify`, `prune` and `merge`, which are called for the store's own sake,
    raise OSError then.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from clapstack.store import EmbeddingStore
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = EmbeddingStore(folder)
    ...     store.put({"key": np.array([0.6, 0.8], dtype=np.float32)})
    ...     found = store.get(["key", "absent"])
    ...     report = store.verify()
    ...     store.close()
    >>> found
    {'key': array([0.6, 0.8], dtype=float32)}
    >>> report
    VerifyReport(n_checked=1, dropped=[])
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._process = os.getpid()
        self._readable = True
        self._writable = True

    # Embeddings

    def get(self, keys: Iterable[str]) -> dict[str, FloatArray]:
        """Return the stored vectors among `keys`; absent keys are left out.

        Parameters
        ----------
        keys : iterable of str
            Keys, as from `embedding_key`.

        Returns
        -------
        vectors : dict of str to ndarray of shape (projection_dim,)
            Read-only float32 vectors.
        """
        wanted = list(dict.fromkeys(keys))
        found: dict[str, FloatArray] = {}
        damaged: list[int] = []

        def read(connection: sqlite3.Connection) -> None:
            for some in batched(wanted, _KEYS_PER_QUERY):
                query = (
                    "SELECT key, checksum, vector, rowid FROM embeddings "
                    f"WHERE key IN ({_marks(some)})"
                )
                for key, checksum, vector, rowid in connection.execute(query, some):
                    if _is_intact(key, checksum, vector):
                        found[key.decode()] = np.frombuffer(vector, np.float32)
                    else:
                        damaged.append(rowid)

        self._attempt(read)
        if damaged:
            msg = (
                f"{len(damaged)} damaged rows of the embedding store {self.root} are "
                "dropped; what they held will be encoded again."
            )
            warnings.warn(msg, stacklevel=2)
            self._attempt(partial(_drop, rowids=damaged), writes=True)
        return found

    def put(self, vectors: Mapping[str, npt.ArrayLike]) -> None:
        """Store vectors, all or none of them; keys that are there stay as they are.

        Parameters
        ----------
        vectors : mapping of str to array-like of shape (projection_dim,)
            One vector per key; kept as float32.

        Raises
        ------
        ValueError
            If a vector is empty or not 1-D.
        """
        rows = []
        now = int(time.time())
        for key, vector in vectors.items():
            array = np.asarray(vector, dtype=np.float32)
            if array.ndim != 1 or array.size == 0:
                msg = (
                    f"a stored vector must be 1-D; got shape {array.shape} for {key!r}."
                )
                raise ValueError(msg)
            content = array.tobytes()
            rows.append((key, _checksum(key.encode(), content), now, content))
        self._attempt(partial(_insert, rows=rows), writes=True)

    # Audio files

    def recall_files(self, files: Iterable[FileState]) -> dict[FileState, str]:
        """Return the content keys of the files that are as they were when remembered.

        Parameters
        ----------
        files : iterable of FileState
            As from `clapstack.audio.file_state`.

        Returns
        -------
        keys : dict of FileState to str
            Keys, as from `clapstack.audio.audio_key`; unknown and changed files are
            left out.
        """
        places = {os.fsencode(file.path): file for file in files}
        found: dict[FileState, str] = {}

        def read(connection: sqlite3.Connection) -> None:
            for some in batched(places, _KEYS_PER_QUERY):
                query = (
                    "SELECT path, state, content_key FROM files "
                    f"WHERE path IN ({_marks(some)})"
                )
                for path, state, key in connection.execute(query, some):
                    if state == _stated(places[path]).encode():
                        found[places[path]] = key.decode()

        self._attempt(read)
        return found

    def remember_files(self, keys: Mapping[FileState, str]) -> None:
        """Note the content keys of files, so that they need not be read again.

        Parameters
        ----------
        keys : mapping of FileState to str
            The key of each file. The state must have been taken before the file was
            read for its key: a file that changes in between then has another state.
        """
        now = int(time.time())
        rows = [
            (os.fsencode(file.path), _stated(file), key, now)
            for file, key in keys.items()
        ]

        def write(connection: sqlite3.Connection) -> None:
            with connection:
                connection.executemany(
                    "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", rows
                )

        self._attempt(write, writes=True)

    # Care

    def stats(self) -> StoreStats:
        """Count what the store holds.

        Returns
        -------
        stats : StoreStats
            Entries, known files, bytes on disk, entries of each width.

        Raises
        ------
        OSError
            If the store cannot be read. One that does not exist yet is empty.
        """
        if not self._exists():
            return StoreStats(0, 0, 0, {})

        def count(connection: sqlite3.Connection) -> StoreStats:
            query = "SELECT length(vector) / 4, COUNT(*) FROM embeddings GROUP BY 1"
            widths = dict(connection.execute(query))
            n_files = _value(connection, "SELECT COUNT(*) FROM files")
            n_bytes = sum(f.stat().st_size for f in self.root.glob(f"{_FILE}*"))
            return StoreStats(sum(widths.values()), n_files, n_bytes, widths)

        return self._insist(count)

    def verify(self, *, verbose: bool = False) -> VerifyReport:
        """Check every row against its checksum, and drop those that do not match.

        Parameters
        ----------
        verbose : bool, default=False
            Whether to show a progress bar.

        Returns
        -------
        report : VerifyReport
            How many rows were checked, and the keys that were dropped.

        Raises
        ------
        OSError
            If the file is damaged as a whole, or a damaged row cannot be dropped
            because the store is read-only.
        """
        if not self._exists():
            return VerifyReport(0, [])
        n_checked = 0
        dropped: list[str] = []
        with self._bar("verifying", verbose) as bar:
            for rows in self._steps():
                bad = [
                    (rowid, key)
                    for rowid, key, checksum, _, vector in rows
                    if not _is_intact(key, checksum, vector)
                ]
                if bad:
                    some = [rowid for rowid, _ in bad]
                    self._insist(partial(_drop, rowids=some))
                dropped += [key.decode(errors="replace") for _, key in bad]
                n_checked += len(rows)
                bar.update(len(rows))
        self._insist(_check_structure)
        return VerifyReport(n_checked, dropped)

    def prune(
        self,
        *,
        max_bytes: int | None = None,
        older_than: timedelta | None = None,
        verbose: bool = False,
    ) -> int:
        """Drop the embeddings that were stored first, and give the space back.

        Parameters
        ----------
        max_bytes : int, optional
            Drop until the file has at most this size, in bytes, or no embeddings.
        older_than : timedelta, optional
            Drop what was stored longer ago than this.
        verbose : bool, default=False
            Whether to show a progress bar.

        Returns
        -------
        n_dropped : int
            Number of embeddings that were dropped.

        Raises
        ------
        ValueError
            If neither limit is given, or one is negative.
        OSError
            If the store cannot be written.

        Notes
        -----
        Age counts from the time of storing, not of the last use. What is dropped is
        encoded again when it is needed.
        """
        if max_bytes is None and older_than is None:
            msg = "prune needs a limit: pass max_bytes=..., older_than=... or both."
            raise ValueError(msg)
        if (max_bytes or 0) < 0 or (older_than or timedelta()) < timedelta():
            msg = (
                "max_bytes and older_than must not be negative; "
                f"got {max_bytes!r} and {older_than!r}."
            )
            raise ValueError(msg)
        if not self._exists():
            return 0
        n_dropped = 0
        with self._bar("pruning", verbose) as bar:

            def drop(before: float, n_rows: int) -> int:
                n_gone = self._insist(
                    partial(_drop_oldest, before=before, n_rows=n_rows)
                )
                bar.update(n_gone)
                return n_gone

            if older_than is not None:
                before = time.time() - older_than.total_seconds()
                while n_gone := drop(before, _ROWS_PER_STEP):
                    n_dropped += n_gone
            if max_bytes is not None:
                while excess := self._insist(partial(_excess, max_bytes=max_bytes)):
                    n_gone = drop(float("inf"), min(excess, _ROWS_PER_STEP))
                    if not n_gone:
                        break
                    n_dropped += n_gone
        self._insist(_give_space_back)
        return n_dropped

    def merge(
        self, other: EmbeddingStore | str | os.PathLike[str], *, verbose: bool = False
    ) -> MergeReport:
        """Add the embeddings of another store; doing it again changes nothing.

        Parameters
        ----------
        other : EmbeddingStore or path-like
            The other store, or its folder. It is only read.
        verbose : bool, default=False
            Whether to show a progress bar.

        Returns
        -------
        report : MergeReport
            How many embeddings were added, were here before, or are damaged there.

        Raises
        ------
        FileNotFoundError
            If there is no store in that folder.
        ValueError
            If it is this store.
        OSError
            If the other store cannot be read, or this one cannot be written.

        Notes
        -----
        Every row is checked against its checksum on the way and keeps its age. What is
        known of audio files is left out: it speaks of one machine.
        """
        if not isinstance(other, EmbeddingStore):
            with closing(EmbeddingStore(other)) as opened:
                return self.merge(opened, verbose=verbose)
        if not other._exists():
            msg = f"there is no embedding store in {other.root}. Check the folder."
            raise FileNotFoundError(msg)
        if self._exists() and os.path.samefile(other.root / _FILE, self.root / _FILE):
            msg = f"{other.root} is this store; merge takes another one."
            raise ValueError(msg)
        n_added = n_read = n_damaged = 0
        with other._bar("merging", verbose) as bar:
            for rows in other._steps():
                good = [
                    (key.decode(), checksum, stored, vector)
                    for _, key, checksum, stored, vector in rows
                    if _is_intact(key, checksum, vector)
                ]
                n_added += self._insist(partial(_insert, rows=good))
                n_read += len(rows)
                n_damaged += len(rows) - len(good)
                bar.update(len(rows))
        return MergeReport(n_added, n_read - n_added - n_damaged, n_damaged)

    # The file

    def close(self) -> None:
        """Close this process's connection; it is opened again when next needed."""
        with self._lock:
            if self._connection is not None and self._process == os.getpid():
                self._connection.close()
                self._connection = None

    def __len__(self) -> int:
        return self._attempt(_n_entries) or 0

    def __repr__(self) -> str:
        return f"EmbeddingStore({str(self.root)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.root,)

    def _attempt(
        self, work: Callable[[sqlite3.Connection], T], *, writes: bool = False
    ) -> T | None:
        """Do some work on the file; once that fails, warn and do no more of it."""
        if not self._readable or (writes and not self._writable):
            return None
        try:
            return self._run(work)
        except (sqlite3.Error, OSError) as error:
            if writes and self._connection is not None and not _is_damage(error):
                self._writable = False
                _warn_once(self.root, error, "cannot be written", "stored in it")
            else:
                self._readable = False
                what = "read from it or stored in it"
                _warn_once(self.root, error, "cannot be used", what)
            return None

    def _insist(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do some work on the file or say why not."""
        try:
            return self._run(work)
        except (sqlite3.Error, OSError) as error:
            msg = (
                f"the embedding store {self.root} cannot be used ({error}). "
                f"{_remedy(error)}"
            )
            raise OSError(msg) from error

    def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._process != os.getpid():
            if self._connection is not None:
                _inherited.append(self._connection)  # a child may not even close it
            self._connection = None
            self._lock = threading.Lock()  # a thread of the parent may have held it
            self._process = os.getpid()
        with self._lock:
            if self._connection is None:
                self._connection = _connect(self.root)
            return work(self._connection)

    def _steps(self) -> Iterator[list[Row]]:
        """Yield all rows, some at a time."""
        last = -1
        while rows := self._insist(partial(_rows_after, rowid=last)):
            yield rows
            last = rows[-1][0]

    def _bar(self, desc: str, verbose: bool) -> Any:
        total = self._insist(_n_entries) if verbose else None
        return progress(total=total, desc=desc, unit="row", verbose=verbose)

    def _exists(self) -> bool:
        return os.path.isfile(self.root / _FILE)


def open_store(cache: str | os.PathLike[str] | None) -> EmbeddingStore | None:
    """Return the store that the parameter `cache` of an estimator stands for.

    Parameters
    ----------
    cache : {"auto"}, path-like or None
        ``"auto"`` is `default_cache_dir`; a path is a folder; None is no store.

    Returns
    -------
    store : EmbeddingStore or None
        None for None, or when there is no home folder to put the cache in; a warning
        says so.
    """
    if cache is None:
        return None
    if cache != "auto":
        return EmbeddingStore(cache)
    try:
        return EmbeddingStore(default_cache_dir())
    except RuntimeError as error:  # pathlib finds no home folder
        what = "read from it or stored in it"
        _warn_once(Path("~"), error, "cannot be used", what)
        return None


def default_cache_dir() -> Path:
    """Return ``$CLAPSTACK_CACHE``, or clapstack's folder in the user's cache folder.

    Returns
    -------
    folder : Path
        Without the variable: ``$XDG_CACHE_HOME`` or ``~/.cache`` on Linux,
        ``~/Library/Caches`` on macOS, ``%LOCALAPPDATA%`` on Windows.

    Raises
    ------
    RuntimeError
        If the user has no home folder.
    """
    if chosen := os.environ.get("CLAPSTACK_CACHE"):
        return Path(chosen)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "clapstack"


def text_key(text: str) -> str:
    """Return the key of the content of a text.

    Parameters
    ----------
    text : str
        Any text.

    Returns
    -------
    key : str
        SHA-256, in hexadecimal, of its UTF-8 bytes.
    """
    return hashlib.sha256(text.encode()).hexdigest()


def embedding_key(content_key: str, encoder_identity: str) -> str:
    """Return the key of one embedding.

    Parameters
    ----------
    content_key : str
        What was encoded: from `clapstack.audio.audio_key` or `text_key`.
    encoder_identity : str
        What encoded it, and how: all that the numbers depend on.

    Returns
    -------
    key : str
        SHA-256, in hexadecimal.
    """
    return hashlib.sha256(f"{content_key}\n{encoder_identity}".encode()).hexdigest()


def _connect(root: Path) -> sqlite3.Connection:
    """Open the file for reading and writing, or else for reading."""
    file = root / _FILE
    try:
        root.mkdir(parents=True, exist_ok=True)
        return _opened(file, "mode=rwc")
    except (sqlite3.OperationalError, OSError):
        if not os.path.isfile(file):
            raise
        try:
            return _opened(file, "mode=ro")
        except sqlite3.OperationalError:  # even a reader of a write-ahead log writes
            return _opened(file, "immutable=1")


def _opened(file: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{file.absolute().as_uri()}?{mode}",
        uri=True,
        timeout=_BUSY_S,
        check_same_thread=False,
    )
    connection.text_factory = bytes  # a damaged row need not be valid UTF-8
    try:
        connection.execute(f"PRAGMA cache_size = {-_CACHE_KIB}")
        if mode == "mode=rwc":
            connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")  # of a new file
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            _use_write_ahead_log(connection)
            connection.execute("PRAGMA synchronous = NORMAL")
            if not _value(connection, "PRAGMA user_version"):
                _make_tables(connection)
        found = _value(connection, "PRAGMA user_version")
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
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        if not _value(connection, "SELECT COUNT(*) FROM sqlite_master"):
            for statement in _TABLES:
                connection.execute(statement)


def _rows_after(connection: sqlite3.Connection, rowid: int) -> list[Row]:
    query = (
        "SELECT rowid, key, checksum, stored, vector FROM embeddings "
        "WHERE rowid > ? ORDER BY rowid LIMIT ?"
    )
    return connection.execute(query, (rowid, _ROWS_PER_STEP)).fetchall()


def _insert(connection: sqlite3.Connection, rows: list[Any]) -> int:
    before = connection.total_changes
    with connection:  # one transaction
        connection.executemany(
            "INSERT OR IGNORE INTO embeddings VALUES (?, ?, ?, ?)", rows
        )
    return connection.total_changes - before


def _drop(connection: sqlite3.Connection, rowids: list[int]) -> None:
    with connection:
        connection.executemany(
            "DELETE FROM embeddings WHERE rowid = ?", [(rowid,) for rowid in rowids]
        )


def _drop_oldest(connection: sqlite3.Connection, before: float, n_rows: int) -> int:
    """Drop the first rows, and what is known of files that were noted before them."""
    with connection:
        n_dropped: int = connection.execute(
            "DELETE FROM embeddings WHERE rowid IN (SELECT rowid FROM embeddings "
            "WHERE stored < ? ORDER BY stored, rowid LIMIT ?)",
            (before, n_rows),
        ).rowcount
        connection.execute(
            "DELETE FROM files WHERE stored < "
            "COALESCE((SELECT MIN(stored) FROM embeddings), ?)",
            (before,),
        )
    return n_dropped


def _excess(connection: sqlite3.Connection, max_bytes: int) -> int:
    """Return about how many rows the file holds beyond `max_bytes`."""
    n_pages = _value(connection, "PRAGMA page_count")
    n_pages -= _value(connection, "PRAGMA freelist_count")
    n_bytes = n_pages * _value(connection, "PRAGMA page_size")
    if n_bytes <= max_bytes:
        return 0
    share = (n_bytes - max_bytes) / n_bytes
    return max(1, int(_n_entries(connection) * share / 2))  # nears it from above


def _give_space_back(connection: sqlite3.Connection) -> None:
    while _value(connection, "PRAGMA freelist_count"):
        connection.execute(f"PRAGMA incremental_vacuum({_PAGES_PER_STEP})").fetchall()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _check_structure(connection: sqlite3.Connection) -> None:
    fault = _value(connection, "PRAGMA integrity_check(1)")
    if fault != b"ok":
        raise sqlite3.DatabaseError(fault.decode(errors="replace"))


def _n_entries(connection: sqlite3.Connection) -> int:
    n_entries: int = _value(connection, "SELECT COUNT(*) FROM embeddings")
    return n_entries


def _value(connection: sqlite3.Connection, query: str) -> Any:
    return connection.execute(query).fetchone()[0]


def _checksum(key: bytes, vector: bytes) -> int:
    """Bind a vector to its key."""
    return zlib.crc32(vector, zlib.crc32(key))


def _is_intact(key: Any, checksum: Any, vector: Any) -> bool:
    """Tell whether a row is as it was stored; damage may change even the types."""
    return (
        isinstance(key, bytes)
        and isinstance(vector, bytes)
        and len(vector) % 4 == 0 < len(vector)
        and _checksum(key, vector) == checksum
    )


def _stated(file: FileState) -> str:
    return " ".join(map(str, file[1:]))


def _marks(values: list[Any]) -> str:
    return ",".join("?" * len(values))


def _is_damage(error: Exception) -> bool:
    return isinstance(error, sqlite3.DatabaseError) and not isinstance(
        error, sqlite3.OperationalError
    )


def _remedy(error: Exception) -> str:
    if _is_damage(error):
        return "Delete that folder; embeddings are made again."
    return (
        "Make it writable or free some space, set cache=... or CLAPSTACK_CACHE to "
        "another folder, or cache=None to do without."
    )


def _warn_once(root: Path, error: Exception, state: str, what: str) -> None:
    """Warn, once per process and folder, that nothing more is `what`."""
    if (str(root), state) in _warned:
        return
    _warned.add((str(root), state))
    msg = (
        f"The embedding store {root} {state} ({error}); nothing more is {what}. "
        f"{_remedy(error)}"
    )
    warnings.warn(msg, stacklevel=2)
