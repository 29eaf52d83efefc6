"""Display of how scores are spread, of all pairs or system by system."""

from __future__ import annotations

from typing import Any

import numpy as np

from clapstack.inspection._canvas import BLUE, COLUMN, GREY, PALE, VERMILION, Display


class DistributionDisplay(Display):
    """How scores are spread: a histogram, or a box for each system.

    A box is from the first to the third quartile with a line at the median; whiskers
    end at the fifth and ninety-fifth percentile, and a point marks the mean. Read more
    in the :ref:`User Guide <pictures>`.

    Parameters
    ----------
    scores : array-like of shape (n_pairs,)
        Scores. No human ones are needed.
    systems : array-like of shape (n_pairs,), default=None
        What made each clip. None, or one system, gives a histogram.

    Attributes
    ----------
    means_ : dict of str to float
        Mean score of each system, the highest first; of all pairs by the name ``""``.
    ax_ : Axes
        Axes with the picture.
    figure_ : Figure
        Its figure.

    See Also
    --------
    PredictionDisplay : Scores beside human ones.

    Examples
    --------
    >>> from clapstack.inspection import DistributionDisplay
    >>> print(DistributionDisplay(scores=[4, 6, 5], systems=["a", "a", "b"]).describe())
    Scores of 3 pairs, mean of each system: a 5.00, b 5.00.
    """

    def __init__(self, *, scores: Any, systems: Any = None):
        self.scores = np.asarray(scores, dtype=np.float64)
        if self.scores.ndim != 1 or not len(self.scores):
            msg = f"scores must be of shape (n_pairs,); got {self.scores.shape}."
            raise ValueError(msg)
        if not np.isfinite(self.scores).all():
            msg = "scores have NaN or infinities. Leave those pairs out."
            raise ValueError(msg)
        names = [""] * len(self.scores) if systems is None else list(map(str, systems))
        if len(names) != len(self.scores):
            msg = f"there are {len(self.scores)} scores and {len(names)} systems."
            raise ValueError(msg)
        self.systems = np.array(names, dtype=object)
        means = {name: float(self._of(name).mean()) for name in sorted(set(names))}
        self.means_ = dict(sorted(means.items(), key=lambda each: -each[1]))

    def _of(self, system: str) -> np.ndarray:
        return self.scores[self.systems == system]

    def _size(self) -> tuple[float, float]:
        n_systems = len(self.means_)
        return COLUMN, 2.2 if n_systems == 1 else 0.8 + 0.32 * n_systems

    def _describe(self) -> str:
        words = f"Scores of {len(self.scores):,} pairs, mean"
        if len(self.means_) == 1:
            low, high = np.quantile(self.scores, [0.05, 0.95])
            mean = self.scores.mean()
            return f"{words} {mean:.2f}, 90 % from {low:.2f} to {high:.2f}."
        means = ", ".join(f"{name} {mean:.2f}" for name, mean in self.means_.items())
        return f"{words} of each system: {means}."

    def _draw(self, ax: Any) -> None:
        ax.set_xlabel("score")
        if len(self.means_) == 1:
            ax.hist(self.scores, bins="auto" if np.ptp(self.scores) else 1, color=BLUE)
            ax.axvline(self.scores.mean(), color=VERMILION)
            ax.set_ylabel("pairs")
            return
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
    name = name.encode("utf-8", "replace").decode()  # bytes that were no UTF-8
    # A dollar sign would begin a formula.
    return (name if len(name) <= 24 else f"{name[:23]}…").replace("$", r"\$")
