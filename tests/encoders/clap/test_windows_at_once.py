"""Number of windows per forward pass, and passes that do not fit into memory."""

import warnings

import pytest
import torch
from numpy.testing import assert_allclose

from clapstack.encoders import load_encoder

# Random weights hear little difference between clips of noise.
pytestmark = pytest.mark.filterwarnings(
    "ignore::clapstack.exceptions.CollapsedTowerWarning"
)


class LimitedMemory:
    """The audio tower of an encoder on a GPU with limited memory."""

    def __init__(self, embed_audio, most):
        self.embed_audio = embed_audio
        self.most = most
        self.sizes = []

    def __call__(self, mels, longer):
        self.sizes.append(len(mels))
        if len(mels) > self.most:
            msg = "CUDA out of memory."
            raise torch.cuda.OutOfMemoryError(msg)
        return self.embed_audio(mels, longer)


@pytest.fixture
def encoder(laion_folders):
    return load_encoder("laion", str(laion_folders[False]), device="cpu")


@pytest.fixture
def limit(encoder, monkeypatch):
    def set_limit(most):
        tower = LimitedMemory(encoder._embed_audio, most)
        monkeypatch.setattr(encoder, "_embed_audio", tower)
        monkeypatch.setattr(encoder, "_at_once", 8)
        monkeypatch.setattr(torch, "get_num_threads", lambda: 1)  # a pass at a time
        return tower

    return set_limit


@pytest.fixture
def clips(noise):
    return [noise(8_000) for _ in range(8)]


def test_a_cpu_takes_few_windows_at_once(encoder, noise, monkeypatch):
    tower = LimitedMemory(encoder._embed_audio, most=1_000)
    monkeypatch.setattr(encoder, "_embed_audio", tower)
    encoder.encode_audio([noise(8_000) for _ in range(8 * torch.get_num_threads() + 1)])
    assert sorted(tower.sizes) == [1, *[8] * torch.get_num_threads()]


def test_few_clips_on_a_cpu_are_a_pass_for_each_thread(encoder, clips, monkeypatch):
    tower = LimitedMemory(encoder._embed_audio, most=1_000)
    monkeypatch.setattr(encoder, "_embed_audio", tower)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    encoder.encode_audio(clips)
    assert tower.sizes == [2, 2, 2, 2]


def test_a_smaller_batch_size_is_kept(encoder, clips, limit):
    tower = limit(1_000)
    encoder.encode_audio(clips, batch_size=3)
    assert tower.sizes == [3, 3, 2]


def test_windows_that_do_not_fit_are_embedded_in_halves(encoder, clips, limit):
    expected = encoder.encode_audio(clips)
    tower = limit(2)
    with pytest.warns(UserWarning, match="do not fit"):
        embeddings = encoder.encode_audio(clips)
    assert tower.sizes == [8, 4, 2, 2, 4, 2, 2]
    assert_allclose(embeddings, expected, rtol=0, atol=1e-6)


def test_the_warning_says_what_to_pass(encoder, clips, limit):
    limit(4)
    with pytest.warns(
        UserWarning,
        match=r"8 windows at once .* memory of cpu; .* 4 are used.* batch_size=4",
    ):
        encoder.encode_audio(clips)


def test_what_fitted_is_remembered(encoder, clips, limit):
    tower = limit(4)
    with pytest.warns(UserWarning, match="do not fit"):
        encoder.encode_audio(clips)
    tower.sizes.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder.encode_audio(clips)
    assert tower.sizes == [4, 4]


def test_a_single_window_that_does_not_fit_is_an_error(encoder, clips, limit):
    limit(0)
    with (
        pytest.warns(UserWarning, match="do not fit"),
        pytest.raises(torch.cuda.OutOfMemoryError, match="out of memory"),
    ):
        encoder.encode_audio(clips)
