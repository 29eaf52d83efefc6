"""Behaviour of all audio-only encoders, on models that only scale samples."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from clapstack.encoders import AudioEncoder
from clapstack.encoders.audio._base import pool
from clapstack.exceptions import AudioError, CheckpointError


class AnyLength(AudioEncoder):
    """Features of a piece: weighted mean, length and size of its batch."""

    fixed_length = False

    def __init__(self, *, weight=2.0, shortest=3, device="cpu", **others):
        model = torch.nn.Linear(1, 1, bias=False)
        model.weight.data.fill_(weight)
        super().__init__(
            model=model,
            settings={"sample_rate": 10, "window": 8, "shortest": shortest},
            blocks={"mean": 1, "size": 2},
            source="nowhere.bin",
            device=device,
            **others,
        )

    @classmethod
    def _read(cls, checkpoint, revision):
        return cls

    def _prepare(self, waveform):
        return torch.from_numpy(waveform)

    def _embed(self, inputs, lengths):
        assert inputs.dtype == self._model.weight.dtype
        means = inputs.mean(dim=1) * self._model.weight.item()
        sizes = torch.tensor([[n, len(inputs)] for n in lengths])
        return torch.cat([means[:, None], sizes], dim=1)


class FixedLength(AnyLength):
    fixed_length = True

    def _prepare(self, waveform):
        return torch.from_numpy(np.resize(waveform, self.window))


def ramp(n_samples):
    return np.arange(n_samples, dtype=np.float32)


def on_a_gpu(encoder):
    """Let the encoder use batches, as on a GPU."""
    encoder._at_once = 1_000
    return encoder


def test_a_short_clip_is_heard_whole():
    assert_allclose(AnyLength().encode_audio([ramp(7)]), [[6, 7, 1]])


def test_a_long_clip_is_heard_in_consecutive_pieces_of_equal_length():
    encoder, heard = AnyLength(), []
    encoder._prepare = lambda piece: heard.append(piece) or torch.from_numpy(piece)
    features = encoder.encode_audio([ramp(20)])
    assert_array_equal(np.concatenate(heard), ramp(20))
    assert [len(piece) for piece in heard] == [7, 7, 6]
    assert_allclose(features, [[2 * (3 + 10 + 16.5) / 3, 20 / 3, 1]], rtol=1e-6)


def test_a_model_of_fixed_length_receives_windows_of_full_length():
    # They start at 0, 6 and 12.
    assert_allclose(FixedLength().encode_audio([ramp(20)]), [[2 * 9.5, 8, 1]])


@pytest.mark.parametrize("kind", [AnyLength, FixedLength])
@pytest.mark.parametrize(("crop", "first"), [("start", 0), ("center", 6)])
def test_another_crop_is_one_window(kind, crop, first):
    features = kind().encode_audio([ramp(20)], crop=crop)
    assert_allclose(features, [[2 * (first + 3.5), 8, 1]])


def test_a_clip_shorter_than_a_frame_gets_zeros():
    assert_allclose(AnyLength().encode_audio([ramp(2)]), [[2 / 3, 3, 1]])


def test_no_clips_give_no_rows():
    features = AnyLength().encode_audio([])
    assert features.shape == (0, 3)
    assert features.dtype == np.float32


def test_rows_are_in_the_order_of_the_clips():
    clips = [ramp(n) for n in (5, 20, 3, 5, 9)]
    features = on_a_gpu(AnyLength()).encode_audio(clips)
    alone = [AnyLength().encode_audio([clip])[0] for clip in clips]
    assert_allclose(features[:, :2], np.stack(alone)[:, :2], rtol=1e-6)


def test_on_a_cpu_a_piece_goes_alone():
    assert_array_equal(AnyLength().encode_audio([ramp(5)] * 4)[:, 2], 1)


def test_only_pieces_of_equal_length_share_a_batch_unless_the_length_is_fixed():
    clips = [ramp(n) for n in (5, 6, 5, 5)]
    assert_array_equal(on_a_gpu(AnyLength()).encode_audio(clips)[:, 2], [3, 1, 3, 3])
    assert_array_equal(on_a_gpu(FixedLength()).encode_audio(clips)[:, 2], 4)


def test_batch_size_is_the_most_at_once():
    features = on_a_gpu(AnyLength()).encode_audio([ramp(5)] * 5, batch_size=2)
    assert_array_equal(features[:, 2], [2, 2, 2, 2, 1])


def test_batches_are_halved_when_a_gpu_runs_out_of_memory():
    encoder = on_a_gpu(AnyLength())
    embed = encoder._embed

    def cramped(inputs, lengths):
        if len(inputs) > 1:
            raise torch.cuda.OutOfMemoryError
        return embed(inputs, lengths)

    encoder._embed = cramped
    clips = [ramp(5) + i for i in range(4)]
    with pytest.warns(UserWarning, match=r"pieces at once do not fit") as warned:
        features = encoder.encode_audio(clips)
    assert [str(w.message).split(".")[1] for w in warned] == [
        " Pass batch_size=2",
        " Pass batch_size=1",
    ]
    assert_allclose(features[:, 0], [4, 6, 8, 10])
    encoder.encode_audio(clips)  # warns no more
    encoder._embed = lambda inputs, lengths: (_ for _ in ()).throw(
        torch.cuda.OutOfMemoryError
    )
    with pytest.raises(torch.cuda.OutOfMemoryError):
        encoder.encode_audio(clips[:1])


def test_features_that_are_not_finite_name_the_clip_and_the_weights():
    encoder = AnyLength(weight=np.inf)
    encoder._join = None  # not reached
    with pytest.raises(CheckpointError, match=r"waveform 0 .* nowhere\.bin are prob"):
        encoder.encode_audio([ramp(20), ramp(5)])


@pytest.mark.parametrize("bad", [np.zeros(0), np.full(9, np.nan), np.zeros((2, 9))])
def test_an_invalid_waveform_is_refused(bad):
    with pytest.raises(AudioError, match="Waveform 1 must be a one-dimensional"):
        AnyLength().encode_audio([ramp(5), bad])


def test_identity_changes_with_what_features_depend_on(monkeypatch):
    encoders = [
        AnyLength(),
        AnyLength(weight=3.0),
        AnyLength(shortest=4),
        AnyLength(dtype="bfloat16"),
        FixedLength(),
    ]
    monkeypatch.setattr(AnyLength, "version", "2")
    encoders.append(AnyLength())
    assert len({encoder.identity for encoder in encoders}) == 6
    assert len({encoder.fingerprint for encoder in encoders}) == 3


def test_pooling_takes_mean_deviation_and_maximum():
    states = torch.tensor([[[1.0, 5.0], [3.0, 5.0]]])
    assert_allclose(pool(states), [[2, 5, 1, 0, 3, 5]])
    assert_allclose(pool(states[:, :1]), [[1, 5, 0, 0, 1, 5]])
