"""BEATs, from the authors' files of weights.

Settings of the model that its tensors do not reveal are in the file's "cfg".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from clapstack.encoders._base import unusual
from clapstack.encoders._finding import find_file
from clapstack.encoders._kaldi import SAMPLE_RATE, normalised_fbank, window_of
from clapstack.encoders._pretrained import (
    Tensors,
    check_supported,
    count_modules,
    fill_model,
)
from clapstack.encoders._reading import check_number, read_content, tensors_in
from clapstack.encoders.audio._base import POOLED, AudioEncoder, pool
from clapstack.encoders.audio._beats_model import BeatsModel
from clapstack.exceptions import CheckpointError

WINDOW_SECONDS = 10
# The authors pass 16-bit integers to Kaldi's filter bank, not samples below 1.
FULL_SCALE = 2**15
MEAN, STD = 15.41663, 6.55582

_FINE_TUNED = "BEATs_iter3_plus_AS2M_finetuned_on_AS2M_cpt2.pt"
_ORIGIN = (
    f"one of the authors' .pt files, such as {_FINE_TUNED}, which Microsoft's project "
    f"unilm links to in its folder beats"
)

# Defaults of the authors' code for what "cfg" lacks, and values of all published files.
_DEFAULTS = {
    "layer_norm_first": False,
    "deep_norm": False,
    "activation_fn": "gelu",
    "relative_position_embedding": False,
    "gru_rel_pos": False,
    "max_distance": 1280,
    "conv_pos_groups": 16,
}
_SUPPORTED = {
    "layer_norm_first": False,
    "activation_fn": "gelu",
    "relative_position_embedding": True,
    "gru_rel_pos": True,
}


class BeatsEncoder(AudioEncoder):
    """BEATs fine-tuned on AudioSet: logits of its classes, averaged over time.

    Logits are taken before the sigmoid, as in the paper. A clip of up to 10 s is
    encoded whole and without padding, except that zeros are appended to a clip shorter
    than a patch (0.175 s), which the authors' code rejects.
    """

    fixed_length: ClassVar[bool] = False

    @classmethod
    def _read(cls, checkpoint: str, revision: str | None) -> partial[Any]:
        """Read a file of the authors."""
        weights = find_file(checkpoint, revision, _ORIGIN)
        model = _read_model(weights)
        return partial(
            cls,
            model=model,
            settings={
                "sample_rate": SAMPLE_RATE,
                "window": WINDOW_SECONDS * SAMPLE_RATE,
                "shortest": window_of(model.patch),
                "full_scale": FULL_SCALE,
                "mean": MEAN,
                "std": STD,
                **_unusual(model.encoder),
            },
            blocks=cls._blocks(model, weights),
            source=str(weights),
        )

    @classmethod
    def _blocks(cls, model: BeatsModel, weights: Path) -> dict[str, int]:
        if model.predictor is None:
            msg = (
                f"{weights} is only pre-trained: it has no classes and thus no logits. "
                f"Use a fine-tuned file, such as {_FINE_TUNED}, or output='embedding'."
            )
            raise CheckpointError(msg)
        return {"logit": model.predictor.out_features}

    def _prepare(self, waveform: NDArray[np.float32]) -> torch.Tensor:
        samples = FULL_SCALE * self._samples(waveform)
        return normalised_fbank(samples, mean=MEAN, std=STD, window="povey")

    def _embed(self, inputs: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
        return self._model.predictor(self._model(inputs)).float().mean(dim=1)


class BeatsStatesEncoder(BeatsEncoder):
    """BEATs, fine-tuned or not: mean, standard deviation and maximum of its states."""

    @classmethod
    def _blocks(cls, model: BeatsModel, weights: Path) -> dict[str, int]:
        return dict.fromkeys(POOLED, len(model.encoder.layer_norm.weight))

    def _embed(self, inputs: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
        return pool(self._model(inputs))


def _read_model(weights: Path) -> BeatsModel:
    content = read_content(weights)
    config = content.get("cfg") if isinstance(content, Mapping) else None
    if not isinstance(config, Mapping):
        msg = (
            f"{weights} has no 'cfg', which must describe the model. A BEATs "
            f"checkpoint is {_ORIGIN}."
        )
        raise CheckpointError(msg)
    build = _builder({**_DEFAULTS, **config}, weights)
    return fill_model(build, tensors_in(content, weights), weights)


def _builder(config: Mapping[str, Any], weights: Path) -> Callable[..., BeatsModel]:
    check_supported(config, _SUPPORTED, f"The 'cfg' of {weights}")
    for name in ("max_distance", "conv_pos_groups"):
        check_number(config[name], 1, 1 << 20, f"{name} in the 'cfg' of {weights}")
    if not isinstance(config["deep_norm"], bool | int):
        msg = f"deep_norm in the 'cfg' of {weights} must be true or false."
        raise CheckpointError(msg)

    def build(tensors: Tensors) -> BeatsModel:
        depth = count_modules(tensors, r"encoder\.layers\.(\d+)\.")
        return BeatsModel(
            tensors,
            residual_scale=_deep_norm_scale(depth) if config["deep_norm"] else 1.0,
            max_distance=config["max_distance"],
            conv_groups=config["conv_pos_groups"],
        )

    return build


def _deep_norm_scale(depth: int) -> float:
    """Return DeepNorm's α for a depth, which keeps deep encoders stable."""
    return (2 * depth) ** 0.25


def _unusual(encoder: Any) -> dict[str, Any]:
    """Return what no tensor shows and is not as in the published files."""
    layers = encoder.layers
    return {
        **unusual(encoder, {"max_distance": 800}),
        **unusual(layers[0], {"residual_scale": _deep_norm_scale(len(layers))}),
    }
