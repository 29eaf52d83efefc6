"""Display of mean human scores against predictions."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np

from clapstack._fitted import predict
from clapstack._numerics.checks import check_scores
from clapstack.inspection._canvas import (
    COLUMN,
    GREY,
    PALE,
    VERMILION,
    Display,
    scale_limits,
)

_PER_BIN = 5
_MOST_BINS = 10
_Z95 = 1.96


class CalibrationCurveDisplay(Display):
    """Mean human score against mean predicted score, in bins of similar predictions.

    On the diagonal, a prediction of 6 means that humans give 6 on average. All bins
    have the same number of pairs; bars are 95 % intervals of the mean (1.96 standard
    errors). Read more in the :ref:`User Guide <pictures>`.

    Parameters
    ----------
    y_true : array-like of shape (n_pairs,)
        Human scores.
    y_pred : array-like of shape (n_pairs,)
        Predicted scores.
    n_bins : int, default=None
        Number of bins. None uses ten, or fewer if bins would have fewer than five
        pairs.

    Attributes
    ----------
    mean_predicted, mean_human, half_width : ndarray of shape (n_bins,)
        Means of each bin, and half the width of its interval.
    line_ : Line2D
        The curve.
    ax_ : Axes
        Axes of the picture.
    figure_ : Figure
        Figure of the picture.

    See Also
    --------
    clapstack.calibration.IncreasingMap : Calibrate scores without changing their order.

    Examples
    --------
    >>> import numpy as np
    >>> from clapstack.inspection import CalibrationCurveDisplay
    >>> y = np.linspace(0, 10, 50)
    >>> display = CalibrationCurveDisplay(y_true=y, y_pred=y / 2, n_bins=2)
    >>> display.mean_human - display.mean_predicted
    array([1.2244898, 3.7755102])
    """

    def __init__(self, *, y_true: Any, y_pred: Any, n_bins: int | None = None):
        self.y_true, self.y_pred = check_scores(y_true, y_pred, name="y_pred")
        n_pairs = len(self.y_true)
        if n_bins is None:
            n_bins = int(np.clip(n_pairs // _PER_BIN, 1, _MOST_BINS))
        is_whole = isinstance(n_bins, Integral)
        if not is_whole or not 1 <= n_bins <= n_pairs // 2:
            msg = (
                f"n_bins must be an integer from 1 to {n_pairs // 2}, so that each "
                f"bin has at least two of the {n_pairs} pairs; got {n_bins!r}."
            )
            raise ValueError(msg)
        self.n_bins = n_bins
        bins = np.array_split(np.argsort(self.y_pred, kind="stable"), n_bins)
        self.mean_predicted = np.array([self.y_pred[rows].mean() for rows in bins])
        self.mean_human = np.array([self.y_true[rows].mean() for rows in bins])
        self.half_width = np.array(
            [_Z95 * self.y_true[rows].std(ddof=1) / np.sqrt(len(rows)) for rows in bins]
        )

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        n_bins: int | None = None,
        ax: Any = None,
    ) -> Any:
        """Draw the calibration of a fitted model on held-out pairs.

        Parameters
        ----------
        estimator : estimator
            A fitted regressor, or a pipeline that ends in one.
        X : DataFrame or array-like of shape (n_pairs, n_columns)
            Input of the estimator.
        y : array-like of shape (n_pairs,)
            Human scores.
        n_bins : int, default=None
            Number of bins.
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates a new figure.

        Returns
        -------
        display : CalibrationCurveDisplay
            The drawn display.
        """
        y_pred, _ = predict(estimator, X, None)
        return cls.from_predictions(y, y_pred, n_bins=n_bins, ax=ax)

    @classmethod
    def from_predictions(
        cls, y_true: Any, y_pred: Any, *, n_bins: int | None = None, ax: Any = None
    ) -> Any:
        """Draw the calibration of given predictions.

        Parameters
        ----------
        y_true : array-like of shape (n_pairs,)
            Human scores.
        y_pred : array-like of shape (n_pairs,)
            Predicted scores.
        n_bins : int, default=None
            Number of bins.
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates a new figure.

        Returns
        -------
        display : CalibrationCurveDisplay
            The drawn display.
        """
        return cls(y_true=y_true, y_pred=y_pred, n_bins=n_bins).plot(ax)

    def _size(self) -> tuple[float, float]:
        return COLUMN, 3.6

    def _describe(self) -> str:
        off = self.mean_human - self.mean_predicted
        worst = int(np.argmax(np.abs(off)))
        return (
            f"Mean human score in {self.n_bins} bins of similar predictions. The bin "
            "farthest from the diagonal has mean prediction "
            f"{self.mean_predicted[worst]:.2f} and mean human score "
            f"{self.mean_human[worst]:.2f}."
        )

    def _draw(self, ax: Any) -> None:
        limits = scale_limits(
            self.mean_predicted,
            self.mean_human - self.half_width,
            self.mean_human + self.half_width,
        )
        ax.plot(limits, limits, color=GREY, linewidth=0.8, zorder=1)
        drawn = ax.errorbar(
            self.mean_predicted,
            self.mean_human,
            yerr=self.half_width,
            color=VERMILION,
            marker="o",
            markersize=3.5,
            linewidth=0.7,
            elinewidth=1.1,
            zorder=3,
        )
        self.line_ = drawn.lines[0]
        # Histogram of the predictions at the bottom.
        counts, edges = np.histogram(self.y_pred, bins=40, range=limits)
        height = 0.12 * (limits[1] - limits[0]) * counts / counts.max()
        ax.bar(
            edges[:-1],
            height,
            np.diff(edges),
            bottom=limits[0],
            align="edge",
            color=PALE,
            zorder=0,
        )
        ax.set(
            xlim=limits,
            ylim=limits,
            xlabel="mean predicted score",
            ylabel="mean human score",
            aspect="equal",
        )
        ax.set_title(
            f"{len(self.y_true):,} pairs in {self.n_bins} bins, with 95 % intervals\n"
            "grey: histogram of predictions",
            loc="left",
            fontsize="medium",
        )
