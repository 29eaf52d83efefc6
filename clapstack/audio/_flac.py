"""FLAC: number of samples in its frames.

libsndfile reads as many samples as the header states, and does not report further
samples or a second file after them. Frames are numbered and their headers have a
checksum, so that they can be found and counted without decoding.
"""

from __future__ import annotations

import re

from clapstack.audio._mpeg import begins_file
from clapstack.audio._streams import (
    Stream,
    damaged,
    more_behind,
    skip_tags,
    truncated,
)

_NAME = "FLAC"
_MARK = re.compile(rb"fLaC[\0\x80]\0\0\x22")  # and the head of a STREAMINFO block
_SYNC = re.compile(rb"\xff[\xf8\xf9]")
_MOST_FALSE = 1000
_CRC = [0]
for _byte in range(1, 256):  # the polynomial is x^8 + x^2 + x + 1
    for _ in range(8):
        _byte = _byte << 1 ^ (0x107 if _byte & 0x80 else 0)
    _CRC.append(_byte)


def flac_streams(content: bytes) -> list[Stream] | None:
    """Return the streams of a FLAC file, one for each file concatenated into it.

    None for files of other kinds. Raises AudioError if frames that the header states
    are missing.
    """
    at = skip_tags(content, 0)
    if content[at : at + 4] != b"fLaC":
        return None
    streams = []
    while at < len(content):
        first = _first_frame(content, at)
        following = _MARK.search(content, first)
        end = following.start() if following else len(content)
        streams.append(_stream(content[at:end], first - at))
        at = end
    return streams


def _first_frame(content: bytes, at: int) -> int:
    """Skip the blocks of metadata."""
    at += 4
    last = False
    while not last:
        if at + 4 > len(content):
            raise truncated(_NAME, "it ends within its header")
        last = bool(content[at] & 0x80)
        at += 4 + int.from_bytes(content[at + 1 : at + 4], "big")
    return at


def _stream(content: bytes, first: int) -> Stream:
    if content[4] & 0x7F or len(content) < 42:
        raise damaged(_NAME, "it does not begin with a STREAMINFO block")
    stated = int.from_bytes(content[18:26], "big") & (1 << 36) - 1
    held = _n_samples(content, first, int.from_bytes(content[8:10], "big"))
    if stated > held:
        raise truncated(_NAME, f"it states {stated} frames, but has {held}")
    if stated != held:  # a streamed file states 0
        patched = bytearray(content)
        patched[21] = patched[21] & 0xF0 | held >> 32
        patched[22:26] = (held & 0xFFFFFFFF).to_bytes(4, "big")
        content = bytes(patched)
    return Stream("FLAC", content, held)


def _n_samples(content: bytes, at: int, block_size: int) -> int:
    """Return the number of samples in the frames, including a truncated last one."""
    n_frames = n_samples = n_false = 0
    last = at
    while found := _SYNC.search(content, at):
        at = found.start()
        number, size = _frame(content, at)
        counted = content[at + 1] & 1  # whether the number counts samples, not frames
        if size and number == (n_samples if counted else n_frames):
            n_frames += 1
            n_samples += size
            last = at
        else:  # by chance, two in 65,536 bytes
            n_false += 1
            if n_false > _MOST_FALSE + len(content) // 4096:
                raise damaged(_NAME, "its frames are not numbered consecutively")
        at += 2
    if begins_file(content, last + 6):  # skips a frame header, which resembles AAC's
        raise more_behind(_NAME)
    return n_samples


def _frame(content: bytes, at: int) -> tuple[int, int]:
    """Return number and samples of a frame; 0 samples if it is not a frame."""
    header = content[at : at + 16]
    if len(header) < 6 or header[3] & 1:
        return 0, 0
    n_ones = 8 - (header[4] ^ 0xFF).bit_length()  # the number is coded as in UTF-8
    if n_ones in (1, 8):
        return 0, 0
    number = header[4] & 0x7F >> n_ones
    end = 5
    for byte in header[5 : 4 + n_ones]:
        if byte & 0xC0 != 0x80:
            return 0, 0
        number, end = number << 6 | byte & 0x3F, end + 1
    code, rate = header[2] >> 4, header[2] & 0xF
    if code == 0 or rate == 15:
        return 0, 0
    if code in (6, 7):
        width = code - 5
        size = int.from_bytes(header[end : end + width], "big") + 1
        end += width
    elif code == 1:
        size = 192
    else:
        size = 576 << code - 2 if code < 6 else 256 << code - 8
    end += {12: 1, 13: 2, 14: 2}.get(rate, 0)
    crc = 0
    for byte in header[:end]:
        crc = _CRC[crc ^ byte]
    if end >= len(header) or crc != header[end]:
        return 0, 0
    return number, size
