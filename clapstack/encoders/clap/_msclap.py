"""MS-CLAP 2023: an HTS-AT audio tower and a GPT-2 text tower.

The version of 2022 has other towers: see _msclap_2022. The file of weights holds
tensors alone. What they do not tell is fixed here as it is in the authors' code; the
rest is inferred from the tensors' names and shapes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import ClapAudioConfig, ClapAudioModel, GPT2Config, GPT2Model

from clapstack.encoders._finding import (
    check_vocabulary,
    find_msclap,
    find_msclap_tokenizer,
    read_tokenizer,
)
from clapstack.encoders._mel import LogMel
from clapstack.encoders._pretrained import build_checked
from clapstack.encoders._reading import guarded, read_tensors
from clapstack.encoders.clap._base import ClapEncoder, apart
from clapstack.encoders.clap._htsat import CLIPS_AT_ONCE, AudioTower
from clapstack.encoders.clap._htsat_names import (
    UNUSED_IN_HTSAT,
    check_image,
    count_modules,
    infer_htsat,
    rename_tensors,
    restore_names,
)
from clapstack.encoders.clap._projections import warn_if_untrained
from clapstack.exceptions import CheckpointError

SAMPLE_RATE = 44_100
WINDOW_SECONDS = 7
HOP_LENGTH = 320
MAX_TOKENS = 77
SUFFIX = " <|endoftext|>"
PAD_TOKEN = "!"
PAD_ID = 0
_HEAD_WIDTH = 64

_HTSAT = "audio_encoder.base.htsat."
_CNN14 = "audio_encoder.base.conv_block1.conv1.weight"  # of the version of 2022
_GPT2 = "caption_encoder.base."

# Official name → ours. Longer prefixes stand before the shorter ones they extend.
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


class Projection(nn.Module):
    """Head that maps a tower into the joint space.

    Parameters
    ----------
    width : int
        Of the tower's output.
    projection_dim : int
        Of the joint space.
    dropout : float, default=0.5
        Used in training only.
    """

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


class MsClapModel(nn.Module):
    """The two towers of MS-CLAP, built of transformers' modules.

    Parameters
    ----------
    audio_config : ClapAudioConfig
        Without fusion.
    text_config : GPT2Config
        Of the text tower.
    projection_dim : int
        Length of an embedding.
    dropout : float, default=0.5
        Of the projections, in training only.
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
        return self.audio_projection(self.audio_model(mels).pooler_output)

    def embed_text(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> torch.Tensor:
        """Embed token ids.

        The state at position ``(input_ids != 0).sum() - 1`` is taken: the last token,
        unless the text holds "!", which is also the padding (id 0) and moves the
        position forward. The authors' code does so, and the weights expect it.

        Parameters
        ----------
        input_ids, attention_mask : Tensor of shape (n, n_tokens)
            Padded on the right with 0.

        Returns
        -------
        embeddings : Tensor of shape (n, projection_dim)
            Not of unit norm.
        """
        states = self.text_model(
            input_ids=input_ids, attention_mask=attention_mask, use_cache=False
        ).last_hidden_state
        last = (input_ids != PAD_ID).sum(dim=1) - 1
        rows = torch.arange(len(states), device=states.device)
        return apart(self.text_projection, states[rows, last])


def to_official(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename the tensors of an :class:`MsClapModel` as the official file names them.

    Parameters
    ----------
    state : mapping of str to Tensor
        A ``state_dict()``.

    Returns
    -------
    official : dict of str to Tensor
        To be saved as ``torch.save({"model": official}, "CLAP_weights_2023.pth")``.
        Without the tensors that no embedding depends on. A model whose image is not
        256 wide needs one of them, ``layers.0.blocks.1.attn_mask``, added, since its
        width cannot be told from the others.
    """
    official = restore_names(state, _PREFIXES)
    return {k: v for k, v in official.items() if not _UNUSED.fullmatch(k)}


def from_official(official: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename the tensors of the official file as :class:`MsClapModel` names them.

    Tensors that no embedding depends on are dropped.

    Parameters
    ----------
    official : mapping of str to Tensor
        What the file holds as "model".

    Returns
    -------
    state : dict of str to Tensor
        For ``load_state_dict``, which still needs ``strict=False`` for the buffers
        that the constructor derives.
    """
    used = {k: v for k, v in official.items() if not _UNUSED.fullmatch(k)}
    return rename_tensors(used, _PREFIXES)


def build_msclap(official: Mapping[str, torch.Tensor], source: Path) -> MsClapModel:
    """Build the model that fits the tensors of an official file, and load them.

    Parameters
    ----------
    official : mapping of str to Tensor
        What the file holds as "model".
    source : Path
        The file, for error messages.

    Raises
    ------
    CheckpointError
        If a tensor is missing, unexpected or of a shape that fits no such model.
    """
    if not any(name.startswith(_HTSAT) for name in official):
        msg = (
            f"{source} holds neither MS-CLAP 2023's HTS-AT audio tower (names that "
            f"start with {_HTSAT!r}) nor the Cnn14 of 2022 ({_CNN14!r})."
        )
        raise CheckpointError(msg)
    try:
        audio_config = infer_htsat(official, _HTSAT, enable_fusion=False)
        text_config = _text_config(official)
        projection_dim = len(official["audio_encoder.projection.linear1.weight"])
        n_fft = 2 * (len(official[f"{_HTSAT}logmel_extractor.melW"]) - 1)
    except KeyError as error:
        msg = f"{source} does not match its model. Tensors missing: {error.args[0]}."
        raise CheckpointError(msg) from error
    model = build_checked(
        lambda: MsClapModel(
            audio_config, text_config, projection_dim=projection_dim, n_fft=n_fft
        ),
        official,
        source,
        unused=_UNUSED,
        named=to_official,
    )
    model.load_state_dict(from_official(official), strict=False)
    return model


class MsClapEncoder(ClapEncoder):
    """MS-CLAP 2023, from the authors' file of weights; `load` takes 2022's too."""

    _at_once_on_cpu = CLIPS_AT_ONCE

    def __init__(self, **parts: Any):
        super().__init__(**parts)
        self._audio_tower = AudioTower(self._model.audio_model, source=self.source)

    @classmethod
    def load(
        cls, checkpoint: str, *, revision: str | None, device: str, dtype: str
    ) -> ClapEncoder:
        """Load a checkpoint; see :func:`find_msclap` for what it may be."""
        with guarded(checkpoint):
            weights = find_msclap(checkpoint, revision)
            tensors = read_tensors(weights)
            kind = cls._version_2022() if _CNN14 in tensors else cls
            parts = kind.parts_of(tensors, weights)
        return kind(**parts, device=device, dtype=dtype)

    @classmethod
    def parts_of(
        cls, tensors: Mapping[str, torch.Tensor], weights: Path
    ) -> dict[str, Any]:
        """Return what an encoder is made of, given what a file holds as "model"."""
        folder = find_msclap_tokenizer(weights)
        tokenizer = read_tokenizer(folder, gpt2=True)
        # As the authors do: "!" becomes a token of its own wherever it stands.
        tokenizer.add_special_tokens({"pad_token": PAD_TOKEN})
        model = build_msclap(tensors, weights)
        _check_tokenizer(tokenizer, folder, model.text_model.config.vocab_size)
        window = SAMPLE_RATE * WINDOW_SECONDS
        n_frames = window // HOP_LENGTH + 1
        check_image(model.audio_model.config, n_frames, weights)
        for tower in ("audio", "text"):
            head = getattr(model, f"{tower}_projection")
            warn_if_untrained([head.linear1, head.linear2], tower, weights)
        settings = {
            "sample_rate": SAMPLE_RATE,
            "window": window,
            "padding": "repeat",
            "hop_length": HOP_LENGTH,
            "max_tokens": MAX_TOKENS,
            "suffix": SUFFIX,
        }
        return {
            "model": model,
            "tokenizer": tokenizer,
            "log_mel": LogMel(model.mel_bank, hop_length=HOP_LENGTH),
            "projection_dim": len(model.audio_projection.linear1.weight),
            "settings": settings,
            "source": str(weights),
        }

    @staticmethod
    def _version_2022() -> Any:
        from clapstack.encoders.clap._msclap_2022 import MsClap2022Encoder

        return MsClap2022Encoder

    def _embed_audio(self, mels: torch.Tensor, longer: torch.Tensor) -> torch.Tensor:
        return apart(self._model.audio_projection, self._audio_tower(mels))

    def _embed_text(self, tokens: list[list[int]]) -> torch.Tensor:
        return self._model.embed_text(*self._pad_tokens(tokens, PAD_ID))


def _text_config(official: Mapping[str, torch.Tensor]) -> GPT2Config:
    """Infer the text tower; GPT-2's heads are 64 wide in all its published sizes."""
    vocabulary, width = official[f"{_GPT2}wte.weight"].shape
    if width % _HEAD_WIDTH:
        msg = (
            f"The text tower is {width} wide; its attention heads cannot be inferred, "
            f"since that is not a multiple of {_HEAD_WIDTH}."
        )
        raise CheckpointError(msg)
    return GPT2Config(
        vocab_size=vocabulary,
        n_positions=len(official[f"{_GPT2}wpe.weight"]),
        n_embd=width,
        n_layer=count_modules(official, rf"{re.escape(_GPT2)}h\.(\d+)\."),
        n_head=width // _HEAD_WIDTH,
        n_inner=official[f"{_GPT2}h.0.mlp.c_fc.weight"].shape[1],
        bos_token_id=vocabulary - 1,  # as in GPT-2's own vocabulary
        eos_token_id=vocabulary - 1,
    )


def _check_tokenizer(tokenizer: Any, folder: Path, vocabulary: int) -> None:
    """Refuse a tokenizer whose ids are not those of the text tower."""
    if tokenizer.pad_token_id != PAD_ID:
        msg = (
            f"The tokenizer in {folder} is not the text tower's: it has "
            f"{len(tokenizer)} tokens, {PAD_TOKEN!r} with id {tokenizer.pad_token_id}; "
            f"the tower has {vocabulary} and needs {PAD_TOKEN!r} to have id {PAD_ID}."
        )
        raise CheckpointError(msg)
    check_vocabulary(tokenizer, folder, vocabulary)
