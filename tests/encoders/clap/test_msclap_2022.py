"""MS-CLAP of 2022 with random weights: tests of the code only."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from clapstack import MsClapPairFeatures
from clapstack.encoders import load_encoder
from clapstack.exceptions import CheckpointError
from tests.checkpoints import BERT_WORDS, make_msclap_2022_tensors, save_msclap_2022

RATE = 44_100


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("msclap-2022")
    return save_msclap_2022(folder, make_msclap_2022_tensors())


@pytest.fixture
def encoder(path):
    return load_encoder("msclap", str(path), device="cpu")


def test_the_file_shows_which_version_it_is(encoder):
    assert type(encoder).__name__ == "MsClap2022Encoder"
    assert (encoder.sample_rate, encoder.window) == (RATE, 5 * RATE)
    assert encoder.max_tokens == 40  # as many as this small BERT has, of 100


def test_pooling_takes_the_mean_over_mels_then_mean_and_maximum_over_time(encoder):
    """Compute the reference step by step, with functions."""
    tensors = make_msclap_2022_tensors()
    mels = torch.randn(2, 1, 100, 32, generator=torch.manual_seed(0)) - 30
    base = "audio_encoder.base."

    def norm(states, name):
        keys = ("running_mean", "running_var", "weight", "bias")
        mean, var, weight, bias = (tensors[f"{base}{name}.{key}"] for key in keys)
        shape = (1, -1, 1, 1)
        scale = weight / torch.sqrt(var + 1e-5)
        return (states - mean.view(shape)) * scale.view(shape) + bias.view(shape)

    states = norm(mels.permute(0, 3, 2, 1), "bn0").permute(0, 3, 2, 1)
    for block in range(1, 7):
        for layer in (1, 2):
            name = f"conv_block{block}"
            weight = tensors[f"{base}{name}.conv{layer}.weight"]
            states = torch.nn.functional.conv2d(states, weight, padding=1)
            states = norm(states, f"{name}.bn{layer}").clamp(min=0)
        if block < 6:
            n, c, t, f = states.shape
            halved = states[:, :, : t // 2 * 2, : f // 2 * 2]
            states = halved.reshape(n, c, t // 2, 2, f // 2, 2).mean(dim=(3, 5))
    pooled = states.mean(dim=3)
    pooled = pooled.max(dim=2).values + pooled.mean(dim=2)
    hidden = pooled @ tensors[f"{base}fc1.weight"].T + tensors[f"{base}fc1.bias"]
    head = "audio_encoder.projection."
    first = hidden.clamp(min=0) @ tensors[f"{head}linear1.weight"].T
    gelu = first * (1 + torch.erf(first / math.sqrt(2))) / 2
    total = first + gelu @ tensors[f"{head}linear2.weight"].T
    centred = total - total.mean(dim=1, keepdim=True)
    normed = centred / torch.sqrt((centred**2).mean(dim=1, keepdim=True) + 1e-5)
    expected = normed * tensors[f"{head}layer_norm.weight"]
    expected += tensors[f"{head}layer_norm.bias"]
    with torch.inference_mode():
        embedded = encoder._model.embed_audio(mels)
    assert np.ptp(expected.numpy(), axis=0).max() > 1e-2
    assert_allclose(embedded, expected, rtol=0, atol=1e-5)


def test_embeddings_are_of_unit_norm_and_tell_inputs_apart(encoder, noise):
    audio = encoder.encode_audio([noise(RATE, RATE), noise(7 * RATE, RATE)])
    text = encoder.encode_text(["a dog barks", "birds sing", "rain"])
    for embeddings in (audio, text):
        assert embeddings.shape == (len(embeddings), 24)
        assert_allclose(np.linalg.norm(embeddings, axis=1), 1, rtol=1e-6)
        assert np.ptp(embeddings, axis=0).max() > 1e-2


def test_neighbours_do_not_matter(encoder, noise):
    clips = [noise(RATE, RATE), noise(7 * RATE, RATE)]
    alone = [encoder.encode_audio([clip])[0] for clip in clips]
    assert_allclose(encoder.encode_audio(clips), alone, rtol=0, atol=1e-6)
    texts = ["a", "a dog barks", "rain falls"]
    alone = [encoder.encode_text([text])[0] for text in texts]
    assert_allclose(encoder.encode_text(texts), alone, rtol=0, atol=1e-6)


def test_a_missing_tensor_is_named(tmp_path):
    tensors = make_msclap_2022_tensors()
    del tensors["audio_encoder.base.conv_block3.bn2.bias"]
    path = save_msclap_2022(tmp_path, tensors)
    with pytest.raises(CheckpointError, match=r"missing: .*conv_block3\.bn2\.bias"):
        load_encoder("msclap", str(path))


def test_a_tensor_that_determines_a_size_is_named_when_missing(tmp_path):
    tensors = make_msclap_2022_tensors()
    del tensors["caption_encoder.base.embeddings.word_embeddings.weight"]
    path = save_msclap_2022(tmp_path, tensors)
    with pytest.raises(CheckpointError, match=r"missing: .*word_embeddings\.weight"):
        load_encoder("msclap", str(path))


def test_tensors_that_no_embedding_depends_on_may_be_absent(encoder, tmp_path):
    kept = encoder._model.state_dict()
    lean = {k: v for k, v in make_msclap_2022_tensors().items() if k in kept}
    path = save_msclap_2022(tmp_path, lean)
    assert load_encoder("msclap", str(path)).fingerprint == encoder.fingerprint


def test_a_tokenizer_larger_than_the_text_tower_is_refused(tmp_path):
    path = save_msclap_2022(tmp_path, make_msclap_2022_tensors())
    words = "\n".join([*BERT_WORDS, *map(str, range(100, 200))])
    (tmp_path / "vocab.txt").write_text(words + "\n")
    with pytest.raises(CheckpointError, match="does not match the text tower"):
        load_encoder("msclap", str(path))


def test_without_its_tokenizer_the_remedy_is_named(tmp_path):
    path = save_msclap_2022(tmp_path, make_msclap_2022_tensors())
    (tmp_path / "vocab.txt").unlink()
    with pytest.raises(CheckpointError, match=r"put bert-base-uncased's tokenizer"):
        load_encoder("msclap", str(path))


def test_the_transformer_takes_it(path, noise):
    pairs = [[(noise(RATE, RATE), RATE), "a dog barks"]]
    features = MsClapPairFeatures(str(path), device="cpu", cache=None)
    assert features.fit_transform(pairs).shape == (1, 5 * 24 + 1)
