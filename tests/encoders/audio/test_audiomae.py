from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from clapstack.encoders import load_encoder
from clapstack.encoders._kaldi import kaldi_fbank
from clapstack.encoders.audio._base import pool
from clapstack.exceptions import CheckpointError
from tests.checkpoints import make_audiomae_tensors, save_audiomae

# Made by timm's VisionTransformer: 64 frames of 128 bands, patches of 16, two blocks
# of two heads; weights by `fill`, seed 10 and, with global_pool="avg" and a head of
# five classes, 11; pooled tokens of its forward_features, without the first.
GOLDEN = Path(__file__).parent / "golden" / "audiomae.json"
RATE = 16_000


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {
        kind: save_audiomae(
            tmp_path_factory.mktemp("audiomae"),
            make_audiomae_tensors(fine_tuned=kind == "fine-tuned"),
        )
        for kind in ("pretrained", "fine-tuned")
    }


def load(folder, **options):
    return load_encoder("audiomae", str(folder), device="cpu", **options)


@pytest.mark.parametrize("kind", ["pretrained", "fine-tuned"])
def test_token_maps_are_those_of_timm(folders, kind):
    rng = np.random.RandomState(5)
    mels = torch.from_numpy(rng.standard_normal((2, 64, 128))).float()
    with torch.inference_mode():
        pooled = pool(load(folders[kind])._model(mels))
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert_allclose(pooled, golden[kind], atol=1e-5)


def test_a_clip_is_heard_through_kaldis_filter_bank_and_filled_up(folders, noise):
    clip = noise(5_000, RATE)
    mel = kaldi_fbank(torch.from_numpy(clip)[None], window="hanning")[0]
    expected = np.full((64, 128), 4.2677393 / (2 * 4.5689974))
    expected[: len(mel)] = (mel + 4.2677393) / (2 * 4.5689974)
    assert 0 < len(mel) < 64
    assert_allclose(load(folders["pretrained"])._prepare(clip), expected, atol=1e-6)


def test_the_window_is_what_fills_the_model(folders):
    encoder = load(folders["pretrained"])
    frames = kaldi_fbank(torch.zeros(1, encoder.window)).shape[1]
    assert frames == 64
    assert kaldi_fbank(torch.zeros(1, encoder.window - 1)).shape[1] == 63


def test_a_row_does_not_depend_on_the_batch(folders, noise):
    encoder = load(folders["pretrained"])
    clips = [noise(n, RATE) for n in (16_000, 9_000, 399, 25_000)]
    alone = np.concatenate([encoder.encode_audio([clip]) for clip in clips])
    assert alone.shape == (4, 3 * 128)
    assert_array_equal(encoder.encode_audio(clips), alone)
    encoder._at_once = 100  # as on a GPU
    assert_allclose(encoder.encode_audio(clips), alone, atol=1e-5)
    assert alone.std(axis=0).max() > 0.1


def test_bfloat16_is_close(folders, noise):
    clips = [noise(n, RATE) for n in (16_000, 9_000)]
    exact, fast = (
        load(folders["pretrained"], dtype=dtype).encode_audio(clips)
        for dtype in ("float32", "bfloat16")
    )
    for one, other in zip(exact, fast, strict=True):
        assert one @ other / np.linalg.norm(one) / np.linalg.norm(other) > 0.995


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("norm.bias", "missing: norm.bias"),
        ("blocks.0.attn.qkv.bias", "missing: blocks.0.attn.qkv.bias"),
        ("pos_embed", "missing: pos_embed"),
    ],
)
def test_a_missing_tensor_is_named(folders, copy_of, name, message):
    folder = copy_of(folders["pretrained"])
    tensors = make_audiomae_tensors(fine_tuned=False)
    del tensors[name]
    torch.save(tensors, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=message.replace(".", r"\.")):
        load(folder)


def test_a_tensor_of_another_model_is_named(folders, copy_of):
    folder = copy_of(folders["pretrained"])
    tensors = make_audiomae_tensors(fine_tuned=False)
    torch.save({**tensors, "dist_token": torch.ones(2)}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="unexpected: dist_token"):
        load(folder)
