"""Decoding of complete audio files; incomplete ones are rejected."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import soundfile

from clapstack.audio._chunks import chunk_stream
from clapstack.audio._flac import flac_streams
from clapstack.audio._mpeg import mpeg_streams
from clapstack.audio._ogg import ogg_streams
from clapstack.audio._pyav import av_stream, open_av
from clapstack.audio._samples import (
    BLOCK,
    MAX_CHANNELS,
    check_length,
    checked_rate,
    mono,
)
from clapstack.audio._streams import Stream, damaged, truncated
from clapstack.exceptions import AudioError

# Bytes per sample, for codings in which it is constant
_WIDTHS = {
    **dict.fromkeys(("PCM_S8", "PCM_U8", "ULAW", "ALAW"), 1),
    "PCM_16": 2,
    "PCM_24": 3,
    **dict.fromkeys(("PCM_32", "FLOAT"), 4),
    "DOUBLE": 8,
}
# Known but unsupported formats, by their first bytes
_OTHERS = {
    b"NIST_1A": "NIST Sphere",
    b"Creative Voice": "VOC",
    b"2BIT": "AVR",
    b"PVF1": "PVF",
    b" paf": "PAF",
    b"fap ": "PAF",
    b"MATLAB 5": "MATLAB",
    b"Extended Inst": "XI",
    b"ALawSoundFile": "WVE",
    b"wvpk": "WavPack",
    b"MAC ": "Monkey's Audio",
    b"TTA1": "TTA",
    b"ajkg": "Shorten",
    b"#!AMR": "AMR",
    b"\x0bw": "AC-3",
    b"\x7f\xfe\x80\x01": "DTS",
    b"FLV": "FLV",
    b".RMF": "RealMedia",
    b"d\xa3\x01\0": "IRCAM",
    b"DSD ": "DSF",
    b"MPCK": "Musepack",
    b"MP+": "Musepack",
    b"MThd": "MIDI",
    b"#EXTM3U": "playlist",
    b"[playlist]": "playlist",
    b"ffconcat": "playlist",
}
# Files often found in place of audio, and what to do about them
_NO_AUDIO = (
    (b"version https:", "a Git LFS pointer. Fetch the file with git lfs pull"),
    (b"\x93NUMPY", "a NumPy array. Pass (numpy.load(path), rate)"),
    (b"PK\x03\x04", "a zip archive. Unpack it"),
    (b"\x1f\x8b", "gzip-compressed data. Decompress it"),
    (b"<!doctype", "HTML, perhaps from a failed download. Download it again"),
    (b"<html", "HTML, perhaps from a failed download. Download it again"),
    (b"{", "JSON, perhaps from a failed download. Download it again"),
)


class _FromStartToEnd(soundfile.SoundFile):
    """A file that is only read forward.

    soundfile seeks after each block that it reads, which may alter bits of compressed
    formats, and reads no more frames than the header states.
    """

    def seekable(self) -> bool:
        return False


def decode(content: bytes) -> tuple[np.ndarray, float]:
    """Decode a whole file, or raise if any of it is missing.

    Parameters
    ----------
    content : bytes
        An audio file.

    Returns
    -------
    samples : ndarray of shape (n_samples,)
        float32, the mean of the channels. Concatenated files are joined.
    rate : float
        Sample rate, in Hz.

    Raises
    ------
    AudioError
        If the file is truncated, damaged or in an unsupported format, or contains no
        usable samples.
    """
    first, *others = _streams(content)
    rate, blocks = _open(first)

    def all_blocks() -> Iterator[np.ndarray]:
        yield from blocks
        for stream in others:
            other_rate, more = _open(stream)
            if other_rate != rate:
                msg = (
                    f"the file contains several clips, of {rate:g} and {other_rate:g} "
                    "Hz. Split it, or export it again at one rate."
                )
                raise AudioError(msg)
            yield from more

    return mono(all_blocks(), rate), rate


def _streams(content: bytes) -> list[Stream]:
    chunk = chunk_stream(content)
    if chunk is not None:
        if chunk.name not in ("MP2", "MP3"):
            return [chunk]
        content = chunk.content
    for find in (flac_streams, ogg_streams, mpeg_streams):
        streams = find(content)
        if streams is not None:
            return streams
    stream = av_stream(content)
    if stream is not None:
        return [stream]
    for magic, name in _OTHERS.items():
        if content.startswith(magic):
            msg = f"{name} files are not supported. Convert this one to WAV or FLAC."
            raise AudioError(msg)
    head = content[:64].lstrip(b"\xef\xbb\xbf \r\n\t")
    for magic, words in _NO_AUDIO:
        if head.lower().startswith(magic.lower()):
            msg = f"this is not audio, but {words}."
            raise AudioError(msg)
    msg = (
        f"cannot be decoded as audio ({len(content)} bytes, beginning with "
        f"{content[:8]!r}). It is truncated, damaged or not audio: copy or export it "
        "again as WAV, FLAC, OGG or MP3."
    )
    raise AudioError(msg)


def _open(stream: Stream) -> tuple[float, Iterator[np.ndarray]]:
    """Return the rate of a stream, and blocks of shape (n_frames, n_channels)."""
    if stream.demuxer is not None:
        rate, n_channels, blocks = open_av(stream)
    else:
        rate, n_channels, blocks = _open_soundfile(stream)
    if n_channels > MAX_CHANNELS:
        msg = (
            f"the {stream.name} file has {n_channels} channels, more than the maximum "
            f"of {MAX_CHANNELS}. Mix it down to mono or stereo."
        )
        raise AudioError(msg)
    return checked_rate(rate), blocks


def _open_soundfile(stream: Stream) -> tuple[int, int, Iterator[np.ndarray]]:
    try:
        file = _FromStartToEnd(io.BytesIO(stream.content))
    except soundfile.LibsndfileError as error:
        raise _cannot_decode(stream, error) from error
    expected = _expected(stream, file)

    def blocks() -> Iterator[np.ndarray]:
        left = expected
        with file:
            while left:
                try:
                    block = file.read(min(BLOCK, left), "float32", always_2d=True)
                except soundfile.LibsndfileError as error:
                    raise _cannot_decode(stream, error) from error
                if not len(block):
                    what = f"it states {expected} frames, but has {expected - left}"
                    raise truncated(stream.name, what)
                left -= len(block)
                yield block

    return file.samplerate, file.channels, blocks()


def _expected(stream: Stream, file: soundfile.SoundFile) -> int:
    """Return the number of frames in a stream; reject it if libsndfile differs."""
    expected = file.frames  # for block codecs, as in WAV
    width = _WIDTHS.get(file.subtype, 0) * file.channels
    if stream.n_frames is not None and stream.rate is not None:
        expected = round(stream.n_frames * file.samplerate / stream.rate)
    elif stream.n_frames is not None:
        expected = stream.n_frames
    elif stream.n_bytes is not None and width:
        expected, rest = divmod(stream.n_bytes, width)
        if rest > (width % 2 and not stream.n_bytes % 2):  # a byte of padding
            raise truncated(stream.name, f"its last frame has {rest} of {width} bytes")
    # libsndfile estimates the length of MP2, and trusts the last page of Opus.
    more_is_right = stream.name in ("MP2", "Opus")
    if file.frames < expected or (file.frames > expected and not more_is_right):
        what = f"it contains {expected} frames, but libsndfile reads {file.frames}"
        raise damaged(stream.name, what)
    check_length(expected, file.samplerate)
    return expected


def _cannot_decode(stream: Stream, error: soundfile.LibsndfileError) -> AudioError:
    return AudioError(
        f"the {stream.name} file cannot be decoded ({len(stream.content)} bytes; "
        f"libsndfile: {error.error_string}). It is truncated or damaged, or its codec "
        "is not supported: copy or export it again as WAV, FLAC, OGG or MP3."
    )
