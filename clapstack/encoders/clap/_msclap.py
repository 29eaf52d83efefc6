"""MS-CLAP: detection of the version, and parts common to both versions."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from clapstack.encoders._finding import find_msclap
from clapstack.encoders._mel import LogMel
from clapstack.encoders._reading import read_tensors
from clapstack.encoders.clap._base import ClapEncoder
from clapstack.encoders.clap._projections import warn_if_untrained

SAMPLE_RATE = 44_100
HOP_LENGTH = 320

CNN14 = "audio_encoder.base.conv_block1.conv1.weight"  # of the 2022 version


class Projection(nn.Module):
    """Head that maps a tower into the joint space; `dropout` only affects training."""

    def __init__(self, width: int, projection_dim: int, *, dropout: float = 0.5):
        super().__init__()
        self.linear1 = nn.Linear(width, projection_dim, bias=False)
        self.linear2 = nn.Linear(projection_dim, projection_dim, bias=False)
        self.layer_norm = nn.LayerNorm(projection_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        """Project `pooled` of shape (n, width)."""
        first = self.linear1(pooled)
        second = self.dropout(self.linear2(nn.functional.gelu(first)))
        return self.layer_norm(first + second)


class MsClapEncoder(ClapEncoder):
    """MS-CLAP from the authors' file of weights, which contains only tensors."""

    @classmethod
    def _read(cls, checkpoint: str, revision: str | None) -> partial[Any]:
        """Read a checkpoint; see :func:`find_msclap` for its forms."""
        weights = find_msclap(checkpoint, revision)
        tensors = read_tensors(weights)
        version = "2022" if CNN14 in tensors else "2023"
        return cls._versions()[version].read_version(tensors, weights)

    @classmethod
    def _versions(cls) -> Mapping[str, type[MsClapEncoder]]:
        # Imported here, since both modules import this one.
        from clapstack.encoders.clap import _msclap_2022, _msclap_2023

        return {
            "2022": _msclap_2022.MsClap2022Encoder,
            "2023": _msclap_2023.MsClap2023Encoder,
        }

    @classmethod
    @abstractmethod
    def read_version(
        cls, tensors: Mapping[str, torch.Tensor], weights: Path
    ) -> partial[Any]:
        """Return a constructor that only needs device and dtype."""

    @classmethod
    def _of(
        cls,
        model: Any,
        tokenizer: Any,
        weights: Path,
        *,
        heads: Mapping[str, Any],
        window_seconds: int,
        max_tokens: int,
        suffix: str,
    ) -> partial[Any]:
        """Return a constructor for a model with its projections, by tower."""
        warn_if_untrained(heads, weights)
        settings = {
            "sample_rate": SAMPLE_RATE,
            "window": SAMPLE_RATE * window_seconds,
            "padding": "repeat",
            "hop_length": HOP_LENGTH,
            "max_tokens": max_tokens,
            "suffix": suffix,
        }
        return partial(
            cls,
            model=model,
            tokenizer=tokenizer,
            # The file's own mel bank: the authors made it for 32 kHz, although clips
            # have 44.1 kHz, and trained the weights with it.
            log_mel=LogMel(model.mel_bank, hop_length=HOP_LENGTH),
            projection_dim=len(heads["audio"].linear1.weight),
            settings=settings,
            source=str(weights),
        )

    def _embed_audio(self, mels: torch.Tensor, longer: torch.Tensor) -> torch.Tensor:
        return self._model.embed_audio(mels)

    def _embed_text(self, tokens: list[list[int]]) -> torch.Tensor:
        return self._model.embed_text(*self._pad_tokens(tokens))
