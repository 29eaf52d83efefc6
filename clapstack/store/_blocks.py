"""Blocks of embeddings in the file of a store: finding, reading and dropping them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from clapstack._compat import batched
from clapstack.store._database import Connection, is_intact, transaction, value
from clapstack.store._index import KEY_BYTES, Ints, Keys, key_words

VALUES_PER_QUERY = 500  # every build of SQLite supports 999 variables
_PAGES_PER_STEP = 1_024


class Block(NamedTuple):
    """A block as found in the file; damage may change even the types."""

    id: int
    scope: Any
    width: Any
    stored: Any
    checksum: Any
    crc: Any
    keys: Any
    vectors: Any

    @property
    def n_rows(self) -> int:
        return len(self.keys or b"") // KEY_BYTES

    def holds(self, scope: str, keys: Keys, slots: Any) -> bool:
        """Return whether the block has these keys in these slots, under this scope."""
        if self.scope != scope.encode():
            return False
        if isinstance(slots, slice):
            run = slice(slots.start * KEY_BYTES, slots.stop * KEY_BYTES)
            return bool(self.keys[run] == keys.tobytes())
        is_inside = slots.max() < self.n_rows
        return is_inside and np.array_equal(key_words(self.keys)[slots], keys)

    @property
    def is_intact(self) -> bool:
        return is_intact(
            self.scope, self.width, self.checksum, self.crc, self.keys, self.vectors
        )


# Vectors whose length does not match the keys are not read: damage can make it huge.
_BLOCK_QUERY = (
    "SELECT blocks.id, name, width, stored, checksum, {crc}, "
    "CASE WHEN typeof(keys) = 'blob' THEN keys END, "
    "CASE WHEN typeof(keys) = 'blob' AND typeof(vectors) = 'blob' "
    f"AND length(vectors) = length(keys) / {KEY_BYTES} * width * 4 THEN vectors END "
    "FROM blocks LEFT JOIN scopes ON scopes.id = scope "
)


def places_of(blocks: Ints, slots: Ints) -> dict[int, tuple[Any, Any]]:
    """Return, for each block, the positions of its rows in the result, and its slots.

    Both are slices if rows are requested in the order of the block.
    """
    order = np.argsort(blocks, kind="stable")
    ids, starts = np.unique(blocks[order], return_index=True)
    stops = np.append(starts[1:], len(order))
    slots = slots[order]
    # 1 where a row does not follow the previous one, in the result or in the block. A
    # block without breaks, except at its first row, is read in order.
    breaks = np.ones(len(order), np.int64)
    breaks[1:] = (np.diff(order) != 1) | (np.diff(slots) != 1)
    breaks[starts] = 0
    in_order = np.add.reduceat(breaks, starts) == 0
    places: dict[int, tuple[Any, Any]] = {}
    columns = (ids, starts, stops, in_order, order[starts], slots[starts])
    for number, start, stop, whole, where, slot in zip(
        *(column.tolist() for column in columns), strict=True
    ):
        # A slice copies 3.5 times as fast as an array of positions (7,500 rows of 512
        # values: 1.2 ms and 4.1 ms, measured).
        if whole:
            n_rows = stop - start
            places[number] = slice(where, where + n_rows), slice(slot, slot + n_rows)
        else:
            places[number] = order[start:stop], slots[start:stop]
    # Block 0 stands for keys that are in no block.
    places.pop(0, None)
    return places


def blocks_at(connection: Connection, ids: list[int]) -> Iterator[Block]:
    """Yield those of the blocks that exist."""
    for some in batched(ids, VALUES_PER_QUERY):
        query = f"{_block_query(connection)} WHERE blocks.id IN ({marks(some)})"
        yield from map(Block._make, connection.execute(query, some))


def _block_query(connection: Connection) -> str:
    return _BLOCK_QUERY.format(crc="crc" if connection.has_crc else "NULL")


def block_at(connection: Connection, number: int) -> Block | None:
    """Return a block, without keys if it cannot be read; None if it does not exist."""
    try:
        query = f"{_block_query(connection)} WHERE blocks.id = ?"
        row = connection.execute(query, (number,))
        return next(map(Block._make, row), None)
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError:
        return Block(number, *[None] * 7)


def present(connection: Connection, ids: Iterable[int]) -> set[int]:
    """Return those of the blocks that exist."""
    found: set[int] = set()
    for some in batched(ids, VALUES_PER_QUERY):
        query = f"SELECT id FROM blocks WHERE id IN ({marks(some)})"
        found.update(number for (number,) in connection.execute(query, some))
    return found


def drop(connection: Connection, blocks: list[Block]) -> None:
    with transaction(connection):
        connection.executemany(
            "DELETE FROM blocks WHERE id = ?", [(block.id,) for block in blocks]
        )


def drop_oldest(connection: Connection, before: float, n_blocks: int) -> int:
    """Drop the oldest blocks, and records of files that are older than the rest.

    Returns the number of rows dropped.
    """
    chosen = "SELECT id FROM blocks WHERE stored < ? ORDER BY stored, id LIMIT ?"
    total = (
        "SELECT COALESCE(SUM(length(keys)), 0) FROM blocks "
        f"WHERE id IN ({chosen}) AND typeof(keys) = 'blob'"
    )
    with transaction(connection):
        n_bytes: int = value(connection, total, before, n_blocks)
        connection.execute(
            f"DELETE FROM blocks WHERE id IN ({chosen})", (before, n_blocks)
        )
        # Keys of files are useless without the embeddings of their time.
        connection.execute(
            "DELETE FROM files WHERE stored < "
            "COALESCE((SELECT MIN(stored) FROM blocks), ?)",
            (before,),
        )
    connection.indexes.clear()
    return n_bytes // KEY_BYTES


def n_excess(connection: Connection, max_bytes: int) -> int:
    """Return about how many blocks the file has in excess of `max_bytes`."""
    # The size of the file is no measure: free pages are released at the end.
    n_pages = value(connection, "PRAGMA page_count")
    n_pages -= value(connection, "PRAGMA freelist_count")
    n_bytes = n_pages * value(connection, "PRAGMA page_size")
    if n_bytes <= max_bytes:
        return 0
    n_blocks = value(connection, "SELECT COUNT(*) FROM blocks")
    share = (n_bytes - max_bytes) / n_bytes
    return max(1, int(n_blocks * share / 2))  # approaches the limit from above


def give_space_back(connection: Connection) -> None:
    n_free = value(connection, "PRAGMA freelist_count")
    while n_free:
        connection.execute(f"PRAGMA incremental_vacuum({_PAGES_PER_STEP})").fetchall()
        left = value(connection, "PRAGMA freelist_count")
        if left >= n_free:  # damaged, or created elsewhere without auto_vacuum
            break
        n_free = left
    # Until then, the change exists only in the write-ahead log.
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def n_entries(connection: Connection) -> int:
    query = (
        "SELECT COALESCE(SUM(length(keys)), 0) FROM blocks WHERE typeof(keys) = 'blob'"
    )
    return int(value(connection, query)) // KEY_BYTES


def names_of(block: Block) -> list[str]:
    """Return the content keys of a damaged block, or its number if they are lost."""
    content = block.keys or b""
    starts = range(0, block.n_rows * KEY_BYTES, KEY_BYTES)
    keys = [content[at : at + KEY_BYTES].hex() for at in starts]
    return keys or [f"block {block.id}"]


def marks(values: list[Any]) -> str:
    return ",".join("?" * len(values))
