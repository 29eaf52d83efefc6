"""Limits on pickles of weights, checked before anything is built.

``torch.load(weights_only=True)`` runs no foreign code, but it follows the pickle's
instructions: ``bytearray(10 ** 11)`` takes 100 GB, and so does a kilobyte of
instructions that copy one long list. Instructions are therefore simulated here first,
with sizes in place of objects.
"""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from clapstack.exceptions import CheckpointError

# A tensor takes 90 bytes of a pickle; those of a published file and its optimizer take
# less than 0.3 MB and 100,000 instructions. Python needs up to 64 bytes for one byte of
# a pickle, and some 2 s to simulate and read the worst case.
_MOST_BYTES = 1 << 20
_MOST_INSTRUCTIONS = 250_000
# A training checkpoint is nested six deep. Hashing nested tuples recurses without a
# limit: 100,000 of them crash the interpreter.
_DEEPEST = 64
# Total characters and objects passed to calls, each of which may copy its arguments.
_MOST_HANDED = 4 << 20

_STORES = ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE")
_RECALLS = ("GET", "BINGET", "LONG_BINGET")
_GROWS = ("APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS")
_CALLS = ("REDUCE", "NEWOBJ", "NEWOBJ_EX", "BUILD", "OBJ", "INST")
_MARK = pickletools.markobject
_SLICE = pickletools.stackslice
# Before torch 1.6: magic number, version, system, content, names of storages.
_N_PICKLES_BEFORE_ZIP = 5
_ALLOCATES = "builtins bytearray", "__builtin__ bytearray"


class _Weighed:
    """Stand-in for an object, with its size and depth."""

    __slots__ = ("depth", "size")

    def __init__(self, size: int, depth: int):
        self.size = size
        self.depth = depth


def check_pickles(path: Path) -> None:
    """Reject a file of ``torch.save`` that would exhaust the machine when read.

    The file is a zip archive of torch 1.6 or later, or consists of the pickles of
    earlier versions. Raises CheckpointError if entries of the archive are compressed,
    share a name or exceed the file; or if a pickle is larger, deeper or passes more to
    its calls than that of any published checkpoint, or cannot be simulated.
    """
    try:
        for pickle in _pickles(path):
            _weigh(pickle)
    except CheckpointError as error:
        msg = f"{path} was not loaded: {error}"
        raise CheckpointError(msg) from error.__cause__


def _pickles(path: Path) -> Iterator[BinaryIO]:
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            content = file.read(_N_PICKLES_BEFORE_ZIP * _MOST_BYTES)
        stream = BytesIO(content)
        for _ in range(_N_PICKLES_BEFORE_ZIP):
            # torch rejects files with fewer than five pickles.
            if stream.tell() < len(content):
                yield stream
        return
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        _check_entries(entries, path.stat().st_size, archive.comment)
        for entry in entries:
            if entry.filename.endswith("data.pkl"):
                if entry.file_size > _MOST_BYTES:
                    _refuse(f"its description of tensors takes {entry.file_size} bytes")
                yield BytesIO(archive.read(entry))


def _check_entries(
    entries: list[zipfile.ZipInfo], file_size: int, comment: bytes
) -> None:
    names = {entry.filename for entry in entries}
    if len(names) < len(entries):
        _refuse("several entries of the archive have the same name")
    # torch maps entries into memory and would read compressed bytes as weights.
    packed = [entry for entry in entries if entry.compress_type != zipfile.ZIP_STORED]
    if packed:
        _refuse(
            f"the entry {packed[0].filename!r} of the archive is compressed "
            f"({packed[0].file_size} bytes unpacked); torch.save compresses nothing"
        )
    if sum(entry.file_size for entry in entries) > file_size or comment:
        _refuse("the entries of the archive overlap or exceed the file")


def _weigh(stream: BinaryIO) -> None:
    """Simulate one pickle to its end."""
    stack: list[Any] = []
    memo: dict[Any, _Weighed] = {}
    handed = 0
    for number, (opcode, argument, _) in enumerate(_instructions(stream)):
        if number > _MOST_INSTRUCTIONS:
            _refuse(f"its pickle has more than {_MOST_INSTRUCTIONS} instructions")
        name = opcode.name
        if name in _STORES or name in _RECALLS:
            _remember(name, argument, memo, stack)
            continue
        if name == "MARK":
            stack.append(_MARK)
            continue
        if argument in _ALLOCATES:
            _refuse("it would allocate a bytearray of arbitrary size")
        taken = _pop(stack, opcode)
        size, depth = 1, 1
        if isinstance(argument, str | bytes):
            size += len(argument)
        for item in taken:
            size += item.size
            depth = max(depth, item.depth + 1)
        if depth > _DEEPEST:
            _refuse(f"its objects are nested more than {_DEEPEST} deep, or recursive")
        size = min(size, _MOST_HANDED + 1)
        if name in _CALLS:
            handed += taken[-1].size
            if handed > _MOST_HANDED:
                _refuse("its calls would copy the same objects again and again")
        if name in _GROWS:  # the same object, which the memo may know
            taken[0].size = size
            taken[0].depth = max(taken[0].depth, depth - 1)
            stack.append(taken[0])
        else:
            stack.extend(_Weighed(size, depth) for _ in opcode.stack_after)


def _remember(
    name: str, place: Any, memo: dict[Any, _Weighed], stack: list[Any]
) -> None:
    """Store the top of the stack in the memo, or push a stored object."""
    if name in _RECALLS:
        if place not in memo:
            _refuse("it is damaged: its pickle recalls an object it never stored")
        stack.append(memo[place])
    elif not stack or stack[-1] is _MARK:
        _refuse("it is damaged: an instruction of its pickle lacks its operands")
    else:
        memo[len(memo) if place is None else place] = stack[-1]


def _instructions(stream: BinaryIO) -> Iterator[Any]:
    try:
        yield from pickletools.genops(stream)
    except ValueError as error:  # also of text that is not UTF-8
        _refuse(f"it is damaged, or not a file of torch.save ({error})", error)


def _pop(stack: list[Any], opcode: Any) -> list[_Weighed]:
    """Pop the operands of an instruction off the stack, the deepest first."""
    wanted = opcode.stack_before
    if not wanted:
        return []
    first = len(stack)
    if wanted[-1] is _SLICE:
        while first and stack[first - 1] is not _MARK:
            first -= 1
        if not first:
            _refuse("it is damaged: an instruction of its pickle lacks its mark")
        del stack[first - 1]
        wanted, first = wanted[:-2], first - 1
    first -= len(wanted)
    taken: list[Any] = stack[max(first, 0) :]
    if first < 0 or _MARK in taken:
        _refuse("it is damaged: an instruction of its pickle lacks its operands")
    del stack[first:]
    return taken


def _refuse(reason: str, cause: Exception | None = None) -> NoReturn:
    msg = f"{reason}. Download it again from its publisher."
    raise CheckpointError(msg) from cause
