"""WavLM: self-supervised speech states."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import WavLMConfig, WavLMModel

from clapstack.encoders._finding import find_pretrained
from clapstack.encoders._pretrained import load_model, read_config
from clapstack.encoders.audio._base import POOLED, AudioEncoder, pool
from clapstack.encoders.audio._speech import speech_settings, standardized

# Stands for masked frames, in training only; published files hold it or not.
UNUSED = re.compile(r"(^|\.)masked_spec_embed$")


class WavLmEncoder(AudioEncoder):
    """WavLM: mean, standard deviation and maximum of its final states over time.

    A clip is heard whole up to half a minute; frames are 20 ms apart.
    """

    fixed_length = False

    @classmethod
    def _read(cls, checkpoint: str, revision: str | None) -> dict[str, Any]:
        """Read a checkpoint in transformers' format."""
        folder, weights = find_pretrained(
            checkpoint, revision, ["config.json"], extractor=True
        )
        config = read_config(folder, WavLMConfig)
        settings = speech_settings(folder, config)
        return {
            "model": load_model(
                lambda _: WavLMModel(config),
                weights,
                prefix=re.compile(r"wavlm\."),
                unused=UNUSED,
            ),
            "settings": settings,
            "blocks": dict.fromkeys(POOLED, config.hidden_size),
            "source": str(weights),
        }

    def _prepare(self, waveform: NDArray[np.float32]) -> torch.Tensor:
        if self._settings["normalize"]:
            waveform = standardized(waveform)
        return torch.from_numpy(waveform)

    def _embed(self, inputs: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
        return pool(self._model(inputs).last_hidden_state)
