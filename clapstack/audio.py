"""Read clips, mix them to mono, resample them and place windows on them.

Every encoder hears a clip through this module, so that a path and an array of the
same samples, on any device, give the same embedding.
"""

from __future__ import annotations

import hashlib
import io
import os
import reprlib
import struct
import time
from collections.abc import Mapping
from functools import lru_cache
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
import soxr

from clapstack.exceptions import AudioError

__all__ = [
    "MAX_CHANNELS",
    "MAX_RATE",
    "MIN_RATE",
    "READING_VERSION",
    "FileState",
    "audio_key",
    "describe_audio",
    "file_state",
    "read_audio",
    "read_keyed_audio",
    "window_starts",
]

MIN_RATE, MAX_RATE = 1_000, 768_000  # Hz
MAX_CHANNELS = 8  # 7.1 surround
READING_VERSION = 1  # raise it when the same clip gives other samples than before

_MAX_PEAK = 100.0  # 40 dB over full scale: samples that nobody scaled to [-1, 1]
_UNKNOWN_LENGTH = 2**62  # libsndfile says 2**63 - 1 when a header states no length
_FORMATS = {"AIFF", "FLAC", "MP3", "OGG", "RF64", "WAV", "WAVEX"}
_SETTLED_NS = 2_000_000_000  # the coarsest file clock in use (FAT) ticks every 2 s


class FileState(NamedTuple):
    """What of a file changes whenever its content does.

    Attributes
    ----------
    path : str
        Absolute path.
    device, inode : int
        Which file it is.
    size : int
        Bytes.
    modified, changed : int
        Times of the last modification and of the last change of any kind, in
        nanoseconds.
    """

    path: str
    device: int
    inode: int
    size: int
    modified: int
    changed: int


def read_audio(source: Any, sample_rate: int) -> np.ndarray:
    """Read one clip as mono samples at a given rate.

    Parameters
    ----------
    source : path-like, tuple or mapping
        One of:

        - the path of a WAV, AIFF, FLAC, OGG or MP3 file;
        - ``(samples, rate)``;
        - a mapping with ``"array"`` and ``"sampling_rate"``.

        Samples have shape ``(n_frames,)`` or ``(n_frames, n_channels)``, as soundfile
        returns them, with at most 8 channels. Floats are on [-1, 1]. Integer arrays
        are divided by the full scale of their type (unsigned ones are centred first).
        Lists hold floats.
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
        If the clip is missing, empty, truncated, silent, not audio, holds NaN or
        infinite samples, or has a sample rate outside 1 kHz to 768 kHz. A clip is
        read whole or not at all.

    Notes
    -----
    libsndfile shortens a truncated WAV, OGG or MP3 file without a word, and reads
    only part of an MP3 file of variable bit rate that does not state its length.
    Both are errors here.

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
    source : path-like, tuple or mapping
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
        clip = _parse(source)
        if isinstance(clip, Path):
            content = _file_bytes(clip)
            key = hashlib.sha256(content).hexdigest()
            samples, rate = _decode(content)
        else:
            samples, rate = clip
            key = _array_key(samples, rate)
        return _resampled(_mono(samples), _checked_rate(rate), sample_rate), key
    except AudioError as error:
        msg = f"{describe_audio(source)}: {error}"
        raise AudioError(msg) from error.__cause__


def audio_key(source: Any) -> str:
    """Return a key of the content of a clip, wherever the clip lies.

    Parameters
    ----------
    source : path-like, tuple or mapping
        As for `read_audio`.

    Returns
    -------
    key : str
        SHA-256, in hexadecimal, of the bytes of the file, or of the type, shape, rate
        and bytes of the array. The two cannot be equal: what is hashed for an array
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
        clip = _parse(source)
        if not isinstance(clip, Path):
            return _array_key(*clip)
        state = file_state(clip)
        if state is None:
            return _file_key.__wrapped__(clip, state)
        return _file_key(clip, state)
    except AudioError as error:
        msg = f"{describe_audio(source)}: {error}"
        raise AudioError(msg) from error.__cause__


def file_state(source: Any) -> FileState | None:
    """Return what changes whenever the content of an audio file does.

    Parameters
    ----------
    source : path-like, tuple or mapping
        As for `read_audio`.

    Returns
    -------
    state : FileState or None
        None where nothing tells: for arrays, for a file that changed so recently that
        another change might leave the same times, on Windows, and for a file that
        cannot be found (reading it says what is wrong).
    """
    if not isinstance(source, (str, os.PathLike)) or os.name == "nt":
        return None
    try:
        status = os.stat(source)
    except (OSError, ValueError):  # ValueError: a NUL in the path
        return None
    changed = max(status.st_mtime_ns, status.st_ctime_ns)
    if time.time_ns() - changed < _SETTLED_NS:
        return None
    return FileState(
        os.path.abspath(source),
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def describe_audio(source: Any) -> str:
    """Name a clip in a few words, for messages.

    Parameters
    ----------
    source : object
        As for `read_audio`; anything else is described too.

    Returns
    -------
    words : str
        The path, or the type, shape and rate of the samples.
    """
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source) or "''"
    if isinstance(source, Mapping):
        source = (source.get("array"), source.get("sampling_rate"))
    if isinstance(source, (tuple, list)) and len(source) == 2:
        samples, rate = source
        if hasattr(samples, "shape") and hasattr(samples, "dtype"):
            what = f"{samples.dtype} array of shape {tuple(samples.shape)}"
        elif isinstance(samples, (tuple, list)):
            what = f"list of {len(samples)} samples"
        else:
            what = reprlib.repr(samples)
        return f"{what} at {reprlib.repr(rate)} Hz"
    return f"{type(source).__name__} {reprlib.repr(source)}"


def window_starts(n_samples: int, window: int, crop: str) -> list[int]:
    """Return where the windows of a clip start.

    Parameters
    ----------
    n_samples : int
        Length of the clip, in samples.
    window : int
        Length of a window, in samples.
    crop : {"windows", "center", "start"}
        ``"windows"`` covers the clip with the fewest windows, evenly spaced: the
        first starts at 0, the last ends at the end. ``"center"`` and ``"start"``
        place one window.

    Returns
    -------
    starts : list of int
        First samples, ascending. ``[0]`` for a clip no longer than the window.

    Raises
    ------
    ValueError
        If a length is below one or `crop` is unknown.

    Examples
    --------
    >>> from clapstack.audio import window_starts
    >>> window_starts(25, 10, "windows")
    [0, 7, 15]
    >>> window_starts(25, 10, "center")
    [7]
    """
    if n_samples < 1 or window < 1:
        msg = (
            "n_samples and window must be at least 1; "
            f"got n_samples={n_samples}, window={window}."
        )
        raise ValueError(msg)
    if crop not in ("windows", "center", "start"):
        msg = f"crop must be 'windows', 'center' or 'start'; got {crop!r}."
        raise ValueError(msg)
    room = n_samples - window
    if room <= 0 or crop == "start":
        return [0]
    if crop == "center":
        return [room // 2]
    n_gaps = -(-n_samples // window) - 1
    return [i * room // n_gaps for i in range(n_gaps + 1)]


def _parse(source: Any) -> Path | tuple[np.ndarray, Any]:
    """Tell a path from samples and their rate; refuse everything else."""
    if isinstance(source, (str, os.PathLike)):
        if not os.fspath(source):
            msg = "the path is empty. Pass the path of an audio file."
            raise AudioError(msg)
        return Path(source)
    if isinstance(source, Mapping):
        missing = [key for key in ("array", "sampling_rate") if key not in source]
        if missing:
            msg = (
                f"a mapping must have 'array' and 'sampling_rate'; missing {missing}, "
                f"got {sorted(map(str, source))}. Decode the audio first."
            )
            raise AudioError(msg)
        return _as_array(source["array"]), source["sampling_rate"]
    if isinstance(source, (tuple, list)) and len(source) == 2:
        samples, rate = source
        if isinstance(samples, Real) and _looks_like_samples(rate):
            msg = (
                "(rate, samples) arrived, the order of scipy.io.wavfile. "
                "Pass (samples, rate)."
            )
            raise AudioError(msg)
        return _as_array(samples), rate
    msg = (
        "audio must be a path, (samples, rate) or a mapping with 'array' and "
        f"'sampling_rate'; got {type(source).__name__}."
    )
    if _looks_like_samples(source):
        msg += " Samples alone do not tell their rate: pass (samples, rate)."
    raise AudioError(msg)


def _looks_like_samples(value: Any) -> bool:
    return isinstance(value, (tuple, list)) or getattr(value, "ndim", 0) > 0


def _as_array(samples: Any) -> np.ndarray:
    """Return samples as a numeric array with a known full scale."""
    try:
        array = np.asarray(samples)
    except (TypeError, ValueError, RuntimeError) as error:
        msg = f"the samples do not form an array ({error}). Pass a numpy array."
        raise AudioError(msg) from error
    if array.dtype.kind not in "fiu":
        msg = (
            f"samples must be floats or integers; got {array.dtype}. "
            "Pass a float32 array on [-1, 1]."
        )
        raise AudioError(msg)
    if array.dtype.kind in "iu" and not hasattr(samples, "dtype"):
        msg = (
            "a list of integers has no full scale. Pass an array of the integer type "
            "that the samples have, such as np.asarray(samples, dtype=np.int16)."
        )
        raise AudioError(msg)
    return array


def _array_key(samples: np.ndarray, rate: Any) -> str:
    head = f"clapstack array {samples.dtype.str} {samples.shape} {rate!s}\n"
    digest = hashlib.sha256(head.encode())
    digest.update(np.ascontiguousarray(samples).data)
    return digest.hexdigest()


@lru_cache(maxsize=1 << 18)
def _file_key(path: Path, state: FileState | None) -> str:
    return hashlib.sha256(_file_bytes(path)).hexdigest()


def _file_bytes(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        folder = path.absolute().parent
        state = "exists" if folder.is_dir() else "does not exist either"
        msg = f"no such file; its folder {folder} {state}. Check the path."
        raise AudioError(msg) from error
    except IsADirectoryError as error:
        msg = "this is a folder. Pass the path of one audio file."
        raise AudioError(msg) from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        msg = f"the file cannot be read ({error}). Check the path and its permissions."
        raise AudioError(msg) from error
    if not content:
        msg = "the file is empty (0 bytes). Copy or export it again."
        raise AudioError(msg)
    return content


def _decode(content: bytes) -> tuple[np.ndarray, int]:
    """Decode a whole file, or raise if any of it is missing."""
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            if file.format not in _FORMATS:
                msg = (
                    f"{file.format} files are not supported. Convert it to WAV or FLAC."
                )
                raise AudioError(msg)
            if file.frames >= _UNKNOWN_LENGTH or (
                file.format == "MP3" and not _mp3_states_length(content)
            ):
                msg = (
                    f"the {file.format} file does not state its length, so that a cut "
                    "cannot be told. Convert it to WAV or FLAC."
                )
                raise AudioError(msg)
            samples = _all_frames(file)
            n_missing = file.frames - len(samples)
            kind, rate = file.format, file.samplerate
    except soundfile.LibsndfileError as error:
        msg = (
            f"cannot be decoded as audio ({len(content)} bytes; libsndfile: "
            f"{error.error_string}). It is truncated, damaged or not audio: copy or "
            "export it again as WAV, FLAC, OGG or MP3."
        )
        raise AudioError(msg) from error
    if kind == "OGG":
        cut = _ogg_is_cut(content)
    else:
        cut = n_missing > 0 or _chunk_shortfall(content) > 0
    if cut:
        msg = (
            f"the {kind} file is truncated: only {len(samples)} frames "
            f"({len(samples) / rate:.2f} s) are there, and its own structure promises "
            "more. Copy or export it again."
        )
        raise AudioError(msg)
    return samples, rate


def _all_frames(file: soundfile.SoundFile) -> np.ndarray:
    """Read to the end, unless a damaged header promises more than fits in memory."""
    try:
        return file.read(dtype="float32", always_2d=True)
    except (MemoryError, ValueError) as error:  # ValueError: no array is so large
        msg = (
            f"the {file.format} file promises {file.frames} frames of {file.channels} "
            "channels, which do not fit in memory. It is damaged, and must be copied "
            "or exported again, or it is too long, and must be cut."
        )
        raise AudioError(msg) from error


def _chunk_shortfall(content: bytes) -> int:
    """Return how many sample bytes a RIFF or AIFF file promises but does not hold."""
    order = {b"RIFF": "<", b"RF64": "<", b"RIFX": ">", b"FORM": ">"}.get(content[:4])
    if order is None:
        return 0
    promised = 0
    at = 12
    while at + 8 <= len(content):
        name, size = struct.unpack_from(f"{order}4sI", content, at)
        at += 8
        if name == b"ds64" and at + 16 <= len(content):
            promised = struct.unpack_from("<Q", content, at + 8)[0]
        if name in (b"data", b"SSND"):
            # A size of 2**32 - 1 stands for "see ds64", or for "unknown" in a stream.
            return (promised if size == 0xFFFFFFFF else size) - (len(content) - at)
        at += size + size % 2
    return 0


def _ogg_is_cut(content: bytes) -> bool:
    """Tell whether the last page is incomplete or does not end the stream."""
    at = content.rfind(b"OggS")
    header = content[at : at + 27]
    if len(header) < 27:
        return True
    sizes = content[at + 27 : at + 27 + header[26]]
    end = at + 27 + header[26] + sum(sizes)
    ends_stream = header[5] & 4
    return len(sizes) < header[26] or end > len(content) or not ends_stream


def _mp3_states_length(content: bytes) -> bool:
    """Tell whether the first MPEG frame says how many frames follow."""
    at = 0
    if content[:3] == b"ID3":
        for byte in content[6:10]:  # the size of the tag: four times seven bits
            at = at << 7 | byte
        at += 10
    first = content[at : at + 1024]
    return any(tag in first for tag in (b"Xing", b"Info", b"VBRI"))


def _checked_rate(rate: Any) -> float:
    usable = isinstance(rate, Real) and not isinstance(rate, bool)
    if not usable or not MIN_RATE <= rate <= MAX_RATE:
        msg = (
            f"the sample rate must be a number of Hz from {MIN_RATE} to {MAX_RATE}; "
            f"got {rate!r}."
        )
        raise AudioError(msg)
    return float(rate)


def _mono(samples: np.ndarray) -> np.ndarray:
    """Check samples and return the mean of their channels as float32 on [-1, 1]."""
    if samples.ndim not in (1, 2):
        msg = (
            f"samples must have shape (n_frames,) or (n_frames, n_channels); "
            f"got {samples.shape}."
        )
        raise AudioError(msg)
    if samples.size == 0:
        msg = "the clip has no samples. Remove it or export it again."
        raise AudioError(msg)
    if samples.ndim == 2 and samples.shape[1] > MAX_CHANNELS:
        msg = (
            f"shape {samples.shape} is read as (n_frames, n_channels), and "
            f"{samples.shape[1]} channels are more than {MAX_CHANNELS}. Pass samples.T "
            "if the channels come first; otherwise mix them down."
        )
        raise AudioError(msg)
    samples = _full_scale_one(samples)
    finite = np.isfinite(samples)
    if not finite.all():
        frames = np.flatnonzero(~finite.reshape(len(samples), -1).all(axis=1))
        msg = (
            f"{finite.size - np.count_nonzero(finite)} of {finite.size} samples are "
            f"NaN or infinite, the first in frame {frames[0]}. Repair or remove it."
        )
        raise AudioError(msg)
    peak = float(np.abs(samples).max())
    if peak > _MAX_PEAK:
        msg = (
            f"float samples must be on [-1, 1]; the peak is {peak:g}. Divide them by "
            "their full scale, 32768 for 16 bits."
        )
        raise AudioError(msg)
    if samples.ndim == 2:
        samples = samples.mean(axis=1, dtype=np.float64).astype(np.float32)
    if samples.min() == samples.max():
        msg = (
            f"the clip is silent: each of its {len(samples)} samples, mixed to mono, "
            f"equals {samples[0]:g}. Remove it or export it again."
        )
        raise AudioError(msg)
    return np.ascontiguousarray(samples)


def _full_scale_one(samples: np.ndarray) -> np.ndarray:
    """Return float32 samples; integers are divided by their type's full scale."""
    kind, n_bits = samples.dtype.kind, 8 * samples.dtype.itemsize
    if kind == "f":
        with np.errstate(over="ignore"):  # becomes infinite and is refused
            return samples.astype(np.float32)
    half = 1 << (n_bits - 1)
    if kind == "u":  # flipping the highest bit centres, in two's complement
        samples = (samples ^ samples.dtype.type(half)).view(f"i{n_bits // 8}")
    peak = max(abs(int(samples.min())), abs(int(samples.max())))
    if n_bits >= 32 and 0 < peak < 1 << (n_bits // 2):
        msg = (
            f"{n_bits}-bit integers whose peak is {peak} are samples of a narrower "
            "type. Cast them to the type they had, such as samples.astype(np.int16)."
        )
        raise AudioError(msg)
    return samples.astype(np.float32) / np.float32(half)


def _resampled(samples: np.ndarray, rate: float, sample_rate: int) -> np.ndarray:
    if rate != sample_rate:
        samples = soxr.resample(samples, rate, sample_rate, quality="HQ")
    if samples.size == 0:
        msg = (
            f"the clip is too short to be resampled from {rate:g} to {sample_rate} Hz."
        )
        raise AudioError(msg)
    return np.ascontiguousarray(samples, dtype=np.float32)
