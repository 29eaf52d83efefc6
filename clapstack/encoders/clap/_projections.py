"""Detection of projections that were initialised but never trained."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from clapstack.exceptions import CollapsedTowerWarning

# The relative error of the standard deviation of n random weights is 1 / sqrt(2 n):
# 0.1 % in published models. Four times that is allowed, and 5 % for half precision.
_TOLERANCE = 0.05
_ERRORS = 4


def warn_if_untrained(
    projections: Mapping[str, Any], source: Path, model: Any = None
) -> None:
    """Warn if the projection of a tower still has its initial weights.

    Parameters
    ----------
    projections : mapping of {"audio", "text"} to Module
        Each with the layers `linear1` and `linear2`. A projection counts as untrained
        if the weights and biases of both look like an initialisation.
    source : Path
        The file, for the message.
    model : ClapModel or None, default=None
        Model whose weights transformers may have initialised.
    """
    for tower, projection in projections.items():
        layers = (projection.linear1, projection.linear2)
        if all(_is_drawn(layer, model) for layer in layers):
            deviation = max(float(layer.weight.detach().std()) for layer in layers)
            msg = (
                f"The {tower} projection of {source} was never trained: its weights "
                f"(standard deviation {deviation:.4f}) and biases are those of an "
                f"initialisation, so embeddings of the {tower} tower are meaningless. "
                f"Use another file of this model, or another checkpoint."
            )
            warnings.warn(msg, CollapsedTowerWarning, stacklevel=2)


def _is_drawn(layer: nn.Linear, model: Any) -> bool:
    weight = layer.weight.detach()
    bias = None if layer.bias is None else layer.bias.detach()
    # torch draws weights and biases from [-b, b], b = 1 / sqrt(n_inputs). A trained
    # layer with that deviation has weights outside this range.
    bound = 1 / math.sqrt(layer.in_features)
    within = float(weight.abs().max()) <= bound and (
        bias is None or float(bias.abs().max()) <= bound
    )
    if within and _is_near(weight, bound / math.sqrt(3)):
        return True
    # transformers draws weights from a normal distribution and sets biases to zero;
    # the bias of a trained layer is never exactly zero.
    if bias is None or bias.any():
        return False
    stds = [0.02]
    if model is not None:
        for config in (model.config, model.config.text_config):
            width, depth = config.hidden_size, config.num_hidden_layers
            stds.append(config.initializer_factor / math.sqrt(2 * width * depth))
    return any(_is_near(weight, std) for std in stds)


def _is_near(weight: torch.Tensor, std: float) -> bool:
    error = _ERRORS / math.sqrt(2 * weight.numel())
    return abs(float(weight.std()) / std - 1) <= max(_TOLERANCE, error)
