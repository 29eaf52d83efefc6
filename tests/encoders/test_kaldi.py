from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from clapstack.encoders._kaldi import kaldi_fbank, kaldi_mel_bank

# Of torchaudio.compliance.kaldi.fbank in float64; "povey" with the options of BEATs,
# "hanning" with those of EAT and AudioMAE.
GOLDEN = json.loads((Path(__file__).parent / "golden/kaldi.json").read_text())
FLOOR = np.float32(np.log(2.0**-23))


def noise(n_samples, seed=0):
    drawn = np.random.RandomState(seed).standard_normal(n_samples)
    return torch.from_numpy(0.1 * drawn + 0.3)[None]  # off zero: Kaldi takes that off


@pytest.mark.parametrize(("window", "scale"), [("povey", 2**15), ("hanning", 1)])
def test_features_are_those_of_torchaudio(window, scale):
    features = kaldi_fbank(scale * noise(800), window=window)
    assert features.dtype == torch.float32
    # The edges of the bands are float32, as the authors had them, and processors round
    # their logarithms differently: 2.3e-5 between two of them.
    assert_allclose(features[0], GOLDEN[window], rtol=0, atol=5e-5)


def test_a_frame_is_taken_as_often_as_it_fits():
    for n_samples, n_frames in ((399, 0), (400, 1), (559, 1), (560, 2), (16000, 98)):
        assert kaldi_fbank(noise(n_samples)).shape == (1, n_frames, 128)


def test_clips_of_a_batch_do_not_touch_each_other():
    clips = torch.cat([noise(4000, seed) for seed in range(5)])
    alone = torch.cat([kaldi_fbank(clip[None]) for clip in clips])
    assert_allclose(kaldi_fbank(clips), alone, rtol=0, atol=1e-6)


def test_silence_and_an_offset_are_the_floor():
    assert_array_equal(kaldi_fbank(torch.zeros(1, 400)), np.full((1, 1, 128), FLOOR))
    assert_array_equal(kaldi_fbank(torch.ones(1, 400)), np.full((1, 1, 128), FLOOR))


def test_the_highest_bin_is_left_out():
    bank = kaldi_mel_bank(512, 80, sample_rate=16000)
    assert bank.shape == (257, 80)
    assert_array_equal(bank[-1], np.zeros(80))
    assert (bank[1:-1].sum(dim=1) > 0).all()


def test_an_unknown_window_is_refused():
    with pytest.raises(ValueError, match="must be 'povey' or 'hanning'; got 'hann'"):
        kaldi_fbank(noise(400), window="hann")
