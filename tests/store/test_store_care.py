import sqlite3
import time
from datetime import timedelta

import pytest
from numpy.testing import assert_array_equal

from clapstack.store import EmbeddingStore, text_key
from clapstack.store import _store as store_module
from tests.store.rows import get, numbers, put

FILE = "embeddings.sqlite3"


@pytest.fixture
def other(tmp_path):
    store = EmbeddingStore(tmp_path / "other")
    yield store
    store.close()


@pytest.fixture
def clock(monkeypatch):
    """Let a test set the time, in seconds."""
    now = [time.time()]
    monkeypatch.setattr(store_module.time, "time", lambda: now[0])
    return now


def change(store, sql):
    store.close()
    with sqlite3.connect(store.root / FILE) as connection:
        connection.execute(sql)
    connection.close()


def spoil(store, block):
    change(store, f"UPDATE blocks SET vectors = x'00000000' WHERE id = {block}")


# What it holds


def test_stats_count_entries_by_width(store):
    put(store, numbers(0, 3), width=512)
    put(store, numbers(3, 5), width=1_024)
    stats = store.stats()
    assert stats.n_entries == 5
    assert stats.widths == {512: 3, 1_024: 2}


def test_stats_give_the_bytes_on_disk(store):
    put(store, numbers(0, 100), width=512)
    store.close()
    assert store.stats().n_bytes >= 100 * 512 * 4
    store.close()
    assert store.stats().n_bytes >= (store.root / FILE).stat().st_size


@pytest.mark.parametrize(
    "look",
    [
        EmbeddingStore.stats,
        EmbeddingStore.verify,
        lambda store: store.prune(max_bytes=0),
    ],
)
def test_maintenance_of_a_missing_store_does_not_create_it(store, look):
    look(store)
    assert not store.root.exists()


def test_maintenance_of_a_file_that_is_no_database_is_an_error(tmp_path):
    (tmp_path / FILE).write_bytes(b"not a database " * 100)
    with pytest.raises(OSError, match=r"cannot be used \(file is not a database\)"):
        EmbeddingStore(tmp_path).stats()


# Verifying


def test_a_sound_store_verifies(store):
    for first in range(0, 2_345, 67):
        put(store, numbers(first, first + 67))
    assert store.verify() == (2_345, [])


def test_verify_drops_the_damaged_rows_and_names_them(store):
    for number in range(10):
        put(store, [number])
    spoil(store, 3)
    spoil(store, 7)
    assert store.verify() == (10, [text_key("2"), text_key("6")])
    assert store.verify() == (8, [])


def test_verify_sees_a_damaged_structure(store):
    put(store, numbers(0, 10))
    store.close()
    content = bytearray((store.root / FILE).read_bytes())
    at = content.rindex(b"encoder\ntext")  # in the index of the scopes or in the table
    content[at : at + 2] = b"zz"
    (store.root / FILE).write_bytes(bytes(content))
    with pytest.raises(
        OSError, match=r"sqlite3 cannot be used.* rows in it are intact"
    ):
        store.verify()


def test_the_whole_rows_of_a_damaged_file_are_saved_by_merging(store, other):
    for first in range(0, 400, 4):
        put(store, numbers(first, first + 4), width=512)
    store.close()
    content = bytearray((store.root / FILE).read_bytes())
    page = 32_768
    content[9 * page : 10 * page] = bytes(page)
    (store.root / FILE).write_bytes(bytes(content))
    with pytest.raises(
        OSError, match=r"([1-9]\d*) rows in it are intact.* --folder NEW"
    ):
        store.verify()
    n_added = other.merge(store.root).n_added
    assert 0 < n_added < 400
    assert len(get(other, numbers(0, 400), width=512)) == n_added
    assert bytes(content) == (store.root / FILE).read_bytes()


def test_pruning_a_file_without_auto_vacuum_ends(store):
    for first in range(0, 400, 4):
        put(store, numbers(first, first + 4), width=512)
    change(store, "PRAGMA journal_mode = DELETE")
    connection = sqlite3.connect(store.root / FILE, isolation_level=None)
    connection.execute("PRAGMA auto_vacuum = NONE")
    connection.execute("VACUUM")
    connection.close()
    assert store.prune(max_bytes=200_000) > 0


# Pruning


def test_prune_by_age_drops_what_is_older(store, clock):
    put(store, numbers(0, 3))
    clock[0] += 10 * 86_400
    put(store, numbers(3, 5))
    assert store.prune(older_than=timedelta(days=5)) == 3
    assert get(store, numbers(0, 5)) == [3, 4]


def test_prune_by_size_drops_the_oldest_and_no_more_than_it_must(store, clock):
    for first in range(0, 2_000, 20):
        put(store, numbers(first, first + 20), width=512)
        clock[0] += 1
    store.close()
    limit = 2_000_000
    n_dropped = store.prune(max_bytes=limit)
    store.close()
    assert 0.95 * limit < (store.root / FILE).stat().st_size <= limit
    assert get(store, numbers(0, 2_000), width=512) == numbers(n_dropped, 2_000)


def test_prune_to_nothing_empties_the_store(store):
    put(store, numbers(0, 50))
    assert store.prune(max_bytes=0) == 50
    assert len(store) == 0


def test_a_pruned_store_is_sound(store):
    for first in range(0, 1_000, 50):
        put(store, numbers(first, first + 50), width=64)
    store.prune(max_bytes=200_000)
    assert store.verify().dropped == []


def test_prune_without_a_limit_is_refused(store):
    with pytest.raises(ValueError, match="prune needs a limit"):
        store.prune()


@pytest.mark.parametrize(
    "limit", [{"max_bytes": -1}, {"older_than": timedelta(seconds=-1)}]
)
def test_a_negative_limit_is_refused(store, limit):
    with pytest.raises(ValueError, match="must not be negative"):
        store.prune(**limit)


# Merging


def test_merge_adds_what_is_new(store, other):
    put(store, numbers(0, 3))
    for first in range(2, 2_500, 50):
        put(other, numbers(first, min(first + 50, 2_500)))
    assert store.merge(other) == (2_497, 1, 0)
    assert len(get(store, numbers(0, 2_500))) == 2_500


def test_merging_again_changes_nothing(store, other):
    put(other, numbers(0, 4))
    store.merge(other)
    assert store.merge(other.root) == (0, 4, 0)


def test_merge_leaves_damaged_rows_out(store, other):
    for number in range(4):
        put(other, [number])
    spoil(other, 3)
    assert store.merge(other) == (3, 0, 1)
    assert get(store, numbers(0, 4)) == [0, 1, 3]


def test_merge_keeps_what_is_here(store, other):
    key = [text_key("k")]
    store.put("encoder", key, [[1.0]])
    other.put("encoder", key, [[2.0]])
    store.merge(other)
    assert_array_equal(store.get("encoder", key, 1)[1], [[1.0]])


def test_merged_rows_keep_their_age(store, other, clock):
    put(other, [1, 2])
    clock[0] += 86_400
    store.merge(other)
    assert store.prune(older_than=timedelta(hours=1)) == 2


def test_merge_with_a_folder_without_a_store_is_refused(store, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no embedding store in .*nothing"):
        store.merge(tmp_path / "nothing")


def test_merge_with_itself_is_refused(store):
    put(store, [1])
    with pytest.raises(ValueError, match="is this store"):
        store.merge(store.root)
