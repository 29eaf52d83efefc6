import multiprocessing
import pickle
import sqlite3
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from clapstack import store as store_module
from clapstack.store import (
    EmbeddingStore,
    default_cache_dir,
    embedding_key,
    open_store,
    text_key,
)

FORK = "fork" in multiprocessing.get_all_start_methods()
needs_fork = pytest.mark.skipif(not FORK, reason="no fork on this system")


@pytest.fixture
def store(tmp_path):
    store = EmbeddingStore(tmp_path / "store")
    yield store
    store.close()


@pytest.fixture(autouse=True)
def forget_warnings(monkeypatch):
    monkeypatch.setattr(store_module, "_warned", set())


def vectors(n, dim=8, tag="k"):
    return {f"{tag}{i}": np.full(dim, i + 0.5, dtype=np.float32) for i in range(n)}


def damage(store, sql, *values):
    store.close()
    with sqlite3.connect(store.root / "embeddings.sqlite3") as connection:
        connection.execute(sql, values)
    connection.close()


# Reading and writing


def test_what_is_put_is_found_again(store):
    store.put(vectors(3))
    found = store.get(["k0", "k2", "absent"])
    assert sorted(found) == ["k0", "k2"]
    assert_array_equal(found["k2"], np.full(8, 2.5))
    assert found["k2"].dtype == np.float32


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(width=32), min_size=1, max_size=50))
def test_every_bit_of_a_vector_survives(tmp_path_factory, values):
    vector = np.array(values, dtype=np.float32)
    store = EmbeddingStore(tmp_path_factory.mktemp("store"))
    store.put({"key": vector})
    assert store.get(["key"])["key"].tobytes() == vector.tobytes()
    store.close()


def test_more_keys_than_one_query_takes(store):
    store.put(vectors(2_345))
    assert len(store.get(f"k{i}" for i in range(3_000))) == 2_345


def test_the_first_writer_of_a_key_wins(store):
    store.put({"key": [1.0]})
    store.put({"key": [2.0]})
    assert store.get(["key"])["key"] == [1.0]


def test_a_batch_with_a_bad_vector_is_not_stored_at_all(store):
    with pytest.raises(ValueError, match=r"must be 1-D; got shape \(1, 2\) for 'b'"):
        store.put({"a": [1.0], "b": [[1.0, 2.0]]})
    assert len(store) == 0


def test_a_new_object_finds_what_an_old_one_stored(store):
    store.put(vectors(2))
    store.close()
    again = EmbeddingStore(str(store.root))
    assert len(again) == 2
    again.close()


def test_a_closed_store_opens_again(store):
    store.put(vectors(2))
    store.close()
    assert len(store) == 2


def test_a_pickle_holds_the_folder_only(store):
    store.put(vectors(2))
    content = pickle.dumps(store)
    twin = pickle.loads(content)
    assert len(content) < 300
    assert len(twin) == 2
    twin.close()


def test_nothing_is_made_on_disk_before_it_is_needed(tmp_path):
    EmbeddingStore(tmp_path / "store")
    assert list(tmp_path.iterdir()) == []


# Several at once


def write_and_read(root, barrier, worker):
    warnings.simplefilter("error")
    store = EmbeddingStore(root)
    barrier.wait(30)
    for start in range(0, 60, 20):
        keys = {f"k{i}": np.full(64, i, np.float32) for i in range(start, start + 20)}
        store.put(keys)
        assert len(store.get(keys)) == 20
    store.put({f"own{worker}": np.ones(64)})
    store.close()


@needs_fork
def test_processes_that_write_the_same_rows_at_once(tmp_path):
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(6)
    workers = [
        context.Process(target=write_and_read, args=(tmp_path, barrier, i))
        for i in range(6)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 6
    store = EmbeddingStore(tmp_path)
    assert len(store) == 66
    store.close()


def test_threads_that_share_a_store(store):
    failures = []

    def work(worker):
        try:
            for i in range(20):
                store.put({f"{worker}-{i}": np.full(4, i), f"both-{i}": np.full(4, i)})
                assert len(store.get([f"{worker}-{i}", f"both-{i}"])) == 2
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(store) == 100


def use_inherited(store):
    store.put({"child": np.ones(8)})
    assert len(store.get(["parent", "child"])) == 2
    store.close()


@needs_fork
def test_a_child_uses_the_store_that_its_parent_opened(store):
    store.put({"parent": np.ones(8)})
    child = multiprocessing.get_context("fork").Process(
        target=use_inherited, args=(store,)
    )
    child.start()
    child.join(30)
    assert child.exitcode == 0
    assert len(store.get(["parent", "child"])) == 2


# Damage


@pytest.mark.parametrize("content", [b"\0" * 32, b"\0" * 31, b""])
def test_a_damaged_row_is_dropped_with_a_warning(store, content):
    store.put(vectors(3))
    damage(store, "UPDATE embeddings SET vector = ? WHERE key = 'k1'", content)
    with pytest.warns(UserWarning, match="1 damaged rows .* encoded again"):
        found = store.get(["k0", "k1", "k2"])
    assert sorted(found) == ["k0", "k2"]
    assert len(store) == 2


def test_a_dropped_row_can_be_stored_again(store):
    store.put(vectors(2))
    damage(store, "UPDATE embeddings SET checksum = checksum + 1 WHERE key = 'k1'")
    with pytest.warns(UserWarning, match="damaged"):
        store.get(["k1"])
    store.put(vectors(2))
    assert_array_equal(store.get(["k1"])["k1"], np.full(8, 1.5))


def test_a_vector_stored_under_another_key_is_damage(store):
    store.put(vectors(2))
    damage(store, "DELETE FROM embeddings WHERE key = 'k0'")
    damage(store, "UPDATE embeddings SET key = 'k0' WHERE key = 'k1'")
    with pytest.warns(UserWarning, match="1 damaged rows"):
        assert store.get(["k0"]) == {}


def test_a_flipped_bit_never_gives_another_vector(tmp_path):
    rng = np.random.default_rng(0)
    whole = EmbeddingStore(tmp_path)
    expected = vectors(40)
    whole.put(expected)
    whole.close()
    file = tmp_path / "embeddings.sqlite3"
    content = file.read_bytes()
    lost = 0
    for _ in range(80):
        damaged = bytearray(content)
        damaged[rng.integers(len(content))] ^= 1 << rng.integers(8)
        file.write_bytes(bytes(damaged))
        store = EmbeddingStore(tmp_path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = store.get(expected)
        store.close()
        for key, vector in found.items():
            assert_array_equal(vector, expected[key])
        lost += len(found) < len(expected)
    assert lost > 0


def test_a_file_of_another_format_is_reported(store):
    store.put(vectors(1))
    damage(store, "PRAGMA user_version = 7")
    with pytest.warns(UserWarning, match="it has format 7, .* reads format 1"):
        assert store.get(["k0"]) == {}


def test_a_file_that_is_no_database_is_reported_once_and_done_without(tmp_path):
    (tmp_path / "embeddings.sqlite3").write_bytes(b"not a database " * 100)
    store = EmbeddingStore(tmp_path)
    with pytest.warns(UserWarning, match=r"cannot be used .* Delete that folder"):
        store.put(vectors(2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert store.get(["k0"]) == {}
        assert len(EmbeddingStore(tmp_path)) == 0


def test_a_folder_that_cannot_be_made_is_reported_once(tmp_path):
    (tmp_path / "file").touch()
    store = EmbeddingStore(tmp_path / "file" / "store")
    with pytest.warns(UserWarning, match="set cache=... or CLAPSTACK_CACHE"):
        store.put(vectors(2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store.put(vectors(2))


def test_a_full_disk_is_reported_and_what_was_stored_stays(store):
    store.put(vectors(2))
    store._connection.execute("PRAGMA max_page_count = 4")
    with pytest.warns(UserWarning, match="is full.* free some space"):
        store.put(vectors(500, dim=512, tag="more"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store.put(vectors(500, dim=512, tag="more"))
    assert sorted(store.get([*vectors(2), "more0"])) == ["k0", "k1"]


# Where it lies


def test_no_cache_is_no_store():
    assert open_store(None) is None


def test_a_path_is_a_folder(tmp_path):
    assert open_store(tmp_path / "x").root == tmp_path / "x"
    assert open_store(str(tmp_path / "x")).root == tmp_path / "x"


def test_auto_is_the_folder_of_the_variable(monkeypatch, tmp_path):
    monkeypatch.setenv("CLAPSTACK_CACHE", str(tmp_path / "chosen"))
    assert open_store("auto").root == tmp_path / "chosen"


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"HOME": "/home/u"}, "/home/u/.cache/clapstack"),
        ("linux", {"HOME": "/home/u", "XDG_CACHE_HOME": "/big"}, "/big/clapstack"),
        ("darwin", {"HOME": "/Users/u"}, "/Users/u/Library/Caches/clapstack"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/clapstack"),
    ],
)
def test_auto_follows_the_conventions_of_the_system(
    monkeypatch, platform, variables, expected
):
    for name in ("CLAPSTACK_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert default_cache_dir() == Path(expected)


def test_a_user_without_a_home_is_warned(monkeypatch):
    def no_home():
        msg = "Could not determine home directory."
        raise RuntimeError(msg)

    monkeypatch.delenv("CLAPSTACK_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", staticmethod(no_home))
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.warns(UserWarning, match="Could not determine home directory"):
        assert open_store("auto") is None


# Keys


def test_keys_tell_content_and_encoder_apart():
    keys = {embedding_key(c, e) for c in ("a", "b") for e in ("x", "y")}
    assert len(keys) == 4
    assert embedding_key("a", "x") == embedding_key("a", "x")


def test_text_keys_tell_texts_apart():
    assert text_key("a dog") != text_key("a dog ")
    assert len(text_key("犬")) == 64
