"""The bundled mini checkpoints: small, in the published formats, and able to hear."""

from pathlib import Path

import numpy as np
import pytest
import soxr

import clapstack
from clapstack.datasets import render_simulated_scene, simulate_scene, sound_classes
from clapstack.encoders import load_encoder

BUNDLED = Path(clapstack.__file__).parent / "bundled"
NAMES = ["laion-unfused", "laion-fused", "msclap"]
FILES = {
    "laion-unfused": {"config.json", "preprocessor_config.json", "model.safetensors"},
    "laion-fused": {"config.json", "preprocessor_config.json", "model.safetensors"},
    "msclap": {"CLAP_weights_2023.pth"},
}
each_name = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(scope="module")
def single_sounds():
    """Return one new 16 kHz clip of every sound class, in the order of the classes."""
    clips = []
    for i, name in enumerate(sound_classes()):
        rng = np.random.default_rng([77, i])
        clips.append(render_simulated_scene(simulate_scene(rng, names=[name]), rng))
    return clips


@each_name
def test_folder_holds_a_published_format_and_a_card(name):
    files = {path.name for path in (BUNDLED / name).iterdir()}
    assert files == FILES[name] | {
        "README.md",
        "tokenizer.json",
        "tokenizer_config.json",
    }


@each_name
def test_checkpoint_has_at_most_3_mb(name):
    assert sum(path.stat().st_size for path in (BUNDLED / name).iterdir()) <= 3e6


def test_bundled_material_has_at_most_20_mb():
    assert sum(path.stat().st_size for path in BUNDLED.rglob("*.*")) <= 20e6


@each_name
def test_card_says_that_it_knows_the_bundled_sounds_only(name):
    card = (BUNDLED / name / "README.md").read_text()
    assert "knows only the bundled sound classes" in card
    assert "Nothing here is a human rating" in card


@each_name
def test_single_sounds_are_found_among_all_classes(name, single_sounds):
    encoder = load_encoder(name.split("-")[0], f"bundled:{name}", device="cpu")
    rate = encoder.sample_rate
    clips = [soxr.resample(clip, 16_000, rate, "HQ") for clip in single_sounds]
    words = [entry.words[0] for entry in sound_classes().values()]
    cosines = encoder.encode_audio(clips) @ encoder.encode_text(words).T
    recall = np.mean(cosines.argmax(axis=1) == np.arange(len(words)))
    assert recall >= 0.5


def test_the_three_spaces_are_different(single_sounds):
    words = [entry.words[0] for entry in sound_classes().values()]
    cosines = []
    for name in NAMES:
        encoder = load_encoder(name.split("-")[0], f"bundled:{name}", device="cpu")
        text = encoder.encode_text(words)
        cosines.append((text @ text.T)[np.triu_indices(len(words), 1)])
    agreement = np.corrcoef(cosines)[np.triu_indices(3, 1)]
    assert (agreement < 0.9).all()
