"""The store of embeddings: lookup, insertion, verification, pruning and merging."""

from __future__ import annotations

import os
import re
import sqlite3
import time
import warnings
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from clapstack._compat import batched
from clapstack._optional import progress
from clapstack.audio import FileState
from clapstack.store._blocks import (
    VALUES_PER_QUERY,
    Block,
    block_at,
    blocks_at,
    drop,
    drop_oldest,
    give_space_back,
    marks,
    n_entries,
    n_excess,
    names_of,
    places_of,
    present,
)
from clapstack.store._database import (
    FILE,
    Connection,
    block_ids,
    checksum,
    crc,
    fault_of_structure,
    is_full,
    transaction,
    value,
)
from clapstack.store._index import (
    KEY_BYTES,
    Ints,
    Keys,
    ScopeIndex,
    as_keys,
    key_words,
)
from clapstack.store._session import Session, unusable

__all__ = ["EmbeddingStore", "MergeReport", "StoreStats", "VerifyReport"]

T = TypeVar("T")
FloatArray = npt.NDArray[np.float32]

_BLOCKS_PER_STEP = 32  # in long operations, so that others can write between steps

_KEY = re.compile(rb"[0-9a-f]{64}")


class StoreStats(NamedTuple):
    """Content of a store.

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
    """Result of `EmbeddingStore.verify`.

    Attributes
    ----------
    n_checked : int
        Number of embeddings.
    dropped : list of str
        Content keys of embeddings in blocks that did not match their checksum, or the
        number of a block whose keys are lost.
    """

    n_checked: int
    dropped: list[str]


class MergeReport(NamedTuple):
    """Result of `EmbeddingStore.merge`.

    Attributes
    ----------
    n_added : int
        Number of embeddings that were added.
    n_present : int
        Number of embeddings that were already present.
    n_damaged : int
        Number of embeddings that did not match their checksum and were skipped.
    """

    n_added: int
    n_present: int
    n_damaged: int


class EmbeddingStore:
    """Embeddings in one SQLite file, safe with concurrent writers.

    Parameters
    ----------
    root : path-like
        Folder of the store, created at the first lookup or insertion. It should be on a
        local disk: SQLite's write-ahead log does not work across machines.

    Attributes
    ----------
    root : Path
        Folder of the store.

    Notes
    -----
    Each call of `put` stores one block: one row of the file, one transaction, one
    CRC-32 over its vectors, keys and scope. An interrupted writer loses only that
    block. Embeddings are immutable: if two writers store the same key, the first wins;
    since keys identify content, their embeddings agree. A block that does not match its
    checksum is dropped with a warning.

    A lookup reads the keys of a scope (32 bytes per row) into an index in memory, then
    each block with requested rows, once and as a whole. A row is returned only if its
    block matches its CRC and has the requested key and scope.

    Each process opens one connection, when first needed, and does not share it with
    forked processes. A pickled store contains only its folder.

    A run never fails because of its store. If nothing can be written (read-only folder,
    full disk), one warning per process and folder is issued, and existing embeddings
    are still read. If nothing can be read either (damaged file), the store is not used.
    Only `stats`, `verify`, `prune` and `merge`, which operate on the store itself,
    raise OSError in these cases.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from clapstack.store import EmbeddingStore, text_key
    >>> keys = [text_key("rain"), text_key("wind")]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = EmbeddingStore(folder)
    ...     store.put("encoder", keys[:1], np.array([[0.6, 0.8]], dtype=np.float32))
    ...     found, rows = store.get("encoder", keys, 2)
    ...     report = store.verify()
    ...     store.close()
    >>> found.tolist()
    [True, False]
    >>> rows[found]
    array([[0.6, 0.8]], dtype=float32)
    >>> report
    VerifyReport(n_checked=1, dropped=[])
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)
        self._session = Session(self.root)

    # Embeddings

    def get(
        self, scope: str, keys: Sequence[str], width: int
    ) -> tuple[npt.NDArray[np.bool_], FloatArray]:
        """Look up embeddings by the content that was encoded.

        Parameters
        ----------
        scope : str
            Identifies the encoder and its settings: everything that embeddings depend
            on besides the content.
        keys : sequence of str
            Keys of the content, from `clapstack.audio.audio_key` or `text_key`.
        width : int
            Length of an embedding.

        Returns
        -------
        found : ndarray of shape (n_keys,), bool
            Whether each key is stored.
        rows : ndarray of shape (n_keys, width), float32
            Embeddings; zeros for keys that are not stored.

        Raises
        ------
        ValueError
            If a key is not 64 hexadecimal digits.
        """
        wanted = as_keys(keys)
        found = np.zeros(len(wanted), np.bool_)
        rows = np.empty((len(wanted), width), np.float32)
        damaged: list[Block] = []

        def read(connection: Connection) -> None:
            index = self._index(connection, scope)
            blocks, slots = index.find(wanted)
            places = places_of(blocks, slots)
            for block in blocks_at(connection, list(places)):
                where, some = places[block.id]
                # Checked at every reading: a changed bit would silently alter features.
                if not block.is_intact:
                    damaged.append(block)
                elif block.width == width and block.holds(scope, wanted[where], some):
                    vectors = np.frombuffer(block.vectors, np.float32)
                    rows[where] = vectors.reshape(-1, width)[some]
                    found[where] = True
            if not found[blocks > 0].all():  # damaged, or dropped by another process
                del connection.indexes[scope]

        if len(wanted):
            self._session.attempt(read)
        rows[~found] = 0
        if damaged:
            msg = (
                f"{sum(block.n_rows for block in damaged)} rows in damaged blocks of "
                f"the embedding store {self.root} are dropped and will be encoded "
                "again."
            )
            warnings.warn(msg, stacklevel=2)
            self._session.attempt(partial(drop, blocks=damaged), writes=True)
        return found, rows

    def put(self, scope: str, keys: Sequence[str], rows: npt.ArrayLike) -> None:
        """Store embeddings, all or none of them; existing keys stay unchanged.

        Parameters
        ----------
        scope : str
            As for `get`.
        keys : sequence of str
            As for `get`.
        rows : array-like of shape (n_keys, width)
            One embedding per key; stored as float32.

        Raises
        ------
        ValueError
            If `rows` has another shape or no columns, or a key is not 64 hexadecimal
            digits.
        """
        vectors = np.ascontiguousarray(rows, dtype=np.float32)
        if vectors.ndim != 2 or len(vectors) != len(keys) or not vectors.shape[1]:
            msg = f"rows must have shape ({len(keys)}, width); got {vectors.shape}."
            raise ValueError(msg)
        content = as_keys(keys)
        if len(content):
            now = int(time.time())
            self._session.attempt(
                lambda connection: self._add(connection, scope, content, vectors, now),
                writes=True,
            )

    def _index(self, connection: Connection, scope: str) -> ScopeIndex:
        """Return the index of a scope, including all blocks stored by now."""
        index = connection.indexes.setdefault(scope, ScopeIndex())
        query = (
            "SELECT blocks.id, keys FROM blocks JOIN scopes ON scopes.id = scope "
            "WHERE name = ? AND blocks.id > ? ORDER BY blocks.id"
        )
        index.add(
            (number, keys)
            for number, keys in connection.execute(query, (scope, index.last))
            if isinstance(keys, bytes) and len(keys) % KEY_BYTES == 0
        )
        return index

    def _blocks_of(self, connection: Connection, scope: str, keys: Keys) -> Ints:
        """Return the current block of each key; 0 for keys without one."""
        blocks, _ = self._index(connection, scope).find(keys)
        wanted = set(blocks[blocks > 0].tolist())
        if wanted and present(connection, wanted) != wanted:  # another process pruned
            del connection.indexes[scope]
            blocks, _ = self._index(connection, scope).find(keys)
        return blocks

    def _add(
        self,
        connection: Connection,
        scope: str,
        keys: Keys,
        vectors: FloatArray,
        stored: int,
    ) -> int:
        """Store the rows with new keys as one block; return their number."""
        # Keys are looked up within the transaction, so that no other process can store
        # the same ones.
        with transaction(connection):
            blocks = self._blocks_of(connection, scope, keys)
            _, first = np.unique(keys, axis=0, return_index=True)
            is_first = np.zeros(len(keys), np.bool_)
            is_first[first] = True
            new = np.flatnonzero(is_first & (blocks == 0))
            if not len(new):
                return 0
            joined, content = keys[new].tobytes(), vectors[new].tobytes()
            connection.execute(
                "INSERT OR IGNORE INTO scopes (name) VALUES (?)", (scope,)
            )
            query = (
                "INSERT INTO blocks "
                "(scope, width, stored, checksum, crc, keys, vectors) "
                "VALUES ((SELECT id FROM scopes WHERE name = ?), ?, ?, ?, ?, ?, ?)"
            )
            bound = scope.encode(), joined, content
            # Versions without the CRC check only the sum, which the CRC includes.
            stated = checksum(*bound)
            sums = stated, crc(*bound, stated)
            row = (scope, vectors.shape[1], stored, *sums, joined, content)
            connection.execute(query, row)
        return len(new)

    # Audio files

    def recall_files(self, files: Iterable[FileState]) -> dict[FileState, str]:
        """Return the content keys of files that are unchanged since they were recorded.

        Parameters
        ----------
        files : iterable of FileState
            As from `clapstack.audio.file_state`.

        Returns
        -------
        keys : dict of FileState to str
            Keys, as from `clapstack.audio.audio_key`, without unknown and changed
            files.
        """
        # As bytes: file names may be invalid in any encoding.
        places = {os.fsencode(file.path): file for file in files}
        found: dict[FileState, str] = {}

        def read(connection: Connection) -> None:
            for some in batched(places, VALUES_PER_QUERY):
                query = (
                    "SELECT path, state, content_key FROM files "
                    f"WHERE path IN ({marks(some)})"
                )
                for path, state, key in connection.execute(query, some):
                    file = places[path]
                    if isinstance(key, bytes) and _is_state(state, file, key):
                        found[file] = key.decode()

        self._session.attempt(read)
        return found

    def remember_files(self, keys: Mapping[FileState, str]) -> None:
        """Record the content keys of files, so that they need not be read again.

        Parameters
        ----------
        keys : mapping of FileState to str
            The key of each file. Take the state before reading the file for its key, so
            that a change in between is detected.
        """
        now = int(time.time())
        rows = [
            (os.fsencode(file.path), _stated(file, key.encode()), key, now)
            for file, key in keys.items()
        ]

        def write(connection: Connection) -> None:
            with transaction(connection):
                connection.executemany(
                    "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", rows
                )

        self._session.attempt(write, writes=True)

    # Maintenance

    def stats(self) -> StoreStats:
        """Count the content of the store.

        Returns
        -------
        stats : StoreStats
            Number of entries and known files, bytes on disk, entries of each width.

        Raises
        ------
        OSError
            If the store cannot be read. A store that does not exist yet is empty.
        """
        if not self._session.exists():
            return StoreStats(0, 0, 0, {})

        def count(connection: Connection) -> StoreStats:
            query = (
                "SELECT width, SUM(length(keys)) FROM blocks WHERE typeof(width) = "
                "'integer' AND typeof(keys) = 'blob' GROUP BY width"
            )
            widths = {w: n // KEY_BYTES for w, n in connection.execute(query)}
            n_files = value(connection, "SELECT COUNT(*) FROM files")
            n_bytes = sum(f.stat().st_size for f in self.root.glob(f"{FILE}*"))
            return StoreStats(sum(widths.values()), n_files, n_bytes, widths)

        return self._session.insist(count)

    def verify(self, *, verbose: bool = False) -> VerifyReport:
        """Check every block against its checksum, and drop those that do not match.

        Parameters
        ----------
        verbose : bool, default=False
            Whether to show a progress bar.

        Returns
        -------
        report : VerifyReport
            Number of rows checked, and the content keys that were dropped.

        Raises
        ------
        OSError
            If the file is damaged as a whole. Nothing is dropped then, and the message
            reports how many embeddings are intact and how to save them. Also if a
            damaged block cannot be dropped because the store is read-only.
        """
        if not self._session.exists():
            return VerifyReport(0, [])
        fault = self._session.insist(fault_of_structure)
        n_checked = 0
        bad: list[Block] = []
        with self._bar("verifying", verbose) as bar:
            for block in self._all_blocks():
                n_checked += block.n_rows
                if not block.is_intact:
                    # Only the keys are needed later, and all blocks may be damaged.
                    bad.append(block._replace(vectors=b""))
                bar.update(block.n_rows)
        n_bad = sum(block.n_rows for block in bad)
        if fault is not None:
            words = f"{fault}; {n_checked - n_bad:,} rows in it are intact"
            raise unusable(self.root, sqlite3.DatabaseError(words))
        if bad:
            self._session.insist(partial(drop, blocks=bad))
        return VerifyReport(
            n_checked, [name for block in bad for name in names_of(block)]
        )

    def prune(
        self,
        *,
        max_bytes: int | None = None,
        older_than: timedelta | None = None,
        verbose: bool = False,
    ) -> int:
        """Drop the oldest embeddings and release their disk space.

        Parameters
        ----------
        max_bytes : int, optional
            Drop embeddings until the file has at most this size in bytes, or none are
            left.
        older_than : timedelta, optional
            Drop embeddings stored longer ago than this.
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
        Age counts from the time of storing, not from the last use. Embeddings stored
        together are dropped together. Dropped embeddings are encoded again when needed.

        On a full disk without room for a journal, the journal is kept in memory: no
        other process can use the store meanwhile, and an interruption can damage the
        file.
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
        if not self._session.exists():
            return 0
        try:
            return self._prune(max_bytes, older_than, verbose)
        except OSError as error:
            if not is_full(error.__cause__):
                raise
        with self._session.alone():
            return self._prune(max_bytes, older_than, verbose)

    def _prune(
        self, max_bytes: int | None, older_than: timedelta | None, verbose: bool
    ) -> int:
        n_dropped = 0
        with self._bar("pruning", verbose) as bar:

            def drop_some(before: float, n_blocks: int) -> int:
                n_gone = self._session.insist(
                    partial(drop_oldest, before=before, n_blocks=n_blocks)
                )
                bar.update(n_gone)
                return n_gone

            if older_than is not None:
                before = time.time() - older_than.total_seconds()
                while n_gone := drop_some(before, _BLOCKS_PER_STEP):
                    n_dropped += n_gone
            if max_bytes is not None:
                while excess := self._session.insist(
                    partial(n_excess, max_bytes=max_bytes)
                ):
                    n_gone = drop_some(float("inf"), min(excess, _BLOCKS_PER_STEP))
                    if not n_gone:
                        break
                    n_dropped += n_gone
        self._session.insist(give_space_back)
        return n_dropped

    def merge(
        self, other: EmbeddingStore | str | os.PathLike[str], *, verbose: bool = False
    ) -> MergeReport:
        """Add the embeddings of another store; repeating it changes nothing.

        Parameters
        ----------
        other : EmbeddingStore or path-like
            The other store, or its folder. It is not changed.
        verbose : bool, default=False
            Whether to show a progress bar.

        Returns
        -------
        report : MergeReport
            Numbers of embeddings that were added, already present, or damaged.

        Raises
        ------
        FileNotFoundError
            If there is no store in that folder.
        ValueError
            If `other` is this store.
        OSError
            If the other store cannot be read, or this one cannot be written.

        Notes
        -----
        Every block is checked against its checksum and keeps its age. A store that is
        damaged as a whole is read as far as possible: merging it into a new one saves
        the intact rows. Records of audio files are not merged, because they apply to
        one machine only.
        """
        if not isinstance(other, EmbeddingStore):
            with closing(EmbeddingStore(other)) as opened:
                opened._session.for_reading = True
                return self.merge(opened, verbose=verbose)
        if not other._session.exists():
            msg = f"there is no embedding store in {other.root}. Check the folder."
            raise FileNotFoundError(msg)
        if self._session.exists() and os.path.samefile(
            other.root / FILE, self.root / FILE
        ):
            msg = f"{other.root} is this store. Pass another one."
            raise ValueError(msg)
        n_added = n_read = n_damaged = 0
        now = int(time.time())
        with other._bar("merging", verbose) as bar:
            for block in other._all_blocks():
                n_read += block.n_rows
                bar.update(block.n_rows)
                if not block.is_intact:
                    n_damaged += block.n_rows
                    continue
                # Through `_add`, so that existing rows are not stored twice.
                vectors = np.frombuffer(block.vectors, np.float32)
                n_added += self._session.insist(
                    partial(
                        self._add,
                        scope=block.scope.decode(),
                        keys=key_words(block.keys),
                        vectors=vectors.reshape(-1, block.width),
                        stored=block.stored if isinstance(block.stored, int) else now,
                    )
                )
        return MergeReport(n_added, n_read - n_added - n_damaged, n_damaged)

    def close(self) -> None:
        """Close this process's connection; it is reopened when needed."""
        self._session.close()

    def __len__(self) -> int:
        return self._session.attempt(n_entries) or 0

    def __repr__(self) -> str:
        return f"EmbeddingStore({str(self.root)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.root,)

    def _all_blocks(self) -> Iterator[Block]:
        """Yield all blocks that can be found; an unreadable one has no keys."""
        for number in self._session.insist(block_ids):
            block = self._session.insist(partial(block_at, number=number))
            if block is not None:
                yield block

    def _bar(self, desc: str, verbose: bool) -> Any:
        total = self._session.insist(n_entries) if verbose else None
        return progress(total=total, desc=desc, unit="row", verbose=verbose)


def _stated(file: FileState, key: bytes) -> str:
    """Return the state of a file, with a CRC that binds its content key to it."""
    crc = zlib.crc32(key, zlib.crc32(os.fsencode(file.path)))
    return f"{' '.join(map(str, file[1:]))} {crc}"


def _is_state(state: Any, file: FileState, key: bytes) -> bool:
    """Return whether a file is unchanged; earlier versions recorded it without CRC."""
    bound = _stated(file, key).encode()
    without = bound.rpartition(b" ")[0]
    return state == bound or (state == without and bool(_KEY.fullmatch(key)))
