"""AudioMAE: a vision transformer over Kaldi's filter bank, in timm's format.

The file of weights holds tensors alone. What they do not tell is fixed here as the
authors fix it; the rest is inferred from the tensors' names and shapes.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from clapstack.encoders._finding import find_pretrained
from clapstack.encoders._kaldi import kaldi_fbank
from clapstack.encoders._pretrained import load_model
from clapstack.encoders._vit import VitBlock
from clapstack.encoders.audio._base import POOLED, AudioEncoder, pool
from clapstack.encoders.clap._htsat_names import count_modules

SAMPLE_RATE = 16_000
N_MELS = 128
# Statistics of AudioSet's filter bank; the authors divide by twice the deviation.
MEAN, STD = -4.2677393, 4.5689974
_FIRST_FRAME, _HOP = 400, 160  # samples
_HEAD_WIDTH = 64
_LAYER_NORM_EPS = 1e-6

# Only a fine-tuned model has these: it classifies the mean of the token map.
_UNUSED = re.compile(r"^(fc_norm|head)\.")


class AudioVit(nn.Module):
    """A vision transformer that maps a spectrogram to a map of tokens.

    Submodules are named as in timm, whose files of weights it takes.

    Parameters
    ----------
    width : int
        Of a token; heads are 64 wide.
    depth : int
        Number of blocks.
    n_tokens : int
        Of the map; its rows follow time, with `N_MELS` // `patch` tokens each.
    patch : int
        Frames, and mel bands, that a token sees.
    mlp_width : int
        Of the hidden layer in a block.
    final_norm : bool
        Whether the map is normalised at the end; it is not in a fine-tuned model.
    """

    def __init__(
        self,
        *,
        width: int,
        depth: int,
        n_tokens: int,
        patch: int,
        mlp_width: int,
        final_norm: bool,
    ):
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + n_tokens, width))
        projection = nn.Conv2d(1, width, patch, stride=patch)
        self.patch_embed = nn.Sequential(OrderedDict(proj=projection))
        n_heads, eps = width // _HEAD_WIDTH, _LAYER_NORM_EPS
        self.blocks = nn.Sequential(
            *(
                VitBlock(width, mlp_width, n_heads=n_heads, eps=eps)
                for _ in range(depth)
            )
        )
        self.norm = nn.LayerNorm(width, eps=eps) if final_norm else nn.Identity()
        self.n_frames = n_tokens * patch * patch // N_MELS

    def forward(self, mels: torch.Tensor) -> torch.Tensor:
        """Compute the token map of `mels` of shape (n, n_frames, N_MELS).

        Returns
        -------
        tokens : Tensor of shape (n, n_tokens, width)
            Without the class token.
        """
        patches = self.patch_embed(mels[:, None]).flatten(2).transpose(1, 2)
        first = self.cls_token.expand(len(mels), -1, -1)
        tokens = torch.cat([first, patches], dim=1) + self.pos_embed
        return self.norm(self.blocks(tokens))[:, 1:]


class AudioMaeEncoder(AudioEncoder):
    """AudioMAE: mean, standard deviation and maximum of each channel of its token map.

    The model sees 1,024 frames, 10.26 s; a shorter clip is filled up with zeros on the
    scale of the filter bank, as the authors do it. All tokens of the map are pooled,
    those of the filling too, and the class token is left out.
    """

    @classmethod
    def _read(cls, checkpoint: str, revision: str | None) -> dict[str, Any]:
        """Read a checkpoint in timm's format."""
        _, weights = find_pretrained(checkpoint, revision, ["config.json"])
        model = load_model(_build, weights, unused=_UNUSED)
        return {
            "model": model,
            "settings": {
                "sample_rate": SAMPLE_RATE,
                "window": _FIRST_FRAME + (model.n_frames - 1) * _HOP,
                "shortest": _FIRST_FRAME,
                "mean": MEAN,
                "std": STD,
            },
            "blocks": dict.fromkeys(POOLED, model.pos_embed.shape[2]),
            "source": str(weights),
        }

    def _prepare(self, waveform: NDArray[np.float32]) -> torch.Tensor:
        samples = torch.from_numpy(waveform)[None].to(self._front_end_device)
        mel = kaldi_fbank(samples, n_mels=N_MELS, window="hanning")[0]
        filled = nn.functional.pad(mel, (0, 0, 0, self._model.n_frames - len(mel)))
        return (filled - MEAN) / (2 * STD)

    def _embed(self, inputs: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
        return pool(self._model(inputs))


def _build(tensors: Mapping[str, torch.Tensor]) -> AudioVit:
    """Build the model that fits the tensors."""
    width, _, patch, _ = tensors["patch_embed.proj.weight"].shape
    n_tokens = tensors["pos_embed"].shape[1] - 1
    if patch > N_MELS or n_tokens % (N_MELS // patch) or not n_tokens:
        msg = f"{n_tokens} patches of {patch} fill no spectrogram of {N_MELS} bands"
        raise ValueError(msg)
    return AudioVit(
        width=width,
        depth=count_modules(tensors, r"blocks\.(\d+)\."),
        n_tokens=n_tokens,
        patch=patch,
        mlp_width=len(tensors["blocks.0.mlp.fc1.weight"]),
        final_norm="fc_norm.weight" not in tensors,
    )
