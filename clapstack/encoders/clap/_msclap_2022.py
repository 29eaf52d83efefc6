"""MS-CLAP 2022: a Cnn14 audio tower and a BERT text tower.

Modules are named after the file's tensors, whose shapes determine all sizes.
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import BertModel

from clapstack.encoders._bert import infer_bert, read_bert_tokenizer
from clapstack.encoders._finding import find_tokenizer
from clapstack.encoders._pretrained import Tensors, fill_model
from clapstack.encoders.clap._base import apart
from clapstack.encoders.clap._msclap import MsClapEncoder, Projection

WINDOW_SECONDS = 5
MAX_TOKENS = 100

_AUDIO = "audio_encoder.base."
_BERT = "caption_encoder.base."
_N_BLOCKS = 6

# Tensors of the file that no embedding depends on: the classes of AudioSet, the
# transform for the spectrogram, BERT's own head, a counter and derived indices.
UNUSED = re.compile(
    rf"^({re.escape(_AUDIO)}(fc_audioset\.|spectrogram_extractor\.)"
    rf"|{re.escape(_BERT)}(pooler\.|embeddings\.\w+_ids$)"
    r"|.*\.num_batches_tracked$)"
)


class MsClap2022Model(nn.Module):
    """The two towers of MS-CLAP 2022.

    Parameters
    ----------
    tensors : Tensors
        Tensors under "model" in the file; their shapes determine the sizes.
    """

    def __init__(self, tensors: Tensors):
        super().__init__()
        widths = {
            tower: tensors[f"{tower}.projection.linear1.weight"].shape
            for tower in ("audio_encoder", "caption_encoder")
        }
        audio, text = (Projection(n, dim) for dim, n in widths.values())
        bert = BertModel(infer_bert(tensors, _BERT), add_pooling_layer=False)
        self.audio_encoder = nn.Sequential(
            OrderedDict(base=_Cnn14(tensors), projection=audio)
        )
        self.caption_encoder = nn.ModuleDict({"base": bert, "projection": text})
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    @property
    def mel_bank(self) -> torch.Tensor:
        """Mel filters, of shape (n_fft // 2 + 1, n_mels)."""
        return self.audio_encoder.get_buffer("base.logmel_extractor.melW")

    def embed_audio(self, mels: torch.Tensor) -> torch.Tensor:
        """Embed decibels of shape (n, 1, n_frames, n_mels); not to unit norm."""
        return self.audio_encoder(mels)

    def embed_text(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> torch.Tensor:
        """Embed token ids of shape (n, n_tokens): BERT's class token, projected."""
        bert, projection = self.caption_encoder.values()
        states = bert(input_ids, attention_mask).last_hidden_state
        return apart(projection, states[:, 0])


class _Cnn14(nn.Module):
    """Twelve convolutions, then the mean and the maximum over time."""

    def __init__(self, tensors: Tensors):
        super().__init__()
        bank = torch.zeros_like(tensors[f"{_AUDIO}logmel_extractor.melW"])
        self.logmel_extractor = nn.Module()
        self.logmel_extractor.register_buffer("melW", bank)
        self.bn0 = nn.BatchNorm2d(bank.shape[1])
        n_before = 1
        for number in range(1, _N_BLOCKS + 1):
            name = f"conv_block{number}"
            n_after = len(tensors[f"{_AUDIO}{name}.conv1.weight"])
            self.add_module(name, _ConvBlock(n_before, n_after))
            n_before = n_after
        n_out = len(tensors[f"{_AUDIO}fc1.weight"])
        self.fc1 = nn.Linear(n_before, n_out)

    def forward(self, mels: torch.Tensor) -> torch.Tensor:
        """Pool spectrograms of shape (n, 1, n_frames, n_mels)."""
        states = self.bn0(mels.transpose(1, 3)).transpose(1, 3)
        for number in range(1, _N_BLOCKS + 1):
            states = self.get_submodule(f"conv_block{number}")(states)
            if number < _N_BLOCKS:
                states = nn.functional.avg_pool2d(states, 2)
        # As in PANNs' Cnn14: the mean over frequency, then maximum and mean over time.
        states = states.mean(dim=3)
        return self.fc1(states.amax(dim=2) + states.mean(dim=2)).relu()


class _ConvBlock(nn.Module):
    def __init__(self, n_before: int, n_after: int):
        super().__init__()
        self.conv1 = nn.Conv2d(n_before, n_after, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(n_after, n_after, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_after)
        self.bn2 = nn.BatchNorm2d(n_after)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        states = self.bn1(self.conv1(states)).relu()
        return self.bn2(self.conv2(states)).relu()


class MsClap2022Encoder(MsClapEncoder):
    """MS-CLAP 2022."""

    @classmethod
    def read_version(
        cls, tensors: Mapping[str, torch.Tensor], weights: Path
    ) -> partial[Any]:
        """Build the model and read its tokenizer."""
        model = fill_model(MsClap2022Model, tensors, weights, unused=UNUSED)
        bert, text_head = model.caption_encoder.values()
        tokenizer = read_bert_tokenizer(find_tokenizer(weights, "bert"), bert.config)
        return cls._of(
            model,
            tokenizer,
            weights,
            heads={"audio": model.audio_encoder.projection, "text": text_head},
            window_seconds=WINDOW_SECONDS,
            max_tokens=min(MAX_TOKENS, bert.config.max_position_embeddings),
            suffix="",
        )
