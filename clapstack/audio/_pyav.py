"""Decoding with PyAV, for formats that libsndfile does not read.

These are MP4, WebM, WMA, AAC, and FLAC in Ogg. FFmpeg does not report missing data.
Therefore the container's own sizes are checked first, the number of samples is compared
with the stated one, and a file with decoder errors is rejected. Only these containers
are opened, by name and from memory, so that no playlist or reference leads to another
file or to a network.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from clapstack._optional import import_optional
from clapstack.audio._mpeg import begins_file
from clapstack.audio._samples import full_scale_one
from clapstack.audio._streams import (
    Stream,
    damaged,
    end_of_audio,
    more_behind,
    skip_tags,
    truncated,
)
from clapstack.exceptions import AudioError

_MP4 = "MP4"
_WEBM = "WebM"
_WMA = "WMA"
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_FILE = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_EBML = b"\x1a\x45\xdf\xa3"
_HEADER, _SEGMENT, _CLUSTER = 0x1A45DFA3, 0x18538067, 0x1F43B675
_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
# FFmpeg would drop the first two frames of WMA, one of which is audio in its own files.
_SKIP_NOTHING = 1 << 29  # AV_CODEC_FLAG2_SKIP_MANUAL
# Seconds that may be missing after decoding: lengths are rounded, and Matroska includes
# the encoder's delay.
_SHORTFALL = {"mov": 0.05, "matroska": 0.25}


def av_stream(content: bytes) -> Stream | None:
    """Return the stream of an MP4, Matroska or ASF file.

    None for files of other kinds. Raises AudioError if the container states more bytes
    than there are.
    """
    if content[4:8] in _FIRST_BOXES:
        _check_boxes(content)
        return Stream("MP4", content, demuxer="mov")
    if content.startswith(_EBML):
        _check_matroska(content)
        return Stream("WebM", content, demuxer="matroska")
    if content.startswith(_ASF):
        _check_asf(content)
        return Stream("WMA", content, demuxer="asf")
    return None


def open_av(stream: Stream) -> tuple[int, int, Iterator[np.ndarray]]:
    """Open a stream with PyAV.

    Returns
    -------
    rate, n_channels : int
        Sample rate in Hz, and number of channels.
    blocks : iterator of ndarray of shape (n_frames, n_channels)
        float32.

    Raises
    ------
    AudioError
        If PyAV is not installed, the file cannot be opened, or it does not have exactly
        one audio stream.
    """
    try:
        av: Any = import_optional(
            "av", extra="av", caller=f"reading {stream.name} files"
        )
    except ImportError as error:
        raise AudioError(f"{error}") from error  # noqa: EM102
    try:
        container = av.open(
            io.BytesIO(stream.content), format=stream.demuxer, io_open=_open_nothing
        )
    except (av.FFmpegError, ValueError) as error:
        raise _cannot_decode(stream, error) from error
    n_streams = len(container.streams.audio)
    if n_streams != 1:
        container.close()
        msg = (
            f"the {stream.name} file has {n_streams} audio streams instead of one. "
            "Extract one as WAV or FLAC."
        )
        raise AudioError(msg)
    audio = container.streams.audio[0]
    if audio.codec_context is None:
        container.close()
        msg = (
            f"the {stream.name} file uses a codec that FFmpeg cannot decode. "
            "Convert it to WAV or FLAC."
        )
        raise AudioError(msg)
    return audio.rate, audio.channels, _blocks(stream, container, audio, av)


def _open_nothing(url: str, flags: int, options: Any) -> Any:
    msg = f"the file refers to another file, {url!r}, which is not opened."
    raise AudioError(msg)


def _blocks(
    stream: Stream, container: Any, audio: Any, av: Any
) -> Iterator[np.ndarray]:
    n_frames, rate = 0, audio.rate
    with container:
        audio.codec_context.options = {"err_detect": "crccheck+bitstream+buffer"}
        if stream.demuxer == "asf":
            audio.codec_context.flags2 |= _SKIP_NOTHING
        try:
            for frame in container.decode(audio):
                if frame.is_corrupt or frame.sample_rate != rate:
                    raise damaged(stream.name, "its decoder reports an error")
                samples = frame.to_ndarray()
                n_channels = frame.layout.nb_channels
                planar = frame.format.is_planar
                samples = samples.T if planar else samples.reshape(-1, n_channels)
                n_frames += len(samples)
                yield full_scale_one(samples)
        except AudioError:
            raise
        except (av.FFmpegError, ValueError) as error:
            raise _cannot_decode(stream, error) from error
        promised = _promised(container, audio)
        # ASF includes a pause before playing; packets of Ogg and AAC are counted below.
        shortfall = _SHORTFALL.get(str(stream.demuxer), float("inf"))
        if promised - n_frames / rate > shortfall:
            what = f"it states {promised:.2f} s, but has {n_frames / rate:.2f} s"
            raise truncated(stream.name, what)
        expected = round((stream.n_frames or 0) * rate / (stream.rate or rate))
        if stream.n_frames is not None and n_frames != expected:
            what = f"it contains {expected} frames, but {n_frames} can be decoded"
            raise damaged(stream.name, what)


def _promised(container: Any, audio: Any) -> float:
    """Return the duration that a container states, in seconds; 0 if unknown."""
    if audio.duration is not None:
        return float(audio.duration * audio.time_base)
    return (container.duration or 0) / 1e6


def _cannot_decode(stream: Stream, error: Exception) -> AudioError:
    return AudioError(
        f"the {stream.name} file cannot be decoded ({len(stream.content)} bytes; "
        f"FFmpeg: {error}). It is truncated, damaged or not audio: copy or export it "
        "again as WAV or FLAC."
    )


def _check_boxes(content: bytes) -> None:
    """Check that the boxes of an MP4 file fill it and belong to one file."""
    at, end = 0, end_of_audio(content)
    names = []
    while at < end:
        head = content[at : at + 16]
        size = int.from_bytes(head[:4], "big")
        if size == 1:
            size = int.from_bytes(head[8:16], "big")
        elif size == 0 and head[4:8].strip(b"\0"):  # to the end of the file
            size = end - at
        if size < 8 or at + size > end:
            if skip_tags(content, at) >= end:
                break
            raise truncated(_MP4, f"its box at byte {at} is incomplete")
        names.append(head[4:8])
        at += size
    # FFmpeg allocates a list of as many packets as this table states.
    for table in re.finditer(b"stsz", content):
        head = content[table.end() : table.end() + 12].ljust(12, b"\1")
        size, count = (int.from_bytes(head[at : at + 4], "big") for at in (4, 8))
        if head[:4] == bytes(4) and count * (size or 4) > end:
            raise truncated(_MP4, f"it states {count} packets")
    if b"moov" not in names:
        raise truncated(_MP4, "it has no table of its samples")
    if names.count(b"moov") > 1:
        raise more_behind(_MP4)


def _check_matroska(content: bytes) -> None:
    """Check that the elements of a Matroska file are complete, down to its blocks."""
    at, end = 0, end_of_audio(content)
    while (at := _behind_padding(content, at, end)) < end:
        start = at
        name, at = _vint(content, at, marked=True)
        if name == _HEADER and start:
            raise more_behind(_WEBM)
        size, at = _vint(content, at, marked=False)
        if name in (_SEGMENT, _CLUSTER):
            if size is not None and at + size > end:
                raise truncated(_WEBM, f"an element of {size} bytes is incomplete")
            continue  # check its content
        if size is None or at + size > end:
            raise truncated(_WEBM, "an element is incomplete")
        at += size


def _behind_padding(content: bytes, at: int, end: int) -> int:
    """Return the end of the file if only tags and padding follow, else the position."""
    begins_tag = content[at : at + 1] in (b"\0", b"I", b"A", b"L", b"T")
    return end if begins_tag and skip_tags(content, at) >= end else at


def _vint(content: bytes, at: int, *, marked: bool) -> tuple[int | None, int]:
    """Return an EBML number and its end; None for an unknown size."""
    first = content[at] if at < len(content) else 0
    width = 9 - first.bit_length()
    if width > 8 or at + width > len(content):
        raise truncated(_WEBM, "an element is incomplete")
    number = int.from_bytes(content[at : at + width], "big")
    if marked:
        return number, at + width
    number &= (1 << 7 * width) - 1
    return (None if number == (1 << 7 * width) - 1 else number), at + width


def _check_asf(content: bytes) -> None:
    """Check that the packets of an ASF file are present and complete."""
    at = content.find(_ASF_FILE)
    data = int.from_bytes(content[16:24], "little")
    if at < 0 or at + 100 > len(content) or data + 50 > len(content):
        raise truncated(_WMA, "it ends within its header")
    n_packets = int.from_bytes(content[at + 56 : at + 64], "little")
    packet = int.from_bytes(content[at + 92 : at + 96], "little")
    n_bytes = len(content) - data - 50
    # A broadcast states no number; at most an end mark of 12 bytes follows the packets.
    broadcast = content[at + 88] & 1
    if n_packets * packet > n_bytes or (
        broadcast and packet and n_bytes % packet not in (0, 12)
    ):
        raise truncated(
            _WMA,
            f"it states {n_packets} packets of {packet} bytes, but has {n_bytes} bytes",
        )
    end = len(content) if broadcast else data + 50 + n_packets * packet
    if content.find(_ASF, 16) >= 0 or begins_file(content, end):
        raise more_behind(_WMA)
