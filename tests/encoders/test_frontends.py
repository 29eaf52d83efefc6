from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from transformers import ClapFeatureExtractor

from clapstack.encoders import _mel as _frontends
from clapstack.encoders._mel import (
    LogMel,
    fill_window,
    fuse,
    fusion_chunk_starts,
    mel_bank,
)

PUBLISHED = {"sample_rate": 48000, "f_min": 50, "f_max": 14000}


@pytest.mark.parametrize(
    ("scale", "truncation"), [("slaney", "rand_trunc"), ("htk", "fusion")]
)
@pytest.mark.parametrize("n_samples", [480_000, 300_000, 100_001, 777])
def test_log_mel_is_that_of_the_clap_feature_extractor(scale, truncation, n_samples):
    rng = np.random.default_rng(n_samples)
    loudness = np.logspace(-6, -0.5, n_samples)
    waveform = (loudness * rng.standard_normal(n_samples)).astype(np.float32)
    official = ClapFeatureExtractor(frequency_min=50, truncation=truncation)(
        waveform, sampling_rate=48000, return_tensors="np"
    )["input_features"][0, 0]
    bank = mel_bank(1024, 64, scale=scale, **PUBLISHED)
    filled = torch.from_numpy(fill_window(waveform, 480_000, "repeatpad"))

    ours = LogMel(bank, hop_length=480)(filled[None])[0]

    assert_allclose(ours, official, rtol=0, atol=1e-4)


def test_log_mel_is_an_explicit_fourier_transform_in_decibels():
    rng = np.random.default_rng(0)
    n_fft, hop = 64, 20
    waveform = rng.standard_normal(301)
    bank = rng.uniform(size=(n_fft // 2 + 1, 5))
    padded = np.pad(waveform, n_fft // 2, mode="reflect")
    hann = np.sin(np.pi * np.arange(n_fft) / n_fft) ** 2
    wave = np.exp(
        -2j * np.pi * np.outer(np.arange(n_fft // 2 + 1), np.arange(n_fft)) / n_fft
    )
    frames = [padded[start : start + n_fft] for start in range(0, 301, hop)]
    power = [np.abs(wave @ (hann * frame)) ** 2 @ bank for frame in frames]

    ours = LogMel(bank, hop_length=hop)(torch.from_numpy(waveform)[None])[0]

    assert_allclose(ours, 10 * np.log10(power), rtol=0, atol=1e-5)


def test_log_mel_of_silence_is_the_floor():
    bank = mel_bank(1024, 64, **PUBLISHED)
    decibels = LogMel(bank, hop_length=480)(torch.zeros(1, 48000))
    assert_array_equal(decibels, np.full((1, 101, 64), -100, dtype=np.float32))


def test_log_mel_of_a_long_clip_begins_as_that_of_its_beginning():
    waveform = torch.randn(1, 400_000, generator=torch.Generator().manual_seed(0))
    log_mel = LogMel(mel_bank(1024, 64, **PUBLISHED), hop_length=480)
    whole, beginning = log_mel(waveform), log_mel(waveform[:, :100_000])
    assert_allclose(whole[:, :200], beginning[:, :200], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("padding", "expected"),
    [
        ("repeatpad", [1, 2, 3, 1, 2, 3, 0, 0]),
        ("repeat", [1, 2, 3, 1, 2, 3, 1, 2]),
        ("pad", [1, 2, 3, 0, 0, 0, 0, 0]),
    ],
)
def test_a_short_clip_is_filled_up_as_the_checkpoint_says(padding, expected):
    assert_array_equal(fill_window(np.array([1.0, 2, 3]), 8, padding), expected)


@pytest.mark.parametrize("padding", ["repeatpad", "repeat", "pad"])
def test_a_clip_of_the_windows_length_is_left_as_it_is(padding):
    waveform = np.arange(8.0)
    assert_array_equal(fill_window(waveform, 8, padding), waveform)


@given(chunk=st.integers(1, 300), extra=st.integers(1, 3000))
def test_fusion_chunks_lie_in_the_clip_in_order(chunk, extra):
    starts = fusion_chunk_starts(chunk + extra, chunk)
    assert all(0 <= start <= extra for start in starts)
    assert len(starts) == 3
    if extra >= 2:
        assert starts == sorted(starts)


def test_a_fused_long_clip_is_the_shrunk_whole_and_three_chunks():
    mel = torch.arange(30.0)[:, None].expand(30, 4)
    whole, front, middle, back = fuse(mel, 10)
    starts = fusion_chunk_starts(30, 10)
    assert_allclose(whole[:, 0], np.arange(10) * 3 + 1)
    assert [front[0, 0], middle[0, 0], back[0, 0]] == starts
    assert_array_equal(back - back[0], mel[:10])


@pytest.mark.parametrize("frames_at_once", [7, 60, 1_000])
def test_log_mel_of_a_batch_is_that_of_each_clip(frames_at_once, monkeypatch):
    waveforms = torch.from_numpy(np.random.default_rng(0).normal(size=(5, 2_000)))
    log_mel = LogMel(mel_bank(256, 16, **PUBLISHED), hop_length=80)
    alone = torch.cat([log_mel(waveform[None]) for waveform in waveforms])
    monkeypatch.setattr(_frontends, "_FRAMES_AT_ONCE", frames_at_once)
    assert_allclose(log_mel(waveforms), alone, rtol=0, atol=1e-5)


def test_a_mel_bank_of_zeros_is_refused():
    with pytest.raises(
        ValueError, match=r"bank of shape \(129, 16\) has no nonzero weight"
    ):
        LogMel(np.zeros((129, 16)), hop_length=80)
