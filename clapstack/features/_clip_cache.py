"""In-memory cache of decoded clips, shared by encoders of one sample rate."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable

import numpy as np

__all__ = ["ClipCache", "clip_cache_bytes"]

_VARIABLE = "CLAPSTACK_SHARED_BYTES"
_DEFAULT_BYTES = 1 << 30  # 559 clips of 10 s at 48 kHz


def clip_cache_bytes() -> int:
    """Return the memory limit of shared clips.

    Returns
    -------
    n_bytes : int
        ``$CLAPSTACK_SHARED_BYTES``, or 1 GiB if it is not set. At 0, clips are dropped
        after their batch and every encoder decodes the table again.

    Raises
    ------
    ValueError
        If the variable is not a non-negative whole number.
    """
    given = os.environ.get(_VARIABLE, "").strip()
    if not given:
        return _DEFAULT_BYTES
    if not given.isdecimal():
        msg = (
            f"${_VARIABLE} must be a number of bytes, 0 or more; got {given!r}. Unset "
            f"it to use the default of {_DEFAULT_BYTES}."
        )
        raise ValueError(msg)
    return int(given)


class ClipCache:
    """Decoded clips, kept for the next encoder that processes the same table.

    The encoders of a ``FeatureUnion`` process the whole table one after another. Clips
    that one has decoded and resampled are reused by the others of its rate. When the
    cache is full, nothing is evicted: each encoder goes through the table from its
    beginning, so the clips read last are also needed last. Starting another table drops
    the clips that it does not contain.

    Parameters
    ----------
    max_bytes : int
        Maximum size of the cached samples.

    Attributes
    ----------
    n_bytes : int
        Size of the cached samples.

    Notes
    -----
    Thread-safe. Clips are copied on the way in and out, because an encoder may modify
    them in place.
    """

    def __init__(self, max_bytes: int):
        self.max_bytes = max_bytes
        self.n_bytes = 0
        self._clips: dict[tuple[str, int], np.ndarray] = {}
        self._lock = threading.Lock()

    def get(self, key: str, sample_rate: int) -> np.ndarray | None:
        """Return the clip with this content at this rate, or None."""
        clip = self._clips.get((key, sample_rate))
        return None if clip is None else clip.copy()

    def put(self, key: str, sample_rate: int, clip: np.ndarray) -> None:
        """Keep a clip if there is room."""
        with self._lock:
            place = (key, sample_rate)
            if place in self._clips or self.n_bytes + clip.nbytes > self.max_bytes:
                return
            self._clips[place] = clip.copy()
            self.n_bytes += clip.nbytes

    def keep_only(self, keys: Iterable[str]) -> None:
        """Drop clips of any other content, at all rates."""
        if not self._clips:
            return
        kept = set(keys)
        with self._lock:
            self._clips = {at: c for at, c in self._clips.items() if at[0] in kept}
            self.n_bytes = sum(clip.nbytes for clip in self._clips.values())
