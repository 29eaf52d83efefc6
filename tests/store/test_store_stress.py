"""Many writers, kills, full disks and read-only folders."""

import multiprocessing
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
import warnings
from pathlib import Path

import pytest

from clapstack.store import EmbeddingStore
from tests.store.rows import get, numbers, put

pytestmark = pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(),
    reason="no fork on this system",
)
N_ROWS, BATCH, WIDTH = 2_000, 32, 64


def in_child(work, *args):
    """Run a function in a forked process; return its exit code."""
    child = multiprocessing.get_context("fork").Process(target=work, args=args)
    child.start()
    child.join(60)
    return child.exitcode


# Many writers


def write_all(root, barrier, worker):
    warnings.simplefilter("error")
    batches = [(i, min(i + BATCH, N_ROWS)) for i in range(0, N_ROWS, BATCH)]
    if worker % 2:
        random.Random(worker).shuffle(batches)
    store = EmbeddingStore(root)
    barrier.wait(30)
    for first, last in batches:
        there = set(get(store, numbers(first, last), WIDTH))
        put(store, [i for i in range(first, last) if i not in there], WIDTH)
    store.close()


def test_four_processes_that_write_the_same_rows_lose_none(tmp_path):
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(4)
    workers = [
        context.Process(target=write_all, args=(tmp_path, barrier, i)) for i in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 4
    store = EmbeddingStore(tmp_path)
    found = get(store, numbers(0, N_ROWS), WIDTH)
    assert store.verify() == (N_ROWS, [])
    store.close()
    assert found == numbers(0, N_ROWS)


# Kills


def write_for_ever(root, first, n_written):
    store = EmbeddingStore(root)
    while True:
        put(store, numbers(first, first + BATCH), 512)
        first += BATCH
        n_written.value = first


@pytest.mark.slow
def test_twenty_kills_in_mid_write_lose_no_committed_row(tmp_path):
    context = multiprocessing.get_context("fork")
    delays = random.Random(0)
    store = EmbeddingStore(tmp_path)
    first = 0
    for _ in range(20):
        n_written = context.Value("q", first, lock=False)
        writer = context.Process(
            target=write_for_ever, args=(tmp_path, first, n_written)
        )
        writer.start()
        give_up = time.monotonic() + 30
        while n_written.value == first and time.monotonic() < give_up:
            time.sleep(0.001)
        time.sleep(delays.uniform(0, 0.03))
        os.kill(writer.pid, signal.SIGKILL)
        writer.join(30)
        n_rows = len(store)
        assert n_rows in (
            n_written.value,
            n_written.value + BATCH,
        )  # counted or not
        assert n_rows > first
        first = n_rows
    assert store.verify() == (first, [])
    put(store, numbers(first, first + BATCH), 512)
    found = get(store, numbers(0, first + BATCH), 512)
    store.close()
    assert found == numbers(0, first + BATCH)


# Full disks


@pytest.fixture
def small_disk(tmp_path):
    """A disk of one megabyte."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("only root can mount a small disk")
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)]
    if subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("this machine mounts no small disk")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


def fill(store):
    for first in range(0, 1_000, BATCH):
        put(store, numbers(first, first + BATCH), 512)


def test_a_full_disk_gives_one_warning_and_what_is_there_is_read(small_disk):
    store = EmbeddingStore(small_disk)
    with pytest.warns(UserWarning, match=r"disk is full.*free some space") as caught:
        fill(store)
    n_rows = len(store)
    found = get(store, numbers(0, 1_000), 512)
    store.close()
    assert len(caught) == 1
    assert n_rows % BATCH == 0
    assert len(found) == n_rows > 0


def test_a_disk_that_was_full_stores_again_when_there_is_room(small_disk):
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"\1" * 600_000)
    store = EmbeddingStore(small_disk)
    with pytest.warns(UserWarning, match="cannot be written"):
        fill(store)
    store.close()
    ballast.unlink()
    again = EmbeddingStore(small_disk)
    put(again, [5_000])
    assert again.verify().dropped == []
    assert get(again, [5_000]) == [5_000]
    again.close()


def test_a_store_is_pruned_where_the_disk_has_no_room_for_a_journal(small_disk):
    store = EmbeddingStore(small_disk)
    for first in range(0, 5 * BATCH, BATCH):
        put(store, numbers(first, first + BATCH), 512)
        store.close()
    ballast = b"\1" * shutil.disk_usage(small_disk).free
    (small_disk / "ballast").write_bytes(ballast)
    file = small_disk / "embeddings.sqlite3"
    limit = file.stat().st_size - 150_000
    assert get(store, numbers(0, 5), 512) == numbers(0, 5)
    n_dropped = store.prune(max_bytes=limit)
    assert 0 < n_dropped < 5 * BATCH
    assert file.stat().st_size <= limit
    assert store.verify() == (5 * BATCH - n_dropped, [])
    put(store, [9_000])  # there is room again
    assert get(store, [9_000]) == [9_000]
    store.close()


def write_beyond_the_limit(root):
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
    store = EmbeddingStore(root)
    with pytest.warns(UserWarning, match="cannot be written") as caught:
        fill(store)
    assert len(caught) == 1
    assert len(get(store, numbers(0, 1_000), 512)) == len(store)


def test_a_limit_of_file_size_is_a_full_disk(tmp_path):
    assert in_child(write_beyond_the_limit, tmp_path) == 0
    store = EmbeddingStore(tmp_path)
    assert store.verify().dropped == []
    store.close()


# Read-only folders


@pytest.fixture
def shared_folder():
    """A folder that any user can access; pytest's own are private."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


def read_only(folder, work):
    """Run a function in a child process that can read the folder, but not write it."""

    def as_guest():
        if os.geteuid() == 0:
            os.setegid(65_534)
            os.seteuid(65_534)
        with pytest.raises(PermissionError):
            (folder / "probe").touch()
        work()

    for path in folder.iterdir():
        path.chmod(0o444)
    folder.chmod(0o555)
    return in_child(as_guest)


def test_a_read_only_store_is_read(shared_folder):
    store = EmbeddingStore(shared_folder)
    put(store, numbers(0, 10))
    store.close()

    def work():
        warnings.simplefilter("error")
        assert len(get(EmbeddingStore(shared_folder), numbers(0, 12))) == 10

    assert read_only(shared_folder, work) == 0


def test_a_read_only_store_warns_once_that_nothing_is_stored(shared_folder):
    store = EmbeddingStore(shared_folder)
    put(store, numbers(0, 10))
    store.close()

    def work():
        guest = EmbeddingStore(shared_folder)
        stores = [guest, guest, EmbeddingStore(shared_folder)]
        with pytest.warns(UserWarning, match="nothing more is stored in it") as caught:
            [put(store, numbers(10, 20)) for store in stores]
        assert len(caught) == 1
        assert len(get(guest, numbers(0, 30))) == 10

    assert read_only(shared_folder, work) == 0


@pytest.mark.skipif(
    sqlite3.sqlite_version_info < (3, 35), reason="this SQLite drops no columns"
)
def test_a_read_only_store_of_an_earlier_version_is_read(shared_folder):
    store = EmbeddingStore(shared_folder)
    put(store, numbers(0, 10))
    store.close()
    with sqlite3.connect(shared_folder / "embeddings.sqlite3") as connection:
        connection.execute("ALTER TABLE blocks DROP COLUMN crc")
    connection.close()

    def work():
        warnings.simplefilter("error")
        assert len(get(EmbeddingStore(shared_folder), numbers(0, 12))) == 10

    assert read_only(shared_folder, work) == 0


def forget_memory(folder):
    """Leave the state after a copy by rsync: the log, without the shared memory."""
    (folder / "embeddings.sqlite3-shm").unlink()


def spoil_memory(folder):
    (folder / "embeddings.sqlite3-shm").write_bytes(b"\7" * 32_768)


@pytest.mark.parametrize("spoil", [forget_memory, spoil_memory, lambda folder: None])
def test_all_rows_of_a_read_only_store_with_a_log_are_read(shared_folder, spoil):
    store = EmbeddingStore(shared_folder)
    put(store, numbers(0, 10))
    store.close()
    put(store, numbers(10, 20))  # in the log beside the file
    spoil(shared_folder)

    def work():
        warnings.simplefilter("error")
        guest = EmbeddingStore(shared_folder)
        assert get(guest, numbers(0, 20)) == numbers(0, 20)
        assert guest.stats().n_entries == 20

    assert read_only(shared_folder, work) == 0
    store._session.connection = None


def test_a_read_only_store_with_a_change_to_undo_is_refused(shared_folder):
    store = EmbeddingStore(shared_folder)
    put(store, numbers(0, 10))
    store.close()
    (shared_folder / "embeddings.sqlite3-journal").write_bytes(b"\1" * 600)

    def work():
        with pytest.raises(OSError, match=r"-journal must undo it.* folder writable"):
            EmbeddingStore(shared_folder).stats()

    assert read_only(shared_folder, work) == 0


def test_a_read_only_file_in_a_writable_folder_is_read(shared_folder):
    store = EmbeddingStore(shared_folder)
    put(store, numbers(0, 10))
    store.close()
    (shared_folder / "embeddings.sqlite3").chmod(0o444)
    shared_folder.chmod(0o777)

    def as_guest():
        if os.geteuid() == 0:
            os.seteuid(65_534)
        guest = EmbeddingStore(shared_folder)
        assert get(guest, numbers(0, 20)) == numbers(0, 10)
        with pytest.warns(UserWarning, match="nothing more is stored in it"):
            put(guest, [10])

    assert in_child(as_guest) == 0


def test_an_empty_read_only_folder_is_reported(shared_folder):
    def work():
        with pytest.warns(UserWarning, match=r"cannot be used.*Make it writable"):
            put(EmbeddingStore(shared_folder), [0])

    assert read_only(shared_folder, work) == 0


def test_damage_in_a_read_only_store_is_not_used(shared_folder):
    store = EmbeddingStore(shared_folder)
    for number in range(3):
        put(store, [number])
    store.close()
    with sqlite3.connect(shared_folder / "embeddings.sqlite3") as connection:
        connection.execute("UPDATE blocks SET checksum = 0 WHERE id = 2")
    connection.close()

    def work():
        with pytest.warns(UserWarning, match="1 rows in damaged"):
            found = get(EmbeddingStore(shared_folder), numbers(0, 3))
        assert found == [0, 2]

    assert read_only(shared_folder, work) == 0


def test_verifying_a_damaged_read_only_store_is_an_error(shared_folder):
    store = EmbeddingStore(shared_folder)
    for number in range(3):
        put(store, [number])
    store.close()
    with sqlite3.connect(shared_folder / "embeddings.sqlite3") as connection:
        connection.execute("UPDATE blocks SET checksum = 0 WHERE id = 2")
    connection.close()

    def work():
        with pytest.raises(OSError, match=r"cannot be used .*Make it writable"):
            EmbeddingStore(shared_folder).verify()

    assert read_only(shared_folder, work) == 0
