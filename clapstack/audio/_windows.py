"""Placement of windows that cover a long clip, and of short ones within a clip."""

from __future__ import annotations

import math

# Fraction of a hop by which a clip may be too long for its windows: its length depends
# on the rounding at each sample rate, but all encoders must use the same windows.
_SLACK = 0.01


def window_starts(n_samples: int, window: int, crop: str) -> list[int]:
    """Return the first samples of a clip's windows.

    Parameters
    ----------
    n_samples : int
        Length of the clip, in samples.
    window : int
        Length of a window, in samples.
    crop : {"windows", "center", "start"}
        ``"windows"`` covers the clip with the fewest evenly spaced windows: the first
        starts at 0, the last ends at the end of the clip. ``"center"`` and ``"start"``
        place a single window.

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


def short_window_starts(duration: float, length: float, hop: float) -> list[float]:
    """Return the start times of short windows of a clip.

    Parameters
    ----------
    duration : float
        Length of the clip, in seconds.
    length : float
        Length of a window, in seconds.
    hop : float
        Maximum time between the starts of consecutive windows, in seconds; at most
        `length`.

    Returns
    -------
    starts : list of float
        Times in seconds, ascending and evenly spaced: the first window starts at 0, the
        last one ends at the end of the clip. ``[0.0]`` for a clip no longer than a
        window.

    Raises
    ------
    ValueError
        If a value is not positive, or `hop` exceeds `length`, so that windows would
        not cover the clip.

    Examples
    --------
    >>> from clapstack.audio import short_window_starts
    >>> short_window_starts(5.0, 2.0, 1.0)
    [0.0, 1.0, 2.0, 3.0]
    """
    if not 0 < hop <= length or not duration > 0:
        msg = (
            "duration, length and hop must be positive, and hop at most length; got "
            f"duration={duration}, length={length}, hop={hop}."
        )
        raise ValueError(msg)
    room = duration - length
    n_gaps = math.ceil(room / hop - _SLACK)
    if n_gaps <= 0:
        return [0.0]
    return [i * room / n_gaps for i in range(n_gaps + 1)]
