"""Audio files of many formats: whole, concatenated, truncated or with wrong counts.

Each has a known number of samples at RATE. Lossy codecs may yield somewhat more (a
padded last block, the encoder's delay), but never fewer.
"""

from __future__ import annotations

import io
import struct
from typing import NamedTuple

import numpy as np
import soundfile

RATE = 16_000
# By libsndfile: format, subtype, and the most samples beyond those that went in
SOUNDFILE = {
    "wav-16": ("WAV", "PCM_16", 0),
    "wav-24": ("WAV", "PCM_24", 0),
    "wav-float": ("WAV", "FLOAT", 0),
    "wav-u8": ("WAV", "PCM_U8", 0),
    "wav-ulaw": ("WAV", "ULAW", 0),
    "wav-alaw": ("WAV", "ALAW", 0),
    "wav-ima": ("WAV", "IMA_ADPCM", 1100),
    "wav-ms": ("WAV", "MS_ADPCM", 1100),
    "wav-gsm": ("WAV", "GSM610", 640),
    "wav-g721": ("WAV", "G721_32", 120),
    "wav-nms": ("WAV", "NMS_ADPCM_32", 160),
    "wavex": ("WAVEX", "PCM_16", 0),
    "rf64": ("RF64", "PCM_16", 0),
    "w64": ("W64", "PCM_16", 0),
    "w64-ima": ("W64", "IMA_ADPCM", 1100),
    "aiff-16": ("AIFF", "PCM_16", 0),
    "aiff-24": ("AIFF", "PCM_24", 0),
    "aifc-float": ("AIFF", "FLOAT", 0),
    "aifc-ulaw": ("AIFF", "ULAW", 0),
    "aifc-ima": ("AIFF", "IMA_ADPCM", 64),
    "aifc-gsm": ("AIFF", "GSM610", 160),
    "au-16": ("AU", "PCM_16", 0),
    "au-ulaw": ("AU", "ULAW", 0),
    "caf-16": ("CAF", "PCM_16", 0),
    "caf-alac": ("CAF", "ALAC_16", 0),
    "flac-16": ("FLAC", "PCM_16", 0),
    "flac-24": ("FLAC", "PCM_24", 0),
    "vorbis": ("OGG", "VORBIS", 0),
    "opus": ("OGG", "OPUS", 0),
    "mp3": ("MP3", "MPEG_LAYER_III", 0),
}
# By PyAV: container, codec, most samples beyond those that went in
PYAV = {
    "m4a-aac": ("mp4", "aac", 4096),
    "m4a-alac": ("mp4", "alac", 0),
    "mkv-aac": ("matroska", "aac", 4096),
    "webm-opus": ("webm", "libopus", 2000),
    "mkv-flac": ("matroska", "flac", 0),
    "ogg-flac": ("ogg", "flac", 0),
    "ogg-opus": ("ogg", "libopus", 2000),
    "wma": ("asf", "wmav2", 8192),
    "aac": ("adts", "aac", 4096),
    "mp2": ("mp2", "mp2", 2304),
    "mp3-bare": ("mp3", "libmp3lame", 4096),
}


class Made(NamedTuple):
    """A file, and the number of samples that it must yield.

    `least` is what went in, `most` what the codec may add. `whole` is False where the
    file lacks something, so that only a refusal is right.
    """

    content: bytes
    least: int
    most: int
    whole: bool = True


def noise(rng: np.random.Generator, n_frames: int, n_channels: int = 1) -> np.ndarray:
    samples = rng.standard_normal((n_frames, n_channels), dtype=np.float32)
    return (0.2 * samples).clip(-1, 1)


def by_soundfile(name: str, samples: np.ndarray, rate: int = RATE) -> bytes:
    form, subtype, _ = SOUNDFILE[name]
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=form, subtype=subtype)
    return buffer.getvalue()


def by_pyav(name: str, samples: np.ndarray, *, bit_rate: int = 64_000) -> bytes:
    import av

    container, codec, _ = PYAV[name]
    options = {"write_xing": "0"} if name == "mp3-bare" else {}
    buffer = io.BytesIO()
    layout = "mono" if samples.shape[1] == 1 else "stereo"
    with av.open(buffer, "w", format=container, options=options) as output:
        stream = output.add_stream(codec, rate=RATE, layout=layout)
        stream.bit_rate = bit_rate
        stream.codec_context.open()
        resampler = av.AudioResampler(
            stream.format, layout, RATE, frame_size=stream.frame_size
        )
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples.T), format="fltp", layout=layout
        )
        frame.sample_rate, frame.pts = RATE, 0
        for ready in [*resampler.resample(frame), *resampler.resample(None), None]:
            packets = stream.encode(ready)
            output.mux([packet for packet in packets if packet.size])
    return buffer.getvalue()


def make(name: str, rng: np.random.Generator, n_frames: int, n_channels: int) -> Made:
    """Return a whole file."""
    samples = noise(rng, n_frames, n_channels)
    if name in SOUNDFILE:
        return Made(
            by_soundfile(name, samples), n_frames, n_frames + SOUNDFILE[name][2]
        )
    # FFmpeg's encoder of Opus does not encode the last 6.5 ms of a clip.
    lost = 104 if PYAV[name][1] == "libopus" else 0
    return Made(by_pyav(name, samples), n_frames - lost, n_frames + PYAV[name][2])


def joined(first: Made, second: Made) -> Made:
    """Return two concatenated files."""
    return Made(
        first.content + second.content,
        first.least + second.least,
        first.most + second.most,
    )


def cut(made: Made, rng: np.random.Generator) -> Made:
    """Return a file without its end."""
    kept = rng.integers(len(made.content) // 4, len(made.content))
    return made._replace(content=made.content[:kept], whole=False)


TAGS = {
    "ID3v1": b"TAG" + b"a title".ljust(125, b"\0"),
    "APEv2": (
        b"APETAGEX" + struct.pack("<IIII", 2000, 51, 1, 0xA0000000) + bytes(8)
        + struct.pack("<II", 5, 0) + b"Title\0value"[:11]
        + b"APETAGEX" + struct.pack("<IIII", 2000, 51, 1, 0x80000000) + bytes(8)
    ),
    "Lyrics3": b"LYRICSBEGININD00002" + b"10" + b"000021LYRICS200",
    "padding": bytes(4_000),
}  # fmt: skip


def tagged(made: Made, kind: str) -> Made:
    """Return a file with a tag or padding after its end."""
    return made._replace(content=made.content + TAGS[kind])


# The lengths that writers in pipes leave in a header
UNKNOWN = (0, 0x7FFFF000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def with_length(made: Made, length: int) -> Made | None:
    """Return a file that states another number of bytes, or None if it states none."""
    content = bytearray(made.content)
    magic = bytes(content[:4])
    if magic == b"RIFF":
        at, order = content.index(b"data") + 4, "<"
    elif magic == b"FORM":
        at, order = content.index(b"SSND") + 4, ">"
        length = min(length + 8, 0xFFFFFFFF) if length else 0
    elif magic == b".snd":
        at, order = 8, ">"
    else:
        return None
    struct.pack_into(f"{order}I", content, at, length)
    return made._replace(content=bytes(content))


def with_count(made: Made, name: str, factor: float) -> Made | None:
    """Return a file that states another number of frames, or None if it states none."""
    content = bytearray(made.content)
    n_samples = int(made.least * factor)
    if name == "mp3":
        at = max(content.find(b"Xing"), content.find(b"Info")) + 8
        n_frames = struct.unpack_from(">I", content, at)[0]
        struct.pack_into(">I", content, at, int(n_frames * factor))
    elif name.startswith("flac"):
        content[21] &= 0xF0
        struct.pack_into(">I", content, 22, n_samples)
    elif name.startswith(("wav-16", "aiff-16", "au-16")):
        if name.startswith("aiff"):
            struct.pack_into(">I", content, content.index(b"COMM") + 10, n_samples)
        return with_length(made._replace(content=bytes(content)), 2 * n_samples)
    elif name in ("vorbis", "opus"):
        at = content.rfind(b"OggS")
        position = struct.unpack_from("<q", content, at + 6)[0]
        struct.pack_into("<q", content, at + 6, int(position * factor))
        _sign_page(content, at)
    else:
        return None
    return made._replace(content=bytes(content))


def _sign_page(content: bytearray, at: int) -> None:
    """Write the checksum of the last Ogg page of a file."""
    struct.pack_into("<I", content, at + 22, 0)
    crc = 0
    for byte in content[at:]:
        crc ^= byte << 24
        for _ in range(8):
            crc = crc << 1 ^ (0x104C11DB7 if crc & 0x80000000 else 0)
    struct.pack_into("<I", content, at + 22, crc)
