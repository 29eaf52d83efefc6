from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from transformers import Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor

from clapstack.encoders import load_encoder
from clapstack.encoders.audio._ctc import TRANSCRIPT_LENGTH, decoded, greedy_text
from clapstack.exceptions import CheckpointError
from tests.checkpoints import CTC_TOKENS, make_ctc, read_tensors, write_tensors

RATE = 16_000
SPECIAL = CTC_TOKENS[1:4]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ctc")
    return folder, make_ctc(folder)


@pytest.fixture(scope="module")
def folder(made):
    return made[0]


@pytest.fixture(scope="module")
def model(made):
    return made[1]


def load(folder, **options):
    return load_encoder("ctc", str(folder), device="cpu", **options)


def official(model, clip):
    """Return states and logits of one clip, computed by transformers."""
    extractor = Wav2Vec2FeatureExtractor(do_normalize=True)
    inputs = extractor(clip, sampling_rate=RATE, return_tensors="pt").input_values
    with torch.inference_mode():
        states = model.wav2vec2(inputs).last_hidden_state[0]
        return states, model(inputs).logits[0]


def text_of(row):
    return decoded(row[-TRANSCRIPT_LENGTH:])


@pytest.fixture
def clips(noise):
    return [noise(n, RATE) for n in (16_000, 9_000, 16_000, 400)]


def test_features_are_those_of_transformers(folder, model, clips, statistics):
    encoder = load(folder)
    tokenizer = Wav2Vec2CTCTokenizer.from_pretrained(folder)
    features = encoder.encode_audio(clips)
    assert features.shape == (4, 3 * 32 + 4 + TRANSCRIPT_LENGTH)
    for clip, row in zip(clips, features, strict=True):
        states, logits = official(model, clip)
        confidence, tokens = logits.softmax(dim=1).max(dim=1)
        text = tokenizer.decode(tokens)
        for token in SPECIAL:
            text = text.replace(token, "")
        expected = [
            *statistics(states),
            float(confidence.mean()),
            float(confidence.numpy().var()),
            float((tokens == 0).float().mean()),
            len(text.strip()),
        ]
        assert_allclose(row[:-TRANSCRIPT_LENGTH], expected, atol=1e-5)
        assert text_of(row) == text.strip()
    assert len(text_of(features[0])) > 5


def test_the_blocks_name_what_stands_in_a_row(folder):
    assert load(folder).blocks == {
        "mean": 32,
        "std": 32,
        "max": 32,
        "confidence_mean": 1,
        "confidence_variance": 1,
        "blank_ratio": 1,
        "transcript_length": 1,
        "transcript": TRANSCRIPT_LENGTH,
    }


def test_a_row_does_not_depend_on_the_batch(folder, clips):
    # The group normalisation of this model makes padding visible in every frame.
    encoder = load(folder)
    alone = np.concatenate([encoder.encode_audio([clip]) for clip in clips])
    assert_array_equal(encoder.encode_audio(clips), alone)
    encoder._at_once = 100  # as on a GPU
    assert_allclose(encoder.encode_audio(clips), alone, atol=1e-5)


def test_transcripts_of_the_pieces_of_a_long_clip_are_joined(folder, noise):
    encoder = load(folder)
    encoder.window = RATE // 2
    clip = noise(RATE, RATE)
    both = encoder.encode_audio([clip])[0]
    halves = encoder.encode_audio([clip[: RATE // 2], clip[RATE // 2 :]])
    text = " ".join(map(text_of, halves))
    assert text_of(both) == text
    n_numbers = 3 * 32 + 3
    assert_allclose(both[:n_numbers], halves[:, :n_numbers].mean(axis=0), atol=1e-6)
    assert both[n_numbers] == len(text)


def test_a_transcript_longer_than_its_place_is_cut_and_its_length_is_not(folder):
    encoder = load(folder)
    encoder._settings = {**encoder._settings, "symbols": ["a" * 100] * len(CTC_TOKENS)}
    encoder._settings["blank"] = 99
    row = encoder.encode_audio([np.ones(RATE, dtype=np.float32)])[0]
    length = int(row[-TRANSCRIPT_LENGTH - 1])
    assert text_of(row) == "a" * min(length, TRANSCRIPT_LENGTH)
    assert length % 100 == 0


@given(st.lists(st.integers(0, len(CTC_TOKENS) - 1), max_size=40))
def test_greedy_text_merges_repeats_and_then_drops_what_writes_nothing(tokens):
    symbols = ["", "", "", "", " ", *"ETAOIN'"]
    merged = [t for i, t in enumerate(tokens) if i == 0 or tokens[i - 1] != t]
    expected = "".join(
        "" if t < 4 else " " if t == 4 else CTC_TOKENS[t] for t in merged
    )
    assert greedy_text(tokens, symbols, blank=0) == expected.strip()


def test_every_code_point_survives_float32():
    codes = np.array([1, 65, 0x20AC, 0x1F600, 0x10FFFF, 0], dtype=np.float32)
    assert decoded(codes) == "\x01A€😀\U0010ffff"


def test_a_missing_head_is_named(folder, copy_of):
    folder = copy_of(folder)
    tensors = read_tensors(folder)
    del tensors["lm_head.bias"], tensors["lm_head.weight"]
    write_tensors(folder, tensors)
    with pytest.raises(CheckpointError, match=r"missing: lm_head\.bias, lm_head\.weig"):
        load(folder)


def test_the_vocabulary_is_part_of_the_fingerprint(folder, copy_of):
    fingerprint = load(folder).fingerprint
    folder = copy_of(folder)
    path = folder / "vocab.json"
    vocabulary = json.loads(path.read_text(encoding="utf-8"))
    swapped = {**vocabulary, "E": vocabulary["T"], "T": vocabulary["E"]}
    path.write_text(json.dumps(swapped), encoding="utf-8")
    assert load(folder).fingerprint != fingerprint


@pytest.mark.parametrize(
    "vocabulary", [{"a": 0, "b": 1}, {"eng": {"a": 0}}], ids=["short", "languages"]
)
def test_a_vocabulary_that_is_not_the_models_is_refused(folder, copy_of, vocabulary):
    folder = copy_of(folder)
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    with pytest.raises(
        CheckpointError,
        match=f"model's {len(CTC_TOKENS)} tokens .* {len(vocabulary)} ent",
    ):
        load(folder)
