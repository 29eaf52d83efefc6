"""The file itself: a zip archive of text and arrays, checked before it is believed."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import struct
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from clapstack.exceptions import ModelFileError

# Raised when a reader of this number would misread a file of the next.
FORMAT = 1

CARD, MANIFEST, STATE = "README.md", "manifest.json", "state.json"
_ARRAY = re.compile(r"arrays/(0|[1-9][0-9]*)\.npy")
# What reading and rebuilding from wrong bytes can raise.
BROKEN = (
    ArithmeticError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
)
# The same model gives the same bytes, whenever it is saved.
_DATE = (1980, 1, 1, 0, 0, 0)


def write_archive(
    path: Path,
    manifest: Mapping[str, Any],
    state: Mapping[str, Any],
    card: str,
    arrays: Sequence[bytes],
) -> None:
    """Write a model file; the manifest gains the digests of all other members."""
    members = {
        CARD: card.encode(),
        STATE: _json(state),
        **{f"arrays/{number}.npy": data for number, data in enumerate(arrays)},
    }
    digests = {name: _digest(data) for name, data in members.items()}
    first = _json({"format": FORMAT, **manifest, "sha256": digests})
    members = {CARD: members.pop(CARD), MANIFEST: first, **members}
    # Stored, not deflated: coefficients hardly shrink, and a reader that accepts
    # nothing else cannot be handed a small file that grows without bound.
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name, _DATE), data)


class Archive:
    """A model file open for reading; every member is checked against its digest.

    Attributes
    ----------
    manifest, state : dict
        As they were written.
    """

    def __init__(self, path: str | os.PathLike[str], file: zipfile.ZipFile):
        self._path = path
        self._file = file
        self._arrays: dict[int, np.ndarray] = {}
        names = _check_members(path, file)
        self.manifest = self._read_manifest()
        self._digests = self.manifest["sha256"]
        if set(self._digests) != names - {MANIFEST}:
            self._refuse(f"{MANIFEST!r} lists other members than it has")
        self.state = self._parse(STATE, self._read_checked(STATE))
        self._read_checked(CARD)

    def array(self, number: int) -> np.ndarray:
        """Return an array: one object for one number, as in the model saved."""
        if number not in self._arrays:
            data = self._read_checked(f"arrays/{number:d}.npy")
            self._arrays[number] = _array_from_bytes(data)
        return self._arrays[number]

    def _read_manifest(self) -> dict[str, Any]:
        manifest = self._parse(MANIFEST, self._file.read(MANIFEST))
        number = manifest.get("format")
        if not isinstance(number, int) or number < 1:
            self._refuse(f"its format number is {number!r}")
        if number > FORMAT:
            wrote = manifest.get("versions", {}).get("clapstack", "unknown")
            msg = (
                f"{os.fspath(self._path)!r} has format {number}, written by clapstack "
                f"{wrote}; this clapstack reads formats up to {FORMAT}. Upgrade "
                "clapstack."
            )
            raise ModelFileError(msg)
        for key in ("sha256", "versions"):
            if not isinstance(manifest.get(key), dict):
                self._refuse(f"{MANIFEST!r} has no {key!r}")
        return manifest

    def _read_checked(self, name: str) -> bytes:
        data = self._file.read(name)
        if _digest(data) != self._digests.get(name):
            self._refuse(f"{name!r} does not have the checksum in {MANIFEST!r}")
        return data

    def _parse(self, name: str, data: bytes) -> dict[str, Any]:
        try:
            parsed = json.loads(data)
        except (ValueError, RecursionError):
            self._refuse(f"{name!r} is not JSON")
        if not isinstance(parsed, dict):
            self._refuse(f"{name!r} is not a JSON object")
        return parsed

    def _refuse(self, reason: str) -> NoReturn:
        raise damaged(self._path, reason)


@contextmanager
def open_archive(path: str | os.PathLike[str]) -> Iterator[Archive]:
    """Open a model file; whatever goes wrong in it becomes a `ModelFileError`."""
    os.stat(path)  # a file that is not there is no damaged file
    try:
        with zipfile.ZipFile(path) as file:
            yield Archive(path, file)
    except ModelFileError:
        raise
    except BROKEN as error:
        hint = ""
        if not zipfile.is_zipfile(path):
            hint = (
                " If joblib or pickle wrote it, load it with joblib.load, and only if "
                "you trust it: that runs what is in the file."
            )
        reason = f"{type(error).__name__}: {error}"
        raise damaged(path, reason, hint) from error


def damaged(
    path: str | os.PathLike[str], reason: str, hint: str = ""
) -> ModelFileError:
    """Return the error for a file that is not what `save_model` wrote."""
    return ModelFileError(
        f"{os.fspath(path)!r} is not a model file of clapstack, or was altered or cut "
        f"off: {reason}. Get the file again from where it came.{hint}"
    )


def array_bytes(array: np.ndarray) -> bytes:
    """Return an array in the ``.npy`` format."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _array_from_bytes(data: bytes) -> np.ndarray:
    """Read the ``.npy`` format; nothing larger than `data` is made."""
    buffer = io.BytesIO(data)
    version = np.lib.format.read_magic(buffer)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    shape, fortran, dtype = readers[version](buffer)
    if dtype.hasobject or any(length < 0 for length in shape):
        msg = f"an array of dtype {dtype} and shape {shape} cannot be read"
        raise ValueError(msg)
    # numpy.load would make room for any shape that the header names.
    flat = np.frombuffer(data, dtype, offset=buffer.tell())
    if fortran:
        return flat.reshape(shape[::-1]).copy().T
    return flat.reshape(shape).copy()


def _digest(data: bytes) -> str:
    """Return the SHA-256 of some bytes, in hex."""
    return hashlib.sha256(data).hexdigest()


def _check_members(
    path: str | os.PathLike[str], file: zipfile.ZipFile
) -> frozenset[str]:
    """Return the members' names; refuse any that `save_model` would not write."""
    members = file.infolist()
    names = [member.filename for member in members]
    texts = {CARD, MANIFEST, STATE}
    strange = [
        name for name in names if name not in texts and not _ARRAY.fullmatch(name)
    ]
    if strange:
        raise damaged(path, f"it holds {strange[0]!r}, which no model file has")
    if len(set(names)) < len(names):
        raise damaged(path, "it holds one name twice")
    missing = sorted(texts - set(names))
    if missing:
        raise damaged(path, f"it lacks {missing[0]!r}")
    for member in members:
        encrypted = member.flag_bits & 1
        if member.compress_type != zipfile.ZIP_STORED or encrypted:
            raise damaged(path, f"{member.filename!r} is compressed or encrypted")
    promised = sum(member.file_size for member in members)
    held = os.stat(path).st_size
    if promised > held:
        reason = f"its members promise {promised} bytes, and the file has {held}"
        raise damaged(path, reason)
    return frozenset(names)


def _json(value: Any) -> bytes:
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode()
