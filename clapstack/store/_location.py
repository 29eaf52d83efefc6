"""Location of the store, and keys of texts."""

from __future__ import annotations

import hashlib
import os
import sys
from functools import lru_cache
from pathlib import Path

from clapstack.store._database import READ_OR_STORED, warn_once
from clapstack.store._store import EmbeddingStore

__all__ = ["default_cache_dir", "open_store", "text_key"]


def open_store(cache: str | os.PathLike[str] | None) -> EmbeddingStore | None:
    """Return the store for the parameter `cache` of an estimator.

    Parameters
    ----------
    cache : {"auto"}, path-like or None
        ``"auto"`` means `default_cache_dir`. A path is a folder, in which ``~`` is the
        user's home. None means no store.

    Returns
    -------
    store : EmbeddingStore or None
        None if `cache` is None or, with a warning, if the user has no home folder.
    """
    if cache is None:
        return None
    if cache != "auto":
        return EmbeddingStore(Path(cache).expanduser())
    try:
        return EmbeddingStore(default_cache_dir())
    except RuntimeError as error:  # pathlib finds no home folder
        warn_once(Path("~"), error, "cannot be used", READ_OR_STORED)
        return None


def default_cache_dir() -> Path:
    """Return ``$CLAPSTACK_CACHE``, or clapstack's folder in the user's cache folder.

    Returns
    -------
    folder : Path
        If the variable is not set, the user's cache folder is ``$XDG_CACHE_HOME`` or
        ``~/.cache`` on Linux, ``~/Library/Caches`` on macOS, ``%LOCALAPPDATA%`` on
        Windows.

    Raises
    ------
    RuntimeError
        If the user has no home folder.
    """
    if chosen := os.environ.get("CLAPSTACK_CACHE"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base).expanduser() / "clapstack"


@lru_cache(maxsize=1 << 16)  # every encoder looks up the same table
def text_key(text: str) -> str:
    """Return the content key of a text.

    Parameters
    ----------
    text : str
        Any text.

    Returns
    -------
    key : str
        SHA-256, in hexadecimal, of its UTF-8 bytes.
    """
    return hashlib.sha256(text.encode()).hexdigest()
