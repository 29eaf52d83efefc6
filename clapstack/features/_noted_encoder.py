"""Encoders of which a note is enough until something is to be encoded.

Beside a store lies a note of every encoder that was loaded for it: its fingerprint, its
widths, and the state of the files that it was read from. As long as none of these files
changes, what is in the store serves without torch, and without reading the weights.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from huggingface_hub import constants as hub

from clapstack._compat import file_digest
from clapstack._output import write_text
from clapstack.audio import file_state
from clapstack.exceptions import FingerprintMismatchError
from clapstack.store import open_store

__all__ = ["load_when_needed"]

_FOLDER = "encoders"
# What a note says of an encoder, the numbers with the most that any has; for anything
# else the encoder is loaded.
_MOST = {
    "embedding_dim": 1 << 16,
    "projection_dim": 1 << 16,
    "sample_rate": 768_000,
    "window": 1 << 30,
}
_WORDS = ("fingerprint", "identity", "source")
_FACTS = ("blocks", *_MOST, *_WORDS)
# Bytes of a note: ten thousand files, which no checkpoint has.
_LONGEST = 1 << 21
# Whose versions may change what is read of the same files.
_READERS = ("transformers", "tokenizers", "sentence-transformers", "timm")
_MOST_NOTED = 32


def load_when_needed(
    load: Callable[..., Any],
    request: tuple[Any, ...],
    cache: str | os.PathLike[str] | None,
) -> Any:
    """Return an encoder, or what is noted of it.

    Parameters
    ----------
    load : callable
        Loads the encoder, given the `request`.
    request : tuple of plain values
        What says which encoder it is.
    cache : {"auto"}, path-like or None
        As for `open_store`; without a store nothing is noted.

    Returns
    -------
    encoder : encoder
        One that is noted loads itself when it is to encode.
    """
    store = open_store(cache)
    if store is None or not _rounds_as_usual():
        return load(*request)
    # The folder that the hub's client uses, whatever its variables say since.
    hub_folder = os.path.abspath(hub.HF_HUB_CACHE)
    named = json.dumps([request, hub_folder, _code()])
    key = hashlib.sha256(named.encode()).hexdigest()
    place = store.root / _FOLDER / f"{key}.json"
    note = _read(place)
    if note is not None:
        return _noted(load, request, place, note)
    encoder = load(*request)
    _write(place, encoder)
    return encoder


class NotedEncoder:
    """An encoder as a note has it, which is loaded when it is asked for more.

    Parameters
    ----------
    load : callable
        Loads the encoder.
    place : Path
        The note.
    facts : dict of str to plain values
        Attributes of the encoder; those of `_FACTS` that are not among them it lacks.
    """

    def __init__(self, load: Callable[[], Any], place: Path, facts: dict[str, Any]):
        vars(self).update(facts)
        if "blocks" not in facts:  # an encoder of audio alone embeds nothing
            self.collapsed: set[str] = set()
        self._load = load
        self._place = place
        self._facts = facts

    def __getattr__(self, name: str) -> Any:
        if name in (*_FACTS, "collapsed") or name.startswith("__"):
            msg = f"{type(self).__name__!r} object has no attribute {name!r}"
            raise AttributeError(msg)
        return getattr(self._loaded(), name)

    def _loaded(self) -> Any:
        encoder = self._load()
        if _facts_of(encoder) != self._facts:
            with suppress(OSError):  # a store that cannot be written
                self._place.unlink()
            msg = (
                f"The weights {encoder.fingerprint} were loaded from {encoder.source}, "
                f"and those of {self.source} are {self.fingerprint}: a newer version "
                "was published, or the file changed just now. Run this again; a model "
                "that was fitted on the other ones is to be fitted again."
            )
            raise FingerprintMismatchError(msg)
        if "collapsed" in vars(self):
            # One set, so that each collapse is named once.
            encoder.collapsed.update(self.collapsed)
            self.collapsed = encoder.collapsed
        return encoder


@lru_cache(maxsize=_MOST_NOTED)
def _noted(
    load: Callable[..., Any], request: tuple[Any, ...], place: Path, note: str
) -> NotedEncoder:
    """Return the encoder of a note: one per process, so that it warns once."""
    return NotedEncoder(partial(load, *request), place, json.loads(note)["facts"])


def _read(place: Path) -> str | None:
    """Return a note, if it holds: no file of the encoder has changed since."""
    damage = OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError
    with suppress(*damage):
        if not place.is_file() or place.stat().st_size > _LONGEST:
            return None
        note = place.read_text(encoding="utf-8")
        content = json.loads(note)
        states = content["files"].items()
        if _plausible(content["facts"]) and all(_state(p) == s for p, s in states):
            return note
    return None


def _plausible(facts: dict[str, Any]) -> bool:
    """Return whether facts may be those of an encoder, whoever wrote them."""
    blocks = facts.get("blocks", {})
    width = "embedding_dim" if blocks else "projection_dim"
    numbers = [(facts[name], most) for name, most in _MOST.items() if name in facts]
    numbers += [(size, facts[width]) for size in blocks.values()]
    return (
        {width, "sample_rate", "window"} <= facts.keys() <= {*_FACTS}
        and facts["identity"].startswith(f"{facts['fingerprint']}-")
        and isinstance(facts["source"], str)
        and all(type(n) is int and 0 < n <= most for n, most in numbers)
        and (not blocks or sum(blocks.values()) == facts[width])
    )


def _write(place: Path, encoder: Any) -> None:
    """Note an encoder, if each change of its files would show."""
    files = getattr(encoder, "files", None)
    if files is None or not files.settled or not _rounds_as_usual():
        return
    states = {path: state and list(state) for path, state in files.states.items()}
    note = json.dumps({"files": states, "facts": _facts_of(encoder)})
    # A store that cannot be written warns by itself.
    with suppress(OSError):
        place.unlink(missing_ok=True)  # rather than write to where a link leads
        write_text(place, note)


def _facts_of(encoder: Any) -> dict[str, Any]:
    return {name: getattr(encoder, name) for name in _FACTS if hasattr(encoder, name)}


def _state(path: str) -> Any:
    state = file_state(path)
    if state is None:  # missing, or there and not settled
        return "unsettled" if os.path.exists(path) else None
    return list(state)


def _rounds_as_usual() -> bool:
    """Return whether torch's products, whose precision is in identities, are usual."""
    torch = sys.modules.get("torch")
    return torch is None or torch.get_float32_matmul_precision() == "highest"


@lru_cache(maxsize=1)
def _code() -> list[Any]:
    """Return what changes with the code that reads checkpoints and encodes."""
    folder = Path(__file__).parents[1] / "encoders"
    # Their content: some packagers give all files one time, and a raised version of a
    # front end has as many digits.
    ours = [file_digest(path) for path in sorted(folder.rglob("*.py"))]
    versions = []
    for package in _READERS:
        with suppress(PackageNotFoundError):
            versions.append(f"{package} {version(package)}")
    # With the folder, where the bundled checkpoints of this installation are.
    return [str(folder), ours, versions]
