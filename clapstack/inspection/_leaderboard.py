"""Display of a result in the ranking of the challenge."""

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
    "official": ("o", BLUE, "official ranking"),
    "baseline": ("s", GREY, "baseline"),
    "paper": ("D", SKY, "paper"),
}


class LeaderboardDisplay(Display):
    """A result in the XACLE 2026 ranking, with the baselines and the paper's results.

    The comparison is valid only for results on the challenge's own test split, rated by
    its listeners. Read more in the :ref:`User Guide <pictures>`.

    Parameters
    ----------
    value : float
        Value of the metric.
    low, high : float, default=None
        Ends of its interval; None draws none.
    name : str, default="this model"
        Label of the result.
    metric : {"srcc", "lcc", "ktau", "mse"}, default="srcc"
        The metric. For "mse", the lowest value ranks first.

    Attributes
    ----------
    table : DataFrame
        The ranking including the result, best first.
    above : int
        Number of officially ranked systems that are better.
    markers_ : list of Line2D
        One marker per row of `table`.
    ax_ : Axes
        Axes of the picture.
    figure_ : Figure
        Figure of the picture.

    See Also
    --------
    clapstack.datasets.load_xacle_ranking : The ranking as a table.

    Examples
    --------
    >>> from clapstack.inspection import LeaderboardDisplay
    >>> LeaderboardDisplay(value=0.62).describe()
    'this model has SRCC 0.620; 4 of the 10 systems ranked in 2026 are better.'
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
        is_number = isinstance(value, Real)
        if not is_number or not np.isfinite(value):
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
        """Draw the place of a fitted model by its scores on the challenge's test split.

        Parameters
        ----------
        estimator : estimator
            A fitted regressor, or a pipeline that ends in one.
        X : DataFrame or array-like of shape (n_pairs, n_columns)
            The test split.
        y : array-like of shape (n_pairs,)
            Its mean ratings.
        name : str, default="this model"
            Label of the result.
        metric : {"srcc", "lcc", "ktau", "mse"}, default="srcc"
            The metric.
        n_resamples : int, default=1000
            Number of bootstrap resamples for the 95 % interval; 0 omits it.
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates a new figure.

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
        """Draw the place of predictions for the challenge's test split.

        Parameters
        ----------
        y_true : array-like of shape (n_pairs,)
            Mean ratings of the test split.
        y_pred : array-like of shape (n_pairs,)
            Predicted scores.
        name : str, default="this model"
            Label of the result.
        metric : {"srcc", "lcc", "ktau", "mse"}, default="srcc"
            The metric.
        n_resamples : int, default=1000
            Number of bootstrap resamples for the 95 % interval; 0 omits it.
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates a new figure.

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
            f"the {ranked} systems ranked in 2026 are better."
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
        # The corner opposite the best systems is empty.
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
