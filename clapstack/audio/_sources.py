"""Conversion of all accepted forms of clips to a path, bytes or samples."""

from __future__ import annotations

import os
import re
import reprlib
import stat
import threading
import time
from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from clapstack.exceptions import AudioError

MAX_BYTES = 1 << 32  # of a file: enough for hours in any format

_SETTLED_NS = 2_000_000_000  # the coarsest file clock in use (FAT) ticks every 2 s
_LONGEST_SHOWN = 300  # characters of a path in a message
_URL = re.compile(r"(?i)(?:[a-z][a-z0-9+.-]+://|file:/|data:[^/\\]*/[^/\\]*[;,])")
# Threads may share file objects, whose position changes while reading.
_READING_OBJECTS = threading.Lock()


class FileState(NamedTuple):
    """Properties of a file that change whenever its content does.

    Attributes
    ----------
    path : str
        Absolute path.
    device, inode : int
        Identify the file.
    size : int
        Size in bytes.
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


class Samples(NamedTuple):
    """Samples, (n_frames,) or (n_frames, n_channels), and their rate as given."""

    array: np.ndarray
    rate: Any


def parse(source: Any) -> Path | bytes | Samples:
    """Return a clip as a path, as the bytes of an audio file, or as samples.

    `source` is as for `read_audio`. Raises AudioError if it is not supported, is on a
    network, or cannot be read.
    """
    if isinstance(source, (str, os.PathLike)):
        return _local_path(source)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _content(source)
    if isinstance(source, Mapping):
        return _parse_mapping(source)
    if isinstance(source, (tuple, list)) and len(source) == 2:
        return _parse_tuple(*source)
    if hasattr(source, "get_all_samples"):
        return _parse_decoder(source)
    if hasattr(source, "sample_rate") and hasattr(source, "data"):
        return Samples(_channels_last(_as_array(source.data)), source.sample_rate)
    if hasattr(source, "read"):
        return _read_object(source)
    msg = (
        "audio must be a path, the bytes of an audio file, a binary file object, "
        "(samples, rate), a mapping with 'array' and 'sampling_rate', or an "
        f"AudioDecoder; got {type(source).__name__}."
    )
    if _looks_like_samples(source):
        msg += " The sample rate is missing: pass (samples, rate)."
    raise AudioError(msg)


def read_file(path: Path) -> bytes:
    """Return the bytes of a regular file, or raise AudioError."""
    try:
        # A pipe or a device may never end, and can be read only once.
        if not stat.S_ISREG(path.stat().st_mode) and not path.is_dir():
            msg = (
                "this is a pipe, a socket or a device, not a regular file. Pass its "
                "content as bytes, such as sys.stdin.buffer.read()."
            )
            raise AudioError(msg)
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        folder = path.absolute().parent
        state = "exists" if folder.is_dir() else "does not exist either"
        msg = f"no such file; its folder {folder} {state}. Check the path."
        if "\\" in str(path) and os.sep == "/":
            msg += " Folders are separated by /, not \\, on this system."
        raise AudioError(msg) from error
    except IsADirectoryError as error:
        msg = "this is a folder. Pass the path of one audio file."
        raise AudioError(msg) from error
    except (OSError, ValueError, MemoryError) as error:
        # ValueError: a NUL in the path. AudioError is one with its own message.
        if isinstance(error, AudioError):
            raise
        msg = f"the file cannot be read ({error}). Check the path and its permissions."
        raise AudioError(msg) from error
    return _content(content)


def file_state(source: Any) -> FileState | None:
    """Return properties that change whenever the content of an audio file does.

    None if there are none: for arrays, for a file that changed so recently that another
    change might have the same times, on Windows, and for a missing file (reading it
    raises the error).
    """
    if not isinstance(source, (str, os.PathLike)) or os.name == "nt":
        return None
    try:
        path = source if isinstance(source, str) else os.fsdecode(source)
        path = os.path.expanduser(path)
        status = os.stat(path)
    except (OSError, ValueError):  # ValueError: a NUL in the path
        return None
    changed = max(status.st_mtime_ns, status.st_ctime_ns)
    if time.time_ns() - changed < _SETTLED_NS:
        return None
    return FileState(
        os.path.abspath(path),
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def is_url(text: str) -> bool:
    """Return whether a text is a URL rather than a path; URLs are not downloaded."""
    return _URL.match(text) is not None


def describe_audio(source: Any) -> str:
    """Describe a source briefly: its path, or type, shape and rate of samples."""
    if isinstance(source, (str, os.PathLike)):
        words = os.fsdecode(source) or "''"
        # Longer texts are not paths but, say, a file's content in base64.
        return words if len(words) <= _LONGEST_SHOWN else f"{words[:_LONGEST_SHOWN]}…"
    if isinstance(source, (bytes, bytearray, memoryview)):
        return f"{type(source).__name__} of {memoryview(source).nbytes} bytes"
    if isinstance(source, Mapping):
        if "array" not in source and ("bytes" in source or "path" in source):
            path = source.get("path")
            return describe_audio(source.get("bytes") if path is None else path)
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
    encoded = _encoded(source)
    if encoded is not None:
        return f"{type(source).__name__} of {describe_audio(encoded)}"
    name = type(source).__name__
    if hasattr(source, "sample_rate") and hasattr(source, "data"):
        return f"{name} of {describe_audio((source.data, source.sample_rate))}"
    if hasattr(source, "read") or hasattr(source, "get_all_samples"):
        return f"{name} {reprlib.repr(getattr(source, 'name', ''))}"
    return f"{name} {reprlib.repr(source)}"


def _local_path(source: str | os.PathLike[Any]) -> Path:
    path = os.fsdecode(source)
    if not path:
        msg = "the path is empty. Pass the path of an audio file."
        raise AudioError(msg)
    if is_url(path):
        msg = (
            "this is a URL, which clapstack does not download. Download the file and "
            "pass its local path, or pass its bytes."
        )
        raise AudioError(msg)
    return Path(os.path.expanduser(path))


def _content(content: bytes | bytearray | memoryview) -> bytes:
    """Return the bytes of a file; reject empty, too large and other memory."""
    if isinstance(content, memoryview) and content.format not in ("B", "b", "c"):
        msg = (
            f"a memoryview of format {content.format!r} does not contain the bytes of "
            "an audio file. Pass (samples, rate) for samples."
        )
        raise AudioError(msg)
    content = bytes(content)
    if not content:
        msg = "the file is empty (0 bytes). Copy or export it again."
        raise AudioError(msg)
    if len(content) > MAX_BYTES:
        msg = (
            f"the file is larger than the limit of {MAX_BYTES >> 30} GiB. Cut it into "
            "shorter clips."
        )
        raise AudioError(msg)
    return content


def _parse_mapping(source: Mapping[Any, Any]) -> Path | bytes | Samples:
    if source.get("array") is None and ("bytes" in source or "path" in source):
        content, path = source.get("bytes"), source.get("path")
        if content is None and path is None:
            msg = (
                "neither 'bytes' nor 'path' has a value. Set one of them, or drop the "
                "row."
            )
            raise AudioError(msg)
        return parse(path if content is None else content)
    missing = [key for key in ("array", "sampling_rate") if key not in source]
    if missing:
        msg = (
            "a mapping must have 'array' and 'sampling_rate', or 'bytes' or 'path'; "
            f"missing {missing}, got {sorted(map(str, source))}."
        )
        raise AudioError(msg)
    array = _as_array(source["array"])
    if source.get("channels_first", False):
        array = _channels_last(array)
    return Samples(array, source["sampling_rate"])


def _parse_tuple(samples: Any, rate: Any) -> Samples:
    if isinstance(samples, Real) and _looks_like_samples(rate):
        msg = (
            "got (rate, samples), the order of scipy.io.wavfile. Pass (samples, rate)."
        )
        raise AudioError(msg)
    return Samples(_as_array(samples), rate)


def _parse_decoder(source: Any) -> Path | bytes | Samples:
    """Return the content of a torchcodec AudioDecoder, undecoded if possible.

    Decoders of `datasets` keep a reference to the file. It is read here, at its own
    rate, so that key and embedding are those of the file and truncation is detected.
    """
    encoded = _encoded(source)
    if encoded is not None:
        return parse(encoded)
    try:
        samples = source.get_all_samples()
    except (RuntimeError, ValueError, OSError) as error:
        msg = f"the AudioDecoder cannot decode its file ({error}). Export it again."
        raise AudioError(msg) from error
    own_rate = source.metadata.sample_rate
    if samples.sample_rate != own_rate:
        # When torchcodec 0.12 resamples, each call returns other samples.
        msg = (
            f"the AudioDecoder resamples from {own_rate} to {samples.sample_rate} Hz. "
            "Create it without sample_rate, or pass the file: encoders resample clips."
        )
        raise AudioError(msg)
    return Samples(_channels_last(_as_array(samples.data)), samples.sample_rate)


def _encoded(source: Any) -> str | bytes | None:
    """Return the local path or the bytes behind a decoder of `datasets`."""
    file = getattr(source, "_hf_encoded", None)
    if not isinstance(file, Mapping):
        return None
    content, path = file.get("bytes"), file.get("path")
    if content is not None:
        return content
    return path if isinstance(path, str) and not is_url(path) else None


def _read_object(source: Any) -> bytes:
    """Read a file object from its beginning, and restore its position."""
    name = type(source).__name__
    try:
        with _READING_OBJECTS:
            position = source.tell()
            source.seek(0)
            content = source.read(MAX_BYTES + 1)
            source.seek(position)
    except (AttributeError, OSError, ValueError, TypeError) as error:
        msg = (
            f"the {name} cannot be read from its beginning ({error}). Pass the bytes "
            "of the audio file."
        )
        raise AudioError(msg) from error
    if not isinstance(content, (bytes, bytearray)):
        msg = (
            f"the {name} returns {type(content).__name__} instead of bytes. Open the "
            "file with open(path, 'rb')."
        )
        raise AudioError(msg)
    return _content(content)


def _looks_like_samples(value: Any) -> bool:
    return isinstance(value, (tuple, list)) or getattr(value, "ndim", 0) > 0


def _channels_last(array: np.ndarray) -> np.ndarray:
    return array.T if array.ndim == 2 else array


def _as_array(samples: Any) -> np.ndarray:
    """Return samples as a numeric array with a known full scale."""
    try:
        array = np.asarray(_off_torch(samples))
    except (TypeError, ValueError, RuntimeError) as error:
        msg = f"the samples do not form an array ({error}). Pass a numpy array."
        raise AudioError(msg) from error
    if np.ma.is_masked(samples):
        msg = "some samples are masked. Fill them in, such as samples.filled(0)."
        raise AudioError(msg)
    if array.dtype.name == "bfloat16":  # an extension of numpy, from ml_dtypes
        array = array.astype(np.float32)
    if array.dtype.kind not in "fiu":
        msg = (
            f"samples must be floats or integers; got {array.dtype}. "
            "Pass a float32 array on [-1, 1]."
        )
        raise AudioError(msg)
    if array.dtype.kind in "iu" and not hasattr(samples, "dtype"):
        msg = (
            "the full scale of a list of integers is unknown. Pass an array of the "
            "samples' integer type, such as np.asarray(samples, dtype=np.int16)."
        )
        raise AudioError(msg)
    return array


def _off_torch(samples: Any) -> Any:
    """Return a torch tensor detached, on the CPU, in a type that NumPy supports."""
    if not (hasattr(samples, "detach") and hasattr(samples, "cpu")):
        return samples
    tensor = samples.detach().cpu()
    return tensor.float() if "bfloat16" in str(tensor.dtype) else tensor
