"""Trust in types: a model file may contain known types and those the user names."""

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
# Parameters of encoders that are names of files.
_FILES = ("checkpoint", "audio_embeddings", "text_embeddings")


class Trust:
    """Types and files that the user trusts, beyond the classes known to clapstack.

    Parameters
    ----------
    trusted : iterable of str or type
        Types, or their full names, ``package.Class`` or ``package:Class``; or names of
        files on other machines.
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
        """Return a trusted class by its name."""
        return self._given(name) or _find_class(name)

    def _given(self, name: str) -> type | None:
        """Return the type passed by the user for a name, if any.

        A class defined in a script or notebook is saved as a class of ``__main__``. It
        matches a type of the same name that the user has since moved to a module.
        """
        if name in self._types or not name.startswith(_SCRIPT):
            return self._types.get(name)
        short = name.removeprefix(_SCRIPT)
        found = [cls for cls in self._types.values() if cls.__qualname__ == short]
        return found[0] if len(found) == 1 else None


def strangers(
    path: str | os.PathLike[str], names: Iterable[str], trust: Trust
) -> ModelFileError | None:
    """Return the error for classes that a file may not contain, or None."""
    names = {MOVED.get(name, name) for name in names}
    wrong = sorted(name for name in names if not _NAME.fullmatch(name))
    if wrong:
        msg = (
            f"{os.fspath(path)!r} names {wrong[0][:80]!r}, which is not a class. Get "
            "the file again from its source."
        )
        return ModelFileError(msg)
    unknown = {n for n in names if n not in CLASSES and not trust.vouches_for(n)}
    for name in sorted(unknown & set(RETIRED)):
        msg = (
            f"{os.fspath(path)!r} contains a {name.rpartition('.')[2]}, which "
            f"clapstack no longer has. {RETIRED[name]}"
        )
        return ModelFileError(msg)
    ours = sorted(name for name in unknown if name.startswith("clapstack."))
    if ours:
        msg = (
            f"{os.fspath(path)!r} contains a {ours[0]}, which clapstack "
            f"{clapstack.__version__} does not have: a newer version wrote the file, "
            "or it was altered. Upgrade clapstack."
        )
        return ModelFileError(msg)
    return UntrustedTypesError(os.fspath(path), sorted(unknown)) if unknown else None


def lacking(
    path: str | os.PathLike[str], names: Iterable[str], trust: Trust
) -> ModelFileError | None:
    """Return the error for trusted classes that cannot be imported, or None."""
    for name in sorted(set(names) - {*CLASSES, *MOVED}):
        try:
            trust.find_class(name)
        except ImportError as error:
            remedy = "Install its package, or add its folder to PYTHONPATH."
            if name.startswith(_SCRIPT):
                remedy = (
                    "It was defined in a script or notebook. Move it to a module, and "
                    "pass the class imported from there as trusted."
                )
            msg = (
                f"{os.fspath(path)!r} contains a {name}, which cannot be imported: "
                f"{error}. {remedy}"
            )
            return ModelFileError(msg)
    return None


def retired(
    path: str | os.PathLike[str], objects: Iterable[Mapping[str, Any]]
) -> ModelFileError | None:
    """Return the error for a setting that clapstack no longer has, or None."""
    for entry in objects:
        name, state = entry["class"], entry.get("state", {})
        for key, (plain, remedy) in RETIRED_PARAMETERS.get(name, {}).items():
            value = state.get(key, plain)
            if isinstance(value, dict):
                value = value.get("of")  # the form of NumPy scalars in files
            if value != plain:
                msg = (
                    f"{os.fspath(path)!r} contains a {name.rpartition('.')[2]} with "
                    f"{key}={value!r:.80}, a parameter that clapstack no longer has. "
                    f"{remedy}"
                )
                return ModelFileError(msg)
    return None


def is_elsewhere(name: str, state: Mapping[str, Any]) -> str | None:
    """Return the file on another machine that an encoder would read, or None.

    `name` is the class of the encoder, `state` its attributes or their JSON form.
    """
    if name not in ENCODERS:
        return None
    for key in _FILES:
        value = state.get(key)
        if isinstance(value, dict):
            value = value.get("path")  # the form of paths in files
        if not isinstance(value, (str, os.PathLike)):
            continue
        text = os.fspath(value)
        # Windows contacts the machine in such a path and sends it the user's name.
        if text[:2] in ("\\\\", "//", "\\/", "/\\") or "://" in text:
            return text
    return None
