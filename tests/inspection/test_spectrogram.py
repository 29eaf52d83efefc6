"""Pictures of clips."""

import io

import numpy as np
import pandas as pd
import pytest
import soundfile
from numpy.testing import assert_array_equal
from sklearn.base import BaseEstimator

from clapstack.exceptions import AudioError
from clapstack.inspection import SpectrogramDisplay, mel_spectrogram
from tests.audio import files


def tone(frequency, rate=16_000, seconds=1.0):
    return np.sin(2 * np.pi * frequency * np.arange(int(rate * seconds)) / rate), rate


def mel(frequency):
    return 2595 * np.log10(1 + frequency / 700)


@pytest.mark.parametrize("frequency", [200, 1_000, 6_000])
def test_tone_is_loudest_in_its_band(frequency):
    level = mel_spectrogram(tone(frequency)).level
    band = np.argmax(level.mean(axis=1))
    centre = mel(8_000) * (band + 1) / (len(level) + 1)
    assert centre == pytest.approx(mel(frequency), abs=mel(8_000) / 97)


def test_level_is_in_decibels_below_the_loudest():
    samples, rate = tone(1_000, seconds=2)
    samples[rate:] /= 10  # 20 dB softer
    level = mel_spectrogram((samples, rate)).level
    assert level.max() == 0
    assert level.min() >= -80
    loud, soft = level[:, 20:80].max(), level[:, 120:180].max()
    assert loud - soft == pytest.approx(20, abs=0.01)


@pytest.mark.parametrize("rate", [1_000, 8_000, 22_050, 48_000])
def test_no_band_is_empty_at_any_rate(rate):
    noise = np.random.default_rng(0).normal(size=rate).clip(-3, 3) / 3
    spectrogram = mel_spectrogram((noise, rate))
    assert spectrogram.level.mean(axis=1).min() > -60
    assert spectrogram.highest == rate / 2
    assert spectrogram.duration == 1


def test_rate_above_all_encoders_is_lowered():
    assert mel_spectrogram(tone(440, rate=96_000)).highest == 24_000


def test_clip_shorter_than_a_window_has_a_picture():
    assert mel_spectrogram(tone(440, seconds=0.01)).level.shape[1] >= 1


def test_all_forms_of_a_clip_give_one_picture(tmp_path, monkeypatch):
    samples, rate = tone(440)
    samples = samples.astype(np.float32)
    soundfile.write(tmp_path / "clip.wav", samples, rate, subtype="FLOAT")
    monkeypatch.setenv("HOME", str(tmp_path))
    content = (tmp_path / "clip.wav").read_bytes()
    sources = [
        tmp_path / "clip.wav",
        (samples, rate),
        {"array": samples, "sampling_rate": rate},
        "~/clip.wav",
        content,
        io.BytesIO(content),
        {"bytes": content, "path": None},
        {"bytes": None, "path": str(tmp_path / "clip.wav")},
        [samples, rate],
    ]
    first, *others = (mel_spectrogram(source).level for source in sources)
    for other in others:
        assert_array_equal(first, other)


def test_an_m4a_file_is_drawn_at_its_own_rate():
    pytest.importorskip("av")
    made = files.make("m4a-aac", np.random.default_rng(0), 9_000, 1)
    assert mel_spectrogram(made.content).highest == files.RATE / 2


def test_caption_and_score_are_in_the_title(pyplot):
    display = SpectrogramDisplay.from_audio(
        tone(440), text="a price of $5 and $6_x", score=7.25, interval=(5, 9.5)
    )
    assert display.ax_.get_title(loc="left").splitlines() == [
        "“a price of $5 and $6_x”",
        "Score 7.2 (interval 5.0 to 9.5)",
    ]
    assert "(s)" in display.ax_.get_xlabel()
    assert "(Hz)" in display.ax_.get_ylabel()
    display.figure_.savefig("/dev/null", format="svg")  # no formula is made of dollars


def test_long_caption_is_cut_at_three_lines():
    display = SpectrogramDisplay.from_audio(tone(440), text="a dog barks and " * 30)
    lines = display.ax_.get_title(loc="left").splitlines()
    assert len(lines) == 3
    assert lines[-1].endswith("…")


class Constant(BaseEstimator):
    """A model that gives all pairs one score."""

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def predict(self, X):
        return np.full(len(X), 6.0)


def test_pair_is_scored_and_drawn():
    X = pd.DataFrame({"audio": [tone(440)], "text": ["a tone"]})
    display = SpectrogramDisplay.from_estimator(Constant().fit(X), X)
    assert (display.score, display.text, display.interval) == (6.0, "a tone", None)
    with pytest.raises(ValueError, match="got 2 rows"):
        SpectrogramDisplay.from_estimator(Constant().fit(X), X.iloc[[0, 0]])


def test_clip_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(AudioError, match=r"missing\.wav"):
        mel_spectrogram(tmp_path / "missing.wav")
    with pytest.raises(AudioError, match="at 'fast' Hz"):
        mel_spectrogram((tone(440)[0], "fast"))
