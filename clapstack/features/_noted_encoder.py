"""Stand-ins for encoders that load the weights only when something must be encoded.

For every encoder that was loaded, a note is kept next to the store: its fingerprint,
its widths, and the state of the files that it was read from. While these files stay
unchanged, stored embeddings are served without torch and without reading the weights.
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
# Attributes in a note, with the largest plausible value of numbers. Access to any other
# attribute loads the encoder.
_MOST = {
    "embedding_dim": 1 << 16,
    "projection_dim": 1 << 16,
    "sample_rate": 768_000,
    "window": 1 << 30,
}
_WORDS = ("fingerprint", "identity", "source")
_OF_PAIRS = ("text_identity", "has_dense_windows")  # of encoders with two towers
_FACTS = ("blocks", *_MOST, *_WORDS, *_OF_PAIRS)
# Maximum bytes of a note: enough for ten thousand files, more than any checkpoint has.
_LONGEST = 1 << 21
# Packages whose version can change what is read from the same files.
_READERS = ("transformers", "tokenizers", "sentence-transformers", "timm")
_MOST_NOTED = 32


def load_when_needed(
    load: Callable[..., Any],
    request: tuple[Any, ...],
    cache: str | os.PathLike[str] | None,
) -> Any:
    """Return an encoder, or a stand-in if there is a valid note on it.

    Parameters
    ----------
    load : callable
        Loads the encoder, given the `request`.
    request : tuple of plain values
        Identifies the encoder.
    cache : {"auto"}, path-like or None
        As for `open_store`; without a store no note is written.

    Returns
    -------
    encoder : encoder
        A stand-in loads the encoder when something must be encoded.
    """
    store = open_store(cache)
    if store is None or not _rounds_as_usual():
        return load(*request)
    # The folder that the hub's client uses, even if its variables have changed since.
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
    """Stand-in with the noted attributes of an encoder; other attributes load it.

    Parameters
    ----------
    load : callable
        Loads the encoder.
    place : Path
        File of the note.
    facts : dict of str to plain values
        Attributes of the encoder. Those of `_FACTS` that are missing here do not exist.
    """

    def __init__(self, load: Callable[[], Any], place: Path, facts: dict[str, Any]):
        vars(self).update(facts)
        if "blocks" not in facts:  # only encoders of pairs are checked for collapse
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
            with suppress(OSError):  # read-only store
                self._place.unlink()
            msg = (
                f"The weights loaded from {encoder.source} are {encoder.fingerprint}, "
                f"but {self.source} had {self.fingerprint} before: a newer version was "
                "published, or the file has just changed. Run this again, and refit "
                "models that were fitted with the old weights."
            )
            raise FingerprintMismatchError(msg)
        if "collapsed" in vars(self):
            # Share the set, so that each collapse is reported once.
            encoder.collapsed.update(self.collapsed)
            self.collapsed = encoder.collapsed
        return encoder


@lru_cache(maxsize=_MOST_NOTED)
def _noted(
    load: Callable[..., Any], request: tuple[Any, ...], place: Path, note: str
) -> NotedEncoder:
    """Return the stand-in for a note: one per process, so that it warns once."""
    return NotedEncoder(partial(load, *request), place, json.loads(note)["facts"])


def _read(place: Path) -> str | None:
    """Return a note if it is valid: no file of the encoder has changed since."""
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
    """Return whether the attributes are plausible: anyone may have written the note."""
    blocks = facts.get("blocks", {})
    width = "embedding_dim" if blocks else "projection_dim"
    needed = {width, "sample_rate", "window", *(() if blocks else _OF_PAIRS)}
    numbers = [(facts[name], most) for name, most in _MOST.items() if name in facts]
    numbers += [(size, facts[width]) for size in blocks.values()]
    return (
        needed <= facts.keys() <= {*_FACTS}
        and facts["identity"].startswith(f"{facts['fingerprint']}-")
        and facts.get("text_identity", facts["identity"]).startswith(facts["identity"])
        and type(facts.get("has_dense_windows", False)) is bool
        and isinstance(facts["source"], str)
        and all(type(n) is int and 0 < n <= most for n, most in numbers)
        and (not blocks or sum(blocks.values()) == facts[width])
    )


def _write(place: Path, encoder: Any) -> None:
    """Write a note on an encoder if every later change of its files is detectable."""
    files = getattr(encoder, "files", None)
    if files is None or not files.settled or not _rounds_as_usual():
        return
    states = {path: state and list(state) for path, state in files.states.items()}
    note = json.dumps({"files": states, "facts": _facts_of(encoder)})
    # A read-only store issues its own warning.
    with suppress(OSError):
        place.unlink(missing_ok=True)  # do not write through a link
        write_text(place, note)


def _facts_of(encoder: Any) -> dict[str, Any]:
    return {name: getattr(encoder, name) for name in _FACTS if hasattr(encoder, name)}


def _state(path: str) -> Any:
    state = file_state(path)
    if state is None:  # missing, or there and not settled
        return "unsettled" if os.path.exists(path) else None
    return list(state)


def _rounds_as_usual() -> bool:
    """Return whether torch's matmul precision, part of identities, is the default."""
    torch = sys.modules.get("torch")
    return torch is None or torch.get_float32_matmul_precision() == "highest"


@lru_cache(maxsize=1)
def _code() -> list[Any]:
    """Return digests and versions of the code that reads checkpoints and encodes."""
    folder = Path(__file__).parents[1] / "encoders"
    # Digests, because some packagers set the same time stamp for all files, and an
    # incremented version number keeps the file size.
    ours = [file_digest(path) for path in sorted(folder.rglob("*.py"))]
    versions = []
    for package in _READERS:
        with suppress(PackageNotFoundError):
            versions.append(f"{package} {version(package)}")
    # With the folder, where the bundled checkpoints of this installation are.
    return [str(folder), ours, versions]
