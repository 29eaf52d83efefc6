"""A fitted model as JSON and arrays, and back."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator

from clapstack.sharing._archive import array_bytes
from clapstack.sharing._trust import (
    STATELESS,
    check_instance,
    check_state,
    class_name,
    import_class,
)

_BIT_GENERATORS = {
    kind.__name__: kind
    for kind in (
        np.random.MT19937,
        np.random.PCG64,
        np.random.PCG64DXSM,
        np.random.Philox,
        np.random.SFC64,
    )
}
# What an instance without a __reduce__ of its own reduces to.
_PLAIN = object().__reduce_ex__(2)[0]
# Folders of the machine that saved, which no other machine has to write to.
_FOLDERS = {"cache": "auto", "memory": None}


class Encoder:
    """Turns a model into JSON; instances and arrays are kept once each.

    Attributes
    ----------
    objects : list of dict
        One entry per instance: its class and state. An instance comes after all that
        it holds.
    arrays : list of bytes
        Arrays in the ``.npy`` format.
    """

    def __init__(self) -> None:
        self.objects: list[dict[str, Any]] = []
        self.arrays: list[bytes] = []
        self._numbers: dict[int, int | None] = {}
        self._kept: list[Any] = []  # alive, so that no id is used again

    def encode(self, value: Any, where: str) -> Any:
        """Return `value` as JSON; `where` names it in errors."""
        kind = type(value)
        if value is None or kind in (bool, int, str):
            return value
        if kind is float:
            return value if math.isfinite(value) else {"float": repr(value)}
        if kind in (list, tuple):
            items = [self.encode(v, f"{where}[{i}]") for i, v in enumerate(value)]
            return items if kind is list else {"tuple": items}
        if kind is dict:
            return {"dict": self._encode_dict(value, where)}
        if kind is np.ndarray:
            return self._encode_array(value, where)
        if isinstance(value, np.generic) and _is_plain_scalar(value):
            return {"scalar": value.dtype.str, "of": self.encode(value.item(), where)}
        if isinstance(value, pd.Index):
            return self._encode_index(value, where)
        if isinstance(value, os.PathLike):
            return {"path": os.fspath(value)}
        if kind in (np.random.RandomState, np.random.Generator):
            return self._encode_random(value, where)
        return {"object": self._encode_object(value, where)}

    def _encode_dict(self, value: dict[Any, Any], where: str) -> list[Any]:
        return [
            [self.encode(k, f"key {k!r} of {where}"), self.encode(v, f"{where}[{k!r}]")]
            for k, v in value.items()
        ]

    def _encode_array(self, value: np.ndarray, where: str) -> Any:
        shape = list(value.shape)
        if value.dtype.hasobject:
            return {"items": self.encode(value.ravel().tolist(), where), "shape": shape}
        if value.size == 0:  # a tree has two: hundreds of members less
            return {"empty": value.dtype.str, "shape": shape}
        if id(value) not in self._numbers:
            self._remember(value, len(self.arrays))
            self.arrays.append(array_bytes(value))
        return {"array": self._numbers[id(value)]}

    def _remember(self, value: Any, number: int | None) -> None:
        self._numbers[id(value)] = number
        self._kept.append(value)

    def _encode_index(self, value: pd.Index, where: str) -> Any:
        labels = value.tolist()
        if value.nlevels > 1 or not all(type(label) is str for label in labels):
            raise _unsupported(value, where)
        return {"labels": labels, "name": self.encode(value.name, f"{where}.name")}

    def _encode_random(self, value: Any, where: str) -> Any:
        kind = type(value).__name__
        legacy = kind == "RandomState"
        state = value.get_state(legacy=False) if legacy else value.bit_generator.state
        if state["bit_generator"] not in _BIT_GENERATORS:
            raise _unsupported(value, where)
        return {"random": kind, "state": self.encode(state, where)}

    def _encode_object(self, value: Any, where: str) -> int:
        number = self._numbers.get(id(value), -1)
        if number is None:
            msg = f"{where} holds itself, which a model file cannot say."
            raise TypeError(msg)
        if number >= 0:
            return number
        self._remember(value, None)
        cls = type(value)
        name = class_name(cls)
        entry: dict[str, Any] = {"class": name}
        if name not in STATELESS:
            entry["state"] = {
                key: self.encode(item, f"{where}.{key}")
                for key, item in _plain_state(value, where).items()
            }
        self.objects.append(entry)
        self._numbers[id(value)] = len(self.objects) - 1
        return len(self.objects) - 1


def decode(
    objects: list[dict[str, Any]], root: Any, read_array: Callable[[int], np.ndarray]
) -> Any:
    """Build the model from what `Encoder` made of it.

    Classes must have been found trustworthy by their names before.
    """
    built: list[Any] = []

    def value_of(code: Any) -> Any:
        if code is None or isinstance(code, (bool, int, float, str)):
            return code
        if isinstance(code, list):
            return [value_of(item) for item in code]
        (kind, content), *more = code.items()
        rest = dict(more)
        if kind == "float":
            return {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}[content]
        if kind == "tuple":
            return tuple(value_of(item) for item in content)
        if kind == "dict":
            return {value_of(key): value_of(item) for key, item in content}
        if kind == "array":
            return read_array(content)
        if kind == "scalar":
            return np.dtype(content).type(value_of(rest["of"]))
        if kind == "empty":
            return _empty(content, rest["shape"])
        if kind == "items":
            array = np.empty(len(content), dtype=object)
            for number, item in enumerate(content):
                array[number] = value_of(item)
            return array.reshape(rest["shape"])
        if kind == "labels":
            return pd.Index(value_of(content), name=value_of(rest["name"]))
        if kind == "path":
            return Path(content)
        if kind == "random":
            return _random(content, value_of(rest["state"]))
        if kind == "object" and 0 <= content < len(built):
            return built[content]
        msg = f"a value of the unknown kind {kind!r}"
        raise ValueError(msg)

    for entry in objects:
        cls = import_class(entry["class"])
        state = entry.get("state")
        if state is not None:
            state = {key: value_of(code) for key, code in state.items()}
        built.append(_build(cls, state))
    return value_of(root)


def _is_plain_scalar(value: np.generic) -> bool:
    """Tell whether a Python scalar says all of a numpy scalar."""
    small = value.dtype.kind in "biuf" and value.dtype.itemsize <= 8
    return small or value.dtype.kind == "U"


def _plain_state(value: Any, where: str) -> dict[str, Any]:
    """Return the state of an instance that is no more than its attributes."""
    # A function or a class reduces to its name alone, and most compiled types to a
    # call; neither is data.
    try:
        reduced = value.__reduce_ex__(2)
    except TypeError as error:
        raise _unsupported(value, where) from error
    plain = (
        isinstance(reduced, tuple)
        and reduced[0] is _PLAIN
        and reduced[1] == (type(value),)
        and (reduced[2] is None or isinstance(reduced[2], dict))
        and all(part is None for part in reduced[3:])
    )
    if not plain or "<locals>" in type(value).__qualname__:
        raise _unsupported(value, where)
    state = dict(reduced[2] or {})
    # The manifest has the versions, once.
    state.pop("_sklearn_version", None)
    for name, instead in _FOLDERS.items():
        if isinstance(state.get(name), (str, os.PathLike)):
            state[name] = instead
    return state


def _build(cls: type, state: dict[str, Any] | None) -> Any:
    if state is None:
        if class_name(cls) not in STATELESS:
            msg = f"{class_name(cls)} has no state"
            raise ValueError(msg)
        return cls()
    check_state(cls, state)
    for name, allowed in _FOLDERS.items():
        if state.get(name) is not None and state[name] != allowed:
            msg = f"{class_name(cls)} has the folder {state[name]!r} for {name!r}"
            raise ValueError(msg)
    instance: Any = object.__new__(cls)
    restore = getattr(cls, "__setstate__", None)
    if restore is None or restore is BaseEstimator.__setstate__:
        instance.__dict__.update(state)
    else:
        restore(instance, state)
    check_instance(instance)
    return instance


def _empty(dtype: str, shape: list[int]) -> np.ndarray:
    if 0 not in shape:
        msg = f"an empty array of shape {shape}"
        raise ValueError(msg)
    return np.empty(shape, dtype)


def _random(kind: str, state: dict[str, Any]) -> Any:
    # The sequence of seeds that a Generator may spawn from is not kept.
    bits: Any = _BIT_GENERATORS[state["bit_generator"]]()
    if kind == "Generator":
        bits.state = state
        return np.random.Generator(bits)
    made = np.random.RandomState(bits)
    made.set_state(state)
    return made


def _unsupported(value: Any, where: str) -> TypeError:
    kind = type(value)
    return TypeError(
        f"{where} is a {kind.__module__}.{kind.__qualname__}, which a model file "
        "cannot hold: it holds numbers, text, arrays, and instances with plain "
        "attributes. Replace it, or use joblib, whose files run what is in them when "
        "they are loaded."
    )
