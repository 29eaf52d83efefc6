"""Display of the mean scores of systems and their differences from the best."""

from __future__ import annotations

from typing import Any

import pandas as pd

from clapstack.inspection._canvas import BLUE, COLUMN, GREY, PALE, Display
from clapstack.metrics import SystemComparison, compare_systems


class SystemsDisplay(Display):
    """Mean scores of systems, with the differences from the best on shared prompts.

    Hollow markers are systems that are significantly worse than the best (5 % level,
    adjusted for all pairs). Read more in the :ref:`User Guide <compare_systems>`.

    Parameters
    ----------
    result : SystemComparison
        Result of :func:`~clapstack.metrics.compare_systems`.

    Attributes
    ----------
    table : DataFrame
        One row per system, best first: ``mean``, ``low`` and ``high``; and for the best
        minus this one, ``difference``, ``low_of_difference``, ``high_of_difference``,
        ``p_adjusted`` and ``is_sure``.
    markers_ : list of Line2D
        One marker per row of `table`.
    ax_ : Axes
        Axes of the picture.
    figure_ : Figure
        Figure of the picture.

    See Also
    --------
    clapstack.metrics.compare_systems : Compare systems.

    Examples
    --------
    >>> from clapstack.inspection import SystemsDisplay
    >>> from clapstack.metrics import compare_systems
    >>> result = compare_systems(
    ...     [5.0, 7.0, 4.0, 6.0, 8.1, 5.0],
    ...     system=["v1", "v1", "v1", "v2", "v2", "v2"],
    ...     prompt=["dog", "rain", "bell"] * 2,
    ... )
    >>> SystemsDisplay(result=result).describe()
    'Mean scores: v2 6.37, v1 5.33. v2 is better than v1.'
    """

    def __init__(self, *, result: SystemComparison):
        self.result = result
        means = result.means.sort_values("mean", ascending=False, kind="stable")
        means = means[["mean", "low", "high"]]
        ends = {end: f"{end}_of_difference" for end in ("low", "high")}
        self.table = means.join(result.from_best().rename(columns=ends))

    @classmethod
    def from_result(cls, result: SystemComparison, *, ax: Any = None) -> Any:
        """Draw a comparison.

        Parameters
        ----------
        result : SystemComparison
            Result of :func:`~clapstack.metrics.compare_systems`.
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates a new figure.

        Returns
        -------
        display : SystemsDisplay
            The drawn display.
        """
        return cls(result=result).plot(ax)

    @classmethod
    def from_scores(
        cls,
        scores: Any,
        *,
        system: Any = "system",
        prompt: Any = "text",
        score: str = "score",
        coverage: float = 0.95,
        ax: Any = None,
    ) -> Any:
        """Compare systems by the scores of their clips, and draw the result.

        Parameters
        ----------
        scores : DataFrame (pandas or polars), Arrow table, Dataset or array-like
            Table with one row per clip, or the scores of the clips, of shape
            (n_clips,).
        system, prompt : str or array-like of shape (n_clips,)
            Column names, or labels: the system and the prompt of each clip.
        score : str, default="score"
            Column of scores, if `scores` is a table.
        coverage : float, default=0.95
            Coverage of each interval, between 0 and 1.
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates a new figure.

        Returns
        -------
        display : SystemsDisplay
            The drawn display.
        """
        result = compare_systems(
            scores, system=system, prompt=prompt, score=score, coverage=coverage
        )
        return cls.from_result(result, ax=ax)

    def _size(self) -> tuple[float, float]:
        return COLUMN, 1.06 + 0.24 * len(self.table)

    def _describe(self) -> str:
        means = self.table["mean"].items()
        listed = ", ".join(f"{name} {mean:.2f}" for name, mean in means)
        return f"Mean scores: {listed}. {self.result.verdict()}"

    def _draw(self, ax: Any) -> None:
        self.markers_ = []
        ax.axvline(self.table["mean"].iloc[0], color=PALE, linewidth=0.8, zorder=0)
        for at, (_, row) in enumerate(self.table.iterrows()):
            is_worse = at > 0 and bool(row["is_sure"])
            ax.plot([row["low"], row["high"]], [at, at], color=BLUE, linewidth=1)
            self.markers_ += ax.plot(
                row["mean"],
                at,
                marker="o",
                markersize=4,
                color=BLUE,
                markerfacecolor="white" if is_worse else BLUE,
            )
            if at and not pd.isna(row["difference"]):
                low, high = -row["high_of_difference"], -row["low_of_difference"]
                words = f"{-row['difference']:+.2f} [{low:.2f}, {high:.2f}]"
                ax.text(
                    1.01,
                    at,
                    words.replace("-", "\N{MINUS SIGN}"),
                    transform=ax.get_yaxis_transform(),
                    va="center",
                    fontsize="small",
                    color="black" if is_worse else GREY,
                )
        # File names may contain bytes that are not UTF-8.
        names = [str(n).encode("utf-8", "replace").decode() for n in self.table.index]
        ax.set_yticks(range(len(names)), names, parse_math=False)
        ax.tick_params(axis="y", length=0)
        ax.set(
            ylim=(len(self.table) - 0.5, -0.5),
            xlabel="mean score with interval\nhollow: significantly worse than the "
            "best\nright: difference from the best",
        )
