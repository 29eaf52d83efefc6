"""Reading of clips, and keys of their content."""

from __future__ import annotations

import hashlib
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from clapstack.audio._decode import decode
from clapstack.audio._samples import array_blocks, checked_rate, mono, resampled
from clapstack.audio._sources import (
    FileState,
    Samples,
    describe_audio,
    file_state,
    parse,
    read_file,
)
from clapstack.exceptions import AudioError

READING_VERSION = 2  # increment when the same clip yields other samples than before


class HeldClip(dict[str, Any]):
    """A clip in memory, as a mapping, that is hashed and mixed to mono only once.

    Each encoder needs the key and the samples of a clip twice; hashing takes 1.4 ms for
    10 s at 48 kHz (measured), which would slow down a small encoder. The array must not
    change.
    """

    @cached_property
    def key(self) -> str:
        """The key of the content; see `audio_key`."""
        return _array_key(_samples_of(self))

    @cached_property
    def samples(self) -> tuple[np.ndarray, float]:
        """Mono samples and their rate."""
        clip = _samples_of(self)
        rate = checked_rate(clip.rate)
        return mono(array_blocks(clip.array), rate), rate


def read_audio(source: Any, sample_rate: int) -> np.ndarray:
    """Read one clip as mono samples at a given rate.

    Parameters
    ----------
    source : path-like, bytes, file object, tuple, mapping or AudioDecoder
        One of:

        - the path of an audio file; ``~`` is the home folder;
        - the bytes of an audio file, or a binary file object, which is read from the
          start;
        - ``(samples, rate)``;
        - a mapping with ``"array"`` and ``"sampling_rate"``; with
          ``"channels_first": True``, samples have shape ``(n_channels, n_frames)``;
        - a mapping with ``"bytes"`` or ``"path"``, as from Hugging Face datasets with
          ``Audio(decode=False)``;
        - an ``AudioDecoder`` of datasets or torchcodec, or its ``AudioSamples``. For a
          decoder of datasets, the file is read at its own rate.

        Samples have shape ``(n_frames,)`` or ``(n_frames, n_channels)``, as soundfile
        returns them, with at most 8 channels; torch tensors are accepted too. Floats
        must be on [-1, 1]. Integer arrays are divided by the full scale of their type
        (unsigned ones are centred first). Lists must contain floats.
    sample_rate : int
        Sample rate of the result, in Hz.

    Returns
    -------
    samples : ndarray of shape (n_samples,)
        Contiguous float32 samples: the mean of the channels, resampled by soxr at
        its HQ setting.

    Raises
    ------
    AudioError
        If the clip is missing, empty, truncated, damaged, silent, not audio, longer
        than 2**29 samples, in an unsupported format, or on a network; or if it contains
        NaN or infinite samples, has integers of a narrower type than that of their
        array, or a sample rate outside 1 kHz to 768 kHz. Partial clips are never
        returned.

    Notes
    -----
    libsndfile trusts the length in a file's header, and reads only the first of several
    streams. Therefore the frames, pages or chunks of a file are counted first, and the
    decoder must return the same amount. libsndfile decodes WAV, RF64, W64, AIFF, CAF,
    AU, FLAC, Ogg Vorbis, Ogg Opus and MP3; PyAV, in the extra ``av``, decodes MP4 (AAC,
    ALAC), WebM and Matroska, WMA, AAC, and FLAC and Speex in Ogg.

    The samples of the clip and of the result take 4 bytes each: three hours at 16 kHz,
    resampled to 48 kHz, take 2.8 GB.

    Examples
    --------
    >>> import numpy as np
    >>> from clapstack.audio import read_audio
    >>> noise = np.random.default_rng(0).integers(-9000, 9000, 16000, dtype=np.int16)
    >>> read_audio((noise, 16000), sample_rate=48000).shape
    (48000,)
    """
    return read_keyed_audio(source, sample_rate)[0]


def read_keyed_audio(source: Any, sample_rate: int) -> tuple[np.ndarray, str]:
    """Read one clip and return the key of exactly the content that was read.

    A file may change between calls of `audio_key` and `read_audio`; this function
    hashes and decodes the same bytes.

    Parameters
    ----------
    source : object
        As for `read_audio`.
    sample_rate : int
        Rate of the result, in Hz.

    Returns
    -------
    samples : ndarray of shape (n_samples,)
        As from `read_audio`.
    key : str
        As from `audio_key`.

    Raises
    ------
    AudioError
        As from `read_audio`.
    """
    if not sample_rate > 0:
        msg = f"sample_rate must be positive; got {sample_rate!r}."
        raise ValueError(msg)
    try:
        samples, rate, key = _read(source)
        return resampled(samples, rate, sample_rate), key
    except AudioError as error:
        msg = f"{describe_audio(source)}: {error}"
        raise AudioError(msg) from error.__cause__


def read_audio_at_own_rate(source: Any) -> tuple[np.ndarray, float]:
    """Read one clip as mono samples at its own sample rate.

    Parameters
    ----------
    source : object
        As for `read_audio`.

    Returns
    -------
    samples : ndarray of shape (n_samples,)
        float32, the mean of the channels.
    rate : float
        Sample rate, in Hz.

    Raises
    ------
    AudioError
        As from `read_audio`.
    """
    try:
        return _read(source)[:2]
    except AudioError as error:
        msg = f"{describe_audio(source)}: {error}"
        raise AudioError(msg) from error.__cause__


def _read(source: Any) -> tuple[np.ndarray, float, str]:
    """Return mono samples of a clip, their rate and the key of the clip."""
    if isinstance(source, HeldClip):
        return *source.samples, source.key
    clip = parse(source)
    if isinstance(clip, Samples):
        key = _array_key(clip)
        rate = checked_rate(clip.rate)
        return mono(array_blocks(clip.array), rate), rate, key
    content = read_file(clip) if isinstance(clip, Path) else clip
    samples, rate = decode(content)
    return samples, rate, hashlib.sha256(content).hexdigest()


def audio_key(source: Any) -> str:
    """Return a key of the content of a clip, independent of its location.

    Parameters
    ----------
    source : object
        As for `read_audio`.

    Returns
    -------
    key : str
        SHA-256, in hexadecimal, of the bytes of the file, or of the type, shape, rate
        and bytes of the array. The two cannot collide: the hashed content of an array
        starts with words with which no audio file starts.

    Raises
    ------
    AudioError
        If the file cannot be read or the source is not supported. The audio itself is
        not decoded.

    Notes
    -----
    Within a process, a file is hashed once as long as its device, inode, size, and
    times of modification and change stay the same. Users cannot reset the time of
    change. Without one (Windows), or if it is too recent for the resolution of the file
    system's clock, the file is hashed again.
    """
    try:
        if isinstance(source, HeldClip):
            return source.key
        clip = parse(source)
        if isinstance(clip, Samples):
            return _array_key(clip)
        if isinstance(clip, bytes):
            return hashlib.sha256(clip).hexdigest()
        state = file_state(clip)
        if state is None:
            return _file_key.__wrapped__(clip, state)
        return _file_key(clip, state)
    except AudioError as error:
        msg = f"{describe_audio(source)}: {error}"
        raise AudioError(msg) from error.__cause__


def _samples_of(clip: HeldClip) -> Samples:
    samples = parse(clip)
    if not isinstance(samples, Samples):
        msg = "the clip has no 'array'."
        raise AudioError(msg)
    return samples


def _array_key(samples: Samples) -> str:
    array, rate = samples
    head = f"clapstack array {array.dtype.str} {array.shape} {rate!s}\n"
    digest = hashlib.sha256(head.encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


@lru_cache(maxsize=1 << 18)
def _file_key(path: Path, state: FileState | None) -> str:
    return hashlib.sha256(read_file(path)).hexdigest()
