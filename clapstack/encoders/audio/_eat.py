"""EAT, an audio transformer, from its folders on the hub or the authors' own files.

The folders contain code that the hub's usual loading would run; here only their tensors
and settings are read. Modules are named after those tensors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from clapstack.encoders._base import unusual
from clapstack.encoders._finding import find_pretrained
from clapstack.encoders._kaldi import N_MELS, SAMPLE_RATE, normalised_fbank, window_of
from clapstack.encoders._pretrained import (
    HEAD_WIDTH,
    Tensors,
    check_supported,
    fill_model,
    load_model,
)
from clapstack.encoders._reading import (
    check_number,
    read_content,
    read_json,
    tensors_in,
)
from clapstack.encoders._vit import Patches, vit_blocks, with_first
from clapstack.encoders.audio._base import POOLED, AudioEncoder, pool

MEAN, STD = -4.268, 4.569

# Defaults of the authors' code for settings that config.json lacks.
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
# The classifier of a fine-tuned model and, in the authors' own files, tensors that only
# training uses.
_UNUSED = re.compile(
    r"^(fc_norm|head|decoder|shared_decoder|recon_proj|cls_proj)\.|^center$"
)
# Name in the authors' own files → name on the hub.
_IN_PT = {
    re.compile(r"^modality_encoders\.IMAGE\.context_encoder\.norm\."): "pre_norm.",
    re.compile(r"^modality_encoders\.IMAGE\."): "",
}
_TEACHER = "_ema"  # among the tensors, a mapping of further tensors


class EatModel(nn.Module):
    """The transformer of EAT over patches of a filter bank.

    Parameters
    ----------
    tensors : Tensors
        Tensors of the checkpoint, whose shapes determine the sizes.
    n_heads : int or None
        Number of attention heads; None means one for every 64 channels.
    norm_eps : float
        Epsilon of the layer norms.
    """

    def __init__(self, tensors: Tensors, *, n_heads: int | None, norm_eps: float):
        super().__init__()
        width, _, patch, _ = tensors["local_encoder.proj.weight"].shape
        n_positions = tensors["fixed_positional_encoder.positions"].shape[1]
        self.local_encoder = Patches(width, (patch, patch))
        self.extra_tokens = nn.Parameter(torch.zeros(1, 1, width))
        self.fixed_positional_encoder = nn.ParameterDict(
            {"positions": torch.zeros(1, n_positions, width)}
        )
        self.pre_norm = nn.LayerNorm(width, eps=norm_eps)
        self.blocks = vit_blocks(
            tensors,
            "blocks",
            n_heads=n_heads or width // HEAD_WIDTH,
            eps=norm_eps,
            norm_first=False,
        )

    def forward(self, mels: torch.Tensor) -> torch.Tensor:
        """Map (n, n_frames, n_mels) to tokens (n, 1 + n_patches, width).

        The class token comes first, then the patches by time, then by frequency.
        """
        patches = self.local_encoder(mels)
        positions = self.fixed_positional_encoder["positions"]
        patches = patches + positions[:, : patches.shape[1]]
        return self.blocks(self.pre_norm(with_first(self.extra_tokens, patches)))


class EatEncoder(AudioEncoder):
    """EAT: its class token; mean, deviation and maximum of the tokens of its patches.

    The model's input has 1,024 frames, 10.26 s. For a shorter clip, the filter bank is
    padded with zeros, as in the authors' code; the padding's patches are pooled too.
    """

    @classmethod
    def _read(cls, checkpoint: str, revision: str | None) -> partial[Any]:
        """Read a folder in the hub's format, or one of the authors' ``.pt`` files."""
        model, n_frames, source = _read_model(checkpoint, revision)
        width = model.extra_tokens.shape[2]
        return partial(
            cls,
            model=model,
            settings={
                "sample_rate": SAMPLE_RATE,
                "window": window_of(n_frames),
                "shortest": window_of(1),
                "n_frames": n_frames,
                "mean": MEAN,
                "std": STD,
                **unusual(model.blocks[0].attn, {"n_heads": width // HEAD_WIDTH}),
                **unusual(model.blocks[0].norm1, {"eps": _DEFAULTS["norm_eps"]}),
            },
            blocks={"cls": width, **dict.fromkeys(POOLED, width)},
            source=str(source),
        )

    def _prepare(self, waveform: NDArray[np.float32]) -> torch.Tensor:
        samples = self._samples(waveform)
        return normalised_fbank(
            samples - samples.mean(),
            mean=MEAN,
            std=STD,
            window="hanning",
            n_frames=self._settings["n_frames"],
        )

    def _embed(self, inputs: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
        tokens = self._model(inputs)
        return torch.cat([tokens[:, 0].float(), pool(tokens[:, 1:])], dim=1)


def _read_model(checkpoint: str, revision: str | None) -> tuple[EatModel, int, Path]:
    """Return the model, the number of frames in its input, and its file of weights."""
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
    check_supported(settings, _SUPPORTED, str(path))
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
    """Reject zero frames, or more than the model has positions for."""
    n_positions = model.fixed_positional_encoder["positions"].shape[1]
    patch = model.local_encoder.proj.kernel_size[0]
    most = n_positions // (N_MELS // patch) * patch
    # A shorter input uses the first positions.
    check_number(n_frames, patch, most, f"frames (img_size) of {source}")


def _build(tensors: Tensors, settings: Mapping[str, Any]) -> EatModel:
    return EatModel(
        tensors, n_heads=settings.get("num_heads"), norm_eps=settings["norm_eps"]
    )


def _tensors_of_pt(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of one of the authors' files, under the hub's names."""
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
