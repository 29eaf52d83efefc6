"""Loading of model files."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

__all__ = ["open_model"]


def open_model(
    path: Path, *, trust: bool = False, trust_encoders: Iterable[str] | None = None
) -> Any:
    """Load a fitted model from a file of ``save_model``.

    With `trust`, it may be a joblib file, whose code runs when it is loaded.
    `trust_encoders` are custom classes that the file may contain, ``module:Class``.
    Only their modules are imported: a file does not choose what is imported.
    """
    trusted = [_find_class(name) for name in trust_encoders or ()]
    if not trust or _is_archive(path):  # as all files of save_model are
        from clapstack.sharing import load_model

        return load_model(path, trusted=trusted)
    import joblib

    try:
        return joblib.load(path)
    except (AttributeError, ImportError) as error:
        msg = (
            f"{path} contains a class whose code cannot be found: {error}. Move a "
            "class of a script or notebook to a module that is installed or on "
            "PYTHONPATH, and save the model again from there. A file of save_model "
            "needs only --trust-encoder MODULE:CLASS."
        )
        raise ValueError(msg) from error


def _is_archive(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _find_class(name: str) -> type:
    """Import a class named by the user."""
    module, _, short = name.partition(":")
    if not short:
        module, _, short = name.rpartition(".")
    if not (module and short):
        msg = (
            "--trust-encoder must have the form MODULE:CLASS, such as "
            f"my_package:MyEncoder; got {name!r}."
        )
        raise ValueError(msg)
    try:
        found = getattr(importlib.import_module(module), short, None)
    except ImportError as error:
        # An installed command does not search the current folder, so that no file in it
        # is imported by accident.
        msg = (
            f"--trust-encoder {name}: {error}. Install the module, or add its "
            "folder to PYTHONPATH."
        )
        raise ImportError(msg) from error
    if not isinstance(found, type):
        msg = f"--trust-encoder {name}: the module {module!r} has no class {short!r}."
        raise ImportError(msg)
    return found
