import os
import subprocess
import sys
import time

import pytest

from clapstack.audio import audio_key, file_state

pytestmark = pytest.mark.skipif(os.name == "nt", reason="no time of change there")


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip.wav"
    path.write_bytes(b"what is in it")
    return path


@pytest.fixture
def settled(monkeypatch):
    """Pretend that files were written an hour ago."""
    later = time.time_ns() + 3600 * 10**9
    monkeypatch.setattr(time, "time_ns", lambda: later)


def rewrite(path, content):
    """Change a file without changing its size or time of modification."""
    status = os.stat(path)
    time.sleep(0.05)  # more than a tick of the file system's clock
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.usefixtures("settled")
def test_a_remembered_file_is_recalled(store, clip):
    state = file_state(clip)
    store.remember_files({state: audio_key(clip)})
    assert store.recall_files([file_state(str(clip))]) == {state: audio_key(clip)}


@pytest.mark.usefixtures("settled")
def test_a_file_is_recalled_in_another_process(store, clip):
    store.remember_files({file_state(clip): "the key"})
    store.close()
    code = (
        "import sys, time; from clapstack import audio, store\n"
        "time.time_ns = lambda now=time.time_ns() + 3600 * 10**9: now\n"
        "state = audio.file_state(sys.argv[1])\n"
        "print(store.EmbeddingStore(sys.argv[2]).recall_files([state])[state])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, clip, store.root],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "the key\n"


@pytest.mark.usefixtures("settled")
def test_a_changed_file_of_equal_size_and_time_is_not_recalled(store, clip):
    before = file_state(clip)
    store.remember_files({before: "old"})
    rewrite(clip, b"what was in.."[:13])
    after = file_state(clip)
    assert (after.size, after.modified) == (before.size, before.modified)
    assert store.recall_files([after]) == {}


@pytest.mark.usefixtures("settled")
def test_a_changed_file_takes_the_place_of_what_it_was(store, clip):
    store.remember_files({file_state(clip): "old"})
    rewrite(clip, b"new content")
    store.remember_files({file_state(clip): "new"})
    assert store.recall_files([file_state(clip)]) == {file_state(clip): "new"}
    assert store.stats().n_files == 1


@pytest.mark.usefixtures("settled")
def test_another_file_at_the_same_path_is_not_recalled(store, clip, tmp_path):
    store.remember_files({file_state(clip): "old"})
    other = tmp_path / "other.wav"
    other.write_bytes(clip.read_bytes())
    other.replace(clip)
    assert store.recall_files([file_state(clip)]) == {}


def test_a_file_written_just_now_has_no_state(clip):
    assert file_state(clip) is None


@pytest.mark.usefixtures("settled")
def test_a_file_from_the_future_has_no_state(clip):
    later = time.time() + 7200
    os.utime(clip, (later, later))
    assert file_state(clip) is None


@pytest.mark.parametrize("source", ["gone.wav", "a\0.wav", ([0.5], 16_000), None])
def test_what_is_no_file_has_no_state(source):
    assert file_state(source) is None


@pytest.mark.usefixtures("settled")
def test_a_relative_path_is_the_same_file(store, clip, monkeypatch):
    monkeypatch.chdir(clip.parent)
    assert file_state("clip.wav") == file_state(clip)


@pytest.mark.usefixtures("settled")
@pytest.mark.skipif(sys.platform != "linux", reason="names are Unicode there")
def test_a_name_that_is_not_unicode_is_remembered(store, tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.wav")
    with open(path, "wb") as file:
        file.write(b"content")
    store.remember_files({file_state(path): "key"})
    assert store.recall_files([file_state(path)]) == {file_state(path): "key"}


@pytest.mark.usefixtures("settled")
def test_more_files_than_one_query_takes(store, clip):
    state = file_state(clip)
    states = [state._replace(path=f"/{i}.wav") for i in range(1_234)]
    store.remember_files({state: state.path for state in states})
    assert store.recall_files(states) == {state: state.path for state in states}


@pytest.mark.usefixtures("settled")
def test_an_emptied_store_forgets_the_files(store, clip):
    store.remember_files({file_state(clip): "key"})
    store.prune(max_bytes=0)
    assert store.stats().n_files == 0
