"""Encoded streams of a file, with the amount of audio that decoding must yield."""

from __future__ import annotations

import re
from typing import NamedTuple

from clapstack.exceptions import AudioError

_ZEROS = re.compile(rb"\0*")
# First bytes of files other than MPEG, to detect one appended to another. Each is long
# enough not to occur by chance.
BEGINNING = re.compile(
    rb"(?s)RIFF.{4}WAVE|RF64.{4}WAVE|BW64.{4}WAVE|FORM.{4}AIF[FC]|caff\x00\x01..desc"
    rb"|riff\x2e\x91\xcf\x11|\.snd\x00\x00.{6}\x00{3}[\x01-\x1b]\x00"
    rb"|fLaC[\0\x80]\0\0\x22|OggS\0[\2-\7]\0{8}|ftyp[ -~]{4}(?:\0\0|\x20\x05)"
    rb"|\x1a\x45\xdf\xa3.{1,64}(?:webm|matroska)|\x30\x26\xb2\x75\x8e\x66\xcf\x11"
)


class Stream(NamedTuple):
    """One encoded stream.

    Attributes
    ----------
    name : str
        Its format, for messages.
    content : bytes
        A file with only this stream.
    n_frames : int or None
        Samples per channel in its frames, at `rate`.
    rate : int or None
        Sample rate in Hz; None for the decoder's.
    n_bytes : int or None
        Bytes of its samples, if the format has a chunk of them.
    demuxer : str or None
        FFmpeg's name of the container, for streams that libsndfile does not decode.
    """

    name: str
    content: bytes
    n_frames: int | None = None
    rate: int | None = None
    n_bytes: int | None = None
    demuxer: str | None = None


def truncated(name: str, what: str) -> AudioError:
    """Return the error for a file with missing audio."""
    return AudioError(f"the {name} file is truncated: {what}. Copy or export it again.")


def more_behind(name: str) -> AudioError:
    """Return the error for a file with more data after its stated end."""
    return AudioError(
        f"the {name} file has more data after the end of its samples, perhaps a second "
        "file. Split it, or export it again."
    )


def damaged(name: str, what: str) -> AudioError:
    """Return the error for a file with inconsistent parts."""
    return AudioError(f"the {name} file is damaged: {what}. Copy or export it again.")


def skip_tags(content: bytes, at: int) -> int:
    """Return the end of padding and tags that begin at a position.

    ID3v2 tags and zeros may occur before, between and after streams. Of the tags at the
    end of a file (ID3v1, APE, Lyrics3), truncated remains are skipped.
    """
    while True:
        start = at
        at = _ZEROS.match(content, at).end()  # type: ignore[union-attr]
        head = content[at : at + 10]
        if head[:3] == b"ID3" and len(head) == 10 and max(head[6:]) < 0x80:
            size = 0
            for byte in head[6:]:  # four times seven bits
                size = size << 7 | byte
            at = min(len(content), at + 10 + size + (10 if head[5] & 0x10 else 0))
        elif head.startswith((b"APETAGE", b"LYRICSBEGI")) or (
            head[:3] == b"TAG" and len(content) - at <= 128 + 227
        ):
            at = len(content)
        if at == start:
            return at


def end_of_audio(content: bytes, start: int = 0) -> int:
    """Return the start of the tags at the end of a file.

    These are ID3v1, APE, Lyrics3 and ID3v2.4.
    """
    end = len(content)
    while True:
        before = end
        if content[end - 128 : end - 125] == b"TAG":
            end -= 128
            if content[end - 227 : end - 223] == b"TAG+":
                end -= 227
        elif content[end - 32 : end - 24] == b"APETAGEX":
            end -= int.from_bytes(content[end - 20 : end - 16], "little")
            if end >= 32 and content[end - 32 : end - 24] == b"APETAGEX":
                end -= 32
        elif (
            content[end - 9 : end] == b"LYRICS200"
            and content[end - 15 : end - 9].isdigit()
        ):
            end -= int(content[end - 15 : end - 9]) + 15
        elif content[end - 9 : end] == b"LYRICSEND":
            end = max(0, content.rfind(b"LYRICSBEGIN", 0, end))
        elif content[end - 10 : end - 7] == b"3DI":
            size = 0
            for byte in content[end - 4 : end]:
                size = size << 7 | byte & 0x7F
            end -= size + 20
        if end < start or end == before:
            return before
