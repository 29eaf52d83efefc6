"""Which types a model file may hold: those of clapstack's table, and the user's own."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

import clapstack
from clapstack.exceptions import ModelFileError, UntrustedTypesError
from clapstack.sharing._names import (
    CLASSES,
    ENCODERS,
    MOVED,
    RETIRED,
    RETIRED_PARAMETERS,
    class_name,
)
from clapstack.sharing._names import find_class as _find_class

__all__ = ["Trust", "is_elsewhere", "lacking", "retired", "strangers"]

_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")
_SCRIPT = "__main__."
# Parameters of encoders that name files to read.
_FILES = ("checkpoint", "audio_embeddings", "text_embeddings")


class Trust:
    """What a user vouches for, beyond the classes that clapstack knows.

    Parameters
    ----------
    trusted : iterable of str or type
        Types, or their full names, ``package.Class`` or ``package:Class``. A name of a
        file on another machine is taken too.
    """

    def __init__(self, trusted: Iterable[str | type] = ()):
        if isinstance(trusted, (str, bool)) or not isinstance(trusted, Iterable):
            msg = (
                "trusted must be a list of types or of their names, such as "
                f"['mypackage.MyEncoder']. Got {trusted!r} instead. Name only types "
                "whose code you know."
            )
            raise TypeError(msg)
        trusted = list(trusted)
        self._types = {class_name(e): e for e in trusted if isinstance(e, type)}
        self._names = {str(e) for e in trusted if not isinstance(e, type)}
        self._names |= {name.replace(":", ".") for name in self._names}

    def vouches_for(self, name: str) -> bool:
        """Return whether the user named this type, or this file."""
        return name in self._names or self._given(name) is not None

    def find_class(self, name: str) -> type:
        """Return a class that was found trustworthy."""
        return self._given(name) or _find_class(name)

    def _given(self, name: str) -> type | None:
        """Return the type that was handed over for a name.

        What was defined in a script or notebook is saved as a class of ``__main__``. It
        is the one of that name which the user has put into a module since.
        """
        if name in self._types or not name.startswith(_SCRIPT):
            return self._types.get(name)
        short = name.removeprefix(_SCRIPT)
        found = [cls for cls in self._types.values() if cls.__qualname__ == short]
        return found[0] if len(found) == 1 else None


def strangers(
    path: str | os.PathLike[str], names: Iterable[str], trust: Trust
) -> ModelFileError | None:
    """Return the error for classes that a file may not hold; None if there are none."""
    names = {MOVED.get(name, name) for name in names}
    wrong = sorted(name for name in names if not _NAME.fullmatch(name))
    if wrong:
        msg = f"{os.fspath(path)!r} names {wrong[0][:80]!r}, which is no class."
        return ModelFileError(msg)
    unknown = {n for n in names if n not in CLASSES and not trust.vouches_for(n)}
    for name in sorted(unknown & set(RETIRED)):
        msg = (
            f"{os.fspath(path)!r} holds a {name.rpartition('.')[2]}, which clapstack "
            f"no longer has. {RETIRED[name]}"
        )
        return ModelFileError(msg)
    ours = sorted(name for name in unknown if name.startswith("clapstack."))
    if ours:
        msg = (
            f"{os.fspath(path)!r} holds a {ours[0]}, which this clapstack "
            f"({clapstack.__version__}) does not have: a newer one wrote the file, or "
            "it was altered. Upgrade clapstack."
        )
        return ModelFileError(msg)
    return UntrustedTypesError(os.fspath(path), sorted(unknown)) if unknown else None


def lacking(
    path: str | os.PathLike[str], names: Iterable[str], trust: Trust
) -> ModelFileError | None:
    """Return the error for trusted classes whose code is not here; None if all are."""
    for name in sorted(set(names) - {*CLASSES, *MOVED}):
        try:
            trust.find_class(name)
        except ImportError as error:
            remedy = "Install the package that has it, or put its folder on PYTHONPATH."
            if name.startswith(_SCRIPT):
                remedy = (
                    "It was defined in a script or notebook. Put it into a module, and "
                    "trust the class that is imported from there."
                )
            msg = (
                f"{os.fspath(path)!r} holds a {name}, whose code is not found: "
                f"{error}. {remedy}"
            )
            return ModelFileError(msg)
    return None


def retired(
    path: str | os.PathLike[str], objects: Iterable[Mapping[str, Any]]
) -> ModelFileError | None:
    """Return the error for a setting that clapstack no longer has; None if all are."""
    for entry in objects:
        name, state = entry["class"], entry.get("state", {})
        for key, (plain, remedy) in RETIRED_PARAMETERS.get(name, {}).items():
            value = state.get(key, plain)
            if isinstance(value, dict):
                value = value.get("of")  # as a file has scalars of numpy
            if value != plain:
                msg = (
                    f"{os.fspath(path)!r} holds a {name.rpartition('.')[2]} with "
                    f"{key}={value!r:.80}, a parameter that clapstack no longer has. "
                    f"{remedy}"
                )
                return ModelFileError(msg)
    return None


def is_elsewhere(name: str, state: Mapping[str, Any]) -> str | None:
    """Return the file on another machine that an encoder names, if it names one.

    `name` is the class of the encoder, `state` its attributes or the JSON of them.
    """
    if name not in ENCODERS:
        return None
    for key in _FILES:
        value = state.get(key)
        if isinstance(value, dict):
            value = value.get("path")  # as a file has paths
        if not isinstance(value, (str, os.PathLike)):
            continue
        text = os.fspath(value)
        # Windows asks the machine of such a path, and sends it the user's name.
        if text[:2] in ("\\\\", "//", "\\/", "/\\") or "://" in text:
            return text
    return None
