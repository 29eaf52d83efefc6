import hashlib
import os
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from clapstack.audio import audio_key, read_keyed_audio
from clapstack.exceptions import AudioError

RATE = 16_000


@pytest.fixture
def samples(rng):
    return rng.uniform(-0.5, 0.5, 1_000).astype(np.float32)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def clip(tmp_path, samples):
    path = tmp_path / "clip.wav"
    soundfile.write(path, samples, RATE)
    return path


def settle(monkeypatch):
    """Pretend that files were written an hour ago."""
    later = time.time_ns() + 3600 * 10**9
    monkeypatch.setattr(time, "time_ns", lambda: later)


def test_key_of_a_file_is_the_hash_of_its_bytes(clip):
    assert audio_key(clip) == hashlib.sha256(clip.read_bytes()).hexdigest()


def test_key_follows_the_content_and_not_the_path(clip, tmp_path):
    copy = tmp_path / "copy.wav"
    copy.write_bytes(clip.read_bytes())
    assert audio_key(str(copy)) == audio_key(clip)


def test_key_of_an_array_does_not_depend_on_how_it_arrives(samples):
    expected = audio_key((samples, RATE))
    assert audio_key({"array": samples, "sampling_rate": RATE}) == expected
    assert audio_key((np.repeat(samples, 2)[::2], RATE)) == expected


@pytest.mark.parametrize(
    "change",
    [
        lambda x, rate: (x, rate + 1),
        lambda x, rate: (x.astype(np.float64), rate),
        lambda x, rate: (x.view(np.int32), rate),
        lambda x, rate: (x.reshape(-1, 2), rate),
        lambda x, rate: (np.append(x, np.float32(0)), rate),
    ],
)
def test_key_changes_with_anything_about_an_array(samples, change):
    assert audio_key(change(samples, RATE)) != audio_key((samples, RATE))


def test_read_and_key_come_from_the_same_content(clip, samples):
    assert read_keyed_audio(clip, RATE)[1] == audio_key(clip)
    assert read_keyed_audio((samples, RATE), 48_000)[1] == audio_key((samples, RATE))


def test_a_settled_file_is_hashed_once(clip, monkeypatch):
    settle(monkeypatch)
    expected = audio_key(clip)
    monkeypatch.setattr(Path, "open", pytest.fail)
    assert audio_key(clip) == expected


def test_a_file_written_just_now_is_hashed_again(clip):
    before = audio_key(clip)
    status = os.stat(clip)
    content = bytearray(clip.read_bytes())
    content[-1] ^= 1
    clip.write_bytes(bytes(content))
    os.utime(clip, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert audio_key(clip) != before


@pytest.mark.skipif(os.name == "nt", reason="no time of change there, and no memory")
def test_a_changed_file_of_equal_size_and_time_is_hashed_again(clip, monkeypatch):
    settle(monkeypatch)
    before = audio_key(clip)
    status = os.stat(clip)
    time.sleep(0.05)  # more than a tick of the file system's clock
    content = bytearray(clip.read_bytes())
    content[-1] ^= 1
    clip.write_bytes(bytes(content))
    os.utime(clip, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert os.stat(clip).st_size == status.st_size
    assert audio_key(clip) != before


def test_missing_file_is_named(tmp_path):
    with pytest.raises(AudioError, match=r"gone\.wav: no such file"):
        audio_key(tmp_path / "gone.wav")


def test_source_of_another_kind_is_refused():
    with pytest.raises(AudioError, match="must be a path"):
        audio_key(None)
