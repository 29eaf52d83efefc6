"""Conversion of a fitted model to JSON and arrays, and back."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator

from clapstack.exceptions import ModelFileError
from clapstack.sharing._archive import MOST_DIGITS, array_bytes
from clapstack.sharing._instances import (
    MOST_COLUMNS,
    check_array,
    check_dtype,
    check_instance,
    check_random_state,
    check_state,
    with_defaults,
)
from clapstack.sharing._names import CLASSES, ENCODERS, MOVED, STATELESS, class_name
from clapstack.sharing._trust import Trust, is_elsewhere

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
# Function to which an instance without a custom __reduce__ reduces.
_PLAIN = object().__reduce_ex__(2)[0]
# Parameters with folders of the saving machine, and their value in files: other
# machines must not write to those folders.
_FOLDERS = {"cache": "auto", "memory": None}
# Number of processes on the saving machine; loading starts none.
_JOBS = "n_jobs"

# Cost of a JSON value in bytes, an upper bound of its memory.
_VALUE_COST = 100
_CHECKED_ROWS = 5
_FLOAT64 = 8
_SCALARS = frozenset("biufU")
# Deepest nesting of lists, dicts and instances; a stack has 14.
_DEEPEST = 100


class Encoder:
    """Converts a model to JSON, with each instance and array stored once.

    Attributes
    ----------
    objects : list of dict
        One entry per instance: its class and state. Instances come after everything
        that they contain.
    arrays : list of bytes
        Arrays in the ``.npy`` format.
    """

    def __init__(self) -> None:
        self.objects: list[dict[str, Any]] = []
        self.arrays: list[bytes] = []
        self._numbers: dict[int, int | None] = {}
        self._kept: list[Any] = []  # kept alive, so that no id is reused

    def encode(self, value: Any, where: str) -> Any:
        """Return `value` as JSON; `where` names it in errors."""
        kind = type(value)
        if kind is int and value.bit_length() > 3 * MOST_DIGITS:
            raise _unsupported(value, where)
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
        if value.size == 0:  # every tree has two; this saves hundreds of members
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
            msg = (
                f"{where} contains itself, which a model file cannot represent. "
                "Remove the reference."
            )
            raise TypeError(msg)
        if number >= 0:
            return number
        self._remember(value, None)
        cls = type(value)
        name = class_name(cls)
        if name.startswith("clapstack.") and name not in CLASSES:
            msg = (
                f"{where} is a {name}, which model files do not support. Replace it, "
                "or use joblib, whose files can run code when they are loaded."
            )
            raise TypeError(msg)
        entry: dict[str, Any] = {"class": name}
        if name not in STATELESS:
            entry["state"] = {
                key: self.encode(item, f"{where}.{key}")
                for key, item in _plain_state(value, where).items()
            }
        self.objects.append(entry)
        self._numbers[id(value)] = len(self.objects) - 1
        return len(self.objects) - 1


class Decoded(NamedTuple):
    """A rebuilt model.

    Attributes
    ----------
    model : Any
        The model.
    instances : list
        Every instance in it, in the order of the file.
    with_encoders : list
        The instances that are or contain an encoder.
    """

    model: Any
    instances: list[Any]
    with_encoders: list[Any]

    def has_encoder(self, instance: Any) -> bool:
        """Return whether an instance is or contains an encoder."""
        return any(instance is other for other in self.with_encoders)


class _Extent(NamedTuple):
    """Size of an instance with all its parts, counted as often as it contains them."""

    cost: int
    height: int
    has_encoder: bool


class _Decoder:
    """Rebuilds the instances of a file one by one, each from those before it.

    An instance that is used twice is built once but computes twice: a few hundred lines
    can nest pipelines of two equal steps to 2^50 steps. Instances are therefore counted
    as often as they are used, and large files are refused before anything walks through
    them.
    """

    def __init__(
        self,
        read_array: Callable[[int], np.ndarray],
        trust: Trust,
        most: int,
    ):
        self.built: list[Any] = []
        self.extents: list[_Extent] = []
        self._read_array = read_array
        self._trust = trust
        self._most = most
        self._cost = 0
        self._height = 0
        self._has_encoder = False
        self._kinds: dict[str, Callable[..., Any]] = {
            "array": self._array,
            "dict": self._dict,
            "empty": self._empty,
            "float": self._float,
            "items": self._items,
            "labels": self._labels,
            "object": self._object,
            "path": self._path,
            "random": self._random,
            "scalar": self._scalar,
            "tuple": self._tuple,
        }

    def add(self, entry: dict[str, Any]) -> None:
        """Build the next instance."""
        name = MOVED.get(entry["class"], entry["class"])
        self._cost, self._height, self._has_encoder = 0, 0, name in ENCODERS
        cls = self._trust.find_class(name)
        state = entry.get("state")
        if state is not None:
            state = {key: self.value(code, 1) for key, code in state.items()}
            width = state.get("n_features_in_")
            if isinstance(width, int):  # the check computes with rows of this width
                self._add(_CHECKED_ROWS * _FLOAT64 * width)
        self.built.append(_build(cls, name, state, self._trust))
        extent = _Extent(self._cost, self._height, self._has_encoder)
        self.extents.append(extent)

    def value(self, code: Any, depth: int) -> Any:
        """Return the value of some JSON."""
        self._add(_VALUE_COST, depth)
        if code is None or isinstance(code, (bool, int, str)):
            return code
        if isinstance(code, float):
            if not math.isfinite(code):
                msg = f"a number of {code}"
                raise ValueError(msg)
            return code
        if isinstance(code, list):
            return [self.value(item, depth + 1) for item in code]
        (kind, content), *more = code.items()
        if kind not in self._kinds:
            msg = f"a value of the unknown kind {kind!r:.80}"
            raise ValueError(msg)
        return self._kinds[kind](content, depth, **dict(more))

    def _add(self, cost: int, height: int = 0) -> None:
        self._cost += cost
        self._height = max(self._height, height)
        if self._height > _DEEPEST:
            msg = f"its parts are nested more than {_DEEPEST} deep"
            raise ValueError(msg)
        if self._cost > self._most:
            msg = (
                "with every part counted as often as it is used, it takes more than "
                f"{self._most:,} bytes"
            )
            raise ValueError(msg)

    def _array(self, content: Any, depth: int) -> np.ndarray:
        array = check_array(self._read_array(content))
        self._add(array.nbytes)
        return array

    def _dict(self, content: Any, depth: int) -> dict[Any, Any]:
        inner = depth + 1
        return {self.value(k, inner): self.value(v, inner) for k, v in content}

    def _empty(self, content: Any, depth: int, shape: Any) -> np.ndarray:
        if 0 not in shape or max(shape) > MOST_COLUMNS:
            msg = f"an empty array of shape {shape!r:.80}"
            raise ValueError(msg)
        # The dtype is checked first, because NumPy allocates one item of it.
        return np.empty(shape, check_dtype(np.dtype(content)))

    def _float(self, content: Any, depth: int) -> float:
        return {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}[content]

    def _items(self, content: Any, depth: int, shape: Any) -> np.ndarray:
        array = np.empty(len(content), dtype=object)
        for number, item in enumerate(content):
            array[number] = self.value(item, depth + 1)
        return array.reshape(shape)

    def _labels(self, content: Any, depth: int, name: Any) -> pd.Index:
        if not all(type(label) is str for label in content):
            msg = "labels that are not texts"
            raise ValueError(msg)
        return pd.Index(self.value(content, depth), name=self.value(name, depth))

    def _object(self, content: Any, depth: int) -> Any:
        if type(content) is not int or not 0 <= content < len(self.built):
            msg = (
                f"a reference to instance {content!r:.80}, which does not come earlier"
            )
            raise ValueError(msg)
        extent = self.extents[content]
        self._add(extent.cost, depth + extent.height)
        self._has_encoder |= extent.has_encoder
        return self.built[content]

    def _path(self, content: Any, depth: int) -> Path:
        return Path(content)

    def _random(self, content: Any, depth: int, state: Any) -> Any:
        return _random(content, self.value(state, depth + 1))

    def _scalar(self, content: Any, depth: int, of: Any) -> np.generic:
        dtype = np.dtype(content)
        plain = dtype.kind in _SCALARS and not isinstance(of, (list, dict))
        if not plain or not _is_plain_scalar(scalar := dtype.type(of)):
            msg = f"a scalar of dtype {content!r:.80}"
            raise ValueError(msg)
        return scalar

    def _tuple(self, content: Any, depth: int) -> tuple[Any, ...]:
        return tuple([self.value(item, depth + 1) for item in content])


def decode(
    objects: list[dict[str, Any]],
    root: Any,
    read_array: Callable[[int], np.ndarray],
    trust: Trust,
    most: int,
) -> Decoded:
    """Rebuild a model from the output of `Encoder`.

    `objects` are entries of `Encoder.objects`, whose classes must already be trusted.
    `root` identifies the model among them; `read_array` returns an array by number.
    `most` is the memory limit of the model in bytes, with every part counted as often
    as it is used.
    """
    decoder = _Decoder(read_array, trust, most)
    for entry in objects:
        decoder.add(entry)
    if not isinstance(root, dict) or set(root) != {"object"}:
        msg = f"its root is not an estimator but {root!r:.80}"
        raise ValueError(msg)
    model = decoder.value(root, 0)
    if not hasattr(model, "fit"):
        msg = f"its root is a {type(model).__name__}, which is not an estimator"
        raise ValueError(msg)
    parts = zip(decoder.built, decoder.extents, strict=True)
    return Decoded(
        model, decoder.built, [part for part, extent in parts if extent.has_encoder]
    )


def _is_plain_scalar(value: np.generic) -> bool:
    """Return whether a Python scalar represents a NumPy scalar exactly."""
    small = value.dtype.kind in "biuf" and value.dtype.itemsize <= 8
    return small or value.dtype.kind == "U"


def _plain_state(value: Any, where: str) -> dict[str, Any]:
    """Return the state of an instance that consists only of its attributes."""
    # Functions and classes reduce to a name, and most compiled types to a call. Neither
    # is data.
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
    # The manifest already has the versions.
    state.pop("_sklearn_version", None)
    for name, instead in _FOLDERS.items():
        if isinstance(state.get(name), (str, os.PathLike)):
            state[name] = instead
    if _JOBS in state:
        state[_JOBS] = None
    return state


def _build(cls: type, name: str, state: dict[str, Any] | None, trust: Trust) -> Any:
    if name in STATELESS:
        return cls()
    if state is None:
        msg = f"{name} has no state"
        raise ValueError(msg)
    check_state(cls, state)
    state = _without_machine(name, with_defaults(cls, state))
    place = is_elsewhere(name, state)
    if place is not None and not trust.vouches_for(place):
        msg = (
            f"The {name.rpartition('.')[2]} of this model reads {place!r}, a file on "
            "another machine, when it predicts. If you trust that machine, name the "
            f"file: load_model(path, trusted=[{place!r}])."
        )
        raise ModelFileError(msg)
    instance: Any = object.__new__(cls)
    restore = getattr(cls, "__setstate__", None)
    if restore is None or restore is BaseEstimator.__setstate__:
        instance.__dict__.update(state)
    else:
        restore(instance, state)
    if name in CLASSES:
        check_instance(instance)
    return instance


def _without_machine(name: str, state: dict[str, Any]) -> dict[str, Any]:
    """Refuse folders, and drop the number of jobs of the saving machine."""
    for key, allowed in _FOLDERS.items():
        if state.get(key) is not None and state[key] != allowed:
            msg = f"{name} has a folder, {state[key]!r:.200}, for {key!r}"
            raise ValueError(msg)
    return {**state, _JOBS: None} if _JOBS in state else state


def _random(kind: str, state: dict[str, Any]) -> Any:
    check_random_state(state)
    # The seed sequence from which a Generator could spawn others is not saved.
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
        "cannot contain. It may contain numbers, text, arrays, and instances with "
        "plain attributes. Replace it, or use joblib, whose files can run code when "
        "they are loaded."
    )
