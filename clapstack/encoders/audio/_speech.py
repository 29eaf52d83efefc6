"""Base of encoders whose input is raw samples: WavLM and wav2vec 2.0."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clapstack.encoders._reading import MOST_LAYERS, check_number, read_extractor
from clapstack.encoders.audio._base import AudioEncoder
from clapstack.exceptions import CheckpointError

# The memory of attention grows with the square of the length: 0.15 GB per layer of
# WavLM Large for 30 s, 15 GB for five minutes.
WINDOW_SECONDS = 30
_MOST_FRAMES = 3000  # in a window; published models have 1,500

_VARIANCE_FLOOR = 1e-7

# Replaces masked frames, in training only; not in all published files.
UNUSED = re.compile(r"(^|\.)masked_spec_embed$")

# Settings that states depend on and tensors do not reveal.
_ARCHITECTURE = (
    "conv_stride",
    "do_stable_layer_norm",
    "feat_extract_activation",
    "feat_extract_norm",
    "hidden_act",
    "layer_norm_eps",
    "num_attention_heads",
)


class SpeechEncoder(AudioEncoder):
    """A model of raw samples, of any length."""

    fixed_length = False

    def _prepare(self, waveform: NDArray[np.float32]) -> torch.Tensor:
        if self._settings["normalize"]:
            waveform = standardized(waveform)
        return torch.from_numpy(waveform)


def speech_settings(folder: Path, config: Any) -> dict[str, Any]:
    """Translate the configurations of a model and of its extractor, in `folder`.

    The model has the convolutions of wav2vec 2.0. Raises CheckpointError if a setting
    is missing, or if the model ends in an adapter, which shortens and transforms the
    states.
    """
    if config.add_adapter:
        msg = f"The model in {folder} ends in an unsupported adapter (add_adapter)."
        raise CheckpointError(msg)
    names = {"sample_rate": "sampling_rate", "normalize": "do_normalize"}
    settings = read_extractor(folder, names)
    if not isinstance(settings["normalize"], bool):
        msg = f"do_normalize in {folder} must be true or false."
        raise CheckpointError(msg)
    for said in (config.num_hidden_layers, len(config.conv_dim)):
        check_number(said, 1, MOST_LAYERS, f"layers in {folder / 'config.json'}")
    window = WINDOW_SECONDS * settings["sample_rate"]
    for name in ("conv_kernel", "conv_stride"):
        for number in getattr(config, name):
            check_number(number, 1, 4096, f"{name} in {folder / 'config.json'}")
    # torch fails on an input shorter than a frame.
    shortest = first_frame(config.conv_kernel, config.conv_stride)
    check_number(shortest, 1, window, f"samples of a first frame in {folder}")
    check_number(
        window // math.prod(config.conv_stride),
        1,
        _MOST_FRAMES,
        f"frames of {WINDOW_SECONDS} s, by conv_stride and sampling_rate, in {folder}",
    )
    return {
        **settings,
        "window": window,
        "shortest": shortest,
        "architecture": {name: getattr(config, name) for name in _ARCHITECTURE},
    }


def first_frame(kernels: list[int], strides: list[int]) -> int:
    """Return the number of samples that the first frame after convolutions covers.

    Examples
    --------
    >>> from clapstack.encoders.audio._speech import first_frame
    >>> first_frame([10, 3, 3, 3, 3, 2, 2], [5, 2, 2, 2, 2, 2, 2])
    400
    """
    n_samples = 1
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        n_samples = (n_samples - 1) * stride + kernel
    return n_samples


def standardized(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale a waveform to zero mean and unit variance, as wav2vec2's extractor does.

    Computed in float64; adding 1e-7 to the variance keeps silence silent.
    """
    samples = waveform.astype(np.float64)
    scale = np.sqrt(samples.var() + _VARIANCE_FLOOR)
    return ((samples - samples.mean()) / scale).astype(np.float32)
