import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import clapstack
from clapstack import (
    BeatsFeatures,
    LaionClapPairFeatures,
    PairFeatures,
    clap_score,
)
from clapstack.scoring import protocol

BUNDLED = Path(clapstack.__file__).parent / "bundled"


@pytest.fixture(scope="module")
def noise():
    walks = np.random.default_rng(2).normal(size=(2, 8000)).cumsum(axis=1)
    return (0.5 * walks / abs(walks).max()).astype(np.float32)


@pytest.mark.parametrize(
    "checkpoint", ["bundled:laion-unfused", BUNDLED / "msclap"], ids=["name", "folder"]
)
def test_the_score_is_the_cosine(noise, checkpoint):
    from clapstack.encoders import load_encoder

    found = clap_score(noise, ["rain", "a bell"], checkpoint, sampling_rate=48_000)
    kind = "msclap" if isinstance(checkpoint, Path) else "laion"
    encoder = load_encoder(kind, checkpoint)
    clips = [
        clapstack.audio.read_audio((clip, 48_000), encoder.sample_rate)
        for clip in noise
    ]
    cosines = np.sum(
        encoder.encode_audio(clips) * encoder.encode_text(["rain", "a bell"]), axis=1
    )
    np.testing.assert_allclose(found, cosines, atol=1e-6)


def test_one_pair_gives_a_float_and_lists_give_arrays(noise, clips):
    score = clap_score(clips / "0.wav", "rain", "bundled:msclap")
    assert type(score) is float
    both = clap_score([clips / "0.wav"] * 2, "rain", "bundled:msclap")
    np.testing.assert_allclose(both, [score, score], atol=1e-6)
    one = clap_score(clips / "0.wav", ["rain"], "bundled:msclap")
    assert one.shape == (1,)


def test_a_transformer_brings_its_settings(noise):
    features = LaionClapPairFeatures("bundled:laion-fused", crop="center")
    long = np.tile(noise[0], 80)
    score = clap_score(long, "rain", features, sampling_rate=48_000)
    features.set_params(blocks=("cosine",), cache=None)
    X = pd.DataFrame({"audio": [(long, 48_000)], "text": ["rain"]})
    assert score == pytest.approx(features.fit_transform(X)[0, 0], abs=1e-6)
    with pytest.raises(TypeError, match="BeatsFeatures does not compute a cosine"):
        clap_score(long, "rain", BeatsFeatures("b.pt"), sampling_rate=48_000)


def test_the_protocol_names_everything_that_determines_a_score():
    line = protocol("bundled:msclap")
    weights = next((BUNDLED / "msclap").glob("*.pth"))
    for part in (
        "bundled:msclap",
        weights.name,
        hashlib.sha256(weights.read_bytes()).hexdigest(),
        "44100 Hz",
        "soxr",
        "windows of 7 s",
        f"clapstack {clapstack.__version__}",
    ):
        assert part in line
    assert "\n" not in line
    with pytest.raises(TypeError, match="PairFeatures has no checkpoint to name"):
        protocol(PairFeatures(None))
    center = protocol(LaionClapPairFeatures("bundled:laion-unfused", crop="center"))
    assert "the central 10 s" in center
