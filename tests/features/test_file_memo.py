import time

import numpy as np
import pandas as pd
import pytest
import soundfile as sf

from clapstack.features import PairFeatures
from clapstack.features import _embedding as _embed


class CountingEncoder:
    sample_rate = 8000
    identity = "counting-1"
    projection_dim = 2

    def encode_audio(self, waveforms):
        return np.array([[np.abs(w).mean(), 1.0] for w in waveforms])

    def encode_text(self, texts):
        return np.array([[len(text), 1.0] for text in texts])


@pytest.fixture
def old_clip(tmp_path):
    """Return a clip whose time stamps are old enough to be trusted."""
    path = tmp_path / "clip.wav"
    sf.write(path, np.linspace(-0.5, 0.5, 8000), 8000)
    return path


@pytest.fixture
def table(old_clip, monkeypatch):
    # The clip counts as settled: an hour has passed since it was written.
    later = time.time_ns() + 3600 * 10**9
    monkeypatch.setattr(time, "time_ns", lambda: later)
    return pd.DataFrame({"audio": [str(old_clip)], "text": ["a ramp"]})


def transform(table, store):
    return PairFeatures(CountingEncoder(), cache=str(store)).fit_transform(table)


def test_unchanged_file_is_not_read_again(table, tmp_path, monkeypatch):
    first = transform(table, tmp_path / "store")

    def read(source, *args):
        pytest.fail(f"{source} was read again")

    monkeypatch.setattr(_embed, "audio_key", read)
    monkeypatch.setattr(_embed, "read_keyed_audio", read)
    np.testing.assert_array_equal(transform(table, tmp_path / "store"), first)


def test_changed_file_at_the_same_path_is_read_again(table, old_clip, tmp_path):
    first = transform(table, tmp_path / "store")
    sf.write(old_clip, np.linspace(-0.1, 0.1, 8000), 8000)
    changed = transform(table, tmp_path / "store")
    assert not np.allclose(changed, first)
    np.testing.assert_array_equal(changed, transform(table, tmp_path / "other"))


def test_unreadable_file_is_not_remembered(table, old_clip, tmp_path):
    content = old_clip.read_bytes()
    old_clip.write_bytes(b"")
    with pytest.raises(ValueError, match="the file is empty"):
        transform(table, tmp_path / "store")
    old_clip.write_bytes(content)
    assert transform(table, tmp_path / "store").shape == (1, 11)
