"""Projections that were initialised and never trained, found in their weights."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from clapstack.exceptions import CollapsedTowerWarning

# The deviation of n weights that are drawn, not learned, is off by 1 / sqrt(2 n): a per
# mille in published models. Four times that is allowed, and 5 % for half precision.
_TOLERANCE = 0.05
_ERRORS = 4


def warn_if_untrained(
    projections: Mapping[str, Any], source: Path, model: Any = None
) -> None:
    """Warn if the projection of a tower is as its constructor left it.

    Parameters
    ----------
    projections : mapping of {"audio", "text"} to Module
        Each with the layers `linear1` and `linear2`. Never trained is a projection if
        both have the weights of an initialisation, and biases of one.
    source : Path
        The file, for the message.
    model : ClapModel or None, default=None
        Where transformers drew the weights, if it did.
    """
    for tower, projection in projections.items():
        layers = (projection.linear1, projection.linear2)
        if all(_is_drawn(layer, model) for layer in layers):
            deviation = max(float(layer.weight.detach().std()) for layer in layers)
            msg = (
                f"The {tower} projection of {source} was never trained: its weights, "
                f"of standard deviation {deviation:.4f}, and its biases are those of "
                f"an initialisation. Embeddings of the {tower} tower mean nothing: use "
                f"another file of this model, or another checkpoint."
            )
            warnings.warn(msg, CollapsedTowerWarning, stacklevel=2)


def _is_drawn(layer: nn.Linear, model: Any) -> bool:
    weight = layer.weight.detach()
    bias = None if layer.bias is None else layer.bias.detach()
    # torch draws weights and biases from [-b, b], b = 1 / sqrt(n_inputs). A trained
    # layer of that deviation has weights out of this range.
    bound = 1 / math.sqrt(layer.in_features)
    within = float(weight.abs().max()) <= bound and (
        bias is None or float(bias.abs().max()) <= bound
    )
    if within and _is_near(weight, bound / math.sqrt(3)):
        return True
    # transformers draws weights from a normal distribution and sets biases to zero;
    # no bias of a trained layer is exactly zero.
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
