"""Display of human against predicted scores, with prediction intervals."""

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
    """Human scores against predicted scores, with a band of prediction intervals.

    Create it with :meth:`from_estimator` or :meth:`from_predictions`. Read more in the
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
        Nominal coverage of the intervals, for the label.

    Attributes
    ----------
    share_inside : float or None
        Share of pairs whose human score lies inside its interval.
    scatter_ : PathCollection
        The points.
    band_ : PolyCollection or None
        The band. Intervals differ from pair to pair, so the band shows their ends
        averaged over pairs with similar predictions.
    ax_ : Axes
        Axes of the picture.
    figure_ : Figure
        Figure of the picture.

    See Also
    --------
    ResidualsDisplay : Errors against predictions.
    CalibrationCurveDisplay : Mean human score against mean prediction.

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
        """Draw the predictions of a fitted model for held-out pairs.

        Parameters
        ----------
        estimator : estimator
            A fitted regressor, or a pipeline that ends in one.
        X : DataFrame or array-like of shape (n_pairs, n_columns)
            Input of the estimator.
        y : array-like of shape (n_pairs,)
            Human scores.
        coverage : float, default=0.9
            Nominal coverage of the intervals. A model without ``predict_interval`` gets
            no band.
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates a new figure.

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
        """Draw given predictions.

        Parameters
        ----------
        y_true : array-like of shape (n_pairs,)
            Human scores.
        y_pred : array-like of shape (n_pairs,)
            Predicted scores, such as ``oof_scores_`` of a stack.
        interval : array-like of shape (n_pairs, 2), default=None
            Low and high ends, as from ``predict_interval``.
        coverage : float, default=None
            Nominal coverage of the intervals, for the label.
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates a new figure.

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
        return f"{what} The {self._band_label()} contains {inside} of them."

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
            title += f"\nband: {self._band_label()} ({inside} inside)"
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
    """Average the ends of intervals over pairs with similar predictions.

    Returns a grid from the lowest to the highest prediction, and the low and high ends
    on it, clipped to the range of the given ends.
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
            "interval must have shape "
            f"{(len(y_pred), 2)}, with a low and a high end per pair; got shape "
            f"{ends.shape}."
        )
        raise ValueError(msg)
    if np.isinf(ends).any():
        msg = (
            "interval has infinite ends, because there were too few training pairs for "
            "this coverage. Pass a lower coverage to predict_interval, or fit on more "
            "pairs."
        )
        raise ValueError(msg)
    check_finite("interval", ends[:, 0])
    check_finite("interval", ends[:, 1])
    rows = np.flatnonzero(ends[:, 0] > ends[:, 1])
    if rows.size:
        msg = f"interval has a low end above its high end in row {rows[0]}. Swap them."
        raise ValueError(msg)
    return ends
