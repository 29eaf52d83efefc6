"""M2D-CLAP 2025, from the authors' file of weights.

Modules are named after the file's tensors, which determine their sizes. Other settings
are those of the one published file of this kind.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import BertModel

from clapstack.encoders._bert import infer_bert, read_bert_tokenizer
from clapstack.encoders._finding import find_file, find_tokenizer
from clapstack.encoders._mel import LogMel, mel_bank
from clapstack.encoders._pretrained import HEAD_WIDTH, Tensors, fill_model
from clapstack.encoders._reading import read_tensors
from clapstack.encoders._vit import Patches, vit_blocks, with_first
from clapstack.encoders.clap._base import ClapEncoder
from clapstack.exceptions import CheckpointError

SAMPLE_RATE = 16_000
WINDOW_SECONDS = 10
N_FFT = 400
HOP_LENGTH = 160
N_MELS = 80
F_MIN, F_MAX = 50, 8000
_FLOOR = torch.finfo(torch.float32).eps
_VIT_EPS, _SEMANTIC_EPS = 1e-6, 1e-5

_ORIGIN = (
    "checkpoint-30.pth of m2d_clap_vit_base-80x1001p16x16p16kpBpTI-2025, from release "
    "0.5.0 of NTT's project m2d, which has its own licence"
)

_AUDIO = "backbone."
_TEXT = "text_encoder."
_WORDS = f"{_TEXT}embeddings.word_embeddings"
# BERT's own head, and indices that transformers derives.
_UNUSED = re.compile(rf"^{re.escape(_TEXT)}(pooler\.|embeddings\.\w+_ids$)")


class M2dClapModel(nn.Module):
    """The two towers of M2D-CLAP.

    Parameters
    ----------
    tensors : Tensors
        Tensors of the file, without the prefixes of its two parts; their shapes
        determine the sizes.
    """

    norm_stats: torch.Tensor

    def __init__(self, tensors: Tensors):
        super().__init__()
        width, _, across, along = tensors["patch_embed.proj.weight"].shape
        self.register_buffer("norm_stats", torch.zeros(2))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros_like(tensors["pos_embed"]))
        self.patch = (across, along)  # mel bands, frames
        self.patch_embed = Patches(width, self.patch)
        self.blocks = vit_blocks(
            tensors, "blocks", n_heads=width // HEAD_WIDTH, eps=_VIT_EPS
        )
        self.norm = nn.LayerNorm(width, eps=_VIT_EPS)
        self.audio_proj = _SemanticToken(tensors)
        config = infer_bert(tensors, _TEXT)
        self.text_encoder = BertModel(config, add_pooling_layer=False)

    def embed_audio(self, mels: torch.Tensor) -> torch.Tensor:
        """Embed log-mel spectrograms of shape (n, 1, n_frames, n_mels).

        They are normalised with `norm_stats`. Frames beyond a multiple of a patch are
        dropped. Rows do not have unit norm.
        """
        patches = self.patch_embed(mels[:, 0].transpose(1, 2))
        tokens = with_first(self.cls_token, patches) + self.pos_embed
        tokens = self.norm(self.blocks(tokens))
        # The class token takes part in the attention, but is not used.
        return self.audio_proj(tokens[:, 1:])

    def embed_text(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> torch.Tensor:
        """Embed token ids of shape (n, n_tokens): the state of BERT's class token."""
        states = self.text_encoder(input_ids, attention_mask).last_hidden_state
        return states[:, 0]


class _SemanticToken(nn.Module):
    """A learned token that attends to all patches and becomes the embedding."""

    def __init__(self, tensors: Tensors):
        super().__init__()
        width = tensors["audio_proj.sem_token"].shape[2]
        self.sem_token = nn.Parameter(torch.zeros(1, 1, width))
        self.sem_blocks = vit_blocks(
            tensors, "audio_proj.sem_blocks", n_heads=1, eps=_SEMANTIC_EPS
        )
        self.norm = nn.LayerNorm(width, eps=_SEMANTIC_EPS)

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        return self.norm(self.sem_blocks(with_first(self.sem_token, patches))[:, 0])


class _LogMel(LogMel):
    """Log-mel power spectrogram, natural and normalised."""

    def __init__(self, mean: float, std: float):
        bank = mel_bank(
            N_FFT, N_MELS, sample_rate=SAMPLE_RATE, f_min=F_MIN, f_max=F_MAX
        )
        super().__init__(bank, hop_length=HOP_LENGTH)
        self.mean = mean
        self.std = std

    # As in the authors' code: natural logarithm of power plus float32's epsilon, which
    # keeps silence finite.
    def _compress(self, power: torch.Tensor) -> torch.Tensor:
        return (torch.log(power + _FLOOR) - self.mean) / self.std


class M2dClapEncoder(ClapEncoder):
    """M2D-CLAP 2025, whose file includes its text tower, BERT.

    The model's input is 10 s long. A shorter clip is padded with silence, as in the
    authors' example. For a longer one, their semantic token attends to all pieces
    together; here each window is embedded separately, as with every encoder.
    """

    @classmethod
    def _read(cls, checkpoint: str, revision: str | None) -> partial[Any]:
        """Read the authors' file."""
        weights = find_file(checkpoint, revision, _ORIGIN)
        tokenizer_folder = find_tokenizer(weights, "bert", on_hub=False)
        model = _read_model(weights)
        config = model.text_encoder.config
        tokenizer = read_bert_tokenizer(tokenizer_folder, config)
        mean, std = model.norm_stats.tolist()
        settings = {
            "sample_rate": SAMPLE_RATE,
            "window": SAMPLE_RATE * WINDOW_SECONDS,
            "padding": "pad",
            "n_fft": N_FFT,
            "hop_length": HOP_LENGTH,
            "n_mels": N_MELS,
            "f_min": F_MIN,
            "f_max": F_MAX,
            "max_tokens": config.max_position_embeddings,
            "suffix": "",
        }
        return partial(
            cls,
            model=model,
            tokenizer=tokenizer,
            log_mel=_LogMel(mean, std),
            projection_dim=model.cls_token.shape[2],
            settings=settings,
            source=str(weights),
        )

    def _embed_audio(self, mels: torch.Tensor, longer: torch.Tensor) -> torch.Tensor:
        return self._model.embed_audio(mels)

    def _embed_text(self, tokens: list[list[int]]) -> torch.Tensor:
        return self._model.embed_text(*self._pad_tokens(tokens))


def _read_model(weights: Path) -> M2dClapModel:
    """Read both towers; other tensors in the file are used only in training."""
    tensors = {}
    for name, tensor in read_tensors(weights).items():
        if name.startswith(_AUDIO):
            tensors[name.removeprefix(_AUDIO)] = tensor
        elif name.startswith(_TEXT):  # twice, because the authors wrap their tower
            tensors[_TEXT + name.removeprefix(_TEXT).removeprefix(_TEXT)] = tensor
    if "audio_proj.sem_token" not in tensors or f"{_WORDS}.weight" not in tensors:
        msg = (
            f"{weights} does not contain both towers of M2D-CLAP 2025: "
            f"'{_AUDIO}audio_proj.sem_token' or the names under {_TEXT!r} are missing. "
            f"The checkpoint must be {_ORIGIN}."
        )
        raise CheckpointError(msg)
    model = fill_model(M2dClapModel, tensors, weights, unused=_UNUSED)
    _check_sizes(model, weights)
    return model


def _check_sizes(model: M2dClapModel, weights: Path) -> None:
    """Reject a model for other spectrograms, or with towers of different width."""
    n_frames = 1 + WINDOW_SECONDS * SAMPLE_RATE // HOP_LENGTH
    across, along = model.patch
    n_patches = (N_MELS // across) * (n_frames // along)
    width, text_width = model.cls_token.shape[2], model.text_encoder.config.hidden_size
    if model.pos_embed.shape[1] != 1 + n_patches or width != text_width:
        msg = (
            f"{weights} has {model.pos_embed.shape[1] - 1} positions and towers of "
            f"width {width} and {text_width}; for {N_MELS} bands by {n_frames} frames "
            f"it must have {n_patches} positions, and towers of equal width. The "
            f"checkpoint must be {_ORIGIN}."
        )
        raise CheckpointError(msg)
