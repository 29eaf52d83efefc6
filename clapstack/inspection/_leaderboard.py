"""Display of a result among those of the challenge."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from clapstack._fitted import predict
from clapstack.datasets import load_xacle_ranking
from clapstack.inspection._canvas import BLUE, COLUMN, GREY, SKY, VERMILION, Display
from clapstack.metrics import bootstrap_interval, ktau, lcc, mse, srcc

_METRICS = {"srcc": srcc, "lcc": lcc, "ktau": ktau, "mse": mse}
_MARKS = {
    "official": ("o", BLUE, "ranked in 2026"),
    "baseline": ("s", GREY, "baseline"),
    "paper": ("D", SKY, "the paper"),
}


class LeaderboardDisplay(Display):
    """A result among those of XACLE 2026: the ranked, the baselines, the paper's.

    Only a result on the challenge's own test split, judged by its listeners, has a
    place there. Read more in the :ref:`User Guide <pictures>`.

    Parameters
    ----------
    value : float
        The metric's value.
    low, high : float, default=None
        Ends of its interval; None draws none.
    name : str, default="this model"
        What the result is called.
    metric : {"srcc", "lcc", "ktau", "mse"}, default="srcc"
        Which metric; of "mse" the lowest comes first.

    Attributes
    ----------
    table : DataFrame
        The ranking with the result in it, the best first.
    above : int
        Number of ranked systems that are better.
    markers_ : list of Line2D
        One per row of `table`.
    ax_ : Axes
        Axes with the picture.
    figure_ : Figure
        Its figure.

    See Also
    --------
    clapstack.datasets.load_xacle_ranking : The ranking as a table.

    Examples
    --------
    >>> from clapstack.inspection import LeaderboardDisplay
    >>> LeaderboardDisplay(value=0.62).describe()
    'this model has SRCC 0.620; 4 of 10 ranked systems of 2026 have a better one.'
    """

    def __init__(
        self,
        *,
        value: float,
        low: float | None = None,
        high: float | None = None,
        name: str = "this model",
        metric: str = "srcc",
    ):
        _check_metric(metric)
        if not isinstance(value, Real) or not np.isfinite(value):
            msg = f"value must be a finite number; got {value!r}."
            raise ValueError(msg)
        self.value = value
        self.low = low
        self.high = high
        self.name = name
        self.metric = metric
        own = pd.DataFrame({"system": [name], metric: [value], "kind": ["own"]})
        table = pd.concat([load_xacle_ranking(), own])[["system", metric, "kind"]]
        self.table = table.sort_values(
            metric, ascending=metric == "mse", kind="stable", ignore_index=True
        )
        ranked = self.table.loc[self.table["kind"] == "official", metric]
        better = ranked < value if metric == "mse" else ranked > value
        self.above = int(better.sum())

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        name: str = "this model",
        metric: str = "srcc",
        n_resamples: int = 1000,
        ax: Any = None,
    ) -> Any:
        """Place a fitted model by its scores of the challenge's test split.

        Parameters
        ----------
        estimator : estimator
            A fitted regressor, or a pipeline that ends in one.
        X : DataFrame or array-like of shape (n_pairs, n_columns)
            The test split.
        y : array-like of shape (n_pairs,)
            Its mean ratings.
        name : str, default="this model"
            What the result is called.
        metric : {"srcc", "lcc", "ktau", "mse"}, default="srcc"
            Which metric.
        n_resamples : int, default=1000
            Bootstrap resamples of the 95 % interval; 0 leaves it out.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : LeaderboardDisplay
            The drawn display.
        """
        y_pred, _ = predict(estimator, X, None)
        return cls.from_predictions(
            y, y_pred, name=name, metric=metric, n_resamples=n_resamples, ax=ax
        )

    @classmethod
    def from_predictions(
        cls,
        y_true: Any,
        y_pred: Any,
        *,
        name: str = "this model",
        metric: str = "srcc",
        n_resamples: int = 1000,
        ax: Any = None,
    ) -> Any:
        """Place predictions of the challenge's test split.

        Parameters
        ----------
        y_true : array-like of shape (n_pairs,)
            Mean ratings of the test split.
        y_pred : array-like of shape (n_pairs,)
            Predicted scores.
        name : str, default="this model"
            What the result is called.
        metric : {"srcc", "lcc", "ktau", "mse"}, default="srcc"
            Which metric.
        n_resamples : int, default=1000
            Bootstrap resamples of the 95 % interval; 0 leaves it out.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : LeaderboardDisplay
            The drawn display.
        """
        _check_metric(metric)
        low, high = None, None
        if n_resamples:
            low, high = bootstrap_interval(
                _METRICS[metric], y_true, y_pred, n_resamples=n_resamples
            )
        value = _METRICS[metric](y_true, y_pred)
        display = cls(value=value, low=low, high=high, name=name, metric=metric)
        return display.plot(ax)

    def _size(self) -> tuple[float, float]:
        return COLUMN, 0.7 + 0.165 * len(self.table)

    def _describe(self) -> str:
        ranked = int((self.table["kind"] == "official").sum())
        return (
            f"{self.name} has {self.metric.upper()} {self.value:.3f}; {self.above} of "
            f"{ranked} ranked systems of 2026 have a better one."
        )

    def _draw(self, ax: Any) -> None:
        at = range(len(self.table))
        ax.hlines(
            at,
            0,
            self.table[self.metric],
            color=GREY,
            linewidth=0.4,
            linestyle="dotted",
        )
        self.markers_ = []
        named: set[str] = set()
        for place, (_, value, kind) in enumerate(
            self.table.itertuples(index=False, name=None)
        ):
            marker, color, label = _MARKS.get(kind, ("*", VERMILION, self.name))
            own = kind == "own"
            if own and self.low is not None and self.high is not None:
                ax.plot([self.low, self.high], [place, place], color=color, zorder=3)
            self.markers_ += ax.plot(
                value,
                place,
                marker=marker,
                color=color,
                markersize=8 if own else 4,
                linestyle="none",
                label="_" if kind in named or own else label,
                zorder=4,
            )
            named.add(kind)
            ax.text(
                1.01,
                place,
                f"{value:.3f}",
                transform=ax.get_yaxis_transform(),
                va="center",
                fontsize="small",
                color=color if own else "black",
                fontweight="bold" if own else "normal",
            )
        names = self.table["system"].str.removesuffix(" (paper)")
        ax.set_yticks(at, names, parse_math=False)
        own_at = self.table.index[self.table["kind"] == "own"][0]
        ax.get_yticklabels()[own_at].set(color=VERMILION, fontweight="bold")
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
        values = [*self.table[self.metric], self.low, self.high]
        known = [value for value in values if value is not None]
        room = 0.05 * (max(known) - min(known))
        ax.set(
            xlim=(min(known) - room, max(known) + room),
            ylim=(len(self.table) - 0.5, -0.5),
            xlabel=f"{self.metric.upper()} on the test split of XACLE 2026",
        )
        # Where the best stand, the other side is empty.
        ax.legend(
            loc="upper right" if self.metric == "mse" else "upper left",
            handletextpad=0.2,
            borderaxespad=0.2,
            frameon=True,
            framealpha=1,
            edgecolor="none",
        )


def _check_metric(metric: str) -> None:
    if metric not in _METRICS:
        msg = f"metric must be one of {list(_METRICS)}; got {metric!r}."
        raise ValueError(msg)
