"""Models in transformers' format, loaded strictly."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from clapstack.encoders._weights import check_tensors, read_json, read_tensors
from clapstack.exceptions import CheckpointError

_NOTHING = re.compile(r"(?!)")

# torch renamed the halves of a normalised weight; published files have either name.
_RENAMED = {
    re.compile(r"\.weight_g$"): ".parametrizations.weight.original0",
    re.compile(r"\.weight_v$"): ".parametrizations.weight.original1",
}


def read_config(folder: Path, config_class: Any) -> Any:
    """Read the configuration of a model.

    Parameters
    ----------
    folder : Path
        Where ``config.json`` is.
    config_class : type
        Of transformers.

    Raises
    ------
    CheckpointError
        If it cannot be read, or is of another kind of model.
    """
    content = read_json(folder / "config.json")
    if content.get("model_type") != config_class.model_type:
        msg = (
            f"{folder / 'config.json'} describes a model of type "
            f"{content.get('model_type')!r}; one of type {config_class.model_type!r} "
            f"is needed."
        )
        raise CheckpointError(msg)
    return config_class.from_dict(content)


def load_model(
    build: Callable[[Mapping[str, torch.Tensor]], torch.nn.Module],
    weights: Path,
    *,
    prefix: re.Pattern[str] = _NOTHING,
    unused: re.Pattern[str] = _NOTHING,
) -> Any:
    """Build a model and load its weights.

    Parameters
    ----------
    build : callable
        Makes the model, given the tensors of the file. The random weights that it
        has at first do not touch the global generator.
    weights : Path
        As for `read_tensors`.
    prefix : Pattern, default=nothing
        What names in the file may start with, and the model's do not.
    unused : Pattern, default=nothing
        Names, without `prefix`, that may be there or not: no feature depends on them.
        Those that the model has are set to zero, so that its fingerprint does not
        depend on them either.

    Raises
    ------
    CheckpointError
        If the file is damaged, or a tensor is missing, unexpected or of wrong shape.
    """
    found = read_tensors(weights)
    return fill_model(build, found, weights, prefix=prefix, unused=unused)


def fill_model(
    build: Callable[[Mapping[str, torch.Tensor]], torch.nn.Module],
    found: Mapping[str, torch.Tensor],
    weights: Path,
    *,
    prefix: re.Pattern[str] = _NOTHING,
    unused: re.Pattern[str] = _NOTHING,
) -> Any:
    """Build a model and fill it with tensors that are read already.

    Parameters
    ----------
    build, prefix, unused
        As for `load_model`.
    found : mapping of str to Tensor
        What the file holds.
    weights : Path
        The file, for error messages.

    Raises
    ------
    CheckpointError
        If a tensor is missing, unexpected or of wrong shape.
    """
    tensors = {_renamed(name, prefix): tensor for name, tensor in found.items()}
    with torch.random.fork_rng(devices=[]):
        model = _built(build, tensors, weights)
    state = model.state_dict()
    check_tensors(tensors, state, source=weights, unused=unused)
    for name, tensor in state.items():
        if unused.search(name):
            tensor.zero_()
        else:
            tensor.copy_(tensors[name])
    return model


def _built(
    build: Callable[[Mapping[str, torch.Tensor]], torch.nn.Module],
    tensors: Mapping[str, torch.Tensor],
    weights: Path,
) -> torch.nn.Module:
    try:
        return build(tensors)
    except KeyError as error:  # a tensor that tells the model's size
        msg = f"{weights} does not match its model. Tensors missing: {error.args[0]}."
        raise CheckpointError(msg) from error


def _renamed(name: str, prefix: re.Pattern[str]) -> str:
    if match := prefix.match(name):
        name = name[match.end() :]
    for old, new in _RENAMED.items():
        name = old.sub(new, name)
    return name
