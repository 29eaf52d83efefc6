import sqlite3
import time
from datetime import timedelta

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from clapstack import store as store_module
from clapstack.store import EmbeddingStore

FILE = "embeddings.sqlite3"


@pytest.fixture
def store(tmp_path):
    store = EmbeddingStore(tmp_path / "store")
    yield store
    store.close()


@pytest.fixture
def other(tmp_path):
    store = EmbeddingStore(tmp_path / "other")
    yield store
    store.close()


@pytest.fixture
def clock(monkeypatch):
    """Let a test say what time it is, in seconds."""
    now = [time.time()]
    monkeypatch.setattr(store_module.time, "time", lambda: now[0])
    return now


def vectors(n, dim=8, first=0):
    return {f"k{i}": np.full(dim, i, dtype=np.float32) for i in range(first, n)}


def change(store, sql):
    store.close()
    with sqlite3.connect(store.root / FILE) as connection:
        connection.execute(sql)
    connection.close()


def spoil(store, key):
    change(store, f"UPDATE embeddings SET vector = x'00000000' WHERE key = '{key}'")


# What it holds


def test_stats_count_entries_by_width(store):
    store.put(vectors(3, dim=512))
    store.put(vectors(5, dim=1_024, first=3))
    stats = store.stats()
    assert stats.n_entries == 5
    assert stats.widths == {512: 3, 1_024: 2}


def test_stats_give_the_bytes_on_disk(store):
    store.put(vectors(100, dim=512))
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
def test_care_for_a_store_that_does_not_exist_makes_none(store, look):
    look(store)
    assert not store.root.exists()


def test_care_for_a_file_that_is_no_database_is_an_error(tmp_path):
    (tmp_path / FILE).write_bytes(b"not a database " * 100)
    with pytest.raises(OSError, match=r"cannot be used \(file is not a database\)"):
        EmbeddingStore(tmp_path).stats()


# Verifying


def test_a_sound_store_verifies(store):
    store.put(vectors(2_345))
    assert store.verify() == (2_345, [])


def test_verify_drops_the_damaged_rows_and_names_them(store):
    store.put(vectors(10))
    spoil(store, "k3")
    spoil(store, "k7")
    assert store.verify() == (10, ["k3", "k7"])
    assert store.verify() == (8, [])


def test_verify_sees_a_damaged_structure(store):
    store.put(vectors(10))
    store.close()
    content = bytearray((store.root / FILE).read_bytes())
    at = content.rindex(b"k9")  # in the index of the keys or in the table
    content[at : at + 2] = b"zz"
    (store.root / FILE).write_bytes(bytes(content))
    with pytest.raises(OSError, match="Delete that folder"):
        store.verify()


# Pruning


def test_prune_by_age_drops_what_is_older(store, clock):
    store.put(vectors(3))
    clock[0] += 10 * 86_400
    store.put(vectors(5, first=3))
    assert store.prune(older_than=timedelta(days=5)) == 3
    assert sorted(store.get(vectors(5))) == ["k3", "k4"]


def test_prune_by_size_drops_the_oldest_and_no_more_than_it_must(store, clock):
    for start in range(0, 2_000, 500):
        store.put(vectors(start + 500, dim=512, first=start))
        clock[0] += 1
    store.close()
    limit = 2_000_000
    n_dropped = store.prune(max_bytes=limit)
    store.close()
    assert 0.95 * limit < (store.root / FILE).stat().st_size <= limit
    assert sorted(store.get(vectors(2_000))) == sorted(vectors(2_000, first=n_dropped))


def test_prune_to_nothing_empties_the_store(store):
    store.put(vectors(50))
    assert store.prune(max_bytes=0) == 50
    assert len(store) == 0


def test_a_pruned_store_is_sound(store):
    store.put(vectors(1_000, dim=64))
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
    store.put(vectors(3))
    other.put(vectors(2_500, first=2))
    assert store.merge(other) == (2_497, 1, 0)
    assert len(store.get(vectors(2_500))) == 2_500


def test_merging_again_changes_nothing(store, other):
    other.put(vectors(4))
    store.merge(other)
    assert store.merge(other.root) == (0, 4, 0)


def test_merge_leaves_damaged_rows_out(store, other):
    other.put(vectors(4))
    spoil(other, "k2")
    assert store.merge(other) == (3, 0, 1)
    assert "k2" not in store.get(vectors(4))


def test_merge_keeps_what_is_here(store, other):
    store.put({"k": [1.0]})
    other.put({"k": [2.0]})
    store.merge(other)
    assert_array_equal(store.get(["k"])["k"], [1.0])


def test_merged_rows_keep_their_age(store, other, clock):
    other.put(vectors(2))
    clock[0] += 86_400
    store.merge(other)
    assert store.prune(older_than=timedelta(hours=1)) == 2


def test_merge_with_a_folder_without_a_store_is_refused(store, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no embedding store in .*nothing"):
        store.merge(tmp_path / "nothing")


def test_merge_with_itself_is_refused(store):
    store.put(vectors(1))
    with pytest.raises(ValueError, match="is this store"):
        store.merge(store.root)
