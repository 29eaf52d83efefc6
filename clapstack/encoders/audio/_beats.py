"""BEATs, from the authors' files of weights.

What the tensors of a file do not tell about the model stands in its "cfg".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from reprlib import repr as short_repr
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from clapstack.encoders._brought import find_file
from clapstack.encoders._kaldi import kaldi_fbank
from clapstack.encoders._pretrained import fill_model
from clapstack.encoders._reading import check_number, read_content, tensors_in
from clapstack.encoders.audio._base import POOLED, AudioEncoder, pool
from clapstack.encoders.audio._beats_model import BeatsModel
from clapstack.encoders.clap._htsat_names import count_modules
from clapstack.exceptions import CheckpointError

SAMPLE_RATE = 16_000
WINDOW_SECONDS = 10
FULL_SCALE = 2**15
# Statistics of AudioSet's filter bank; the authors divide by twice the deviation.
MEAN, STD = 15.41663, 6.55582
_FIRST_FRAME, _HOP = 400, 160  # samples

_FINE_TUNED = "BEATs_iter3_plus_AS2M_finetuned_on_AS2M_cpt2.pt"
_ORIGIN = (
    f"a .pt file of the authors, such as {_FINE_TUNED}, to which the folder beats of "
    f"Microsoft's project unilm links"
)

# What the authors' code takes where "cfg" is silent, and what all published files have.
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

    The logits are those before the sigmoid, as the paper takes them. A clip of up to
    10 s is heard whole, whatever its length: there is no padding but zeros behind a
    clip shorter than a patch (0.175 s), which the authors' code refuses.
    """

    fixed_length: ClassVar[bool] = False

    @classmethod
    def _read(cls, checkpoint: str, revision: str | None) -> dict[str, Any]:
        """Read a file of the authors; `revision` has no meaning for it."""
        weights = find_file(checkpoint, _ORIGIN)
        model = _read_model(weights)
        shortest = _FIRST_FRAME + (model.patch - 1) * _HOP
        return {
            "model": model,
            "settings": {
                "sample_rate": SAMPLE_RATE,
                "window": WINDOW_SECONDS * SAMPLE_RATE,
                "shortest": shortest,
                "full_scale": FULL_SCALE,
                "mean": MEAN,
                "std": STD,
            },
            "blocks": cls._blocks(model, weights),
            "source": str(weights),
        }

    @classmethod
    def _blocks(cls, model: BeatsModel, weights: Path) -> dict[str, int]:
        if model.predictor is None:
            msg = (
                f"{weights} is pre-trained only: it has no classes, and so no logits. "
                f"Use a fine-tuned file, such as {_FINE_TUNED}, or take its states."
            )
            raise CheckpointError(msg)
        return {"logit": model.predictor.out_features}

    def _prepare(self, waveform: NDArray[np.float32]) -> torch.Tensor:
        samples = torch.from_numpy(waveform)[None].to(self._front_end_device)
        mel = kaldi_fbank(FULL_SCALE * samples, window="povey")[0]
        return (mel - MEAN) / (2 * STD)

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
            f"{weights} has no 'cfg', which describes the model beside its weights. "
            f"A BEATs checkpoint is {_ORIGIN}."
        )
        raise CheckpointError(msg)
    build = _builder({**_DEFAULTS, **config}, weights)
    return fill_model(build, tensors_in(content, weights), weights)


def _builder(config: Mapping[str, Any], weights: Path) -> Callable[..., BeatsModel]:
    for name, needed in _SUPPORTED.items():
        # By type first: what a file holds may have no truth value, or no end.
        if not isinstance(config[name], bool | int | str) or config[name] != needed:
            msg = (
                f"The 'cfg' of {weights} has {name}={short_repr(config[name])}; only "
                f"{needed!r}, as in the published files, is supported."
            )
            raise CheckpointError(msg)

    for name in ("max_distance", "conv_pos_groups"):
        check_number(config[name], 1, 1 << 20, f"{name} in the 'cfg' of {weights}")
    if not isinstance(config["deep_norm"], bool | int):
        msg = f"deep_norm in the 'cfg' of {weights} must be true or false."
        raise CheckpointError(msg)

    def build(tensors: Mapping[str, torch.Tensor]) -> BeatsModel:
        depth = count_modules(tensors, r"encoder\.layers\.(\d+)\.")
        return BeatsModel(
            tensors,
            residual_scale=(2 * depth) ** 0.25 if config["deep_norm"] else 1.0,
            max_distance=config["max_distance"],
            conv_groups=config["conv_pos_groups"],
        )

    return build
