"""Display of the distribution of scores, overall or by system."""

from __future__ import annotations

from typing import Any

import numpy as np

from clapstack.inspection._canvas import BLUE, COLUMN, GREY, PALE, VERMILION, Display


class DistributionDisplay(Display):
    """Distribution of scores: a histogram, or a box plot with one box per system.

    It needs no human scores. Boxes span the quartiles, with a line at the median.
    Whiskers end at the 5th and 95th percentiles, and a diamond marks the mean. Read
    more in the :ref:`User Guide <pictures>`.

    Parameters
    ----------
    scores : array-like of shape (n_pairs,)
        Scores.
    systems : array-like of shape (n_pairs,), default=None
        The system that generated each clip. None, or a single system, gives a
        histogram.

    Attributes
    ----------
    means_ : dict of str to float
        Mean score of each system, highest first. Without systems, the only key is
        ``""``.
    ax_ : Axes
        Axes of the picture.
    figure_ : Figure
        Figure of the picture.

    See Also
    --------
    PredictionDisplay : Human against predicted scores.

    Examples
    --------
    >>> from clapstack.inspection import DistributionDisplay
    >>> print(DistributionDisplay(scores=[4, 6, 5], systems=["a", "a", "b"]).describe())
    Scores of 3 pairs, mean of each system: a 5.00, b 5.00.
    """

    def __init__(self, *, scores: Any, systems: Any = None):
        self.scores = np.asarray(scores, dtype=np.float64)
        if self.scores.ndim != 1 or not len(self.scores):
            msg = (
                f"scores must have shape (n_pairs,) with at least one pair; got shape "
                f"{self.scores.shape}."
            )
            raise ValueError(msg)
        if not np.isfinite(self.scores).all():
            msg = "scores has NaN or infinity. Remove those pairs."
            raise ValueError(msg)
        names = [""] * len(self.scores) if systems is None else list(map(str, systems))
        if len(names) != len(self.scores):
            msg = (
                f"systems has {len(names)} labels for {len(self.scores)} scores. Pass "
                "one system per score."
            )
            raise ValueError(msg)
        self.systems = np.array(names, dtype=object)
        means = {name: float(self._of(name).mean()) for name in sorted(set(names))}
        self.means_ = dict(sorted(means.items(), key=lambda each: -each[1]))

    def _of(self, system: str) -> np.ndarray:
        return self.scores[self.systems == system]

    def _size(self) -> tuple[float, float]:
        n_systems = len(self.means_)
        return COLUMN, 2.2 if n_systems == 1 else 0.93 + 0.32 * n_systems

    def _describe(self) -> str:
        words = f"Scores of {len(self.scores):,} pairs, mean"
        if len(self.means_) == 1:
            low, high = np.quantile(self.scores, [0.05, 0.95])
            mean = self.scores.mean()
            return f"{words} {mean:.2f}, 90 % from {low:.2f} to {high:.2f}."
        means = ", ".join(f"{name} {mean:.2f}" for name, mean in self.means_.items())
        return f"{words} of each system: {means}."

    def _draw(self, ax: Any) -> None:
        if len(self.means_) == 1:
            ax.hist(self.scores, bins="auto" if np.ptp(self.scores) else 1, color=BLUE)
            ax.axvline(self.scores.mean(), color=VERMILION)
            ax.set(xlabel="score (vertical line: mean)", ylabel="number of pairs")
            return
        ax.set_xlabel("score\nbox: quartiles; whiskers: 5 to 95 %; diamond: mean")
        names = list(self.means_)[::-1]  # the highest on top
        for place, name in enumerate(names):
            low, first, median, third, high = np.quantile(
                self._of(name), [0.05, 0.25, 0.5, 0.75, 0.95]
            )
            ax.hlines(place, low, high, color=GREY, zorder=1)
            ax.barh(place, third - first, 0.6, first, color=PALE, edgecolor=GREY)
            ax.vlines(median, place - 0.3, place + 0.3, color=BLUE)
            ax.plot(self.means_[name], place, "D", markersize=4, color=VERMILION)
        ax.set_yticks(range(len(names)), [_short(name) for name in names])


def _short(name: str) -> str:
    name = name.encode("utf-8", "replace").decode()  # for bytes that are not UTF-8
    # A dollar sign would start a formula.
    return (name if len(name) <= 24 else f"{name[:23]}…").replace("$", r"\$")
