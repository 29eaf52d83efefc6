"""Optional imports and progress bars."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable
from types import ModuleType
from typing import Any

# Of a terminal that reports no size, as in some containers: a bar would be empty.
_SIZE = {"ncols": 80, "nrows": 24}


def import_optional(name: str, *, extra: str, caller: str) -> ModuleType:
    """Import an optional dependency, or raise an error with the pip command.

    Parameters
    ----------
    name : str
        Dotted module name, such as ``"matplotlib.pyplot"``.
    extra : str
        Extra of clapstack that installs the module.
    caller : str
        Name of the function that needs the module, as the user knows it.

    Returns
    -------
    module : module

    Raises
    ------
    ImportError
        If the module is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        msg = (
            f"{caller} needs {package}. Install it with: "
            f'pip install "clapstack[{extra}]"'
        )
        raise ImportError(msg) from error


def _has_size(stream: Any) -> bool:
    """Return whether a stream is no terminal, or one that knows its size."""
    try:
        return os.get_terminal_size(stream.fileno()).columns > 0
    except (AttributeError, OSError, ValueError):
        return True


def progress(
    iterable: Iterable[Any] | None = None,
    *,
    total: int | None = None,
    desc: str = "",
    unit: str = "it",
    verbose: bool = True,
) -> Any:
    """Return a tqdm bar over `iterable`, or a silent one if not `verbose`."""
    from tqdm.auto import tqdm

    # The command line escapes its output, but a bar must be able to move the cursor.
    stream = getattr(sys.stderr, "unescaped", sys.stderr)
    return tqdm(
        iterable,
        file=stream,
        total=total,
        desc=desc,
        unit=unit,
        disable=stream is None or not verbose,
        dynamic_ncols=_has_size(stream),
        **({} if _has_size(stream) else _SIZE),
        leave=False,
    )
