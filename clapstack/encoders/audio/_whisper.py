"""States of Whisper's encoder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder as _States

from clapstack.encoders._finding import find_pretrained
from clapstack.encoders._mel import LogMel, fill_window, mel_bank
from clapstack.encoders._pretrained import load_model, read_config
from clapstack.encoders._reading import MOST_LAYERS, check_number, read_extractor
from clapstack.encoders.audio._base import POOLED, AudioEncoder, pool
from clapstack.exceptions import CheckpointError

_F_MAX = 8000  # hertz; fixed in the extractor, regardless of the sample rate
_DECIBELS = 10.0
_RANGE = 8.0  # powers of ten below the loudest, where the spectrogram is cut
_SHIFT = 4.0  # the cut spectrogram x enters the model as (x + 4) / 4
_FRAMES_PER_STATE = 2  # the stride of the second convolution

# The prefix of the encoder's tensors depends on the class that was saved. The decoder
# is neither built nor read.
_PREFIX = re.compile(r"(model\.)?encoder\.")
_UNUSED = re.compile(r"^(model\.)?decoder\.|^proj_out\.")


class WhisperEncoder(AudioEncoder):
    """Whisper: mean, standard deviation and maximum of its encoder's states.

    The model's input is 30 s long; a shorter clip is padded with silence, as in
    training. Only the states (20 ms each) of the clip itself are pooled: statistics of
    the silence would mainly encode the clip's length.
    """

    @classmethod
    def _read(cls, checkpoint: str, revision: str | None) -> partial[Any]:
        """Read a checkpoint in transformers' format."""
        folder, weights = find_pretrained(
            checkpoint, revision, ["config.json"], extractor=True
        )
        config = read_config(folder, WhisperConfig)
        names = {
            "sample_rate": "sampling_rate",
            "n_fft": "n_fft",
            "hop_length": "hop_length",
            "n_mels": "feature_size",
            "seconds": "chunk_length",
        }
        settings = read_extractor(folder, names)
        said = f"encoder_layers in {folder / 'config.json'}"
        check_number(config.encoder_layers, 1, MOST_LAYERS, said)
        check_number(settings["seconds"], 1, 600, f"chunk_length in {folder}")
        settings["window"] = settings.pop("seconds") * settings["sample_rate"]
        settings["shortest"] = 1
        for name in ("encoder_attention_heads", "activation_function"):
            settings[name] = getattr(config, name)
        if settings["n_mels"] != config.num_mel_bins:
            msg = (
                f"The extractor in {folder} produces {settings['n_mels']} mel bands "
                f"(feature_size); the model needs {config.num_mel_bins} "
                f"(num_mel_bins). Compare both with the publisher's files."
            )
            raise CheckpointError(msg)
        n_frames = settings["window"] // settings["hop_length"]
        if n_frames != _FRAMES_PER_STATE * config.max_source_positions:
            msg = (
                f"The extractor in {folder} produces {n_frames} frames per window; the "
                f"model needs {_FRAMES_PER_STATE * config.max_source_positions}."
            )
            raise CheckpointError(msg)
        return partial(
            cls,
            model=load_model(
                lambda _: _States(config),
                weights,
                prefix=_PREFIX,
                unused=_UNUSED,
            ),
            settings=settings,
            blocks=dict.fromkeys(POOLED, config.d_model),
            source=str(weights),
        )

    def _prepare(self, waveform: NDArray[np.float32]) -> torch.Tensor:
        filled = torch.from_numpy(fill_window(waveform, self.window, "pad"))
        log_mel = _log_mel(
            *(self._settings[name] for name in ("sample_rate", "n_fft", "hop_length")),
            self._settings["n_mels"],
            self._front_end_device,
        )
        # Whisper's own extractor leaves out the last frame, half of which is padding.
        powers = log_mel(filled[None])[0, :-1] / _DECIBELS
        cut = powers.clamp(min=powers.max() - _RANGE)
        return ((cut + _SHIFT) / _SHIFT).T

    def _embed(self, inputs: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
        states = self._model(inputs).last_hidden_state
        # Partly covered states count, so that the shortest clip has one.
        step = _FRAMES_PER_STATE * self._settings["hop_length"]
        return torch.cat(
            [
                pool(some[None, : -(-length // step)])
                for some, length in zip(states, lengths, strict=True)
            ]
        )


@lru_cache(maxsize=4)
def _log_mel(
    sample_rate: int, n_fft: int, hop_length: int, n_mels: int, device: str
) -> LogMel:
    bank = mel_bank(n_fft, n_mels, sample_rate=sample_rate, f_min=0, f_max=_F_MAX)
    return LogMel(bank, hop_length=hop_length).to(device)
