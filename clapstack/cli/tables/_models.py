"""Loading the model that a command names."""

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

    With `trust` it may be of joblib, which runs what is in it. `trust_encoders` are
    classes of the user's own that the file may hold, ``module:Class``. Their modules
    are imported, and no others: a file does not choose what is imported.
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
            f"{path} holds a class whose code is not found: {error}. A class of a "
            "script or notebook must be put into a module that is installed or on "
            "PYTHONPATH, and the model saved again from there; a file of save_model "
            "needs no more than --trust-encoder MODULE:CLASS."
        )
        raise ValueError(msg) from error


def _is_archive(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _find_class(name: str) -> type:
    """Import a class that the user named."""
    module, _, short = name.partition(":")
    if not short:
        module, _, short = name.rpartition(".")
    if not (module and short):
        msg = (
            "--trust-encoder takes MODULE:CLASS, such as my_package:MyEncoder; got "
            f"{name!r}."
        )
        raise ValueError(msg)
    try:
        found = getattr(importlib.import_module(module), short, None)
    except ImportError as error:
        # The current folder is no such place for an installed command, on purpose:
        # files that lie about are not imported.
        msg = (
            f"--trust-encoder {name}: {error}. Install the module, or name its folder "
            "in PYTHONPATH."
        )
        raise ImportError(msg) from error
    if not isinstance(found, type):
        msg = f"--trust-encoder {name}: the module {module!r} has no class {short!r}."
        raise ImportError(msg)
    return found
