"""BEATs checkpoints with random weights: tests of the code only."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from clapstack.encoders import load_encoder
from clapstack.encoders._base import fingerprint_of
from clapstack.encoders.audio._beats_model import position_buckets
from clapstack.exceptions import CheckpointError
from clapstack.features import BeatsFeatures
from tests.checkpoints import save_beats

GOLDEN = json.loads((Path(__file__).parent / "golden" / "beats.json").read_text())
SECOND = 16_000


@pytest.fixture
def beats_file(beats_content, tmp_path):
    return save_beats(beats_content, tmp_path)


@pytest.fixture
def encoder(beats_file):
    return load_encoder("beats", beats_file, device="cpu")


def edited(content, tensors=(), drop=(), **cfg):
    kept = {k: v for k, v in content["model"].items() if k not in drop}
    return {"cfg": content["cfg"] | cfg, "model": kept | dict(tensors)}


@pytest.mark.parametrize("n_samples", [160_000, 16_000, 7_777, 2_800])
def test_logits_are_the_authors_before_the_sigmoid(encoder, hiss, n_samples):
    logits = encoder.encode_audio([hiss(n_samples)])[0]
    assert logits.dtype == np.float32
    assert_allclose(logits, GOLDEN["logits"][str(n_samples)], rtol=0, atol=5e-6)


def test_states_are_the_authors(beats_file, hiss):
    encoder = load_encoder("beats-states", beats_file, device="cpu")
    states = encoder.encode_audio([hiss(16_000)])[0]
    assert list(encoder.blocks.values()) == [64, 64, 64]
    assert_allclose(states, GOLDEN["states"]["16000"], rtol=0, atol=1e-5)


def test_what_shares_the_batch_does_not_matter(encoder, hiss):
    encoder.window = SECOND
    clips = [hiss(n) for n in (2_800, 16_000, 9_000, 16_001, 30_000)]
    alone = np.concatenate([encoder.encode_audio([clip]) for clip in clips])
    together = encoder.encode_audio(clips[::-1])[::-1]
    assert_allclose(together, alone, rtol=0, atol=1e-6)
    assert_array_equal(encoder.encode_audio(clips), encoder.encode_audio(clips))


def test_a_long_clip_is_the_mean_of_its_equal_pieces(encoder, hiss):
    encoder.window = SECOND
    clip = hiss(5 * SECOND // 2)
    pieces = encoder.encode_audio(np.array_split(clip, 3))
    assert_allclose(encoder.encode_audio([clip])[0], pieces.mean(axis=0), atol=1e-6)
    start = encoder.encode_audio([clip], crop="start")
    assert_array_equal(start, encoder.encode_audio([clip[:SECOND]]))


def test_a_clip_shorter_than_a_patch_is_filled_up_with_silence(encoder, hiss):
    filled = np.pad(hiss(500), (0, 2_300))
    assert_array_equal(
        encoder.encode_audio([hiss(500)]), encoder.encode_audio([filled])
    )


def test_bfloat16_is_close(beats_file, encoder, hiss):
    half = load_encoder("beats", beats_file, device="cpu", dtype="bfloat16")
    assert half.fingerprint == encoder.fingerprint
    assert half.identity != encoder.identity
    full, rounded = (e.encode_audio([hiss(16_000)])[0] for e in (encoder, half))
    assert_allclose(rounded, full, rtol=0, atol=0.1)


@pytest.mark.parametrize("setting", [{"deep_norm": False}, {"max_distance": 100}])
def test_another_architecture_is_another_fingerprint(
    encoder, beats_content, tmp_path, hiss, setting
):
    (tmp_path / "other").mkdir()
    path = save_beats(edited(beats_content, **setting), tmp_path / "other")
    other = load_encoder("beats", path, device="cpu")
    clips = [hiss(160_000)]
    assert abs(other.encode_audio(clips) - encoder.encode_audio(clips)).max() > 1e-5
    assert other.fingerprint != encoder.fingerprint


def test_the_fingerprint_of_a_published_architecture_stays(beats_content, tmp_path):
    path = save_beats(edited(beats_content, max_distance=800), tmp_path)
    encoder = load_encoder("beats", path, device="cpu")
    settings = {
        "sample_rate": 16_000,
        "window": 160_000,
        "shortest": 2_800,
        "full_scale": 32_768,
        "mean": 15.41663,
        "std": 6.55582,
        "blocks": {"logit": 11},
    }
    assert encoder.fingerprint == fingerprint_of(encoder._model, settings)


@given(st.integers(-2000, 2000), st.integers(0, 400))
def test_buckets_are_monotone_in_the_distance(distance, further):
    pair = torch.tensor([distance, distance + further])
    near, far = position_buckets(pair.abs(), n_buckets=320, max_distance=800)
    assert 0 <= near < 320
    assert (far >= near) == (abs(distance + further) >= abs(distance)) or far == near


def test_buckets_of_small_distances_are_exact_and_signs_are_apart():
    buckets = position_buckets(torch.arange(-3, 4), n_buckets=32, max_distance=128)
    assert buckets.tolist() == [3, 2, 1, 0, 17, 18, 19]


def test_features_name_their_columns(beats_file, hiss):
    X = [[(hiss(8_000), SECOND), "a dog"], [(hiss(9_000), SECOND), "rain"]]
    logits = BeatsFeatures(beats_file, device="cpu", cache=None).fit(X)
    assert logits.transform(X).shape == (2, 11)
    assert logits.get_feature_names_out()[[0, -1]].tolist() == ["logit0", "logit10"]
    states = logits.set_params(output="embedding").fit(X)
    assert states.transform(X).shape == (2, 192)
    assert states.get_feature_names_out()[-1] == "max63"


def test_a_pre_trained_file_has_states_but_no_logits(beats_content, tmp_path):
    head = ("predictor.weight", "predictor.bias")
    path = save_beats(edited(beats_content, drop=head), tmp_path)
    with pytest.raises(CheckpointError, match=r"only pre-trained: .* fine-tuned file"):
        load_encoder("beats", path)
    assert load_encoder("beats-states", path).embedding_dim == 192


def test_a_missing_file_is_named_with_its_origin():
    with pytest.raises(
        CheckpointError, match=r"finetuned_on_AS2M_cpt2.pt'.*unilm.*pass its path"
    ):
        BeatsFeatures().fit([["a.wav", "a dog"]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"drop": ["encoder.layers.1.fc1.bias"]},
            r"missing: encoder.layers.1.fc1.bias",
        ),
        ({"drop": ["layer_norm.weight"]}, r"missing: layer_norm.weight"),
        (
            {"drop": ["encoder.layer_norm.weight"]},
            r"missing: encoder.layer_norm.weight",
        ),
        ({"tensors": {"label_embs": torch.ones(2)}}, r"unexpected: label_embs"),
        ({"tensors": {"encoder.layers.0.fc1.bias": torch.ones(3)}}, r"wrong shape"),
        ({"layer_norm_first": True}, r"layer_norm_first=True; only False"),
        ({"gru_rel_pos": False}, r"gru_rel_pos=False; only True"),
    ],
)
def test_what_does_not_match_is_refused(beats_content, tmp_path, change, message):
    path = save_beats(edited(beats_content, **change), tmp_path)
    with pytest.raises(CheckpointError, match=message):
        load_encoder("beats", path)


def test_weights_alone_do_not_describe_the_model(beats_content, tmp_path):
    path = save_beats(beats_content["model"], tmp_path)
    with pytest.raises(CheckpointError, match=r"has no 'cfg'.*unilm"):
        load_encoder("beats", path)


def test_a_revision_of_a_file_that_is_nowhere_on_the_hub_is_refused(beats_file):
    with pytest.raises(CheckpointError, match=r"revision='main' .*is a local file"):
        load_encoder("beats", beats_file, revision="main")
    with pytest.raises(ValueError, match="'revision' parameter of BeatsFeatures"):
        BeatsFeatures(beats_file, revision="main").fit([["a.wav", "a dog"]])
