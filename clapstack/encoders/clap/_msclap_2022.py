"""MS-CLAP 2022: a Cnn14 audio tower and a BERT text tower.

Modules bear the names of the file's tensors, whose shapes tell all sizes.
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import BertModel

from clapstack.encoders._bert import infer_bert, read_bert_tokenizer
from clapstack.encoders._finding import find_msclap_tokenizer
from clapstack.encoders._mel import LogMel
from clapstack.encoders._pretrained import fill_model
from clapstack.encoders.clap._base import ClapEncoder, apart
from clapstack.encoders.clap._msclap import HOP_LENGTH, SAMPLE_RATE, Projection
from clapstack.encoders.clap._projections import warn_if_untrained

WINDOW_SECONDS = 5
MAX_TOKENS = 100

_AUDIO = "audio_encoder.base."
_BERT = "caption_encoder.base."
_N_BLOCKS = 6

# Tensors of the file that no embedding depends on: the classes of AudioSet, the
# transform that makes the spectrogram, BERT's own head, a counter and derived indices.
UNUSED = re.compile(
    rf"^({re.escape(_AUDIO)}(fc_audioset\.|spectrogram_extractor\.)"
    rf"|{re.escape(_BERT)}(pooler\.|embeddings\.\w+_ids$)"
    r"|.*\.num_batches_tracked$)"
)


class MsClap2022Model(nn.Module):
    """The two towers of MS-CLAP 2022.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        What the file holds as "model": their shapes tell the sizes.
    """

    def __init__(self, tensors: Mapping[str, torch.Tensor]):
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
        """Embed log-mel spectrograms.

        Parameters
        ----------
        mels : Tensor of shape (n, 1, n_frames, n_mels)
            In decibels.

        Returns
        -------
        embeddings : Tensor of shape (n, projection_dim)
            Not of unit norm.
        """
        return self.audio_encoder(mels)

    def embed_text(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> torch.Tensor:
        """Embed token ids: the state of BERT's class token, projected.

        Parameters
        ----------
        input_ids, attention_mask : Tensor of shape (n, n_tokens)
            Padded on the right.

        Returns
        -------
        embeddings : Tensor of shape (n, projection_dim)
            Not of unit norm.
        """
        bert, projection = self.caption_encoder.values()
        states = bert(input_ids, attention_mask).last_hidden_state
        return apart(projection, states[:, 0])


class _Cnn14(nn.Module):
    """Twelve convolutions, then the mean and the maximum over time."""

    def __init__(self, tensors: Mapping[str, torch.Tensor]):
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


class MsClap2022Encoder(ClapEncoder):
    """MS-CLAP 2022, from the authors' file of weights."""

    @classmethod
    def parts_of(
        cls, tensors: Mapping[str, torch.Tensor], weights: Path
    ) -> dict[str, Any]:
        """Return what an encoder is made of, given what a file holds as "model"."""
        model = fill_model(MsClap2022Model, tensors, weights, unused=UNUSED)
        for tower, head in (
            ("audio", model.audio_encoder.projection),
            ("text", model.caption_encoder["projection"]),
        ):
            warn_if_untrained([head.linear1, head.linear2], tower, weights)
        folder = find_msclap_tokenizer(weights, bert=True)
        config = model.caption_encoder["base"].config
        tokenizer = read_bert_tokenizer(folder, config)
        settings = {
            "sample_rate": SAMPLE_RATE,
            "window": SAMPLE_RATE * WINDOW_SECONDS,
            "padding": "repeat",
            "hop_length": HOP_LENGTH,
            "max_tokens": min(MAX_TOKENS, config.max_position_embeddings),
            "suffix": "",
        }
        return {
            "model": model,
            "tokenizer": tokenizer,
            "log_mel": LogMel(model.mel_bank, hop_length=HOP_LENGTH),
            "projection_dim": len(model.audio_encoder.projection.linear1.weight),
            "settings": settings,
            "source": str(weights),
        }

    def _embed_audio(self, mels: torch.Tensor, longer: torch.Tensor) -> torch.Tensor:
        return self._model.embed_audio(mels)

    def _embed_text(self, tokens: list[list[int]]) -> torch.Tensor:
        pad_id = self._tokenizer.pad_token_id
        return self._model.embed_text(*self._pad_tokens(tokens, pad_id))
