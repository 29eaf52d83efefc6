"""Guards against broken checkpoints that yield plausible features."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from clapstack import LaionClapPairFeatures
from clapstack.encoders import load_encoder
from clapstack.exceptions import (
    CheckpointError,
    CollapsedTowerWarning,
    FingerprintMismatchError,
)
from tests.checkpoints import edit_json, edit_tensors, read_tensors

TEXTS = [f"sound number {i}" for i in range(8)]


@pytest.fixture
def collapsed(laion_folders, copy_of):
    """An encoder whose projections hardly depend on their towers."""
    folder = copy_of(laion_folders[False])

    def shrink(tensors):
        for tower in ("audio", "text"):
            tensors[f"{tower}_projection.linear2.weight"] *= 1e-3

    edit_tensors(folder, shrink)
    return load_encoder("laion", str(folder), device="cpu")


@pytest.fixture
def clips(noise):
    return [noise(800 + 100 * i) for i in range(8)]


def test_a_collapsed_text_tower_triggers_a_warning_with_numbers(collapsed):
    message = (
        r"text tower of .*checkpoint.* 8 distinct inputs .* cosine is (0\.99|1\.00)"
    )
    with pytest.warns(CollapsedTowerWarning, match=message):
        collapsed.encode_text(TEXTS)


def test_a_collapsed_audio_tower_triggers_a_warning_with_numbers(collapsed, clips):
    message = r"audio tower of .*checkpoint.* 8 distinct inputs .* is (0\.99|1\.00)"
    with pytest.warns(CollapsedTowerWarning, match=message):
        collapsed.encode_audio(clips)


def test_a_collapsed_tower_triggers_one_warning(collapsed):
    with pytest.warns(CollapsedTowerWarning):
        collapsed.encode_text(TEXTS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        collapsed.encode_text(TEXTS)


@pytest.mark.parametrize("texts", [TEXTS[:7], TEXTS[:7] * 9], ids=["few", "repeated"])
def test_fewer_than_eight_distinct_texts_trigger_no_warning(collapsed, texts):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        collapsed.encode_text(texts)


def test_fewer_than_eight_distinct_clips_trigger_no_warning(collapsed, clips):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        collapsed.encode_audio(clips[:7] * 3)


def test_texts_that_are_cut_are_counted_once(laion_folders, copy_of):
    encoder = load_encoder("laion", str(copy_of(laion_folders[False])), device="cpu")
    long = [f"{text} " * 100 for text in TEXTS[:2]]
    message = rf"2 of 3 texts .* more than {encoder.max_tokens} tokens, .*sound number"
    with pytest.warns(UserWarning, match=message):
        encoder.encode_text([*long, "rain"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder.encode_text([*long, "rain"])


def test_one_clip_many_times_is_no_collapse(laion_folders, clips):
    encoder = load_encoder("laion", str(laion_folders[False]), device="cpu")
    units = np.eye(8)[[0] * 4000 + [*range(8)]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder._warn_if_collapsed("audio", units, [clips[0]] * 4000 + clips)


@pytest.mark.parametrize("said", [True, False], ids=["said fused", "said unfused"])
def test_a_configuration_of_the_other_kind_is_refused(laion_folders, copy_of, said):
    folder = copy_of(laion_folders[not said])
    edit_json(
        folder / "config.json",
        lambda config: config["audio_config"].update(
            enable_fusion=said, fusion_type="aff_2d" if said else None
        ),
    )
    edit_json(
        folder / "preprocessor_config.json",
        lambda config: config.update(truncation="fusion" if said else "rand_trunc"),
    )
    what = "missing" if said else "unexpected"
    with pytest.raises(CheckpointError, match=rf"Tensors {what}: .*patch_embed"):
        load_encoder("laion", str(folder))


def test_fused_audio_with_the_text_tower_of_an_unfused_model_is_other_weights(
    laion_folders, copy_of, pairs
):
    folder = copy_of(laion_folders[True])
    features = LaionClapPairFeatures(folder, device="cpu", cache=None).fit(pairs)
    unfused = read_tensors(laion_folders[False])
    text = {name: t for name, t in unfused.items() if name.startswith("text_model.")}
    edit_tensors(folder, lambda tensors: tensors.update(text))
    with pytest.raises(FingerprintMismatchError, match="was fitted with the weights"):
        features.transform(pairs)


def test_stored_embeddings_of_other_weights_are_not_served(
    laion_folders, copy_of, pairs, tmp_path
):
    folder = copy_of(laion_folders[False])

    def embed(cache):
        features = LaionClapPairFeatures(folder, device="cpu", cache=cache)
        return features.fit_transform(pairs)

    before = embed(tmp_path / "store")
    bias = "audio_projection.linear1.bias"
    edit_tensors(folder, lambda tensors: tensors[bias].add_(1))
    after = embed(tmp_path / "store")
    assert not np.array_equal(before, after)
    assert_array_equal(after, embed(None))


@pytest.fixture
def pairs(noise):
    return pd.DataFrame({"audio": [(noise(3000), 8000)], "text": ["a dog barks"]})
