"""M2D-CLAP checkpoints with random weights: tests of the code only."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from clapstack.encoders import load_encoder
from clapstack.exceptions import CheckpointError
from clapstack.features import M2dClapPairFeatures
from tests.checkpoints import BERT_WORDS, make_m2d_tensors, save_m2d

GOLDEN = json.loads((Path(__file__).parent / "golden" / "m2d.json").read_text())
WINDOW = 160_000


def load(checkpoint):
    return load_encoder("m2d-clap", checkpoint, device="cpu")


@pytest.fixture
def encoder(m2d_tensors, tmp_path):
    return load(save_m2d(tmp_path, m2d_tensors))


def unit(rows):
    return np.divide(rows, np.linalg.norm(rows, axis=1, keepdims=True))


def test_audio_is_embedded_as_by_the_authors(encoder, hiss):
    embeddings = encoder.encode_audio([hiss(int(n)) for n in GOLDEN["audio"]])
    expected = unit(list(GOLDEN["audio"].values()))
    assert_allclose(embeddings, expected, rtol=0, atol=1e-6)
    assert abs(expected[0] - expected[1]).max() > 1e-2


def test_texts_are_embedded_as_by_the_authors(encoder):
    embeddings = encoder.encode_text(list(GOLDEN["text"]))
    expected = unit(list(GOLDEN["text"].values()))
    assert_allclose(embeddings, expected, rtol=0, atol=1e-6)
    assert abs(expected[0] - expected[1]).max() > 1e-2


def test_what_shares_the_batch_does_not_matter(encoder, hiss):
    clips = [hiss(n) for n in (300, 100_000, WINDOW + 1)]
    alone = np.concatenate([encoder.encode_audio([clip]) for clip in clips])
    assert_allclose(encoder.encode_audio(clips[::-1])[::-1], alone, rtol=0, atol=1e-6)
    texts = ["a dog", "rain on a tin roof", "car ! car ! car"]
    alone = np.concatenate([encoder.encode_text([text]) for text in texts])
    assert_allclose(encoder.encode_text(texts), alone, rtol=0, atol=1e-6)


def test_case_is_part_of_the_identity_of_texts(encoder, m2d_tensors, tmp_path):
    (tmp_path / "cased").mkdir()
    path = save_m2d(tmp_path / "cased", m2d_tensors)
    settings = json.dumps({"do_lower_case": False})
    (tmp_path / "cased" / "tokenizer_config.json").write_text(settings)
    cased = load(path)
    assert cased._tokens(["A dog"]) != encoder._tokens(["A dog"])
    assert cased.identity == encoder.identity
    assert cased.text_identity != encoder.text_identity


def test_windows_cover_a_long_clip(encoder, hiss):
    clip = hiss(2 * WINDOW)
    mean = encoder.encode_audio(np.split(clip, 2)).mean(axis=0)
    assert_allclose(encoder.encode_audio([clip]), unit(mean[None]), atol=1e-6)


def test_a_long_text_is_cut_and_keeps_its_end_token(encoder):
    long, longer = "a dog barks " * 13, "a dog barks " * 50
    ids = encoder._tokens([longer])[0]
    assert (len(ids), ids[-1]) == (40, BERT_WORDS.index("[SEP]"))
    assert_array_equal(encoder.encode_text([long]), encoder.encode_text([longer]))


def test_what_only_training_uses_makes_no_difference(encoder, m2d_tensors, tmp_path):
    (tmp_path / "other").mkdir()
    pooler = "text_encoder.text_encoder.pooler.dense.bias"
    others = {pooler: torch.ones(64), "logit_scale": torch.ones(1)}
    arguments = argparse.Namespace(lr=1e-4, csv_main="data.csv")
    path = save_m2d(tmp_path / "other", m2d_tensors | others, args=arguments, epoch=30)
    assert load(path).fingerprint == encoder.fingerprint


def test_the_second_file_whose_patches_are_20_ms_of_all_bands(tmp_path, hiss):
    tensors = make_m2d_tensors(patch=(80, 2))
    encoder = load(save_m2d(tmp_path, tensors))
    clips = [hiss(WINDOW), hiss(40_000)]
    first, other = encoder.encode_audio(clips)
    assert abs(first - other).max() > 1e-3
    assert_array_equal(encoder.encode_audio(clips[1:]), other[None])


def test_features_are_those_of_a_pair(m2d_tensors, tmp_path, hiss):
    path = save_m2d(tmp_path, m2d_tensors)
    X = [[(hiss(8_000), 16_000), "a dog"], [(hiss(9_000), 16_000), "rain"]]
    features = M2dClapPairFeatures(path, device="cpu", cache=None).fit_transform(X)
    assert features.shape == (2, 5 * 64 + 1)
    dots = np.sum(features[:, :64] * features[:, 64:128], axis=1)
    assert_allclose(features[:, -1], dots, rtol=0, atol=1e-6)


def test_a_missing_file_is_named_with_its_origin():
    with pytest.raises(
        CheckpointError, match=r"checkpoint-30\.pth'.*project m2d.*pass its path"
    ):
        M2dClapPairFeatures().fit([["a.wav", "a dog"]])


def test_a_missing_tokenizer_is_named_with_its_place(m2d_tensors, tmp_path):
    path = save_m2d(tmp_path, m2d_tensors)
    (tmp_path / "vocab.txt").rename(tmp_path / "words.txt")
    with pytest.raises(CheckpointError, match=r"bert-base-uncased'.*vocab\.txt\) into"):
        load(path)
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "words.txt").rename(tmp_path / "tokenizer" / "vocab.txt")
    assert load(path).projection_dim == 64


@pytest.mark.parametrize(
    ("drop", "add", "message"),
    [
        ("backbone.norm_stats", {}, r"missing: norm_stats"),
        ("backbone.blocks.1.norm1.bias", {}, r"missing: blocks\.1\.norm1\.bias"),
        ("backbone.audio_proj.sem_token", {}, r"does not contain both towers"),
        ("text_encoder.text_encoder.embeddings.LayerNorm.bias", {}, r"missing: text_e"),
        ("", {"backbone.text_proj.bias": torch.ones(1)}, r"unexpected: text_proj"),
        ("", {"backbone.pos_embed": torch.ones(1, 191, 64)}, r"190 positions .* 310"),
    ],
)
def test_what_does_not_match_is_refused(m2d_tensors, tmp_path, drop, add, message):
    tensors = {k: v for k, v in m2d_tensors.items() if k != drop} | add
    with pytest.raises(CheckpointError, match=message):
        load(save_m2d(tmp_path, tensors))


def test_a_tokenizer_of_another_model_is_refused(m2d_tensors, tmp_path):
    path = save_m2d(tmp_path, m2d_tensors)
    words = [*BERT_WORDS, "one", "two", "three"]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n")
    with pytest.raises(CheckpointError, match=r"25 tokens .* the tower has 24"):
        load(path)


def test_a_revision_of_a_file_that_is_nowhere_on_the_hub_is_refused(
    m2d_tensors, tmp_path
):
    path = save_m2d(tmp_path, m2d_tensors)
    with pytest.raises(CheckpointError, match=r"revision='main' .*is a local file"):
        load_encoder("m2d-clap", path, revision="main")
    with pytest.raises(ValueError, match="'revision' parameter of M2dClapPairFeatures"):
        M2dClapPairFeatures(path, revision="main").fit([["a.wav", "a dog"]])
