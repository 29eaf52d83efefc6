"""Models built to match their tensors: configurations, shapes, strict loading."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from reprlib import repr as short_repr
from typing import Any

import torch
from transformers import PretrainedConfig

from clapstack.encoders._reading import (
    MOST_LAYERS,
    check_number,
    check_tensors,
    guarded,
    read_json,
    read_tensors,
)
from clapstack.exceptions import CheckpointError

_NOTHING = re.compile(r"(?!)")

# torch renamed the parts of a normalised weight; published files use either name.
_RENAMED = {
    re.compile(r"\.weight_g$"): ".parametrizations.weight.original0",
    re.compile(r"\.weight_v$"): ".parametrizations.weight.original1",
}

# The settings common to all configurations of transformers describe how to run and save
# a model, and may name code or kernels to download. Only these describe the model.
_OF_MODELS = {"pad_token_id", "bos_token_id", "eos_token_id", "vocab_size"}
# The largest size of a published model is a vocabulary of 250,000 tokens.
_MOST_SIZE = 10_000_000
HEAD_WIDTH = 64  # of attention, in all published models whose file does not specify it


class Tensors(dict[str, torch.Tensor]):
    """Tensors of a file, whose shapes determine the sizes of its model.

    Access to a missing tensor raises CheckpointError.
    """

    def __init__(self, tensors: Mapping[str, torch.Tensor], source: Path):
        super().__init__(tensors)
        self.source = source

    def __missing__(self, name: str) -> torch.Tensor:
        msg = f"{self.source} does not match its model. Tensors missing: {name}."
        raise CheckpointError(msg)


def count_modules(names: Iterable[str], pattern: str) -> int:
    """Count numbered modules; the group of `pattern` is the number.

    Existing numbers are counted, since a single forged name could claim a billion.
    """
    found = (re.match(pattern, name) for name in names)
    n_modules = len({match[1] for match in found if match})
    check_number(n_modules, 0, MOST_LAYERS, f"Number of modules named {pattern!r}")
    return n_modules


def count_text_heads(width: int, source: Path) -> int:
    """Return the number of attention heads of a text tower, which no tensor reveals."""
    if width % HEAD_WIDTH:
        msg = (
            f"The text tower of {source} has width {width}. Its attention heads cannot "
            f"be inferred, because that is not a multiple of {HEAD_WIDTH}."
        )
        raise CheckpointError(msg)
    return width // HEAD_WIDTH


def check_supported(
    settings: Mapping[str, Any], supported: Mapping[str, Any], place: str
) -> None:
    """Reject settings that no published model uses."""
    for name, needed in supported.items():
        found = settings[name]
        # Type first: a value from a file may have no truth value, or be endless.
        if not isinstance(found, bool | int | str) or found != needed:
            msg = (
                f"{place} has {name}={short_repr(found)}; only {needed!r}, as in the "
                f"published files, is supported. Compare it with the publisher's file."
            )
            raise CheckpointError(msg)


def read_config(folder: Path, config_class: Any) -> Any:
    """Read ``config.json`` of a folder with a configuration class of transformers.

    Raises CheckpointError if it describes another kind of model, or if the type or sign
    of a value differs from its default's.
    """
    path = folder / "config.json"
    return config_from(read_json(path), config_class, path)


def config_from(content: Mapping[str, Any], config_class: Any, path: Path) -> Any:
    """Apply `read_config` to the content, or a part, of the file `path`."""
    with guarded(str(path)):
        return config_class.from_dict(_of_model(content, config_class(), path))


# Former names in ModernBERT's configuration, which transformers 5 still reads.
_FORMER = {
    "global_attn_every_n_layers": 3,
    "global_rope_theta": 160_000.0,
    "local_rope_theta": 10_000.0,
}


def _of_model(content: Mapping[str, Any], default: Any, path: Path) -> Any:
    """Return the entries that describe the model, checked against their defaults."""
    if content.get("model_type") != default.model_type:
        msg = (
            f"{path} describes a model of type "
            f"{short_repr(content.get('model_type'))}; one of type "
            f"{default.model_type!r} is needed."
        )
        raise CheckpointError(msg)
    defaults = _FORMER | default.to_dict()
    common = PretrainedConfig().to_dict().keys() - _OF_MODELS
    described = {}
    for name, value in content.items():
        if name not in defaults or name in common:
            continue
        if name in default.sub_configs:
            if not isinstance(value, dict):
                msg = f"{name} in {path} must be an object; got {short_repr(value)}."
                raise CheckpointError(msg)
            part = getattr(default, name)
            # Parts of old files do not specify their type.
            value = _of_model({"model_type": part.model_type} | value, part, path)
        else:
            _check_like(value, defaults[name], f"{name} in {path}")
            if name.endswith("dropout") and value is not None:
                # Unused here, but torch checks it in every forward pass.
                check_number(value, 0, 1, f"{name} in {path}", whole=False)
        described[name] = value
    return described


def _check_like(value: Any, default: Any, what: str) -> None:
    """Reject a value whose type differs from its default's; None is always allowed."""
    if value is None or default is None:
        return
    if isinstance(default, bool | str):
        kind = type(default)
        if not isinstance(value, kind):
            msg = (
                f"{what} must be a {kind.__name__}; got {short_repr(value)}. Compare "
                f"it with the publisher's file."
            )
            raise CheckpointError(msg)
    elif isinstance(default, int):
        check_number(value, min(default, 0), _MOST_SIZE, what)
    elif isinstance(default, float):
        check_number(value, -1e9, 1e9, what, whole=False)


def load_model(
    build: Callable[[Tensors], torch.nn.Module],
    weights: Path,
    *,
    prefix: re.Pattern[str] = _NOTHING,
    unused: re.Pattern[str] = _NOTHING,
) -> Any:
    """Build a model and load its weights: `fill_model` with the tensors of a file."""
    found = read_tensors(weights)
    return fill_model(build, found, weights, prefix=prefix, unused=unused)


def fill_model(
    build: Callable[[Tensors], torch.nn.Module],
    found: Mapping[str, torch.Tensor],
    weights: Path,
    *,
    prefix: re.Pattern[str] = _NOTHING,
    unused: re.Pattern[str] = _NOTHING,
) -> Any:
    """Build a model and fill it with tensors that have already been read.

    Parameters
    ----------
    build : callable
        Creates the model, given the tensors of the file. Its initial random weights do
        not affect the global generator.
    found : mapping of str to Tensor
        Tensors of the file. A tensor that is missing, unexpected or of wrong shape is
        an error.
    weights : Path
        The file, for error messages.
    prefix : Pattern, default=nothing
        Prefix that names in the file may have and the model's do not.
    unused : Pattern, default=nothing
        Names, without `prefix`, of optional tensors: no feature depends on them. Those
        that the model has are set to zero, so that its fingerprint does not depend on
        them either.
    """
    renamed = {_renamed(name, prefix): tensor for name, tensor in found.items()}
    tensors = Tensors(renamed, weights)
    model = build_checked(lambda: build(tensors), tensors, unused=unused)
    for name, tensor in model.state_dict().items():
        if unused.search(name):
            tensor.zero_()
        else:
            tensor.copy_(tensors[name])
    return model


def build_checked(
    build: Callable[[], Any],
    tensors: Tensors,
    *,
    unused: re.Pattern[str],
    named: Callable[[Mapping[str, torch.Tensor]], Mapping[str, torch.Tensor]] = dict,
) -> Any:
    """Build a model whose tensors have the names and shapes of those of a file.

    The model is first built without memory (on torch's device "meta") and compared, so
    that sizes which a configuration or a forged name claims are allocated only if the
    file has them. `named` gives the tensors of a ``state_dict()`` the names of the
    file; those of `unused` are not compared.
    """
    with torch.random.fork_rng(devices=[]):
        with torch.device("meta"):
            state = build().state_dict()
        check_tensors(tensors, named(state), source=tensors.source, unused=unused)
        return build()


def _renamed(name: str, prefix: re.Pattern[str]) -> str:
    if match := prefix.match(name):
        name = name[match.end() :]
    for old, new in _RENAMED.items():
        name = old.sub(new, name)
    return name
