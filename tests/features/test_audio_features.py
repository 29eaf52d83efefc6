"""Audio-only features, beyond the checks of test_pair_transformers."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.pipeline import FeatureUnion, Pipeline

from clapstack import (
    AudioMaeFeatures,
    ClapStackingRegressor,
    CrossAgreement,
    CtcFeatures,
    LaionClapPairFeatures,
    MsClapPairFeatures,
    WavLmFeatures,
    WhisperFeatures,
)
from clapstack.exceptions import BadPairsError
from clapstack.features._audio import block_names
from clapstack.features._ctc import lexical_overlap

WORDS = st.text(alphabet="ab' .!", max_size=12)


def test_columns_are_named_after_the_blocks():
    assert block_names({"mean": 2, "ratio": 1, "std": 2}) == [
        "mean0",
        "mean1",
        "ratio",
        "std0",
        "std1",
    ]


def test_texts_do_not_move_audio_only_features(pairs, encoders, cache):
    other = pairs.assign(text="something else")
    features = WavLmFeatures(cache=cache)
    expected = features.fit_transform(pairs)
    assert_array_equal(features.transform(other), expected)


def test_a_bad_clip_is_named_and_the_others_are_stored(pairs, encoders, cache):
    features = WavLmFeatures(cache=cache).fit(pairs)
    more = pd.concat([pairs, pairs[:1].assign(audio="nowhere.wav")])
    with pytest.raises(BadPairsError, match="1 of 9 pairs") as caught:
        features.transform(more)
    assert [(r.position, r.source) for r in caught.value.rows] == [(8, "nowhere.wav")]
    encoders["wavlm", features.checkpoint].clips.clear()
    assert features.transform(pairs).shape == (8, 6)
    assert not encoders["wavlm", features.checkpoint].clips


def test_ctc_names_and_overlaps(pairs, encoders, cache):
    pairs.loc["j", "text"] = "a 8000"  # the toy transcribes "A" and the length
    features = CtcFeatures(cache=cache).set_output(transform="pandas")
    frame = features.fit_transform(pairs)
    assert list(frame.columns) == [
        *(f"mean{i}" for i in range(6)),
        "blank_ratio",
        "transcript_length",
        "overlap",
        "jaccard",
    ]
    assert_allclose(
        frame.loc["j", ["transcript_length", "overlap", "jaccard"]], [6, 1, 1]
    )
    assert_allclose(frame.loc["i", ["overlap", "jaccard"]], [1 / 5, 1 / 6])
    assert features.transcribe(pairs)[:2] == ["A 4000", "A 8000"]


def test_another_prompt_is_no_work_for_the_recogniser(pairs, encoders, cache):
    features = CtcFeatures(cache=cache).fit(pairs)
    before = features.transform(pairs)
    after = features.transform(pairs.assign(text="a 8000"))
    assert len(encoders["ctc", features.checkpoint].clips) == 8
    assert_array_equal(after[:, :-2], before[:, :-2])
    assert abs(after[:, -2:] - before[:, -2:]).max() > 0.5


@pytest.mark.parametrize(
    ("prompt", "transcript", "expected"),
    [
        ("A man says: hello!", "HELLO", (0.25, 0.25)),
        ("a dog, a dog", "DOG CAT", (0.5, 1 / 3)),
        ("don't go", "DON'T", (0.5, 0.5)),
        ("ein Straßenlärm", "STRASSENLÄRM", (0.5, 0.5)),
        ("a dog", "", (0.0, 0.0)),
        ("?!", "DOG", (0.0, 0.0)),
        ("?!", "", (0.0, 0.0)),
    ],
)
def test_lexical_overlap_counts_distinct_words(prompt, transcript, expected):
    assert_allclose(lexical_overlap(prompt, transcript), expected)


@given(WORDS, WORDS)
def test_lexical_overlap_is_a_share(prompt, transcript):
    overlap, jaccard = lexical_overlap(prompt, transcript)
    assert 0 <= jaccard <= overlap <= 1
    assert lexical_overlap(transcript, prompt)[1] == jaccard
    assert lexical_overlap(prompt, prompt)[0] == any(c in "ab" for c in prompt)


def test_audio_only_families_are_auxiliary_to_the_stack(pairs, encoders, cache):
    X = pd.concat([pairs] * 5, ignore_index=True)
    y = np.random.default_rng(0).uniform(0, 10, len(X))
    union = FeatureUnion(
        [
            ("laion", LaionClapPairFeatures(cache=cache)),
            ("msclap", MsClapPairFeatures(cache=cache)),
            ("wavlm", WavLmFeatures(cache=cache)),
            ("audiomae", AudioMaeFeatures(cache=cache)),
            ("whisper", WhisperFeatures(cache=cache)),
            ("ctc", CtcFeatures(cache=cache)),
        ]
    )
    stack = ClapStackingRegressor()
    steps = [("features", union), ("cross", CrossAgreement(n_components=2))]
    pipe = Pipeline([*steps, ("stack", stack)]).set_output(transform="pandas")
    predictions = pipe.fit(X, y).predict(X)
    assert np.isfinite(predictions).all()
    assert stack.auxiliary_ == ["wavlm", "audiomae", "whisper", "ctc"]
    assert stack.families_[:2] == ["laion", "msclap"]
