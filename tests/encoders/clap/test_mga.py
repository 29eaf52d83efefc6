"""MGA-CLAP checkpoints with random weights: tests of the code only."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from clapstack import MgaClapPairFeatures
from clapstack.encoders import load_encoder
from clapstack.encoders.clap._mga import sparsemax
from clapstack.exceptions import CheckpointError
from tests.checkpoints import BERT_WORDS, save_mga

GOLDEN = json.loads((Path(__file__).parent / "golden" / "mga.json").read_text())
RATE = 32_000
HTSAT = "audio_encoder.audio_enc."
# Random weights hear little difference between some clips of noise.
pytestmark = pytest.mark.filterwarnings(
    "ignore::clapstack.exceptions.CollapsedTowerWarning"
)


def load(checkpoint):
    return load_encoder("mga-clap", checkpoint, device="cpu")


@pytest.fixture
def encoder(mga_tensors, tmp_path):
    return load(save_mga(tmp_path, mga_tensors))


def test_audio_is_embedded_as_by_the_authors(encoder, hiss):
    embeddings = encoder.encode_audio([hiss(int(n)) for n in GOLDEN["audio"]])
    expected = np.array(list(GOLDEN["audio"].values()))
    assert_allclose(embeddings, expected, rtol=0, atol=1e-6)
    assert abs(expected[0] - expected[1]).max() > 1e-2


@pytest.mark.filterwarnings("ignore:1 of 4 texts")
def test_texts_are_embedded_as_by_the_authors_cut_at_thirty_tokens(encoder):
    embeddings = encoder.encode_text(list(GOLDEN["text"]))
    expected = np.array(list(GOLDEN["text"].values()))
    assert_allclose(embeddings, expected, rtol=0, atol=1e-6)
    assert abs(expected[0] - expected[1]).max() > 1e-2


def test_frames_are_those_of_the_authors(encoder, hiss):
    clip = hiss(150_001)
    (frames,) = encoder.encode_frames([clip])
    assert len(frames) == np.ceil(len(clip) / RATE * encoder.frame_rate)
    for place, expected in GOLDEN["frames"].items():
        assert_allclose(frames[int(place)], expected, rtol=0, atol=1e-6)


def test_frames_of_a_long_clip_follow_one_another(encoder, hiss):
    clip = hiss(2 * encoder.window)
    (frames,) = encoder.encode_frames([clip])
    halves = encoder.encode_frames(np.split(clip, 2), batch_size=1)
    assert_array_equal(frames, np.concatenate(halves))


@pytest.mark.parametrize("seconds", [15, 45])
def test_repeats_of_a_long_clip_give_the_same_bits(encoder, hiss, seconds):
    clip = hiss(seconds * RATE)
    first = encoder.encode_audio([clip])
    assert_array_equal(encoder.encode_audio([hiss(900), clip])[1:], first)


def test_a_text_gives_the_same_embedding_padded_by_longer_ones(encoder):
    texts = ["a dog", "rain on a tin roof", "car ! car ! car", "a"]
    alone = np.concatenate([encoder.encode_text([text]) for text in texts])
    assert_allclose(encoder.encode_text(texts), alone, rtol=0, atol=1e-6)


def test_sparsemax_is_the_nearest_point_of_the_simplex():
    scores = torch.tensor([[0.1, 0.9, -3.0, 0.8], [0.0, 0.0, 0.0, 0.0]])
    weights = sparsemax(scores)
    assert_allclose(weights[0], [0.0, 0.55, 0.0, 0.45], atol=1e-6)
    assert_allclose(weights[1], 0.25)


def test_what_only_training_uses_makes_no_difference(encoder, mga_tensors, tmp_path):
    (tmp_path / "other").mkdir()
    others = {
        "temp": torch.ones(()),
        f"{HTSAT}tscam_conv.weight": torch.ones(5, 16, 2, 3),
        f"{HTSAT}head.bias": torch.ones(5),
        f"{HTSAT}bn0.num_batches_tracked": torch.tensor(7),
        f"{HTSAT}audio_feats_extractor.mel_trans.stft.conv_real.weight": torch.ones(3),
        "text_encoder.text_encoder.embeddings.position_ids": torch.arange(40)[None],
    }
    content = {"config": argparse.Namespace(lr=1e-4), "optimizer": {}, "epoch": 3}
    path = save_mga(tmp_path / "other", mga_tensors | others, **content)
    assert load(path).fingerprint == encoder.fingerprint


def test_features_are_those_of_a_pair(mga_tensors, tmp_path, hiss):
    path = save_mga(tmp_path, mga_tensors)
    X = [[(hiss(8_000), 16_000), "a dog"], [(hiss(9_000), 16_000), "rain"]]
    features = MgaClapPairFeatures(path, device="cpu", cache=None).fit_transform(X)
    assert features.shape == (2, 5 * 24 + 1)
    dots = np.sum(features[:, :24] * features[:, 24:48], axis=1)
    assert_allclose(features[:, -1], dots, rtol=0, atol=1e-6)


def test_a_missing_file_is_named_with_its_origin():
    with pytest.raises(CheckpointError, match=r"model\.pt'.*MGA-CLAP.*pass its path"):
        MgaClapPairFeatures("model.pt").fit([["a.wav", "a dog"]])


def test_a_missing_tokenizer_is_named_with_its_place(mga_tensors, tmp_path):
    path = save_mga(tmp_path, mga_tensors)
    (tmp_path / "vocab.txt").unlink()
    with pytest.raises(CheckpointError, match=r"bert-base-uncased'.*vocab\.txt\) into"):
        load(path)


@pytest.mark.parametrize(
    ("drop", "add", "said"),
    [
        ("codebook", {}, r"is not an MGA-CLAP file: 'codebook'"),
        (f"{HTSAT}audio_feats_extractor.log_trans.melW", {}, r"missing: .*melW"),
        (f"{HTSAT}layers.1.blocks.1.attn.proj.bias", {}, r"missing: .*attn\.proj\.bi"),
        ("frame_proj.3.bias", {}, r"missing: frame_proj\.3\.bias"),
        ("", {"word_proj.5.bias": torch.ones(1)}, r"unexpected: word_proj\.5\.bias"),
        ("", {"temperature": torch.ones(1)}, r"unexpected: temperature"),
    ],
)
def test_what_does_not_match_is_refused(mga_tensors, tmp_path, drop, add, said):
    tensors = {k: v for k, v in mga_tensors.items() if k != drop} | add
    with pytest.raises(CheckpointError, match=said):
        load(save_mga(tmp_path, tensors))


def test_a_file_of_another_model_is_refused(m2d_tensors, tmp_path):
    with pytest.raises(CheckpointError, match="is not an MGA-CLAP file"):
        load(save_mga(tmp_path, m2d_tensors))


def test_weights_that_are_no_numbers_are_named_at_the_first_embedding(
    mga_tensors, tmp_path, hiss
):
    tensors = mga_tensors | {"codebook": mga_tensors["codebook"] * torch.nan}
    encoder = load(save_mga(tmp_path, tensors))
    for encode, inputs in (
        (encoder.encode_audio, [hiss(900)]),
        (encoder.encode_text, ["a dog"]),
    ):
        with pytest.raises(CheckpointError, match=r"has norm nan"):
            encode(inputs)


def test_a_tokenizer_of_another_model_is_refused(mga_tensors, tmp_path):
    path = save_mga(tmp_path, mga_tensors)
    words = [*BERT_WORDS, "one", "two", "three"]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n")
    with pytest.raises(CheckpointError, match=r"25 tokens .* the tower has 24"):
        load(path)
