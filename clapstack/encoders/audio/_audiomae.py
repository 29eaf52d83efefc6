"""AudioMAE: a vision transformer over Kaldi's filter bank, in timm's format.

The file of weights contains only tensors. What they do not reveal is fixed here as in
the authors' code; the rest is inferred from the tensors' names and shapes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from clapstack.encoders._finding import find_pretrained
from clapstack.encoders._kaldi import N_MELS, SAMPLE_RATE, normalised_fbank, window_of
from clapstack.encoders._pretrained import HEAD_WIDTH, Tensors, load_model
from clapstack.encoders._vit import Patches, vit_blocks, with_first
from clapstack.encoders.audio._base import POOLED, AudioEncoder, pool

MEAN, STD = -4.2677393, 4.5689974
_LAYER_NORM_EPS = 1e-6

# Only a fine-tuned model has these: it classifies the mean of the token map.
_UNUSED = re.compile(r"^(fc_norm|head)\.")


class AudioVit(nn.Module):
    """A vision transformer that maps a spectrogram to a map of tokens.

    Submodules are named as in timm, whose files of weights it reads. Rows of the map
    are in order of time. In a fine-tuned model it is not normalised at the end.

    Parameters
    ----------
    tensors : Tensors
        Tensors of the file, whose shapes determine the sizes.
    """

    def __init__(self, tensors: Tensors):
        super().__init__()
        width, _, patch, _ = tensors["patch_embed.proj.weight"].shape
        n_tokens = tensors["pos_embed"].shape[1] - 1
        if patch > N_MELS or n_tokens % (N_MELS // patch) or not n_tokens:
            msg = f"{n_tokens} patches of {patch} do not fill {N_MELS} mel bands"
            raise ValueError(msg)
        self.n_frames = n_tokens * patch * patch // N_MELS
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + n_tokens, width))
        self.patch_embed = Patches(width, (patch, patch))
        eps = _LAYER_NORM_EPS
        self.blocks = vit_blocks(
            tensors, "blocks", n_heads=width // HEAD_WIDTH, eps=eps
        )
        # timm moves the norm after the pooling when it adds a classifier.
        is_fine_tuned = "fc_norm.weight" in tensors
        self.norm = nn.Identity() if is_fine_tuned else nn.LayerNorm(width, eps=eps)

    def forward(self, mels: torch.Tensor) -> torch.Tensor:
        """Map (n, n_frames, n_mels) to tokens (n, n_tokens, width), without the class.

        The class token still takes part in the attention.
        """
        tokens = with_first(self.cls_token, self.patch_embed(mels)) + self.pos_embed
        return self.norm(self.blocks(tokens))[:, 1:]


class AudioMaeEncoder(AudioEncoder):
    """AudioMAE: mean, standard deviation and maximum of each channel of its token map.

    The model's input has 1,024 frames, 10.26 s; a shorter clip is padded with zeros on
    the scale of the filter bank, as in the authors' code. All tokens of the map are
    pooled, including the padding's but not the class token.
    """

    @classmethod
    def _read(cls, checkpoint: str, revision: str | None) -> partial[Any]:
        """Read a checkpoint in timm's format."""
        _, weights = find_pretrained(checkpoint, revision, ["config.json"])
        model = load_model(AudioVit, weights, unused=_UNUSED)
        return partial(
            cls,
            model=model,
            settings={
                "sample_rate": SAMPLE_RATE,
                "window": window_of(model.n_frames),
                "shortest": window_of(1),
                "mean": MEAN,
                "std": STD,
            },
            blocks=dict.fromkeys(POOLED, model.pos_embed.shape[2]),
            source=str(weights),
        )

    def _prepare(self, waveform: NDArray[np.float32]) -> torch.Tensor:
        return normalised_fbank(
            self._samples(waveform),
            mean=MEAN,
            std=STD,
            window="hanning",
            n_frames=self._model.n_frames,
        )

    def _embed(self, inputs: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
        return pool(self._model(inputs))
