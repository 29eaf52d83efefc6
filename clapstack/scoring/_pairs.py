"""Conversion of clips and texts in any supported form to a frame of pairs."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from clapstack.audio import MAX_CHANNELS, HeldClip

__all__ = ["as_pairs", "is_one_clip"]


def as_pairs(
    audio: Any,
    text: Any,
    sampling_rate: Any = None,
    channels_first: bool = False,
    *,
    hashed: bool = True,
) -> pd.DataFrame:
    """Return a frame with ``audio`` and ``text``; see `Scorer.score` for the forms.

    `hashed` is needed only if embeddings are stored. Hashing 16 clips of 10 s takes 4 %
    of the time of the bundled encoders (measured).
    """
    texts = _texts(text)
    if isinstance(text, str) and _is_array(audio) and np.ndim(audio) == 2:
        msg = (
            f"audio of shape {tuple(audio.shape)} with one text is ambiguous: it is "
            "either a batch or a clip of several channels. For a batch, pass a list of "
            "texts, one per row; for one clip, pass [audio]."
        )
        raise ValueError(msg)
    clips = [audio] if is_one_clip(audio) else _listed(audio)
    clips = _with_rates(clips, sampling_rate, channels_first, hashed)
    if is_one_clip(audio):
        clips = clips * len(texts)
    if isinstance(text, str):
        texts = texts * len(clips)
    if len(clips) != len(texts):
        msg = (
            f"audio has {len(clips)} clips and text has {len(texts)} texts. Pass one "
            "text per clip, or one text for all clips."
        )
        raise ValueError(msg)
    cells = np.empty((len(clips), 2), dtype=object)
    for row, pair in enumerate(zip(clips, texts, strict=True)):
        cells[row, 0], cells[row, 1] = pair  # a clip may be a tuple
    return pd.DataFrame(cells, columns=["audio", "text"], dtype=object)


def is_one_clip(audio: Any) -> bool:
    """Return whether this is one clip rather than several."""
    if _is_array(audio):
        return np.ndim(audio) < 2
    if isinstance(audio, tuple):
        return len(audio) == 2 and isinstance(audio[1], Real)
    if isinstance(audio, (str, os.PathLike, bytes, bytearray, memoryview, Mapping)):
        return True
    is_file = hasattr(audio, "read") or hasattr(audio, "get_all_samples")
    return is_file or hasattr(audio, "sample_rate")


def _is_array(clip: Any) -> bool:
    """Return whether this is an array or a tensor of numbers."""
    if isinstance(clip, np.ndarray):
        return clip.dtype.kind in "fiu"  # object arrays contain clips
    return hasattr(clip, "detach") and hasattr(clip, "ndim")


def _listed(audio: Any) -> list[Any]:
    if hasattr(audio, "detach"):
        audio = audio.detach().cpu()  # once, not clip by clip
    if not isinstance(audio, Iterable):
        msg = (
            "audio must be a clip (a path, an array, (samples, rate) or a mapping) or "
            f"a list of clips; got {type(audio).__name__}."
        )
        raise TypeError(msg)
    return list(audio)


def _texts(text: Any) -> list[Any]:
    if isinstance(text, str):
        return [text]
    if isinstance(text, (bytes, Mapping)) or not isinstance(text, Iterable):
        msg = f"text must be a string or a list of strings; got {type(text).__name__}."
        raise TypeError(msg)
    return list(text)


def _with_rates(
    clips: list[Any], sampling_rate: Any, channels_first: bool, hashed: bool
) -> list[Any]:
    """Return the clips, with a sampling rate attached to those that are arrays."""
    if np.ndim(sampling_rate) == 0:
        rates = [np.asarray(sampling_rate).tolist()] * len(clips)
    else:
        rates = np.asarray(sampling_rate).tolist()
    if len(rates) != len(clips):
        msg = (
            f"sampling_rate has {len(rates)} rates for {len(clips)} clips. Pass one "
            "rate for all clips, or one per clip."
        )
        raise ValueError(msg)
    # A repeated array is one clip, encoded once.
    held: dict[tuple[int, Any], Any] = {}
    for clip, rate in zip(clips, rates, strict=True):
        if (id(clip), rate) not in held:
            held[id(clip), rate] = _with_rate(clip, rate, channels_first, hashed)
    return [held[id(clip), rate] for clip, rate in zip(clips, rates, strict=True)]


def _with_rate(clip: Any, rate: Any, channels_first: bool, hashed: bool) -> Any:
    if not (_is_array(clip) or isinstance(clip, list)):
        return clip
    if rate is None:
        msg = (
            "audio contains arrays, whose sampling rate is unknown. Pass it in Hz, "
            "such as sampling_rate=48000."
        )
        raise ValueError(msg)
    shape = np.shape(clip)
    # Read the other way, such a shape would have too many channels.
    is_first = len(shape) == 2 and shape[0] <= MAX_CHANNELS < shape[1]
    held = HeldClip(
        array=clip, sampling_rate=rate, channels_first=channels_first or is_first
    )
    if not hashed:
        held.key = uuid.uuid4().hex  # unique, so it cannot match a stored clip
    return held
