"""A process's connection to the file of a store."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from clapstack.store._database import (
    FILE,
    READ_OR_STORED,
    Connection,
    check_format,
    connect,
    connected_alone,
    explained,
    is_current,
    is_damage,
    leave,
    note_log,
    warn_once,
)

T = TypeVar("T")

# Connections of a parent process. A child must not even close them: under POSIX, that
# would release the parent's locks.
_inherited: list[Connection] = []


class Session:
    """Runs operations on a store's file through a connection that it manages.

    Parameters
    ----------
    root : Path
        Folder of the store.

    Attributes
    ----------
    for_reading : bool
        Whether to open the file only for reading.
    connection : Connection or None
        This process's connection, once opened.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.for_reading = False
        self.connection: Connection | None = None
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._readable = True
        self._writable = True

    def attempt(
        self, work: Callable[[Connection], T], *, writes: bool = False
    ) -> T | None:
        """Run an operation on the file; after a failure, warn and run no more."""
        if not self._readable or (writes and not self._writable):
            return None
        try:
            return self._run(work)
        except (sqlite3.Error, OSError) as error:
            # A file that cannot be written may still be read; a damaged one is not.
            if writes and self.connection is not None and not is_damage(error):
                self._writable = False
                state, what = "cannot be written", "stored in it"
            else:
                self._readable = False
                state, what = "cannot be used", READ_OR_STORED
            warn_once(self.root, self._cause(error), state, what)
            return None

    def insist(self, work: Callable[[Connection], T]) -> T:
        """Run an operation on the file; raise OSError if that fails."""
        try:
            return self._run(work)
        except (sqlite3.Error, OSError) as error:
            cause = self._cause(error)
            raise unusable(self.root, cause) from cause

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Use a connection that needs no disk space; see `connected_alone`."""
        self.close()
        try:
            with connected_alone(self.root) as self.connection:
                yield
        except sqlite3.Error as error:
            raise unusable(self.root, error) from error
        finally:
            self.connection = None

    def close(self) -> None:
        """Close this process's connection."""
        with self._lock:
            if self.connection is not None and self._process == os.getpid():
                self.connection.close()
                self.connection = None

    def exists(self) -> bool:
        """Return whether the file exists."""
        try:
            os.stat(self.root / FILE)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def _cause(self, error: Exception) -> Exception:
        """Return the reason why a file is read-only, if that is the error."""
        obstacle = self.connection.obstacle if self.connection else None
        return obstacle if obstacle and "readonly" in str(error) else error

    def _run(self, work: Callable[[Connection], T]) -> T:
        if self._process != os.getpid():
            if self.connection is not None:
                _inherited.append(self.connection)
            self.connection = None
            self._lock = threading.Lock()  # a thread of the parent may have held it
            self._process = os.getpid()
        with self._lock:
            if self.connection is not None:
                # The folder may have been deleted, or another store copied into it.
                if is_current(self.connection, self.root):
                    check_format(self.connection)
                else:
                    leave(self.connection)
                    self.connection = None
            if self.connection is None:
                self.connection = connect(self.root, for_reading=self.for_reading)
            try:
                return work(self.connection)
            finally:
                note_log(self.connection)


def unusable(root: Path, error: Exception) -> OSError:
    """Return the error for an unusable store, with a remedy."""
    words = explained(root, error)
    return OSError(f"the embedding store {root / FILE} cannot be used {words}")
