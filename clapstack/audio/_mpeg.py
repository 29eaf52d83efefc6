"""MPEG audio (MP1, MP2, MP3) and AAC in ADTS: frame counts without decoding.

The number of frames stated in an MP3 file (in a frame marked Xing, Info or VBRI) is
often missing or wrong, and libsndfile reads no more than it states. Each frame states
its own length, so that walking from frame to frame yields the true number and detects
truncation and concatenated files.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from clapstack.audio._samples import check_length
from clapstack.audio._streams import (
    BEGINNING,
    Stream,
    damaged,
    end_of_audio,
    more_behind,
    skip_tags,
    truncated,
)

_MP3 = "MP3"
# kbit/s by version (MPEG 1, or 2 and 2.5) and layer
_BIT_RATES = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {
    3: (44_100, 48_000, 32_000),
    2: (22_050, 24_000, 16_000),
    0: (11_025, 12_000, 8_000),
}
_ADTS_RATES = (
    96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000,
    11_025, 8_000, 7_350,
)  # fmt: skip
# libsndfile recognises MP3 by a tag. Without one it first looks for a resource fork, a
# file "._" in the current folder, and uses its format.
_TAG = b"ID3\4\0\0\0\0\0\12" + bytes(10)
_MOST_JUNK = 1 << 20
_SURE = 5  # consecutive frames that certainly are MPEG audio
_DECODER_DELAY = 529  # samples
_ENCODER = re.compile(rb"LAME|Lav[cf]|L3\.99|GOGO")


class _Frame(NamedTuple):
    """One frame: its length in bytes and samples, and its constant properties."""

    n_bytes: int
    n_samples: int
    rate: int
    layer: int  # 4 for AAC
    channels: int  # as the header codes them


class _Info(NamedTuple):
    """Information in the first frame on those that follow; None if not stated."""

    n_frames: int | None
    n_bytes: int | None
    delay: int
    padding: int
    encoder: bytes


class _Part(NamedTuple):
    """Frames of one file, with their positions, number and stated information."""

    start: int
    end: int
    n_skipped: int  # bytes of a first frame without audio
    n_frames: int
    frame: _Frame
    info: _Info | None


def mpeg_streams(content: bytes) -> list[Stream] | None:
    """Return the streams of an MPEG file, one for each file concatenated into it.

    None for files of other kinds. Raises AudioError if a frame is truncated or missing,
    or if there is anything else between frames.
    """
    at = skip_tags(content, 0)
    first = _frame(content, at)
    if first is None or (
        at + first.n_bytes < len(content) and not _follows(content, at + first.n_bytes)
    ):
        return None
    return [_stream(content, part) for part in _parts(content, at)]


def _parts(content: bytes, at: int) -> list[_Part]:
    end = end_of_audio(content, at)
    parts: list[_Part] = []
    while at < end:
        part = _part(content, at, end)
        if part is None:
            if parts and BEGINNING.search(content, at, end):
                raise more_behind(_name(parts[-1].frame))
            whole = bool(parts) and parts[-1].info is not None
            if whole and end - at < _MOST_JUNK and not _frames_in(content, at):
                break  # the file is as long as it states: the rest is not audio
            what = f"neither a frame nor a tag begins at byte {at}"
            raise damaged(_MP3, what)
        parts.append(part)
        at = skip_tags(content, part.end)
    return parts


def _part(content: bytes, start: int, end: int) -> _Part | None:
    """Walk the frames of one file, from its first."""
    first = _frame(content, start)
    if first is None:
        return None
    name = _name(first)
    info = _info(content, start, first)
    n_skipped = first.n_bytes if info else 0
    at = start + n_skipped
    n_frames = 0
    while at < end:
        frame = _frame(content, at)
        if (
            frame is None
            or frame[2:] != first[2:]
            or (n_frames and _info(content, at, frame))
        ):
            break
        if info and info.n_frames == n_frames and info.n_bytes == at - start:
            break  # the file is as long as it states, so this is another file
        if at + frame.n_bytes > end:
            raise truncated(name, f"its frame {n_frames} is incomplete")
        at += frame.n_bytes
        n_frames += 1
        check_length(n_frames * first.n_samples, first.rate)
    if info:
        stated = info.n_frames or 0
        # Some encoders also count the frame that states the number.
        counts_itself = stated == n_frames + 1 and info.n_bytes == at - start
        if stated > n_frames and not counts_itself:
            raise truncated(name, f"it states {stated} frames, but has {n_frames}")
        if info.n_frames is None and (info.n_bytes or 0) > len(content):
            raise truncated(name, f"it states {info.n_bytes} bytes")
        if n_frames > stated and info.n_bytes is None:
            # Another file may follow, whose end must not be dropped.
            info = info._replace(padding=0)
    if n_frames == 0:
        raise truncated(name, "it ends before its first frame")
    if first.layer != 4 and at < end and end - at < 4 and content[at] == 0xFF:
        raise truncated(name, f"its frame {n_frames} is incomplete")
    return _Part(start, at, n_skipped, n_frames, first, info)


def _stream(content: bytes, part: _Part) -> Stream:
    frame, info = part.frame, part.info
    name = _name(frame)
    n_samples = part.n_frames * frame.n_samples
    body = content[part.start : part.end]
    if frame.layer == 4:
        return Stream(name, body, n_samples, frame.rate, demuxer="aac")
    if frame.layer == 3:
        if info and info.encoder:
            # A decoder also drops its own delay from the start. Padding compensates for
            # it, but files that FFmpeg copied frame by frame have none.
            n_samples -= info.delay + max(info.padding, _DECODER_DELAY)
        if info is None or info.n_frames != part.n_frames or not info.encoder:
            body = _with_count(body, part)
    return Stream(name, _TAG + body, n_samples, frame.rate)


def _with_count(body: bytes, part: _Part) -> bytes:
    """Return the frames of a part, preceded by one that states their number.

    libsndfile reads no more frames than that or, without it, than it guesses.
    """
    info, n_frames = part.info, part.n_frames
    encoder = b""
    if info and info.encoder:
        delays = (info.delay << 12 | info.padding).to_bytes(3, "big")
        encoder = info.encoder[:21] + delays + info.encoder[24:]
    header = bytearray(body[:4])
    header[1] |= 1  # no checksum
    header[2] = header[2] & 0x0C | 0x90  # a bit rate with enough room
    frame = _frame(bytes(header), 0)
    assert frame is not None
    silent = b""
    if not encoder:
        # The decoder's delay would be dropped from the start. Therefore a silent
        # frame is inserted, which is dropped as a whole.
        silent = bytes(header).ljust(frame.n_bytes, b"\0")
        n_frames += 1
        delay = (frame.n_samples - _DECODER_DELAY << 12).to_bytes(3, "big")
        encoder = b"LAME".ljust(21, b"\0") + delay
    tag = b"Info\0\0\0\1" + n_frames.to_bytes(4, "big") + encoder
    head = bytes(header).ljust(_side_information(header), b"\0")
    return (head + tag).ljust(frame.n_bytes, b"\0") + silent + body[part.n_skipped :]


def _side_information(header: bytes | bytearray) -> int:
    """Return the offset of the data in a Layer III frame."""
    mono = header[3] >> 6 == 3
    if header[1] & 0x08:  # MPEG 1
        return 4 + (17 if mono else 32)
    return 4 + (9 if mono else 17)


def _info(content: bytes, at: int, frame: _Frame) -> _Info | None:
    """Return the information that a frame states; None for a normal frame."""
    if frame.layer != 3:
        return None
    body = content[at : at + frame.n_bytes]
    if body[36:40] == b"VBRI":
        return _Info(int.from_bytes(body[50:54], "big"), None, 0, 0, b"")
    tag = _side_information(body)
    if not body[1] & 1 and body[tag : tag + 4] not in (b"Xing", b"Info"):
        tag += 2  # after a checksum
    if body[tag : tag + 4] not in (b"Xing", b"Info"):
        return None
    flags = int.from_bytes(body[tag + 4 : tag + 8], "big")
    fields = []
    field = tag + 8
    for bit in (1, 2):
        fields.append(
            int.from_bytes(body[field : field + 4], "big") if flags & bit else None
        )
        field += 4 if flags & bit else 0
    found = _ENCODER.search(body, tag + 8)
    delay = padding = 0
    encoder = b""
    if found:
        encoder = body[found.start() : found.start() + 36]
        delays = int.from_bytes(encoder[21:24], "big")
        delay, padding = delays >> 12, delays & 0xFFF
    return _Info(fields[0], fields[1], delay, padding, encoder)


def _frame(content: bytes, at: int) -> _Frame | None:
    """Return the frame whose header is at a position, or None."""
    header = content[at : at + 7]
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    if layer == 4:
        return _adts_frame(header)
    bit_rate, rate = header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or bit_rate in (0, 15) or rate == 3:
        return None
    kbits = _BIT_RATES[1 if version == 3 else 2, layer][bit_rate - 1]
    hertz = _RATES[version][rate]
    padded = header[2] >> 1 & 1
    mode = int(header[3] >> 6 == 3)  # mono, or one of three modes of two channels
    if layer == 1:
        return _Frame((12_000 * kbits // hertz + padded) * 4, 384, hertz, layer, mode)
    n_samples = 576 if layer == 3 and version != 3 else 1152
    n_bytes = n_samples * 125 * kbits // hertz + padded
    return _Frame(n_bytes, n_samples, hertz, layer, mode)


def _adts_frame(header: bytes) -> _Frame | None:
    rate = header[2] >> 2 & 0xF
    if len(header) < 7 or header[1] & 0xF6 != 0xF0 or rate >= len(_ADTS_RATES):
        return None
    n_bytes = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
    if n_bytes < 7:
        return None
    channels = (header[2] & 1) << 2 | header[3] >> 6
    n_samples = 1024 * (1 + (header[6] & 3))
    return _Frame(n_bytes, n_samples, _ADTS_RATES[rate], 4, channels)


def _follows(content: bytes, at: int) -> bool:
    """Return whether a frame or a tag begins at a position, or the file ends there."""
    return (
        _frame(content, at) is not None
        or skip_tags(content, at) > at
        or (at >= end_of_audio(content))
    )


def begins_file(content: bytes, at: int) -> bool:
    """Return whether an audio file begins anywhere after a position.

    Five MPEG frames in a row count as one: by chance, they occur less than once in
    2**40 bytes.
    """
    if BEGINNING.search(content, at):
        return True
    while (at := content.find(b"\xff", at)) >= 0:
        behind, n_frames = at, 0
        while n_frames < _SURE and (frame := _frame(content, behind)):
            behind, n_frames = behind + frame.n_bytes, n_frames + 1
        if n_frames == _SURE:
            return True
        at += 1
    return False


def _frames_in(content: bytes, at: int) -> bool:
    """Return whether two frames in a row occur anywhere after a position."""
    while (at := content.find(b"\xff", at)) >= 0:
        frame = _frame(content, at)
        if frame and _frame(content, at + frame.n_bytes):
            return True
        at += 1
    return False


def _name(frame: _Frame) -> str:
    return "AAC" if frame.layer == 4 else f"MP{frame.layer}"
