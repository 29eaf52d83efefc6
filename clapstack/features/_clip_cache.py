"""Clips in memory, read once for all encoders of one sample rate."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable

import numpy as np

__all__ = ["ClipCache", "clip_cache_bytes"]

_VARIABLE = "CLAPSTACK_SHARED_BYTES"
_DEFAULT_BYTES = 1 << 30  # 559 clips of 10 s at 48 kHz


def clip_cache_bytes() -> int:
    """Return how much memory shared clips may take.

    Returns
    -------
    n_bytes : int
        ``$CLAPSTACK_SHARED_BYTES``, or 1 GiB if it is not set. At 0, no clip outlives
        its batch, and every encoder decodes the table anew.

    Raises
    ------
    ValueError
        If the variable is no whole number, or negative.
    """
    given = os.environ.get(_VARIABLE, "").strip()
    if not given:
        return _DEFAULT_BYTES
    if not given.isdecimal():
        msg = (
            f"${_VARIABLE} must be a number of bytes, 0 or more; got {given!r}. Unset "
            f"it for the default of {_DEFAULT_BYTES}."
        )
        raise ValueError(msg)
    return int(given)


class ClipCache:
    """Clips that were read, kept for the next encoder that hears the same table.

    The encoders of a ``FeatureUnion`` take one table after another, each all of it.
    What the first has decoded and resampled waits here for those of its rate. When
    memory is full no clip makes room for another: a table too large for it is gone
    through from its beginning by every encoder, so that the clips which came last are
    those needed last. Clips leave when another table comes.

    Parameters
    ----------
    max_bytes : int
        Of samples held at most.

    Attributes
    ----------
    n_bytes : int
        Of samples held.

    Notes
    -----
    Safe with threads. What goes in and what comes out are copies, since an encoder
    may work in place.
    """

    def __init__(self, max_bytes: int):
        self.max_bytes = max_bytes
        self.n_bytes = 0
        self._clips: dict[tuple[str, int], np.ndarray] = {}
        self._lock = threading.Lock()

    def get(self, key: str, sample_rate: int) -> np.ndarray | None:
        """Return the clip of that content at that rate, or None."""
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
        """Forget the clips of any other content, at whatever rate."""
        if not self._clips:
            return
        kept = set(keys)
        with self._lock:
            self._clips = {at: c for at, c in self._clips.items() if at[0] in kept}
            self.n_bytes = sum(clip.nbytes for clip in self._clips.values())
