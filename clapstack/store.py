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
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

__all__ = [
    "EmbeddingStore",
    "default_cache_dir",
    "embedding_key",
    "open_store",
    "text_key",
]

T = TypeVar("T")
FloatArray = npt.NDArray[np.float32]

_FILE = "embeddings.sqlite3"
_TABLE = """
CREATE TABLE IF NOT EXISTS embeddings (
    key TEXT PRIMARY KEY, vector BLOB NOT NULL, checksum INTEGER NOT NULL
)
"""
_KEYS_PER_QUERY = 500  # every build of SQLite takes 999 variables
_PAGE_BYTES = 8192  # three vectors of 512 to a page; 4096 bytes would hold one
_BUSY_S = 60.0  # how long to wait for another process that writes

_warned: set[str] = set()
_inherited: list[sqlite3.Connection] = []


class EmbeddingStore:
    """Embeddings in one SQLite file, safe with many writers at once.

    Parameters
    ----------
    root : path-like
        Folder of the store. It is made when missing. It should be on a local disk:
        SQLite's write-ahead log does not work across machines.

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
    checksum does not match is dropped with a warning. When the file can no longer be
    used (read-only folder, full disk, damaged), one warning per process and folder says
    so, and the object neither reads nor stores from then on.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from clapstack.store import EmbeddingStore
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = EmbeddingStore(folder)
    ...     store.put({"key": np.array([0.6, 0.8], dtype=np.float32)})
    ...     found = store.get(["key", "absent"])
    ...     store.close()
    >>> found
    {'key': array([0.6, 0.8], dtype=float32)}
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._process = os.getpid()
        self._usable = True

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
        damaged: list[str] = []

        def read(connection: sqlite3.Connection) -> None:
            for some in _chunks(wanted, _KEYS_PER_QUERY):
                marks = ",".join("?" * len(some))
                query = f"SELECT * FROM embeddings WHERE key IN ({marks})"
                for key, vector, checksum in connection.execute(query, some):
                    if len(vector) % 4 or zlib.crc32(vector) != checksum:
                        damaged.append(key)
                    else:
                        found[key] = np.frombuffer(vector, dtype=np.float32)
            if damaged:
                with connection:
                    connection.executemany(
                        "DELETE FROM embeddings WHERE key = ?",
                        [(key,) for key in damaged],
                    )

        self._attempt(read)
        if damaged:
            msg = (
                f"{len(damaged)} damaged rows of the embedding store {self.root} are "
                "dropped; what they held will be encoded again."
            )
            warnings.warn(msg, stacklevel=2)
        return found

    def put(self, vectors: Mapping[str, npt.ArrayLike]) -> None:
        """Store vectors, all or none of them; keys that are there stay as they are.

        Parameters
        ----------
        vectors : mapping of str to array-like of shape (projection_dim,)
            One vector per key; kept as float32.
        """
        rows = []
        for key, vector in vectors.items():
            array = np.asarray(vector, dtype=np.float32)
            if array.ndim != 1 or array.size == 0:
                msg = (
                    f"a stored vector must be 1-D; got shape {array.shape} for {key!r}."
                )
                raise ValueError(msg)
            content = array.tobytes()
            rows.append((key, content, zlib.crc32(content)))

        def write(connection: sqlite3.Connection) -> None:
            with connection:  # one transaction
                connection.executemany(
                    "INSERT OR IGNORE INTO embeddings VALUES (?, ?, ?)", rows
                )

        self._attempt(write)

    def close(self) -> None:
        """Close this process's connection; it is opened again when next needed."""
        with self._lock:
            if self._connection is not None and self._process == os.getpid():
                self._connection.close()
                self._connection = None

    def __len__(self) -> int:
        query = "SELECT COUNT(*) FROM embeddings"
        count = self._attempt(lambda connection: connection.execute(query).fetchone())
        return count[0] if count else 0

    def __repr__(self) -> str:
        return f"EmbeddingStore({str(self.root)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.root,)

    def _attempt(self, work: Callable[[sqlite3.Connection], T]) -> T | None:
        """Do some work on the file; once it is unusable, warn and do none."""
        if self._process != os.getpid():
            if self._connection is not None:
                _inherited.append(self._connection)  # a child may not even close it
            self._connection = None
            self._lock = threading.Lock()  # a thread of the parent may have held it
            self._process = os.getpid()
        with self._lock:
            if not self._usable:
                return None
            try:
                if self._connection is None:
                    self._connection = _connect(self.root)
                return work(self._connection)
            except (sqlite3.Error, OSError) as error:
                self._usable = False
                _warn_once(self.root, error)
                return None


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
        _warn_once(Path("~"), error)
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
    root.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(root / _FILE, timeout=_BUSY_S, check_same_thread=False)
    try:
        connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")  # of a new file
        _use_write_ahead_log(connection)
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(_TABLE)
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


def _chunks(keys: Iterable[str], size: int) -> Iterator[list[str]]:
    remaining = iter(keys)
    while some := list(islice(remaining, size)):
        yield some


def _warn_once(root: Path, error: Exception) -> None:
    if str(root) in _warned:
        return
    _warned.add(str(root))
    damaged = isinstance(error, sqlite3.DatabaseError) and not isinstance(
        error, sqlite3.OperationalError
    )
    remedy = (
        "Delete that folder; embeddings are made again."
        if damaged
        else "Make it writable or free some space, set cache=... or CLAPSTACK_CACHE to "
        "another folder, or cache=None to do without."
    )
    msg = (
        f"The embedding store {root} cannot be used ({error}); nothing more is read "
        f"from it or stored in it. {remedy}"
    )
    warnings.warn(msg, stacklevel=2)
