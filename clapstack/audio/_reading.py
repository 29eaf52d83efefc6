"""Reading a clip, and the key of its content."""

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

READING_VERSION = 2  # raise it when the same clip gives other samples than before


class HeldClip(dict[str, Any]):
    """A clip in memory, as a mapping, that is hashed and mixed to mono once.

    Several encoders ask for the key and the samples of a clip, each twice; hashing
    takes 1.4 ms a time for 10 s at 48 kHz (measured), which a small encoder would feel.
    The array must not change.
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
        - the bytes of an audio file, or a binary file object, which is read from its
          beginning;
        - ``(samples, rate)``;
        - a mapping with ``"array"`` and ``"sampling_rate"``; with
          ``"channels_first": True``, samples have shape ``(n_channels, n_frames)``;
        - a mapping with ``"bytes"`` or ``"path"``, as from Hugging Face datasets with
          ``Audio(decode=False)``;
        - an ``AudioDecoder`` of datasets or torchcodec, or its ``AudioSamples``. The
          file of a decoder of datasets is read at its own rate.

        Samples have shape ``(n_frames,)`` or ``(n_frames, n_channels)``, as soundfile
        returns them, with at most 8 channels; tensors of torch are samples too. Floats
        are on [-1, 1]. Integer arrays are divided by the full scale of their type
        (unsigned ones are centred first). Lists hold floats.
    sample_rate : int
        Rate of the result, in Hz.

    Returns
    -------
    samples : ndarray of shape (n_samples,)
        Contiguous float32 samples: the mean of the channels, resampled by soxr at
        its HQ setting.

    Raises
    ------
    AudioError
        If the clip is missing, empty, truncated, damaged, silent, not audio, longer
        than 2**29 samples, in a format that is not read, or on a network; or if it
        holds NaN or infinite samples, integers of a narrower type than that of their
        array, or a sample rate outside 1 kHz to 768 kHz. A clip is read whole or not at
        all.

    Notes
    -----
    libsndfile believes the lengths that a file states of itself, and reads the first of
    several streams. Here the frames, pages or chunks of a file are counted first, and
    what is decoded must be as much. libsndfile decodes WAV, RF64, W64, AIFF, CAF, AU,
    FLAC, Ogg Vorbis, Ogg Opus and MP3; PyAV, in the extra ``av``, decodes MP4 (AAC,
    ALAC), WebM and Matroska, WMA, AAC, and FLAC and Speex in Ogg.

    Samples take 4 bytes each, of the clip and of the result: three hours at 16 kHz,
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
    """Read one clip together with the key of exactly the content that was read.

    A file may change between the calls of `audio_key` and `read_audio`; this
    function hashes and decodes the same bytes.

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
    """Read one clip as mono samples at the rate that it has.

    Parameters
    ----------
    source : object
        As for `read_audio`.

    Returns
    -------
    samples : ndarray of shape (n_samples,)
        float32, the mean of the channels.
    rate : float
        In Hz.

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
    """Return a key of the content of a clip, wherever the clip lies.

    Parameters
    ----------
    source : object
        As for `read_audio`.

    Returns
    -------
    key : str
        SHA-256, in hexadecimal, of the bytes of the file, wherever they are held, or of
        the type, shape, rate and bytes of the array. The two cannot be equal: what is
        hashed for an array
        begins with words that begin no audio file.

    Raises
    ------
    AudioError
        If the file cannot be read or the source is of another kind. The audio itself
        is not decoded.

    Notes
    -----
    Within a process, a file is hashed once as long as its device, inode, size and
    times of modification and of change stay the same. No user can set back the time
    of change; where there is none (Windows), or where it is too recent for the clock
    of the file system to tell, the file is hashed again.
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
