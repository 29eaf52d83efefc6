"""The fast audio tower against transformers' own forward pass, random weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from transformers import ClapAudioConfig, ClapAudioModel

from clapstack.encoders.clap import _htsat as _audio_tower
from clapstack.encoders.clap._htsat import AudioTower, shift_mask, window_order
from clapstack.exceptions import CheckpointError

N_FRAMES = 500
SIZES = {
    "two stages": {"spec_size": 128, "depths": [2, 2], "num_attention_heads": [2, 4]},
    # Three windows a side, a shift at each stage, the last stage a single window.
    "odd windows": {
        "spec_size": 96,
        "num_mel_bins": 16,
        "patch_size": 2,
        "patch_stride": [2, 2],
        "window_size": 4,
        "depths": [1, 3, 4],
        "num_attention_heads": [1, 2, 4],
    },
    "no bias": {
        "spec_size": 128,
        "depths": [2, 2],
        "num_attention_heads": [2, 2],
        "qkv_bias": False,
    },
}


@pytest.fixture
def make(filled):
    def make_model(size, *, fused=False):
        settings = SIZES[size]
        n_stages = len(settings["depths"])
        config = ClapAudioConfig(
            patch_embeds_hidden_size=8,
            hidden_size=8 * 2 ** (n_stages - 1),
            num_hidden_layers=n_stages,
            enable_fusion=fused,
            fusion_type="aff_2d" if fused else None,
            **settings,
        )
        return filled(ClapAudioModel(config))

    return make_model


@pytest.fixture
def mels():
    def draw(model, n, n_channels=1):
        config = model.config
        n_frames = min(N_FRAMES, config.spec_size**2 // config.num_mel_bins - 5)
        rng = np.random.default_rng(1)
        shape = (n, n_channels, n_frames, config.num_mel_bins)
        return torch.from_numpy(rng.normal(-30, 20, shape)).float()

    return draw


def units(pooled):
    return torch.nn.functional.normalize(pooled.double(), dim=-1)


def official(model, mels, longer=None):
    marks = None if longer is None else longer[:, None]
    return model(input_features=mels, is_longer=marks).pooler_output


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("tokens_at_once", [64, 256, 100_000])
def test_it_gives_what_the_module_gives(size, tokens_at_once, make, mels, monkeypatch):
    monkeypatch.setattr(_audio_tower, "_TOKENS_AT_ONCE", tokens_at_once)
    model = make(size)
    inputs = mels(model, 3)
    with torch.inference_mode():
        expected = units(official(model, inputs))
        ours = units(AudioTower(model, source="a test")(inputs))
    assert_allclose(ours, expected, rtol=0, atol=1e-6)
    assert abs(ours[0] - ours[1]).max() > 1e-3


def test_it_fuses_what_the_module_fuses(make, mels):
    model = make("two stages", fused=True)
    inputs, longer = mels(model, 4, 4), torch.tensor([True, False, False, True])
    with torch.inference_mode():
        expected = units(official(model, inputs, longer))
        unfused = units(official(model, inputs, torch.zeros(4, dtype=torch.bool)))
        ours = units(AudioTower(model, source="a test")(inputs, longer))
    assert_allclose(ours, expected, rtol=0, atol=1e-6)
    moved = abs(expected - unfused).amax(dim=1) > 1e-4
    assert_array_equal(moved, longer)


def test_what_is_added_to_in_place_is_its_own(make, mels):
    model = make("two stages")
    inputs = mels(model, 2)
    before = inputs.clone()
    tower = AudioTower(model, source="a test")
    with torch.inference_mode():
        first, second = tower(inputs), tower(inputs)
    assert_array_equal(inputs, before)
    assert_array_equal(first, second)


def test_the_module_stays_the_owner_of_its_weights(make, mels):
    model = make("two stages")
    inputs = mels(model, 2)
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.inference_mode():
        before = official(model, inputs)
        tower = AudioTower(model, source="a test")
        assert_array_equal(official(model, inputs), before)
    for name, tensor in model.state_dict().items():
        assert_array_equal(tensor, weights[name])
    attention = model.audio_encoder.layers[0].blocks[0].attention.self
    attention.key.weight.data.zero_()
    with torch.inference_mode():
        ours, theirs = units(tower(inputs)), units(official(model, inputs))
        assert_allclose(ours, theirs, rtol=0, atol=1e-6)
        assert abs(theirs - units(before)).max() > 1e-4


def test_bfloat16_is_close_to_float32(make, mels):
    model = make("two stages")
    inputs = mels(model, 3)
    with torch.inference_mode():
        exact = units(AudioTower(model, source="a test")(inputs))
        rounded = AudioTower(model.bfloat16(), source="a test")(inputs.bfloat16())
    assert rounded.dtype == torch.bfloat16
    assert (units(rounded) * exact).sum(dim=1).min() > 0.99


def test_patches_that_fill_no_whole_windows_are_refused():
    sizes = {**SIZES["two stages"], "spec_size": 64, "num_mel_bins": 32}
    config = ClapAudioConfig(
        patch_embeds_hidden_size=8, hidden_size=16, window_size=6, **sizes
    )
    message = r"tower of weights\.pt has 16 x 16 patches .* windows of 6 x 6"
    with pytest.raises(CheckpointError, match=message):
        AudioTower(ClapAudioModel(config).eval(), source="weights.pt")


@pytest.mark.parametrize("shift", [0, 1, 2, 3])
def test_each_patch_is_in_one_window_and_the_mask_says_who_were_neighbours(shift):
    order = window_order(8, 12, 4, shift).view(-1, 16)
    assert_array_equal(order.flatten().sort().values, torch.arange(96))
    rows, columns = order // 12, order % 12
    apart = torch.zeros(len(order), 16, 16, dtype=torch.bool)
    for place in (rows, columns):
        apart |= abs(place[:, :, None] - place[:, None]) >= 4  # around an edge
    if shift:
        assert_array_equal(shift_mask(8, 12, 4, shift) == -100, apart)
    assert bool(apart.any()) == bool(shift)
