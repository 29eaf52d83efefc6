"""EAT checkpoints with random weights: tests of the code only."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from clapstack.encoders import load_encoder
from clapstack.encoders.audio import _eat
from clapstack.exceptions import CheckpointError
from clapstack.features import EatFeatures
from tests.checkpoints import save_eat

GOLDEN = json.loads((Path(__file__).parent / "golden" / "eat.json").read_text())
WINDOW = 400 + 63 * 160
HEAD = {
    "model.fc_norm.weight": torch.ones(64),
    "model.fc_norm.bias": torch.ones(64),
    "model.head.weight": torch.ones(3, 64),
    "model.head.bias": torch.ones(3),
}


def load(checkpoint):
    return load_encoder("eat", checkpoint, device="cpu")


@pytest.fixture
def encoder(eat_tensors, tmp_path):
    return load(save_eat(tmp_path, eat_tensors))


@pytest.mark.parametrize("setting", [{"norm_eps": 1e-2}, {"num_heads": 4}])
def test_another_architecture_is_another_fingerprint(
    encoder, eat_tensors, tmp_path, setting
):
    other = load(save_eat(tmp_path / "other", eat_tensors, **setting))
    assert other.fingerprint != encoder.fingerprint


@pytest.mark.parametrize("n_samples", [WINDOW, 5_000, 400])
def test_tokens_are_the_authors(encoder, hiss, n_samples):
    features = encoder.encode_audio([hiss(n_samples)])[0]
    assert list(encoder.blocks) == ["cls", "mean", "std", "max"]
    # The authors' filter bank is in float32, ours in float64.
    expected = GOLDEN["features"][str(n_samples)]
    assert_allclose(features, expected, rtol=0, atol=2e-5)


def test_what_shares_the_batch_does_not_matter(encoder, hiss):
    clips = [hiss(n) for n in (100, 16_000, 400, WINDOW, 3 * WINDOW)]
    alone = np.concatenate([encoder.encode_audio([clip]) for clip in clips])
    encoder._at_once = 32  # as on a GPU
    together = encoder.encode_audio(clips[::-1])[::-1]
    assert_allclose(together, alone, rtol=0, atol=2e-6)


def test_windows_cover_a_long_clip(encoder, hiss):
    clip = hiss(2 * WINDOW)
    halves = encoder.encode_audio(np.split(clip, 2))
    assert_allclose(encoder.encode_audio([clip])[0], halves.mean(axis=0), atol=1e-6)


def test_loudness_counts_but_an_offset_does_not(encoder, hiss):
    quiet, shifted = hiss(8_000) / 2, hiss(8_000) + np.float32(0.25)
    plain, quiet, shifted = encoder.encode_audio([hiss(8_000), quiet, shifted])
    assert_allclose(shifted, plain, rtol=0, atol=1e-4)
    assert np.abs(quiet - plain).max() > 1e-2


def test_a_classifier_makes_no_difference(encoder, eat_tensors, tmp_path, hiss):
    folder = save_eat(tmp_path / "tuned", eat_tensors | HEAD, model_variant="finetune")
    tuned = load(folder)
    assert tuned.fingerprint == encoder.fingerprint
    assert_array_equal(
        tuned.encode_audio([hiss(400)]), encoder.encode_audio([hiss(400)])
    )


def of_authors(tensors):
    """Rename tensors as in the authors' own files, and add training-only ones."""
    names = {}
    for name in tensors:
        bare = name.removeprefix("model.")
        if not bare.startswith("blocks."):
            bare = bare.replace("pre_norm.", "context_encoder.norm.")
            bare = f"modality_encoders.IMAGE.{bare}"
        names[name] = bare
    student = {names[name]: tensor for name, tensor in tensors.items()}
    extra = {"modality_encoders.IMAGE.decoder.proj.bias": torch.ones(3)}
    return student | extra | {"_ema": {"blocks.0.norm1.bias": torch.ones(64)}}


def test_a_file_of_the_authors_gives_the_same(eat_tensors, tmp_path, hiss, monkeypatch):
    # Its settings stand in the authors' code: one head for every 64 channels.
    monkeypatch.setitem(_eat._DEFAULTS, "img_size", (64, 128))
    hub = load(save_eat(tmp_path, eat_tensors, num_heads=1))
    torch.save({"args": None, "model": of_authors(eat_tensors)}, tmp_path / "eat.pt")
    own = load(tmp_path / "eat.pt")
    assert own.fingerprint == hub.fingerprint
    clip = hiss(5_000)
    assert_array_equal(own.encode_audio([clip]), hub.encode_audio([clip]))


def test_features_name_their_columns(eat_tensors, tmp_path, hiss):
    features = EatFeatures(save_eat(tmp_path, eat_tensors), device="cpu", cache=None)
    X = [[(hiss(8_000), 16_000), "a dog"]]
    assert features.fit_transform(X).shape == (1, 256)
    names = features.get_feature_names_out()
    assert names[[0, 64, 128, -1]].tolist() == ["cls0", "mean0", "std0", "max63"]


def test_without_a_network_the_remedy_is_named():
    with pytest.raises(CheckpointError, match=r"pretrain'.*put config\.json, model\.s"):
        EatFeatures().fit([["a.wav", "a dog"]])


def test_what_does_not_match_is_refused(eat_tensors, tmp_path):
    lacking = {k: v for k, v in eat_tensors.items() if k != "model.pre_norm.bias"}
    with pytest.raises(CheckpointError, match=r"missing: pre_norm\.bias"):
        load(save_eat(tmp_path, lacking))
    with pytest.raises(CheckpointError, match=r"unexpected: mask_token"):
        load(save_eat(tmp_path, eat_tensors | {"model.mask_token": torch.ones(1)}))
    with pytest.raises(CheckpointError, match=r"layer_norm_first=True; only False"):
        load(save_eat(tmp_path, eat_tensors, layer_norm_first=True))
