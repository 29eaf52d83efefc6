from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from transformers import WhisperFeatureExtractor

from clapstack.encoders import load_encoder
from clapstack.exceptions import CheckpointError
from tests.checkpoints import WHISPER_SECONDS, make_whisper, read_tensors, write_tensors

RATE = 16_000


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whisper")
    return folder, make_whisper(folder)


@pytest.fixture(scope="module")
def folder(made):
    return made[0]


@pytest.fixture(scope="module")
def model(made):
    return made[1]


@pytest.fixture(scope="module")
def extractor(folder):
    return WhisperFeatureExtractor.from_pretrained(folder)


def load(folder, **options):
    return load_encoder("whisper", str(folder), device="cpu", **options)


@pytest.fixture
def clips(noise):
    return [noise(n, RATE) for n in (WHISPER_SECONDS * RATE, 9_000, 16_001, 7)]


def test_features_are_those_of_transformers(
    folder, model, extractor, clips, statistics
):
    features = load(folder).encode_audio(clips)
    assert features.shape == (4, 3 * 32)
    for clip, row in zip(clips, features, strict=True):
        inputs = extractor(clip, sampling_rate=RATE, return_tensors="pt")
        with torch.inference_mode():
            states = model.model.encoder(inputs.input_features).last_hidden_state[0]
        n_real = -(-len(clip) // 320)
        assert_allclose(row, statistics(states[:n_real]), atol=1e-5)
    assert features[:3].std(axis=0).max() > 0.1


def test_the_spectrogram_is_that_of_the_extractor(folder, extractor, clips):
    encoder = load(folder)
    for clip in clips:
        expected = extractor(clip, sampling_rate=RATE).input_features[0]
        assert_allclose(encoder._prepare(clip), expected, atol=1e-5)


def test_a_row_does_not_depend_on_the_batch(folder, clips):
    encoder = load(folder)
    alone = np.concatenate([encoder.encode_audio([clip]) for clip in clips])
    assert_array_equal(encoder.encode_audio(clips), alone)
    encoder._at_once = 100  # as on a GPU
    assert_allclose(encoder.encode_audio(clips), alone, atol=1e-5)


def test_a_long_clip_is_the_mean_of_its_windows(folder, noise):
    clip = noise(2 * WHISPER_SECONDS * RATE, RATE)
    encoder = load(folder)
    halves = encoder.encode_audio(
        [clip[: WHISPER_SECONDS * RATE], clip[WHISPER_SECONDS * RATE :]]
    )
    assert_allclose(encoder.encode_audio([clip])[0], halves.mean(axis=0), atol=1e-6)


def test_bfloat16_is_close(folder, clips):
    exact, fast = (
        load(folder, dtype=dtype).encode_audio(clips)
        for dtype in ("float32", "bfloat16")
    )
    for one, other in zip(exact, fast, strict=True):
        assert one @ other / np.linalg.norm(one) / np.linalg.norm(other) > 0.995


def test_only_the_encoder_is_read_and_strictly(folder, copy_of):
    fingerprint = load(folder).fingerprint
    folder = copy_of(folder)
    tensors = read_tensors(folder)
    encoder = {
        name.removeprefix("model."): tensor
        for name, tensor in tensors.items()
        if "encoder." in name and "decoder." not in name
    }
    write_tensors(folder, encoder)
    assert load(folder).fingerprint == fingerprint
    del encoder["encoder.conv1.weight"]
    encoder["classifier.weight"] = torch.ones(2)
    write_tensors(folder, encoder)
    with pytest.raises(
        CheckpointError, match=r"missing: conv1\.weight; unexpected: classifier\.weight"
    ):
        load(folder)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"chunk_length": 3}, "produces 300 frames per window"),
        ({"feature_size": 17}, r"17 mel bands .* the model needs 16"),
    ],
)
def test_an_extractor_that_does_not_fit_the_model_is_refused(
    folder, copy_of, edit, message
):
    folder = copy_of(folder)
    path = folder / "preprocessor_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**settings, **edit}), encoding="utf-8")
    with pytest.raises(CheckpointError, match=message):
        load(folder)
