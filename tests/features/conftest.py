import hashlib
import sys
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import soundfile

from clapstack.audio import window_starts
from clapstack.features import PairFeatures


class ToyEncoder:
    """A small, deterministic numpy stand-in for a CLAP model that counts its work.

    An embedding is a random projection, seeded by the checkpoint's name, of the energy
    in 16 frequency bands or of the letters of a text.
    """

    sample_rate = 8_000
    window = 8_000

    def __init__(self, checkpoint="toy"):
        self.projection_dim = 6
        self.fingerprint = hashlib.sha256(checkpoint.encode()).hexdigest()
        self.identity = f"{self.fingerprint} float64 1"
        rng = np.random.default_rng(int(self.fingerprint[:8], 16))
        self.bands = rng.standard_normal((16, 6))
        self.letters = rng.standard_normal((26, 6))
        self.clips = []
        self.texts = []
        self.crops = []

    def encode_audio(self, waveforms, *, crop="windows", batch_size=32):
        self.clips.extend(map(len, waveforms))
        self.crops.append(crop)
        return np.stack([self._hear(waveform, crop) for waveform in waveforms])

    def encode_text(self, texts, *, batch_size=32):
        self.texts.extend(texts)
        counts = [
            [text.lower().count(chr(97 + i)) for i in range(26)] for text in texts
        ]
        return self._unit(np.array(counts, dtype=float) @ self.letters)

    def _hear(self, waveform, crop):
        starts = window_starts(len(waveform), self.window, crop)
        windows = [waveform[i : i + self.window] for i in starts]
        powers = [np.abs(np.fft.rfft(w, n=self.window)) ** 2 for w in windows]
        bands = [p[: 16 * 250].reshape(16, -1).mean(axis=1) for p in powers]
        return self._unit(self._unit(np.log1p(bands) @ self.bands).mean(axis=0))

    def _unit(self, rows):
        rows = np.asarray(rows, dtype=np.float64)
        units = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
        return units.astype(np.float32)


class ToyAudioEncoder(ToyEncoder):
    """The audio side of the toy, as an audio-only encoder."""

    blocks = {"mean": 4, "std": 2}

    def __init__(self, checkpoint="toy"):
        super().__init__(checkpoint)
        self.embedding_dim = sum(self.blocks.values())
        del self.projection_dim

    encode_text = None


class ToyCtcEncoder(ToyAudioEncoder):
    """A toy with a transcript, which reveals the clip's length, after the features."""

    blocks = {"mean": 6, "blank_ratio": 1, "transcript_length": 1, "transcript": 8}

    def encode_audio(self, waveforms, *, crop="windows", batch_size=32):
        features = super().encode_audio(waveforms, crop=crop, batch_size=batch_size)
        texts = [f"A {len(waveform)}" for waveform in waveforms]
        codes = [[*map(ord, text), *[0] * (8 - len(text))] for text in texts]
        numbers = [[0.5, len(text)] for text in texts]
        return np.hstack([features, numbers, codes]).astype(np.float32)


TOYS = {
    "laion": ToyEncoder,
    "m2d-clap": ToyEncoder,
    "mga-clap": ToyEncoder,
    "pe-audio": ToyEncoder,
    "msclap": ToyEncoder,
    "ctc": ToyCtcEncoder,
}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def encoders(monkeypatch):
    """Every toy encoder loaded so far, by (kind, checkpoint)."""
    loaded = {}

    def load_encoder(kind, checkpoint, **settings):
        toy = TOYS.get(kind, ToyAudioEncoder)(f"{kind} {checkpoint}")
        return loaded.setdefault((kind, checkpoint), toy)

    module = ModuleType("clapstack.encoders")
    module.load_encoder = load_encoder
    monkeypatch.setitem(sys.modules, "clapstack.encoders", module)
    return loaded


@pytest.fixture
def toy_encoder():
    return once_used(ToyEncoder())


def once_used(toy):
    """Return a toy encoder that has passed the check for stability."""
    clips = [(np.linspace(-1, 1, n), 8_000) for n in (400, 300)]
    features = PairFeatures(toy, cache=None)
    features.fit_transform(pd.DataFrame({"audio": clips, "text": ["rain", "a dog"]}))
    for counted in (toy.clips, toy.texts, toy.crops):
        counted.clear()
    return toy


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def pairs(tmp_path, rng):
    """Eight pairs: clips of several containers, rates and lengths."""
    clips = [
        ("dog.wav", 16_000, 0.5),
        ("rain.flac", 44_100, 1.0),
        ("bell.wav", 8_000, 2.5),
        ("car.wav", 48_000, 0.3),
        ("sea.flac", 16_000, 3.1),
        ("bird.wav", 22_050, 1.0),
        ("clock.wav", 16_000, 0.1),
        ("crowd.wav", 16_000, 1.7),
    ]
    paths = []
    for name, rate, seconds in clips:
        samples = rng.uniform(-0.5, 0.5, int(rate * seconds))
        soundfile.write(tmp_path / name, np.cumsum(samples) / 50, rate)
        paths.append(str(tmp_path / name))
    texts = [f"the sound of a {name.split('.')[0]}" for name, _, _ in clips]
    return pd.DataFrame({"audio": paths, "text": texts}, index=list("ijklmnop"))
