"""Display of human against predicted scores."""

from __future__ import annotations

from typing import Any

import numpy as np

from clapstack._fitted import predict
from clapstack._numerics.checks import check_finite, check_scores
from clapstack.inspection._canvas import (
    COLUMN,
    GREY,
    SKY,
    Display,
    local_rows,
    percent,
    scale_limits,
    scatter,
)
from clapstack.metrics import srcc


class PredictionDisplay(Display):
    """Predicted against human scores, with the band of the prediction intervals.

    Make it with :meth:`from_estimator` or :meth:`from_predictions`. Read more in the
    :ref:`User Guide <pictures>`.

    Parameters
    ----------
    y_true : array-like of shape (n_pairs,)
        Human scores.
    y_pred : array-like of shape (n_pairs,)
        Predicted scores.
    interval : array-like of shape (n_pairs, 2), default=None
        Low and high end of each prediction interval; None draws no band.
    coverage : float, default=None
        Share of pairs that the intervals are to hold, for the label.

    Attributes
    ----------
    share_inside : float or None
        Share of pairs whose human score lies in its interval.
    scatter_ : PathCollection
        The points.
    band_ : PolyCollection or None
        The band. Intervals differ from pair to pair; it shows their ends averaged
        among pairs of like prediction.
    ax_ : Axes
        Axes with the picture.
    figure_ : Figure
        Its figure.

    See Also
    --------
    ResidualsDisplay : The errors alone.
    CalibrationCurveDisplay : Whether predictions mean what they say.

    Examples
    --------
    >>> from clapstack.inspection import PredictionDisplay
    >>> display = PredictionDisplay(y_true=[2, 5, 8], y_pred=[3, 5, 7])
    >>> display.describe()
    'Human against predicted scores of 3 pairs; SRCC 1.00.'
    """

    def __init__(
        self, *, y_true: Any, y_pred: Any, interval: Any = None, coverage: Any = None
    ):
        self.y_true, self.y_pred = check_scores(y_true, y_pred, name="y_pred")
        self.interval = None if interval is None else _check_interval(interval, y_pred)
        self.coverage = coverage
        self.share_inside: float | None = None
        if self.interval is not None:
            low, high = self.interval.T
            self.share_inside = float(
                np.mean((low <= self.y_true) & (self.y_true <= high))
            )

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: Any, *, coverage: float = 0.9, ax: Any = None
    ) -> Any:
        """Draw the predictions of a fitted model for pairs that it has not seen.

        Parameters
        ----------
        estimator : estimator
            A fitted regressor, or a pipeline that ends in one.
        X : DataFrame or array-like of shape (n_pairs, n_columns)
            What it takes.
        y : array-like of shape (n_pairs,)
            Human scores.
        coverage : float, default=0.9
            Share of pairs that the intervals are to hold. A model without
            ``predict_interval`` gets no band.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : PredictionDisplay
            The drawn display.
        """
        y_pred, interval = predict(estimator, X, coverage)
        return cls.from_predictions(
            y, y_pred, interval=interval, coverage=coverage, ax=ax
        )

    @classmethod
    def from_predictions(
        cls,
        y_true: Any,
        y_pred: Any,
        *,
        interval: Any = None,
        coverage: float | None = None,
        ax: Any = None,
    ) -> Any:
        """Draw predictions that exist.

        Parameters
        ----------
        y_true : array-like of shape (n_pairs,)
            Human scores.
        y_pred : array-like of shape (n_pairs,)
            Predicted scores, such as ``oof_scores_`` of a stack.
        interval : array-like of shape (n_pairs, 2), default=None
            Low and high ends, as from ``predict_interval``.
        coverage : float, default=None
            Share of pairs that the intervals are to hold, for the label.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        display : PredictionDisplay
            The drawn display.
        """
        display = cls(
            y_true=y_true, y_pred=y_pred, interval=interval, coverage=coverage
        )
        return display.plot(ax)

    def _size(self) -> tuple[float, float]:
        return COLUMN, 3.6

    def _describe(self) -> str:
        what = (
            f"Human against predicted scores of {len(self.y_true):,} pairs; "
            f"SRCC {srcc(self.y_true, self.y_pred):.2f}."
        )
        if self.share_inside is None:
            return what
        inside = percent(self.share_inside)
        return f"{what} The {self._band_label()} holds {inside} of them."

    def _band_label(self) -> str:
        if self.coverage is None:
            return "prediction interval"
        return f"{percent(self.coverage)} prediction interval"

    def _draw(self, ax: Any) -> None:
        parts = [self.y_true, self.y_pred]
        limits = scale_limits(*parts)
        ax.plot(limits, limits, color=GREY, linewidth=0.8, zorder=1)
        self.band_ = None
        title = f"{len(self.y_true):,} pairs, SRCC {srcc(self.y_true, self.y_pred):.2f}"
        if self.interval is not None and self.share_inside is not None:
            grid, low, high = smooth_band(self.y_pred, self.interval)
            limits = scale_limits(*parts, low, high)
            self.band_ = ax.fill_between(
                grid, low, high, color=SKY, alpha=0.25, linewidth=0, zorder=0
            )
            inside = percent(self.share_inside)
            title += f"\nband: {self._band_label()}, {inside} inside"
        self.scatter_ = scatter(ax, self.y_pred, self.y_true)
        ax.set(
            xlim=limits,
            ylim=limits,
            xlabel="predicted score",
            ylabel="human score",
            aspect="equal",
        )
        ax.set_title(title, loc="left", fontsize="medium")


def smooth_band(
    y_pred: np.ndarray, interval: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Average the ends of intervals among pairs of like prediction.

    Returns a grid from the lowest to the highest prediction, and low and high ends
    there; no end goes beyond those given.
    """
    grid, rows = local_rows(y_pred)
    low, high = (
        np.clip(grid + (end - y_pred)[rows].mean(axis=1), end.min(), end.max())
        for end in interval.T
    )
    return grid, low, high


def _check_interval(interval: Any, y_pred: Any) -> np.ndarray:
    ends = np.asarray(interval, dtype=np.float64)
    if ends.shape != (len(y_pred), 2):
        msg = (
            f"interval must have one row of a low and a high end per pair, shape "
            f"{(len(y_pred), 2)}; got {ends.shape}."
        )
        raise ValueError(msg)
    if np.isinf(ends).any():
        msg = (
            "interval has infinite ends: too few pairs were fitted for this coverage. "
            "Ask predict_interval for a lower one, or fit on more pairs."
        )
        raise ValueError(msg)
    check_finite("interval", ends[:, 0])
    check_finite("interval", ends[:, 1])
    rows = np.flatnonzero(ends[:, 0] > ends[:, 1])
    if rows.size:
        msg = f"interval has a low end above the high end, in row {rows[0]}. Swap them."
        raise ValueError(msg)
    return ends
