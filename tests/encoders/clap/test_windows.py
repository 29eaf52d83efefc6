"""Short windows of clips, for encoders with bundled and with random weights."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from clapstack.audio import read_audio, short_window_starts
from clapstack.datasets import render_simulated_scene, simulate_scene
from clapstack.encoders import load_encoder
from clapstack.exceptions import AudioError
from tests.checkpoints import make_msclap_2022_tensors, save_m2d, save_msclap_2022

BUNDLED = [
    ("laion", "bundled:laion-unfused"),
    ("laion", "bundled:laion-fused"),
    ("msclap", "bundled:msclap"),
]
METHODS = ["tiled", "dense"]


@pytest.fixture(scope="module", params=BUNDLED, ids=lambda param: param[1])
def encoder(request):
    return load_encoder(*request.param, device="cpu")


def clips_at(rate, n_clips=3, seconds=10.0):
    rng = np.random.default_rng(0)
    scenes = [simulate_scene(rng, duration=seconds) for _ in range(n_clips)]
    made = [render_simulated_scene(s, rng, duration=seconds) for s in scenes]
    return [read_audio((samples, 16_000), rate) for samples in made]


def windows_of(encoder, clips, length=2.0, hop=1.0, **settings):
    starts = [
        short_window_starts(len(clip) / encoder.sample_rate, length, hop)
        for clip in clips
    ]
    return starts, encoder.encode_windows(clips, starts, length, **settings)


def test_tiled_windows_are_near_to_clips_of_their_own(encoder):
    clips = clips_at(encoder.sample_rate)
    starts, windows = windows_of(encoder, clips)
    cosines = []
    for clip, begins, units in zip(clips, starts, windows, strict=True):
        cuts = [round(begin * encoder.sample_rate) for begin in begins]
        pieces = [clip[cut : cut + 2 * encoder.sample_rate] for cut in cuts]
        cosines.extend((units * encoder.encode_audio(pieces)).sum(axis=1))
    assert np.median(cosines) > 0.99
    assert np.min(cosines) > 0.9


def test_dense_windows_hear_what_is_in_them(encoder):
    first, second = clips_at(encoder.sample_rate, 2, 5.0)
    joined = np.concatenate([first, second])
    starts = [[0.0, 5.0]]
    (windows,) = encoder.encode_windows([joined], starts, 5.0, method="dense")
    own = windows @ encoder.encode_audio([first, second]).T
    assert np.trace(own) > np.trace(own[::-1])


@pytest.mark.parametrize("method", METHODS)
def test_windows_do_not_depend_on_other_clips(encoder, method):
    clips = clips_at(encoder.sample_rate)
    clips[1] = clips[1][: int(4.3 * encoder.sample_rate)]
    starts, together = windows_of(encoder, clips, method=method)
    for clip, begins, units in zip(clips, starts, together, strict=True):
        assert units.shape == (len(begins), encoder.projection_dim)
        assert_allclose(np.linalg.norm(units, axis=1), 1, atol=1e-6)
        (alone,) = encoder.encode_windows([clip], [begins], 2.0, method=method)
        assert_array_equal(alone, units)


@pytest.mark.parametrize("method", METHODS)
def test_clip_longer_than_the_encoder_sees(encoder, method):
    (clip,) = clips_at(encoder.sample_rate, 1, 24.0)
    starts, (units,) = windows_of(encoder, [clip], method=method)
    assert len(units) == len(starts[0]) == 23
    assert np.isfinite(units).all()


@pytest.mark.parametrize("method", METHODS)
def test_clip_shorter_than_a_window_is_encoded_as_a_clip(encoder, method):
    clip = clips_at(encoder.sample_rate, 1)[0][: encoder.sample_rate]
    starts, (units,) = windows_of(encoder, [clip], method=method)
    assert starts == [[0.0]]
    assert_array_equal(units, encoder.encode_audio([clip]))


def test_dense_states_add_up_to_the_embedding(encoder):
    clip = clips_at(encoder.sample_rate, 1)[0][: encoder.window]
    seconds = encoder.window / encoder.sample_rate
    longer = np.append(clip, clip[:1])  # one sample too long to be a clip of its own
    (units,) = encoder.encode_windows([longer], [[0.0]], seconds, method="dense")
    assert_allclose(units, encoder.encode_audio([clip]), atol=2e-2)


@pytest.mark.parametrize("method", METHODS)
def test_short_windows_near_the_end_of_an_odd_clip(encoder, method):
    clip = clips_at(encoder.sample_rate, 1)[0][: int(3.337 * encoder.sample_rate) + 1]
    starts, (units,) = windows_of(encoder, [clip], 0.15, 0.15, method=method)
    assert units.shape == (len(starts[0]), encoder.projection_dim)


def test_window_longer_than_the_encoder_sees_is_refused(encoder):
    clip = clips_at(encoder.sample_rate, 1)[0]
    with pytest.raises(
        ValueError, match=r"Windows of 11.0 s do not fit the input .* s long"
    ):
        encoder.encode_windows([clip], [[0.0]], 11.0)


def test_samples_that_are_not_finite_are_refused(encoder):
    clip = np.full(encoder.sample_rate * 3, np.nan, dtype=np.float32)
    with pytest.raises(AudioError, match="Waveform 0 must be"):
        encoder.encode_windows([clip], [[0.0, 1.0]], 2.0)


@pytest.fixture(params=["m2d", "msclap 2022"])
def other(request, tmp_path, m2d_tensors):
    """Return encoders without HTS-AT towers, with random weights."""
    if request.param == "m2d":
        path = save_m2d(tmp_path, m2d_tensors)
        return load_encoder("m2d-clap", path, device="cpu")
    path = save_msclap_2022(tmp_path, make_msclap_2022_tensors())
    return load_encoder("msclap", str(path), device="cpu")


def test_other_towers_have_tiled_windows(other):
    (clip,) = clips_at(other.sample_rate, 1)
    starts, (units,) = windows_of(other, [clip])
    cuts = [round(begin * other.sample_rate) for begin in starts[0]]
    pieces = [clip[cut : cut + 2 * other.sample_rate] for cut in cuts]
    assert (units * other.encode_audio(pieces)).sum(axis=1).min() > 0.99


def test_other_towers_have_no_dense_windows(other):
    assert not other.has_dense_windows
    clip = clips_at(other.sample_rate, 1)[0]
    with pytest.raises(ValueError, match="has no states in order of time"):
        other.encode_windows([clip], [[0.0]], 2.0, method="dense")
