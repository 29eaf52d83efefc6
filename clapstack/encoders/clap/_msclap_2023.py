"""MS-CLAP 2023: an HTS-AT audio tower and a GPT-2 text tower.

What the tensors of a file do not reveal is fixed here as in the authors' code; the rest
is inferred from their names and shapes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import ClapAudioConfig, ClapAudioModel, GPT2Config, GPT2Model

from clapstack.encoders._finding import (
    check_vocabulary,
    find_tokenizer,
    read_tokenizer,
)
from clapstack.encoders._pretrained import Tensors, count_modules, count_text_heads
from clapstack.encoders.clap._base import apart
from clapstack.encoders.clap._htsat import HtsatClapEncoder
from clapstack.encoders.clap._htsat_names import (
    UNUSED_IN_HTSAT,
    AuthorsNames,
    check_image,
    infer_htsat,
)
from clapstack.encoders.clap._msclap import (
    CNN14,
    HOP_LENGTH,
    SAMPLE_RATE,
    MsClapEncoder,
    Projection,
)
from clapstack.exceptions import CheckpointError

WINDOW_SECONDS = 7
MAX_TOKENS = 77
SUFFIX = " <|endoftext|>"
PAD_TOKEN = "!"
PAD_ID = 0

_HTSAT = "audio_encoder.base.htsat."
_GPT2 = "caption_encoder.base."

# Official name → ours. Longer prefixes precede the shorter ones they extend.
_PREFIXES = {
    f"{_HTSAT}logmel_extractor.melW": "mel_bank",
    f"{_HTSAT}bn0.": "audio_model.audio_encoder.batch_norm.",
    _HTSAT: "audio_model.audio_encoder.",
    "audio_encoder.projection.": "audio_projection.",
    _GPT2: "text_model.",
    "caption_encoder.projection.": "text_projection.",
}

# Tensors of the official file that no embedding depends on.
_UNUSED = re.compile(
    rf"{re.escape(_HTSAT)}{UNUSED_IN_HTSAT}"
    rf"|{re.escape(_GPT2)}h\.\d+\.attn\.(bias|masked_bias)"
)


class MsClap2023Model(nn.Module):
    """The two towers of MS-CLAP 2023, built from transformers' modules.

    `dropout` applies to the projections, in training only.
    """

    mel_bank: torch.Tensor

    def __init__(
        self,
        audio_config: ClapAudioConfig,
        text_config: GPT2Config,
        *,
        projection_dim: int,
        n_fft: int = 1024,
        dropout: float = 0.5,
    ):
        super().__init__()
        bank = torch.zeros(n_fft // 2 + 1, audio_config.num_mel_bins)
        self.register_buffer("mel_bank", bank)
        self.audio_model = ClapAudioModel(audio_config)
        self.audio_projection = Projection(
            audio_config.hidden_size, projection_dim, dropout=dropout
        )
        self.text_model = GPT2Model(text_config)
        self.text_projection = Projection(
            text_config.n_embd, projection_dim, dropout=dropout
        )
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def embed_audio(self, mels: torch.Tensor) -> torch.Tensor:
        """Embed decibels of shape (n, 1, n_frames, n_mels); not to unit norm."""
        return self.audio_projection(self.audio_model(mels).pooler_output)

    def embed_text(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> torch.Tensor:
        """Embed token ids of shape (n, n_tokens), padded on the right with 0.

        The state at position ``(input_ids != 0).sum() - 1`` is used: the last token,
        unless the text contains "!", which is also the padding (id 0) and moves the
        position forward. The authors' code does the same, and the weights expect it.
        """
        states = self.text_model(
            input_ids=input_ids, attention_mask=attention_mask, use_cache=False
        ).last_hidden_state
        last = (input_ids != PAD_ID).sum(dim=1) - 1
        rows = torch.arange(len(states), device=states.device)
        return apart(self.text_projection, states[rows, last])


_NAMES = AuthorsNames(_PREFIXES, _UNUSED)
to_official, from_official = _NAMES.to_official, _NAMES.from_official


def build_msclap(official: Mapping[str, torch.Tensor], source: Path) -> MsClap2023Model:
    """Build the model that fits the "model" of an official file, and load it."""
    if not any(name.startswith(_HTSAT) for name in official):
        msg = (
            f"{source} has neither MS-CLAP 2023's HTS-AT audio tower (names that "
            f"start with {_HTSAT!r}) nor the Cnn14 of 2022 ({CNN14!r})."
        )
        raise CheckpointError(msg)
    tensors = Tensors(official, source)
    audio_config = infer_htsat(tensors, _HTSAT, enable_fusion=False)
    text_config = _text_config(tensors)
    projection_dim = len(tensors["audio_encoder.projection.linear1.weight"])
    n_fft = 2 * (len(tensors[f"{_HTSAT}logmel_extractor.melW"]) - 1)
    return _NAMES.load(
        lambda: MsClap2023Model(
            audio_config, text_config, projection_dim=projection_dim, n_fft=n_fft
        ),
        tensors,
    )


class MsClap2023Encoder(HtsatClapEncoder, MsClapEncoder):
    """MS-CLAP 2023."""

    @classmethod
    def read_version(
        cls, tensors: Mapping[str, torch.Tensor], weights: Path
    ) -> partial[Any]:
        """Build the model and check its tokenizer and input size."""
        folder = find_tokenizer(weights, "gpt2")
        tokenizer = read_tokenizer(folder, "gpt2")
        # As in the authors' code: every "!" becomes a separate token.
        tokenizer.add_special_tokens({"pad_token": PAD_TOKEN})
        model = build_msclap(tensors, weights)
        _check_tokenizer(tokenizer, folder, model.text_model.config.vocab_size)
        n_frames = SAMPLE_RATE * WINDOW_SECONDS // HOP_LENGTH + 1
        check_image(model.audio_model.config, n_frames, weights)
        return cls._of(
            model,
            tokenizer,
            weights,
            heads={"audio": model.audio_projection, "text": model.text_projection},
            window_seconds=WINDOW_SECONDS,
            max_tokens=MAX_TOKENS,
            suffix=SUFFIX,
        )


def _text_config(official: Tensors) -> GPT2Config:
    vocabulary, width = official[f"{_GPT2}wte.weight"].shape
    return GPT2Config(
        vocab_size=vocabulary,
        n_positions=len(official[f"{_GPT2}wpe.weight"]),
        n_embd=width,
        n_layer=count_modules(official, rf"{re.escape(_GPT2)}h\.(\d+)\."),
        n_head=count_text_heads(width, official.source),
        n_inner=official[f"{_GPT2}h.0.mlp.c_fc.weight"].shape[1],
        bos_token_id=vocabulary - 1,  # as in GPT-2's own vocabulary
        eos_token_id=vocabulary - 1,
    )


def _check_tokenizer(tokenizer: Any, folder: Path, vocabulary: int) -> None:
    """Reject a tokenizer whose ids do not match the text tower."""
    if tokenizer.pad_token_id != PAD_ID:
        msg = (
            f"The tokenizer in {folder} does not match the text tower: it has "
            f"{len(tokenizer)} tokens, {PAD_TOKEN!r} with id {tokenizer.pad_token_id}; "
            f"the tower has {vocabulary} and needs {PAD_TOKEN!r} to have id {PAD_ID}."
        )
        raise CheckpointError(msg)
    check_vocabulary(tokenizer, folder, vocabulary)
