"""Model files as zip archives of text and arrays, checked before use."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from clapstack.exceptions import ModelFileError
from clapstack.sharing._manifest import wrong_field

# Increased when older readers would misread new files. Format 1 named classes by their
# modules.
FORMAT = 2

CARD, MANIFEST, STATE = "README.md", "manifest.json", "state.json"
_ARRAY = re.compile(r"arrays/(0|[1-9][0-9]*)\.npy")
# Memory that reading a file may take: a multiple of its size, plus a constant.
MEMORY_FACTOR = 8
MEMORY_BESIDES = 1 << 28
_MOST_MEMBERS = 250_000
# Bytes that Python needs for parts of JSON, by the sign that starts or ends each.
_JSON_COST = {b"{": 250, b"[": 90, b",": 60}
# The state of a random generator has 39 digits. Python parses long numbers slowly.
MOST_DIGITS = 100
_MOST_SHOWN = 500  # characters of an error message about a damaged file
# A fixed date, so that the same model always gives the same bytes.
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
        CARD: card.encode(errors="backslashreplace"),
        STATE: _json(state),
        **{f"arrays/{number}.npy": data for number, data in enumerate(arrays)},
    }
    digests = {name: _digest(data) for name, data in members.items()}
    first = _json({"format": FORMAT, **manifest, "sha256": digests})
    members = {CARD: members.pop(CARD), MANIFEST: first, **members}
    # Stored, not deflated: coefficients hardly compress, and a reader that accepts only
    # stored members is safe from small files that expand without bound.
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name, _DATE), data)


class Archive:
    """A model file open for reading; every member is checked against its digest.

    Attributes
    ----------
    manifest, state : dict
        Contents of these members.
    card : str
        The card in Markdown.
    most : int
        Limit of the memory for the model in bytes, as counted by `decode`.
    """

    def __init__(self, path: str | os.PathLike[str], file: zipfile.ZipFile):
        self._path = path
        self._file = file
        self._arrays: dict[int, np.ndarray] = {}
        self.most = MEMORY_FACTOR * os.stat(path).st_size + MEMORY_BESIDES
        names = _check_members(path, file)
        self.manifest = self._read_manifest()
        self._digests = self.manifest["sha256"]
        if set(self._digests) != names - {MANIFEST}:
            self.refuse(f"{MANIFEST!r} does not list the members of the file")
        self.state = self._parse(STATE, self._read_checked(STATE))
        self.card = self._read_checked(CARD).decode()

    def objects(self) -> tuple[list[dict[str, Any]], Any]:
        """Return the entries of all instances, and which of them is the model."""
        objects, root = self.state.get("objects"), self.state.get("root")
        if not isinstance(objects, list) or not all(map(_is_entry, objects)):
            self.refuse(f"{STATE!r} lists no instances")
        return objects, root

    def array(self, number: int) -> np.ndarray:
        """Return an array: one object for one number, as in the model saved."""
        if type(number) is not int or number < 0:
            self.refuse(f"an array has the number {number!r:.80}")
        if number not in self._arrays:
            data = self._read_checked(f"arrays/{number:d}.npy")
            self._arrays[number] = read_array(data)
        return self._arrays[number]

    def _read_manifest(self) -> dict[str, Any]:
        manifest = self._parse(MANIFEST, self._file.read(MANIFEST))
        number = manifest.get("format")
        if type(number) is not int or number < 1:
            self.refuse(f"its format number is {number!r:.80}")
        if number > FORMAT:
            wrote = str(dict(manifest.get("versions") or {}).get("clapstack"))
            msg = (
                f"{os.fspath(self._path)!r} has format {number}, written by clapstack "
                f"{wrote:.40}, but this version reads formats up to {FORMAT}. Upgrade "
                "clapstack."
            )
            raise ModelFileError(msg)
        wrong = wrong_field(manifest)
        if wrong is not None:
            self.refuse(f"{wrong!r} is missing from {MANIFEST!r}, or invalid")
        return manifest

    def _read_checked(self, name: str) -> bytes:
        data = self._file.read(name)
        if _digest(data) != self._digests.get(name):
            self.refuse(f"{name!r} does not have the checksum in {MANIFEST!r}")
        return data

    def _parse(self, name: str, data: bytes) -> dict[str, Any]:
        cost = sum(data.count(sign) * cost for sign, cost in _JSON_COST.items())
        if cost > self.most:
            self.refuse(f"{name!r} needs {cost:,} bytes, more than {self.most:,}")
        try:
            parsed = json.loads(data, parse_int=_integer, parse_constant=_no_number)
        except (ValueError, RecursionError):
            self.refuse(f"{name!r} is not JSON")
        if not isinstance(parsed, dict):
            self.refuse(f"{name!r} is not a JSON object")
        return parsed

    def refuse(self, reason: str) -> NoReturn:
        """Raise the error for an altered file."""
        raise damaged(self._path, reason)


@contextmanager
def open_archive(path: str | os.PathLike[str]) -> Iterator[Archive]:
    """Open a model file; any error while it is open becomes a `ModelFileError`."""
    os.stat(path)  # a missing file is not a damaged one
    try:
        with zipfile.ZipFile(path) as file:
            yield Archive(path, file)
    except ModelFileError:
        raise
    except Exception as error:
        hint = ""
        if not zipfile.is_zipfile(path):
            hint = (
                " If joblib or pickle wrote it, load it with joblib.load, but only if "
                "you trust it: loading runs code from the file."
            )
        reason = f"{type(error).__name__}: {error}"[:_MOST_SHOWN]
        raise damaged(path, reason, hint) from error


def damaged(
    path: str | os.PathLike[str], reason: str, hint: str = ""
) -> ModelFileError:
    """Return the error for a file that `save_model` did not write as it is."""
    return ModelFileError(
        f"{os.fspath(path)!r} is not a model file of clapstack, or was altered or cut "
        f"off: {reason}. Get the file again from its source.{hint}"
    )


def array_bytes(array: np.ndarray) -> bytes:
    """Return an array in the ``.npy`` format."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def read_array(data: bytes) -> np.ndarray:
    """Read the ``.npy`` format; the array is never larger than `data`."""
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
    # numpy.load would allocate memory for any shape in the header.
    flat = np.frombuffer(data, dtype, offset=buffer.tell())
    if fortran:
        return flat.reshape(shape[::-1]).copy().T
    return flat.reshape(shape).copy()


def _is_entry(entry: Any) -> bool:
    """Return whether this describes an instance: a class, and optionally a state."""
    return (
        isinstance(entry, dict)
        and set(entry) <= {"class", "state"}
        and isinstance(entry.get("class"), str)
        and isinstance(entry.get("state", {}), dict)
    )


def _digest(data: bytes) -> str:
    """Return the SHA-256 of some bytes, in hex."""
    return hashlib.sha256(data).hexdigest()


def _check_members(
    path: str | os.PathLike[str], file: zipfile.ZipFile
) -> frozenset[str]:
    """Return the members' names; refuse any that `save_model` would not write."""
    members = file.infolist()
    if len(members) > _MOST_MEMBERS:
        raise damaged(path, f"it contains {len(members):,} files")
    names = [member.filename for member in members]
    texts = {CARD, MANIFEST, STATE}
    strange = [
        name for name in names if name not in texts and not _ARRAY.fullmatch(name)
    ]
    if strange:
        raise damaged(path, f"it contains the unexpected file {strange[0]!r:.200}")
    if len(set(names)) < len(names):
        raise damaged(path, "it contains two files of the same name")
    missing = sorted(texts - set(names))
    if missing:
        raise damaged(path, f"{missing[0]!r} is missing")
    for member in members:
        encrypted = member.flag_bits & 1
        if member.compress_type != zipfile.ZIP_STORED or encrypted:
            raise damaged(path, f"{member.filename!r} is compressed or encrypted")
    promised = sum(member.file_size for member in members)
    held = os.stat(path).st_size
    if promised > held:
        reason = f"its members claim {promised} bytes, but the file has {held}"
        raise damaged(path, reason)
    return frozenset(names)


def _json(value: Any) -> bytes:
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    # File names that are not UTF-8 contain lone surrogates, which JSON escapes.
    return (text + "\n").encode(errors="backslashreplace")


def _integer(text: str) -> int:
    if len(text) > MOST_DIGITS:
        msg = f"a number of {len(text)} digits"
        raise ValueError(msg)
    return int(text)


def _no_number(text: str) -> NoReturn:
    msg = f"{text} is not JSON"
    raise ValueError(msg)
