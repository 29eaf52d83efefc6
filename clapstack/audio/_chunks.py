"""WAV, RF64, W64, AIFF, CAF and AU: the chunk of samples, and its true length.

A writer that cannot return to its header, as in a pipe, leaves a length there that
means "unknown". libsndfile trusts some of these values, so the true length is inserted
before decoding. Data after the samples is accepted only if it is certainly not audio.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import NamedTuple

from clapstack.audio._streams import (
    BEGINNING,
    Stream,
    damaged,
    end_of_audio,
    more_behind,
    skip_tags,
    truncated,
)

_CAF = "CAF"
_AU = "AU"
_ANY = "audio"
# Lengths that mean "unknown": 2**31 or 2**32, minus a header or rounded down to whole
# frames (sox writes at most 0x7F000000 or 0x7FFFF000, arecord 0x80000000, FFmpeg
# 0xFFFFFFFF). They are interpreted this way only if the file is shorter.
_UNKNOWN = (
    range(0x7EFFF000, 0x7F001000),
    range(0x7FFFE000, 0x80000001),
    range(0xFFFFE000, 0x100000000),
)
_NO_LENGTH = 1 << 62  # of 64 bits
_MOST_PADDING = 1 << 16  # zeros after the samples; more of them may be silent audio
_MOST_CHUNKS = 1 << 16
_NAMED = re.compile(rb"[ -~]{4}")
# Metadata that may be truncated without harm; other chunks must fit into the file.
_METADATA = {b"LIST", b"id3 ", b"ID3 ", b"bext", b"iXML", b"JUNK", b"free", b"info"}
_SAMPLES = {b"data", b"SSND"}
_W64 = bytes.fromhex("2e91cf11a5d628db04c10000")  # after "riff"
# Bytes per sample of the codings of AIFF-C with whole bytes; None if the header states
# them.
_AIFF_BYTES = {
    **dict.fromkeys((b"NONE", b"sowt", b"twos", b"raw ", b"in24", b"in32"), None),
    **dict.fromkeys((b"fl32", b"FL32"), 4),
    **dict.fromkeys((b"fl64", b"FL64"), 8),
    **dict.fromkeys((b"ulaw", b"alaw", b"ULAW", b"ALAW"), 1),
}
_MPEG_TAGS = {0x50: "MP2", 0x55: "MP3"}  # WAVE format tags


class _Kind(NamedTuple):
    """Header format and alignment of a container's chunks."""

    head: str
    alignment: int


_LITTLE, _BIG = _Kind("<4sI", 2), _Kind(">4sI", 2)
_KINDS = {
    b"RIFF": _LITTLE,
    b"RF64": _LITTLE,
    b"BW64": _LITTLE,
    b"RIFX": _BIG,
    b"FORM": _BIG,
    b"caff": _Kind(">4sq", 1),
    b"riff": _Kind("<16sq", 8),
}


def chunk_stream(content: bytes) -> Stream | None:
    """Return the stream of a file that stores its samples in a chunk.

    None for files of other kinds. Raises AudioError if the file is truncated, or if
    more audio may follow its samples.
    """
    try:
        return _chunk_stream(content)
    except struct.error as error:
        what = f"a number in its header is truncated or out of range ({error})"
        raise damaged(_ANY, what) from error


def _chunk_stream(content: bytes) -> Stream | None:
    magic, form = content[:4], content[8:12]
    if magic in (b"RIFF", b"RIFX", b"RF64", b"BW64") and form == b"WAVE":
        return _wav(content, magic)
    if magic == b"FORM" and form in (b"AIFF", b"AIFC"):
        return _aiff(content)
    if magic == b"riff" and content[4:16] == _W64:
        return _w64(content)
    if magic == b"caff":
        return _caf(content)
    if magic in (b".snd", b"dns."):
        return _au(content)
    return None


def _wav(content: bytes, magic: bytes) -> Stream:
    name = "WAV" if magic in (b"RIFF", b"RIFX") else "RF64"
    kind = _KINDS[magic]
    before, start, stated = _find_samples(content, name, kind, 12)
    patches: list[tuple[int, str, int]] = [(start - 4, kind.head[0] + "I", 0)]
    if magic == b"BW64":  # another name of RF64, unknown to libsndfile
        content = b"RF64" + content[4:]
    if b"ds64" in before and stated == 0xFFFFFFFF:
        at = before[b"ds64"] + 8
        stated = struct.unpack_from("<q", content, at)[0]
        patches = [(at, "<Q", 0)]
    n_bytes, content = _true_length(content, name, kind, start, stated, patches)
    tag = struct.unpack_from(kind.head[0] + "H", content, before.get(b"fmt ", 0))[0]
    if tag in _MPEG_TAGS:
        return Stream(_MPEG_TAGS[tag], content[start : start + n_bytes])
    return Stream(name, content, n_bytes=n_bytes)


def _aiff(content: bytes) -> Stream:
    name, kind = "AIFF", _BIG
    before, start, stated = _find_samples(content, name, kind, 12)
    if b"COMM" not in before or len(content) < start + 8:
        raise truncated(name, "it ends within its header")
    common = before[b"COMM"]
    n_channels, n_frames, n_bits = struct.unpack_from(">HIH", content, common)
    coding = content[common + 18 : common + 22] if content[8:12] == b"AIFC" else b"NONE"
    frame = n_channels * (_AIFF_BYTES.get(coding, 0) or -(-n_bits // 8))
    offset = struct.unpack_from(">I", content, start)[0]
    patches = [(start - 4, ">I", 8 + offset)]
    if coding in _AIFF_BYTES and frame:
        patches.append((common + 2, ">I", -frame))
    start += 8 + offset
    stated -= 8 + offset
    n_bytes, whole = _true_length(content, name, kind, start, stated, patches)
    if coding not in _AIFF_BYTES:
        return Stream(name, whole)
    if whole is content and n_frames * frame > n_bytes:
        raise truncated(
            name, f"it states {n_frames} frames, but has {n_bytes // (frame or 1)}"
        )
    return Stream(name, whole, n_bytes=n_bytes)


def _w64(content: bytes) -> Stream:
    kind = _KINDS[b"riff"]
    _, start, stated = _find_samples(content, "W64", kind, 40)
    patches = [(start - 8, "<q", 24), (16, "<q", start)]
    n_bytes, content = _true_length(content, "W64", kind, start, stated, patches)
    # libsndfile would read everything that follows as samples.
    return Stream("W64", content[: start + n_bytes], n_bytes=n_bytes)


def _caf(content: bytes) -> Stream:
    kind = _KINDS[b"caff"]
    before, start, stated = _find_samples(content, "CAF", kind, 8)
    patches = [(start - 8, ">q", 4)]
    start += 4  # the number of edits
    n_bytes, content = _true_length(
        content, "CAF", kind, start, max(stated - 4, -1), patches
    )
    coding = before.get(b"desc", 0) + 8
    if content[coding : coding + 4] != b"alac":
        return Stream("CAF", content, n_bytes=n_bytes)
    for chunk, at, _ in _chunks(content, kind, start + n_bytes):
        before[chunk] = at
    at = before.get(b"pakt", len(content))
    if at + 16 > len(content):
        raise truncated(_CAF, "its table of packets is missing")
    return Stream("CAF", content, n_frames=struct.unpack_from(">q", content, at + 8)[0])


def _au(content: bytes) -> Stream:
    order = ">" if content[:1] == b"." else "<"
    if len(content) < 24:
        raise truncated(_AU, "it ends within its header")
    start, stated = struct.unpack_from(f"{order}II", content, 4)
    patches = [(8, f"{order}I", 0)]
    n_bytes, content = _true_length(content, "AU", None, start, stated, patches)
    return Stream("AU", content, n_bytes=n_bytes)


def _chunks(content: bytes, kind: _Kind, at: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start and stated size of every chunk after a position."""
    n_head = struct.calcsize(kind.head)
    n_chunks = 0
    while at + n_head <= len(content):
        name, size = struct.unpack_from(kind.head, content, at)
        at += n_head
        if kind.alignment == 8:  # W64 includes the header in the size
            name, size = name[:4], size - n_head
        yield name, at, size
        n_chunks += 1
        if size < 0 or n_chunks > _MOST_CHUNKS:
            return
        at += size
        # Some writers omit the padding byte of an odd chunk.
        if kind.alignment != 2 or not _NAMED.match(content, at):
            at += -at % kind.alignment


def _find_samples(
    content: bytes, name: str, kind: _Kind, at: int
) -> tuple[dict[bytes, int], int, int]:
    """Return starts of earlier chunks, and the samples' start and size."""
    before: dict[bytes, int] = {}
    for chunk, start, size in _chunks(content, kind, at):
        if chunk in _SAMPLES:
            return before, start, size
        before[chunk] = start
    raise truncated(name, "it has no chunk of samples")


def _true_length(
    content: bytes,
    name: str,
    kind: _Kind | None,
    start: int,
    stated: int,
    patches: list[tuple[int, str, int]],
) -> tuple[int, bytes]:
    """Return the true number of bytes of samples, and the file corrected accordingly.

    Each patch is a position, a struct format, and a number to add; a negative number is
    a frame size by which to divide instead.
    """
    left = len(content) - start
    unknown = not 0 <= stated < _NO_LENGTH or (
        stated > left and any(stated in some for some in _UNKNOWN)
    )
    if stated == 0 and left > 0:  # empty, or the header was never finished
        unknown = not _ends(content, kind, start)
    if not unknown:
        if stated > left:
            raise truncated(
                name, f"it states {stated} bytes of samples, but has {max(left, 0)}"
            )
        if not _ends(content, kind, start + stated):
            raise more_behind(name)
        return stated, content
    if BEGINNING.search(content, start):
        raise more_behind(name)
    patched = bytearray(content)
    for at, form, extra in patches:
        value = left + extra if extra >= 0 else left // -extra
        struct.pack_into(form, patched, at, value)
    return left, bytes(patched)


def _ends(content: bytes, kind: _Kind | None, at: int) -> bool:
    """Return whether nothing but metadata, tags and padding follows a position."""
    end = end_of_audio(content, at)
    if end - at <= _MOST_PADDING and not content[at:end].strip(b"\0"):
        return True
    if kind is not None:
        # The last chunk may lack its padding.
        at += (-at % kind.alignment) if not _NAMED.match(content, at) else 0
        for name, start, size in _chunks(content, kind, at):
            if name in _SAMPLES or name in _KINDS:
                return False
            if not _NAMED.match(name):
                break
            if start + size > len(content):
                return name in _METADATA
            at = start + size
    left = content[at:end]
    return len(left) <= _MOST_PADDING and skip_tags(content, at) >= end
