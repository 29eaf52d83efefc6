"""WavLM: self-supervised speech states."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from transformers import WavLMConfig, WavLMModel

from clapstack.encoders._base import unusual
from clapstack.encoders._finding import find_pretrained
from clapstack.encoders._pretrained import load_model, read_config
from clapstack.encoders._reading import check_number
from clapstack.encoders.audio._base import POOLED, pool
from clapstack.encoders.audio._speech import UNUSED, SpeechEncoder, speech_settings


class WavLmEncoder(SpeechEncoder):
    """WavLM: mean, standard deviation and maximum of its final states over time.

    Clips of up to 30 s are encoded whole; frames are 20 ms apart.
    """

    @classmethod
    def _read(cls, checkpoint: str, revision: str | None) -> partial[Any]:
        """Read a checkpoint in transformers' format."""
        folder, weights = find_pretrained(
            checkpoint, revision, ["config.json"], extractor=True
        )
        config = read_config(folder, WavLMConfig)
        settings = speech_settings(folder, config)
        # Distances up to a quarter of the buckets have a bucket each.
        check_number(
            config.max_bucket_distance,
            config.num_buckets // 4 + 1,
            1 << 20,
            f"max_bucket_distance in {folder / 'config.json'}",
        )
        settings |= unusual(config, {"max_bucket_distance": 800})
        return partial(
            cls,
            model=load_model(
                lambda _: WavLMModel(config),
                weights,
                prefix=re.compile(r"wavlm\."),
                unused=UNUSED,
            ),
            settings=settings,
            blocks=dict.fromkeys(POOLED, config.hidden_size),
            source=str(weights),
        )

    def _embed(self, inputs: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
        return pool(self._model(inputs).last_hidden_state)
