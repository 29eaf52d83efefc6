import multiprocessing
import pickle
import shutil
import sqlite3
import sys
import threading
import warnings
from contextlib import closing
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from clapstack.store import (
    EmbeddingStore,
    _index,
    default_cache_dir,
    open_store,
    text_key,
)
from tests.store.rows import SCOPE, get, numbers, put

FILE = "embeddings.sqlite3"
FORK = "fork" in multiprocessing.get_all_start_methods()
needs_fork = pytest.mark.skipif(not FORK, reason="no fork on this system")


def damage(store, sql, *values):
    store.close()
    with sqlite3.connect(store.root / "embeddings.sqlite3") as connection:
        connection.execute(sql, values)
    connection.close()


def put_apart(store, some):
    """Store each row as a separate block; blocks are numbered from 1."""
    for number in some:
        put(store, [number])


# Reading and writing


def test_what_is_put_is_found_again(store):
    put(store, numbers(0, 3))
    found, rows = store.get(SCOPE, [text_key(str(i)) for i in (2, 9, 0)], 8)
    assert found.tolist() == [True, False, True]
    assert rows.dtype == np.float32
    assert_array_equal(rows[:, 0], [2, 0, 0])


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(width=32), min_size=1, max_size=50))
def test_every_bit_of_a_row_survives(tmp_path_factory, values):
    row = np.array([values], dtype=np.float32)
    store = EmbeddingStore(tmp_path_factory.mktemp("store"))
    store.put(SCOPE, [text_key("key")], row)
    found = store.get(SCOPE, [text_key("key")], len(values))[1]
    assert found.tobytes() == row.tobytes()
    store.close()


def test_more_blocks_than_one_query_takes(store):
    for first in range(0, 2_400, 4):
        put(store, numbers(first, first + 4))
    assert get(store, numbers(0, 3_000)) == numbers(0, 2_400)


def test_more_rows_than_are_held_unsorted(store):
    put(store, numbers(0, 5_000))
    put(store, numbers(4_990, 5_010))
    put(store, numbers(5_010, 9_500))
    assert get(store, numbers(0, 10_000)) == numbers(0, 9_500)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(st.integers(0, 40), max_size=12), max_size=8))
def test_any_sequence_of_puts_gives_their_union(tmp_path_factory, batches):
    store = EmbeddingStore(tmp_path_factory.mktemp("store"))
    for batch in batches:
        put(store, batch)
    expected = sorted({number for batch in batches for number in batch})
    assert get(store, numbers(0, 41)) == expected
    assert len(store) == len(expected)
    store.close()


def test_the_first_writer_of_a_key_wins(store):
    store.put(SCOPE, [text_key("a")], [[1.0]])
    store.put(SCOPE, [text_key("a"), text_key("b")], [[2.0], [3.0]])
    _, rows = store.get(SCOPE, [text_key("a"), text_key("b")], 1)
    assert rows.tolist() == [[1.0], [3.0]]


def test_scopes_are_apart(store):
    put(store, [1], scope="one encoder")
    assert get(store, [1], scope="another") == []


def test_rows_of_another_width_are_not_taken(store):
    put(store, [1], width=8)
    assert get(store, [1], width=4) == []


@pytest.mark.parametrize("rows", [[1.0], [[1.0]], [[], []], np.ones((2, 2, 2))])
def test_rows_of_another_shape_are_refused(store, rows):
    with pytest.raises(ValueError, match=r"rows must have shape \(2, width\); got"):
        store.put(SCOPE, [text_key("a"), text_key("b")], rows)
    assert len(store) == 0


def test_a_key_that_is_no_hash_is_refused(store):
    with pytest.raises(ValueError, match=r"64 hexadecimal digits; got 'clip\.wav'"):
        store.put(SCOPE, ["clip.wav"], [[1.0]])


def test_no_keys_are_no_work(store):
    store.put(SCOPE, [], np.empty((0, 8)))
    found, rows = store.get(SCOPE, [], 8)
    assert found.shape == (0,)
    assert rows.shape == (0, 8)


def test_a_new_object_finds_what_an_old_one_stored(store):
    put(store, [1, 2])
    store.close()
    again = EmbeddingStore(str(store.root))
    assert get(again, [1, 2, 3]) == [1, 2]
    again.close()


def test_an_open_object_finds_what_another_stores_meanwhile(store):
    put(store, [1])
    assert get(store, [1, 2]) == [1]
    other = EmbeddingStore(store.root)
    put(other, [2])
    other.close()
    assert get(store, [1, 2]) == [1, 2]


def test_what_another_drops_is_absent_and_can_be_stored_again(store):
    put(store, [1, 2])
    assert get(store, [1]) == [1]
    other = EmbeddingStore(store.root)
    other.prune(max_bytes=0)
    other.close()
    assert get(store, [1, 2]) == []
    put(store, [1, 2])
    assert get(store, [1, 2]) == [1, 2]


def test_a_closed_store_opens_again(store):
    put(store, [1, 2])
    store.close()
    assert len(store) == 2


def test_a_pickle_holds_the_folder_only(store):
    put(store, [1, 2])
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
        put(store, numbers(start, start + 20))
        assert len(get(store, numbers(start, start + 20))) == 20
    put(store, [1_000 + worker])
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
                some = [100 * (worker + 1) + i, i]
                put(store, some)
                assert get(store, some) == some
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
    put(store, [2])
    assert get(store, [1, 2]) == [1, 2]
    store.close()


@needs_fork
def test_a_child_uses_the_store_that_its_parent_opened(store):
    put(store, [1])
    child = multiprocessing.get_context("fork").Process(
        target=use_inherited, args=(store,)
    )
    child.start()
    child.join(30)
    assert child.exitcode == 0
    assert get(store, [1, 2]) == [1, 2]


# What others do to the file while it is open


def prune_elsewhere(store):
    with closing(EmbeddingStore(store.root)) as other:
        other.prune(max_bytes=0)


def replace_file(store):
    with closing(EmbeddingStore(store.root.with_name("other"))) as other:
        put(other, [7])
    (store.root.with_name("other") / FILE).replace(store.root / FILE)


def delete_file(store):
    for path in store.root.iterdir():
        path.unlink()


def delete_folder(store):
    shutil.rmtree(store.root)


@pytest.mark.parametrize("change", [prune_elsewhere, delete_file, delete_folder])
@pytest.mark.parametrize("looks", [True, False])
def test_rows_are_stored_again_after_the_file_lost_them(store, change, looks):
    put(store, numbers(0, 5))
    change(store)
    if looks:
        assert get(store, numbers(0, 5)) == []
    put(store, numbers(0, 5))
    with closing(EmbeddingStore(store.root)) as another:
        assert get(another, numbers(0, 5)) == numbers(0, 5)
    assert get(store, numbers(0, 5)) == numbers(0, 5)


def test_a_file_that_takes_the_place_of_another_is_read(store):
    put(store, numbers(0, 5))
    store.close()
    assert len(store) == 5  # which opens it
    replace_file(store)
    assert get(store, numbers(0, 9)) == [7]


def test_the_log_of_a_file_that_was_replaced_is_not_taken_for_the_new_ones(store):
    put(store, numbers(0, 5))
    replace_file(store)
    with pytest.warns(UserWarning, match=r"sqlite3-wal belongs to the old one"):
        put(store, [8])
    for _ in range(2):
        with pytest.raises(OSError, match="belongs to the old one"):
            store.stats()
    for name in ("wal", "shm"):
        (store.root / f"{FILE}-{name}").unlink()
    with closing(EmbeddingStore(store.root)) as another:
        assert get(another, numbers(0, 9)) == [7]


def test_a_file_that_was_upgraded_while_it_was_open_is_not_written(store):
    put(store, [1])
    with sqlite3.connect(store.root / FILE) as connection:
        connection.execute("PRAGMA user_version = 3")
    connection.close()
    with pytest.warns(UserWarning, match="Upgrade clapstack"):
        put(store, [2])


def test_rows_under_a_number_that_is_used_again_are_not_taken(store):
    put(store, [1])
    assert get(store, [1]) == [1]
    with sqlite3.connect(store.root / FILE) as connection:
        connection.execute("DELETE FROM blocks")
        connection.execute("DELETE FROM sqlite_sequence")
    connection.close()
    with closing(EmbeddingStore(store.root)) as other:
        put(other, [2])
    assert get(store, [1]) == []
    assert get(store, [2]) == [2]


# Damage


@pytest.mark.parametrize("content", [b"\0" * 32, b"\0" * 31, b""])
def test_a_damaged_block_is_dropped_with_a_warning(store, content):
    put_apart(store, numbers(0, 3))
    damage(store, "UPDATE blocks SET vectors = ? WHERE id = 2", content)
    with pytest.warns(UserWarning, match="1 rows in damaged blocks .* encoded again"):
        found = get(store, numbers(0, 3))
    assert found == [0, 2]
    assert len(store) == 2


def test_a_dropped_row_can_be_stored_again(store):
    put_apart(store, numbers(0, 2))
    damage(store, "UPDATE blocks SET checksum = checksum + 1 WHERE id = 2")
    with pytest.warns(UserWarning, match="damaged"):
        get(store, [1])
    put(store, numbers(0, 2))
    assert get(store, [1]) == [1]


def test_changes_that_cancel_each_other_out_in_a_sum_are_damage(store):
    put(store, [1, 2])
    store.close()
    with sqlite3.connect(store.root / FILE) as connection:
        content = connection.execute("SELECT vectors FROM blocks").fetchone()[0]
        words = np.frombuffer(content, np.uint32) ^ np.uint32(1 << 31)
        connection.execute("UPDATE blocks SET vectors = ?", (words.tobytes(),))
    connection.close()
    with pytest.warns(UserWarning, match="2 rows in damaged blocks"):
        assert get(store, [1, 2]) == []


def before_the_crc(store):
    """Turn a file into one of an earlier version."""
    if sqlite3.sqlite_version_info < (3, 35):
        pytest.skip("this SQLite drops no columns")
    damage(store, "ALTER TABLE blocks DROP COLUMN crc")


def test_a_file_of_an_earlier_version_is_read_and_written(store):
    put(store, [1, 2])
    before_the_crc(store)
    put(store, [3])
    assert get(store, [1, 2, 3, 4]) == [1, 2, 3]
    assert store.verify() == (3, [])


def test_an_earlier_version_reads_and_writes_a_file_of_this_one(store):
    put(store, [1])
    with sqlite3.connect(store.root / FILE) as connection:
        connection.execute(
            "INSERT INTO blocks (scope, width, stored, checksum, keys, vectors) "
            "SELECT scope, width, stored, checksum, keys, vectors FROM blocks"
        )
        connection.execute("DELETE FROM blocks WHERE id = 1")
    connection.close()
    assert get(store, [1]) == [1]


def test_damage_to_a_block_of_an_earlier_version_is_seen(store):
    put_apart(store, [1, 2])
    before_the_crc(store)
    damage(store, "UPDATE blocks SET vectors = zeroblob(32) WHERE id = 1")
    with pytest.warns(UserWarning, match="1 rows in damaged blocks"):
        assert get(store, [1, 2]) == [2]


def test_vectors_stored_under_another_key_are_damage(store):
    put_apart(store, numbers(0, 2))
    other = bytes.fromhex(text_key("7"))
    damage(store, "UPDATE blocks SET keys = ? WHERE id = 2", other)
    with pytest.warns(UserWarning, match="1 rows in damaged blocks"):
        assert get(store, [7]) == []


def test_vectors_stored_under_another_scope_are_damage(store):
    put(store, [1])
    damage(store, "UPDATE scopes SET name = 'another encoder'")
    with pytest.warns(UserWarning, match="1 rows in damaged blocks"):
        assert get(store, [1], scope="another encoder") == []


def test_a_flipped_bit_never_gives_another_row(tmp_path):
    rng = np.random.default_rng(0)
    whole = EmbeddingStore(tmp_path)
    put_apart(whole, numbers(0, 40))
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
            lost += len(get(store, numbers(0, 40))) < 40  # which checks every row
        store.close()
    assert lost > 0


def test_a_file_of_another_format_is_reported(store):
    put(store, [1])
    damage(store, "PRAGMA user_version = 7")
    with pytest.warns(UserWarning, match="it has format 7, .* reads format 2"):
        assert get(store, [1]) == []


def test_a_file_that_is_no_database_is_reported_once_and_done_without(tmp_path):
    (tmp_path / "embeddings.sqlite3").write_bytes(b"not a database " * 100)
    store = EmbeddingStore(tmp_path)
    with pytest.warns(UserWarning, match=r"sqlite3 cannot be used.* move it away"):
        put(store, [1, 2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert get(store, [1]) == []
        assert len(EmbeddingStore(tmp_path)) == 0


def test_a_schema_that_is_no_text_is_damage(store):
    put(store, [1])
    store.close()
    content = (store.root / FILE).read_bytes()
    (store.root / FILE).write_bytes(content.replace(b"TABLE", b"T\xc1BLE"))
    with pytest.warns(UserWarning, match=r"malformed database schema.* It is damaged"):
        put(store, [2])


def test_a_newer_format_is_named_with_the_upgrade_and_kept(store):
    put(store, [1])
    damage(store, "PRAGMA user_version = 3")
    with pytest.warns(UserWarning, match=r"embeddings\.sqlite3.* Upgrade clapstack"):
        put(store, [2])
    damage(store, "PRAGMA user_version = 2")
    again = EmbeddingStore(store.root)
    assert get(again, [1, 2]) == [1]
    again.close()


@pytest.mark.parametrize("version", [0, 2])
def test_a_database_of_another_program_is_not_touched(tmp_path, version):
    file = tmp_path / "embeddings.sqlite3"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE blocks (mine)")
        connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    before = file.read_bytes()
    with pytest.warns(UserWarning, match=r"embeddings\.sqlite3 cannot.* Move it away"):
        put(EmbeddingStore(tmp_path), [1])
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_a_log_without_its_file_is_kept(store):
    put(store, [1])
    (store.root / "embeddings.sqlite3").rename(store.root / "elsewhere")
    log = store.root / "embeddings.sqlite3-wal"
    before = log.read_bytes()
    assert before
    with pytest.warns(UserWarning, match=r"sqlite3-wal has rows.* Copy both"):
        put(EmbeddingStore(store.root), [2])
    assert log.read_bytes() == before
    (store.root / "elsewhere").rename(store.root / "embeddings.sqlite3")


def test_a_folder_that_cannot_be_made_is_reported_once(tmp_path):
    (tmp_path / "file").touch()
    store = EmbeddingStore(tmp_path / "file" / "store")
    with pytest.warns(UserWarning, match="set cache=... or CLAPSTACK_CACHE"):
        put(store, [1, 2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        put(store, [1, 2])


def test_a_full_disk_is_reported_and_what_was_stored_stays(store):
    put(store, [1, 2])
    store._session.connection.execute("PRAGMA max_page_count = 8")
    with pytest.warns(UserWarning, match="is full.* free some space"):
        put(store, numbers(10, 500), width=512)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        put(store, numbers(10, 500), width=512)
    assert get(store, [1, 2]) == [1, 2]
    assert get(store, [10], width=512) == []


# Where it lies


def test_no_cache_is_no_store():
    assert open_store(None) is None


def test_a_path_is_a_folder(tmp_path):
    assert open_store(tmp_path / "x").root == tmp_path / "x"
    assert open_store(str(tmp_path / "x")).root == tmp_path / "x"


def test_auto_is_the_folder_of_the_variable(monkeypatch, tmp_path):
    monkeypatch.setenv("CLAPSTACK_CACHE", str(tmp_path / "chosen"))
    assert open_store("auto").root == tmp_path / "chosen"


def test_a_tilde_is_the_home_of_the_user(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CLAPSTACK_CACHE", "~/x")
    assert open_store("auto").root == open_store("~/x").root == tmp_path / "x"


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


def test_text_keys_tell_texts_apart():
    assert text_key("a dog") != text_key("a dog ")
    assert len(text_key("犬")) == 64


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    wanted=st.lists(st.integers(0, 260), max_size=60),
    first=st.integers(0, 200),
    data=st.data(),
)
def test_lookups_in_order_of_storing_and_out_of_it_find_the_same(
    sizes, wanted, first, data, tmp_path_factory
):
    most_unsorted = data.draw(st.sampled_from([0, 50, 4096]))
    with patch.object(_index, "_MOST_UNSORTED", most_unsorted):
        store = EmbeddingStore(tmp_path_factory.mktemp("store"))
        keys = [text_key(str(number)) for number in range(sum(sizes))]
        rows = np.arange(2 * len(keys), dtype=np.float32).reshape(-1, 2)
        at = 0
        for size in sizes:
            store.put("scope", keys[at : at + size], rows[at : at + size])
            at += size
        run = list(range(first, first + data.draw(st.integers(0, 80))))
        for numbers in (wanted, run, [*run, *wanted]):
            found, got = store.get("scope", [text_key(str(n)) for n in numbers], 2)
            assert found.tolist() == [n < len(keys) for n in numbers]
            expected = [rows[n] if n < len(keys) else np.zeros(2) for n in numbers]
            np.testing.assert_array_equal(got, np.reshape(expected, (-1, 2)))
        store.close()
