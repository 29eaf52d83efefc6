"""MGA-CLAP: a locality-aware HTS-AT, BERT and a codebook that both towers share.

What the tensors of the authors' file do not reveal is fixed here as in their code.
"""

from __future__ import annotations

import math
import re
from functools import partial
from typing import Any

import torch
from torch import nn
from transformers import BertConfig, BertModel, ClapAudioConfig, ClapAudioModel

from clapstack.encoders._bert import infer_bert, read_bert_tokenizer
from clapstack.encoders._finding import find_file, find_tokenizer
from clapstack.encoders._mel import LogMel
from clapstack.encoders._pretrained import Tensors
from clapstack.encoders._reading import read_tensors
from clapstack.encoders.clap._base import apart
from clapstack.encoders.clap._frames import FrameClapEncoder
from clapstack.encoders.clap._htsat import HtsatClapEncoder
from clapstack.encoders.clap._htsat_names import (
    UNUSED_IN_HTSAT,
    AuthorsNames,
    check_image,
    infer_htsat,
)
from clapstack.exceptions import CheckpointError

SAMPLE_RATE = 32_000
WINDOW_SECONDS = 10
HOP_LENGTH = 320
MAX_TOKENS = 30
_TEMPERATURE = 1000.0

_ORIGIN = "model.pt of MGA-CLAP, which the page of its project links to"

_HTSAT = "audio_encoder.audio_enc."
_FRONT_END = f"{_HTSAT}audio_feats_extractor."
_BERT = "text_encoder.text_encoder."

# Authors' name → ours. Longer prefixes precede those that they extend.
_PREFIXES = {
    f"{_FRONT_END}log_trans.melW": "mel_bank",
    f"{_HTSAT}bn0.": "audio_model.audio_encoder.batch_norm.",
    _HTSAT: "audio_model.audio_encoder.",
    _BERT: "text_model.",
}
# Tensors of the file that no embedding depends on: besides HTS-AT's, the transform for
# the spectrogram, derived indices, and the temperature of the training loss.
_UNUSED = re.compile(
    rf"^({re.escape(_HTSAT)}{UNUSED_IN_HTSAT}"
    rf"|{re.escape(_FRONT_END)}mel_trans\.stft\.conv_(real|imag)\.weight"
    rf"|{re.escape(_BERT)}(pooler\..+|embeddings\.\w+_ids)|temp)$"
)


class MgaClapModel(nn.Module):
    """The two towers of MGA-CLAP, their projections and the shared codebook."""

    mel_bank: torch.Tensor

    def __init__(
        self,
        audio_config: ClapAudioConfig,
        text_config: BertConfig,
        *,
        bank: torch.Tensor,
        codebook: torch.Tensor,
    ):
        super().__init__()
        self.register_buffer("mel_bank", torch.zeros_like(bank))
        self.audio_model = ClapAudioModel(audio_config)
        self.text_model = BertModel(text_config, add_pooling_layer=False)
        projection_dim = codebook.shape[1]
        self.frame_proj = _projection(audio_config.hidden_size, projection_dim)
        self.word_proj = _projection(text_config.hidden_size, projection_dim)
        self.codebook = nn.Parameter(torch.zeros_like(codebook))

    def embed_words(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> torch.Tensor:
        """Embed the texts of token ids of shape (n, n_tokens); not to unit norm."""
        states = self.text_model(input_ids, attention_mask).last_hidden_state
        # The authors' mask zeroes the similarities of all tokens but words, so that an
        # entry's similarity to a text is at least zero, padded or not.
        is_word = nn.functional.pad(attention_mask[:, 2:], (0, 1)).to(states)
        words = self.word_proj(states)[:, 1:] * is_word[:, :, None]
        return apart(self.pool, words)

    def pool(self, frames: torch.Tensor) -> torch.Tensor:
        """Express frames or words, (n, n_frames, width), by entries of the codebook.

        An entry is as similar to a clip as to its most similar frame; the most similar
        entries are averaged. Always in float32, because 4,096 numbers of similar size
        are summed.
        """
        codebook = self.codebook.float()
        near = (frames.float() @ codebook.T).amax(dim=1)
        return sparsemax(near / (_TEMPERATURE * math.sqrt(frames.shape[2]))) @ codebook


def sparsemax(scores: torch.Tensor) -> torch.Tensor:
    """Project rows onto the simplex, as Martins and Astudillo (2016) define it.

    Examples
    --------
    >>> import torch
    >>> sparsemax(torch.tensor([[0.5, 0.25, -2.0]]))
    tensor([[0.6250, 0.3750, 0.0000]])
    """
    ordered = scores.sort(dim=1, descending=True).values
    ranks = torch.arange(1, scores.shape[1] + 1, device=scores.device)
    excess = ordered.cumsum(dim=1) - 1
    n_kept = (ranks * ordered > excess).sum(dim=1, keepdim=True)
    n_kept = n_kept.clamp(min=1)  # 0 for NaN, whose norm is rejected later
    return (scores - excess.gather(1, n_kept - 1) / n_kept).clamp(min=0)


def _projection(width: int, projection_dim: int) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(width),
        nn.Linear(width, projection_dim),
        nn.GELU(),
        nn.LayerNorm(projection_dim),
        nn.Linear(projection_dim, projection_dim),
    )


_NAMES = AuthorsNames(_PREFIXES, _UNUSED)


class MgaClapEncoder(HtsatClapEncoder, FrameClapEncoder):
    """MGA-CLAP, whose input is 10 s long; a shorter clip is padded with silence."""

    def __init__(self, **parts: Any):
        super().__init__(**parts)
        config = self._model.audio_model.config
        stride = config.patch_stride[1] * 2 ** (len(config.depths) - 1)
        n_frames = (
            config.spec_size // stride * (config.spec_size // config.num_mel_bins)
        )
        # Frames of the spectrogram stretched to fill the image of the tower.
        self.frame_samples = -(-self.window // n_frames)

    @classmethod
    def _read(cls, checkpoint: str, revision: str | None) -> partial[Any]:
        """Read the authors' file."""
        weights = find_file(checkpoint, revision, _ORIGIN)
        tokenizer_folder = find_tokenizer(weights, "bert", on_hub=False)
        tensors = Tensors(read_tensors(weights), weights)
        if "codebook" not in tensors or f"{_HTSAT}bn0.weight" not in tensors:
            msg = (
                f"{weights} is not an MGA-CLAP file: 'codebook' or the names under "
                f"{_HTSAT!r} are missing. The checkpoint must be {_ORIGIN}."
            )
            raise CheckpointError(msg)
        audio_config = infer_htsat(tensors, _HTSAT, enable_fusion=False)
        text_config = infer_bert(tensors, _BERT)
        bank = tensors[f"{_FRONT_END}log_trans.melW"]
        model = _NAMES.load(
            lambda: MgaClapModel(
                audio_config, text_config, bank=bank, codebook=tensors["codebook"]
            ),
            tensors,
        )
        window = SAMPLE_RATE * WINDOW_SECONDS
        check_image(audio_config, window // HOP_LENGTH + 1, weights)
        settings = {
            "sample_rate": SAMPLE_RATE,
            "window": window,
            "padding": "pad",
            "hop_length": HOP_LENGTH,
            "max_tokens": min(MAX_TOKENS, text_config.max_position_embeddings),
            "suffix": "",
        }
        return partial(
            cls,
            model=model,
            tokenizer=read_bert_tokenizer(tokenizer_folder, text_config),
            log_mel=LogMel(model.mel_bank, hop_length=HOP_LENGTH),
            projection_dim=model.codebook.shape[1],
            settings=settings,
            source=str(weights),
        )

    def _embed_frames(self, inputs: torch.Tensor) -> torch.Tensor:
        return apart(self._model.frame_proj, self._audio_tower.local_frames(inputs))

    def _embed_audio(self, mels: torch.Tensor, longer: torch.Tensor) -> torch.Tensor:
        return apart(self._model.pool, self._embed_frames(mels))

    def _embed_text(self, tokens: list[list[int]]) -> torch.Tensor:
        return self._model.embed_words(*self._pad_tokens(tokens))
