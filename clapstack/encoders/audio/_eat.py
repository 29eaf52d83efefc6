"""EAT, an audio transformer, from its folders on the hub or the authors' own files.

The folders come with code that would run when they are loaded as the hub means it; here
only their tensors and settings are read. Modules bear the names of those tensors.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from reprlib import repr as short_repr
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from clapstack.encoders._finding import find_pretrained
from clapstack.encoders._kaldi import kaldi_fbank
from clapstack.encoders._pretrained import fill_model, load_model
from clapstack.encoders._reading import (
    check_number,
    read_content,
    read_json,
    tensors_in,
)
from clapstack.encoders._vit import VitBlock
from clapstack.encoders.audio._base import POOLED, AudioEncoder, pool
from clapstack.encoders.clap._htsat_names import count_modules
from clapstack.exceptions import CheckpointError

SAMPLE_RATE = 16_000
N_MELS = 128
# Statistics of AudioSet's filter bank; the authors divide by twice the deviation.
MEAN, STD = -4.268, 4.569
_FIRST_FRAME, _HOP = 400, 160  # samples
_HEAD_WIDTH = 64

# What the authors' code takes where config.json is silent.
_DEFAULTS: dict[str, Any] = {
    "img_size": (1024, N_MELS),
    "norm_eps": 1e-6,
    "layer_norm_first": False,
    "norm_affine": True,
    "qkv_bias": True,
    "fixed_positions": True,
}
_SUPPORTED = {
    "layer_norm_first": False,
    "norm_affine": True,
    "qkv_bias": True,
    "fixed_positions": True,
}

_PREFIX = re.compile(r"model\.")
# The classifier of a fine-tuned model, and in the authors' own files what only
# training uses.
_UNUSED = re.compile(
    r"^(fc_norm|head|decoder|shared_decoder|recon_proj|cls_proj)\.|^center$"
)
# Name in the authors' own files → name on the hub.
_IN_PT = {
    re.compile(r"^modality_encoders\.IMAGE\.context_encoder\.norm\."): "pre_norm.",
    re.compile(r"^modality_encoders\.IMAGE\."): "",
}
_TEACHER = "_ema"  # among the tensors, a mapping of more of them


class EatModel(nn.Module):
    """The transformer of EAT over patches of a filter bank.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        Of the checkpoint: their shapes tell the sizes.
    n_heads : int or None
        Of the attention; None is one for every 64 channels.
    norm_eps : float
        Of the layer norms.
    """

    def __init__(
        self,
        tensors: Mapping[str, torch.Tensor],
        *,
        n_heads: int | None,
        norm_eps: float,
    ):
        super().__init__()
        width, _, patch, _ = tensors["local_encoder.proj.weight"].shape
        hidden = len(tensors["blocks.0.mlp.fc1.weight"])
        n_positions = tensors["fixed_positional_encoder.positions"].shape[1]
        projection = nn.Conv2d(1, width, patch, stride=patch)
        self.local_encoder = nn.Sequential(OrderedDict(proj=projection))
        self.extra_tokens = nn.Parameter(torch.zeros(1, 1, width))
        self.fixed_positional_encoder = nn.ParameterDict(
            {"positions": torch.zeros(1, n_positions, width)}
        )
        self.pre_norm = nn.LayerNorm(width, eps=norm_eps)
        blocks = [
            VitBlock(
                width,
                hidden,
                n_heads=n_heads or width // _HEAD_WIDTH,
                eps=norm_eps,
                norm_first=False,
            )
            for _ in range(count_modules(tensors, r"blocks\.(\d+)\."))
        ]
        self.blocks = nn.Sequential(*blocks)

    def forward(self, mels: torch.Tensor) -> torch.Tensor:
        """Compute the final tokens.

        Parameters
        ----------
        mels : Tensor of shape (n, n_frames, n_mels)

        Returns
        -------
        tokens : Tensor of shape (n, 1 + n_patches, width)
            The class token, then the patches by time, then by frequency.
        """
        patches = self.local_encoder(mels[:, None]).flatten(2).transpose(1, 2)
        positions = self.fixed_positional_encoder["positions"]
        patches = patches + positions[:, : patches.shape[1]]
        first = self.extra_tokens.expand(len(mels), -1, -1)
        return self.blocks(self.pre_norm(torch.cat([first, patches], dim=1)))


class EatEncoder(AudioEncoder):
    """EAT: its class token; mean, deviation and maximum of the tokens of its patches.

    The model sees 1,024 frames, 10.26 s. Of a shorter clip the filter bank is filled
    up with zeros, as by the authors; the patches of the filling are pooled too.
    """

    @classmethod
    def _read(cls, checkpoint: str, revision: str | None) -> dict[str, Any]:
        """Read a folder in the hub's format, or a ``.pt`` file of the authors."""
        model, n_frames, source = _read(checkpoint, revision)
        width = model.extra_tokens.shape[2]
        return {
            "model": model,
            "settings": {
                "sample_rate": SAMPLE_RATE,
                "window": _FIRST_FRAME + (n_frames - 1) * _HOP,
                "shortest": _FIRST_FRAME,
                "n_frames": n_frames,
                "mean": MEAN,
                "std": STD,
            },
            "blocks": {"cls": width, **dict.fromkeys(POOLED, width)},
            "source": str(source),
        }

    def _prepare(self, waveform: NDArray[np.float32]) -> torch.Tensor:
        samples = torch.from_numpy(waveform)[None].to(self._front_end_device)
        mel = kaldi_fbank(samples - samples.mean(), n_mels=N_MELS, window="hanning")[0]
        missing = self._settings["n_frames"] - len(mel)
        return (nn.functional.pad(mel, (0, 0, 0, missing)) - MEAN) / (2 * STD)

    def _embed(self, inputs: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
        tokens = self._model(inputs)
        return torch.cat([tokens[:, 0].float(), pool(tokens[:, 1:])], dim=1)


def _read(checkpoint: str, revision: str | None) -> tuple[EatModel, int, Path]:
    """Return the model, the frames that it sees, and the file of its weights."""
    own = Path(checkpoint).expanduser()
    if own.is_file() and own.suffix == ".pt":
        model = fill_model(
            lambda tensors: _build(tensors, _DEFAULTS),
            _tensors_of_pt(own),
            own,
            unused=_UNUSED,
        )
        n_frames = _DEFAULTS["img_size"][0]
        _check_frames(model, n_frames, own)
        return model, n_frames, own
    folder, weights = find_pretrained(checkpoint, revision, ["config.json"])
    path = folder / "config.json"
    settings = {**_DEFAULTS, **read_json(path)}
    for name, needed in _SUPPORTED.items():
        if settings[name] != needed:
            msg = (
                f"{path} has {name}={short_repr(settings[name])}; only "
                f"{needed!r}, as in the published models, is supported."
            )
            raise CheckpointError(msg)
    if settings.get("num_heads") is not None:
        check_number(settings["num_heads"], 1, 1024, f"num_heads in {path}")
    check_number(settings["norm_eps"], 0, 1, f"norm_eps in {path}", whole=False)
    model = load_model(
        lambda tensors: _build(tensors, settings),
        weights,
        prefix=_PREFIX,
        unused=_UNUSED,
    )
    n_frames = settings["img_size"][0]
    _check_frames(model, n_frames, path)
    return model, n_frames, weights


def _check_frames(model: EatModel, n_frames: Any, source: Path) -> None:
    """Refuse more frames than the model has positions for, or none."""
    n_positions = model.fixed_positional_encoder["positions"].shape[1]
    patch = model.local_encoder.get_parameter("proj.weight").shape[2]
    most = n_positions // (N_MELS // patch) * patch
    check_number(n_frames, patch, most, f"frames (img_size) of {source}")


def _build(
    tensors: Mapping[str, torch.Tensor], settings: Mapping[str, Any]
) -> EatModel:
    return EatModel(
        tensors, n_heads=settings.get("num_heads"), norm_eps=settings["norm_eps"]
    )


def _tensors_of_pt(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a file of the authors under the names of the hub."""
    content = read_content(path)
    if isinstance(content, Mapping) and isinstance(content.get("model"), Mapping):
        student = {k: v for k, v in content["model"].items() if _TEACHER not in k}
        content = {"model": student}
    return {_renamed(name): t for name, t in tensors_in(content, path).items()}


def _renamed(name: str) -> str:
    name = _PREFIX.sub("", name, count=1) if _PREFIX.match(name) else name
    for old, new in _IN_PT.items():
        name = old.sub(new, name)
    return name
