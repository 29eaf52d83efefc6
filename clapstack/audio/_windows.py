"""Placement of the windows of a long clip."""

from __future__ import annotations


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
