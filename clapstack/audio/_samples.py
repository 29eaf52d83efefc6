"""Conversion of samples to encoder input: mono, float32, full scale 1, one rate."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from numbers import Real
from typing import Any

import numpy as np
import soxr

from clapstack.exceptions import AudioError

MIN_RATE, MAX_RATE = 1_000, 768_000  # Hz
MAX_CHANNELS = 8  # 7.1 surround
MAX_SAMPLES = 1 << 29  # of one channel: 2 GiB as float32, 3.1 hours at 48 kHz

BLOCK = 1 << 16  # frames converted at a time: few enough for a core's cache

_MAX_PEAK = 100.0  # 40 dB over full scale: samples were not scaled to [-1, 1]


def checked_rate(rate: Any) -> float:
    """Return a sample rate in Hz as a float, or raise AudioError."""
    usable = isinstance(rate, Real) and not isinstance(rate, bool)
    if not usable or not MIN_RATE <= rate <= MAX_RATE:
        msg = (
            f"the sample rate must be a number of Hz from {MIN_RATE} to {MAX_RATE}; "
            f"got {rate!r}."
        )
        raise AudioError(msg)
    return float(rate)


def check_length(n_samples: int, rate: float) -> None:
    """Raise AudioError if a clip is too long."""
    if n_samples > MAX_SAMPLES:
        msg = (
            f"the clip is too long: at {rate:g} Hz, the limit is {MAX_SAMPLES} samples "
            f"({MAX_SAMPLES / rate / 3600:.1f} hours, {MAX_SAMPLES >> 28} GiB). Cut it "
            "into shorter clips."
        )
        raise AudioError(msg)


def array_blocks(samples: np.ndarray) -> Iterator[np.ndarray]:
    """Yield float32 blocks of an array; integers are divided by their full scale.

    The array and its blocks have shape (n_frames,) or (n_frames, n_channels). Raises
    AudioError if it has another shape, or if its integers use only a small part of
    their type's range.
    """
    if samples.ndim not in (1, 2):
        msg = (
            f"samples must have shape (n_frames,) or (n_frames, n_channels); "
            f"got {samples.shape}."
        )
        raise AudioError(msg)
    if samples.ndim == 2 and samples.size and samples.shape[1] > MAX_CHANNELS:
        msg = (
            f"shape {samples.shape} is read as (n_frames, n_channels), but "
            f"{samples.shape[1]} channels are more than {MAX_CHANNELS}. Pass samples.T "
            "if the channels come first; otherwise mix them down."
        )
        raise AudioError(msg)
    if samples.size == 0:
        return
    if samples.dtype.kind in "iu":
        _check_width(samples)
    for first in range(0, len(samples), BLOCK):
        yield full_scale_one(samples[first : first + BLOCK])


def mono(blocks: Iterable[np.ndarray], rate: float) -> np.ndarray:
    """Check samples and return the mean of their channels, float32.

    Parameters
    ----------
    blocks : iterable of ndarray of shape (n_frames,) or (n_frames, n_channels)
        float32 samples, in order. One block is in memory at a time.
    rate : float
        Their rate in Hz, for messages.

    Raises
    ------
    AudioError
        If there are no samples or too many, or if they are NaN, infinite, silent or far
        over full scale.
    """
    # A bytearray grows in place; joining a list of blocks would need twice the memory.
    joined = bytearray()
    n_frames = n_values = n_bad = first_bad = 0
    peak = 0.0
    for block in blocks:
        check_length(n_frames + len(block), rate)
        finite = np.isfinite(block)
        if not finite.all():
            if not n_bad:
                whole = finite.reshape(len(block), -1).all(axis=1)
                first_bad = n_frames + int(np.argmin(whole))
            n_bad += finite.size - np.count_nonzero(finite)
        elif block.size:
            peak = max(peak, float(block.max()), -float(block.min()))
        if block.ndim == 2:
            with np.errstate(invalid="ignore"):  # NaN is rejected below
                block = block.mean(axis=1, dtype=np.float64).astype(np.float32)
        joined += np.ascontiguousarray(block).data
        n_frames += len(block)
        n_values += finite.size
    if not n_values:
        msg = "the clip has no samples. Remove it or export it again."
        raise AudioError(msg)
    if n_bad:
        msg = (
            f"{n_bad} of {n_values} samples are NaN or infinite, the first in frame "
            f"{first_bad}. Repair or remove the clip."
        )
        raise AudioError(msg)
    if peak > _MAX_PEAK:
        msg = (
            f"float samples must be on [-1, 1]; the peak is {peak:g}. Divide them by "
            "their full scale, 32768 for 16 bits."
        )
        raise AudioError(msg)
    samples = np.frombuffer(joined, dtype=np.float32)
    if samples.min() == samples.max():
        msg = (
            f"the clip is silent: all of its {len(samples)} samples, mixed to mono, "
            f"equal {samples[0]:g}. Remove it or export it again."
        )
        raise AudioError(msg)
    return samples


def resampled(samples: np.ndarray, rate: float, sample_rate: int) -> np.ndarray:
    """Return contiguous float32 samples at another rate, by soxr's HQ setting."""
    check_length(int(len(samples) * sample_rate / rate), sample_rate)
    if rate != sample_rate:
        samples = soxr.resample(samples, rate, sample_rate, quality="HQ")
    if samples.size == 0:
        msg = (
            f"the clip is too short to be resampled from {rate:g} to {sample_rate} Hz."
        )
        raise AudioError(msg)
    return np.ascontiguousarray(samples, dtype=np.float32)


def _check_width(samples: np.ndarray) -> None:
    """Reject integers of a narrower type than that of their array.

    Some readers return 16 or 24-bit samples in the low bits of wider integers (wavio
    does so for 24 bits in int32), which would be read 48 dB or more too quiet. Other
    clips in int32 have a peak over 1/256 of full scale, unless they are quieter than
    -48 dB. Among the quieter ones, 16-bit samples that soundfile returns as int32 are
    multiples of 2**16; 24-bit samples in the low bits would be only if they were 8-bit
    audio. The others are ambiguous and are rejected.
    """
    n_bits = 8 * samples.dtype.itemsize
    if n_bits < 32:
        return
    peak = max(abs(int(samples.min())), abs(int(samples.max())))
    bound = (
        {"i": 1 << 23, "u": 1 << 24}[samples.dtype.kind] if n_bits == 32 else 1 << 32
    )
    if not 0 < peak < bound:
        return
    signed = samples.dtype.kind == "i"
    lowest = int(np.bitwise_or.reduce(samples, axis=None)) & 0xFFFF
    if n_bits == 32 and signed and not lowest:
        return
    held = 16 if peak <= 1 << 15 else 24 if peak <= 1 << 23 else 32
    msg = (
        f"{n_bits}-bit integers with a peak of {peak} are probably samples of a "
        "narrower type, which would be read too quiet. Pass floats on [-1, 1]"
    )
    if signed:
        msg += (
            f": samples / 2.0**{held - 1} if these are {held}-bit samples, "
            f"samples / 2.0**{n_bits - 1} if the clip is really this quiet"
        )
    msg += "."
    raise AudioError(msg)


def full_scale_one(samples: np.ndarray) -> np.ndarray:
    """Return float32 samples; integers are divided by their type's full scale."""
    kind, n_bits = samples.dtype.kind, 8 * samples.dtype.itemsize
    if kind == "f":
        with np.errstate(over="ignore"):  # becomes infinite and is rejected
            return samples.astype(np.float32)
    half = 1 << (n_bits - 1)
    if kind == "u":  # flipping the highest bit centres, in two's complement
        samples = (samples ^ samples.dtype.type(half)).view(f"i{n_bits // 8}")
    return samples.astype(np.float32) / np.float32(half)
