"""Display of prediction errors against predictions."""

from __future__ import annotations

from typing import Any

import numpy as np

from clapstack._fitted import predict
from clapstack._numerics.checks import check_scores
from clapstack.inspection._canvas import (
    COLUMN,
    GREY,
    VERMILION,
    Display,
    local_rows,
    scatter,
)


class ResidualsDisplay(Display):
    """Errors of predictions (human minus predicted) against the predictions.

    Lines show the mean and the 5th and 95th percentiles of the errors among pairs with
    similar predictions. Read more in the :ref:`User Guide <pictures>`.

    Parameters
    ----------
    y_true : array-like of shape (n_pairs,)
        Human scores.
    y_pred : array-like of shape (n_pairs,)
        Predicted scores.

    Attributes
    ----------
    scatter_ : PathCollection
        The points.
    lines_ : list of Line2D
        Mean, 5th percentile and 95th percentile.
    ax_ : Axes
        Axes of the picture.
    figure_ : Figure
        Figure of the picture.

    See Also
    --------
    PredictionDisplay : Human against predicted scores.
    CalibrationCurveDisplay : Mean human score against mean prediction.

    Examples
    --------
    >>> from clapstack.inspection import ResidualsDisplay
    >>> print(ResidualsDisplay(y_true=[2, 5, 8], y_pred=[3, 5, 7]).describe())
    Errors of 3 predictions, human minus predicted: mean +0.00, 90 % from -0.90 to
    +0.90.
    """

    def __init__(self, *, y_true: Any, y_pred: Any):
        self.y_true, self.y_pred = check_scores(y_true, y_pred, name="y_pred")

    @classmethod
    def from_estimator(cls, estimator: Any, X: Any, y: Any, *, ax: Any = None) -> Any:
        """Draw the errors of a fitted model on held-out pairs.

        Parameters
        ----------
        estimator : estimator
            A fitted regressor, or a pipeline that ends in one.
        X : DataFrame or array-like of shape (n_pairs, n_columns)
            Input of the estimator.
        y : array-like of shape (n_pairs,)
            Human scores.
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates a new figure.

        Returns
        -------
        display : ResidualsDisplay
            The drawn display.
        """
        return cls.from_predictions(y, predict(estimator, X, None)[0], ax=ax)

    @classmethod
    def from_predictions(cls, y_true: Any, y_pred: Any, *, ax: Any = None) -> Any:
        """Draw the errors of given predictions.

        Parameters
        ----------
        y_true : array-like of shape (n_pairs,)
            Human scores.
        y_pred : array-like of shape (n_pairs,)
            Predicted scores.
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates a new figure.

        Returns
        -------
        display : ResidualsDisplay
            The drawn display.
        """
        return cls(y_true=y_true, y_pred=y_pred).plot(ax)

    def _size(self) -> tuple[float, float]:
        return COLUMN, 2.65

    def _describe(self) -> str:
        error = self.y_true - self.y_pred
        low, high = np.quantile(error, [0.05, 0.95])
        return (
            f"Errors of {len(error):,} predictions, human minus predicted: mean "
            f"{error.mean():+.2f}, 90 % from {low:+.2f} to {high:+.2f}."
        )

    def _draw(self, ax: Any) -> None:
        error = self.y_true - self.y_pred
        ax.axhline(0, color=GREY, linewidth=0.8, zorder=1)
        self.scatter_ = scatter(ax, self.y_pred, error)
        grid, rows = local_rows(self.y_pred)
        x = self.y_pred[rows].mean(axis=1)
        if np.ptp(x) == 0:  # few pairs: the curves are of all of them
            x = grid
        low, high = np.quantile(error[rows], [0.05, 0.95], axis=1)
        curves = [
            ("mean", error[rows].mean(axis=1), "solid"),
            ("5 %", low, (0, (3, 1.5))),
            ("95 %", high, (0, (3, 1.5))),
        ]
        self.lines_ = []
        for label, curve, style in curves:
            self.lines_ += ax.plot(
                x, curve, color=VERMILION, linestyle=style, label=label
            )
            ax.annotate(
                label,
                (x[-1], curve[-1]),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                color=VERMILION,
                fontsize="small",
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
            )
        most = 1.08 * float(np.abs(error).max()) or 1.0
        ax.set(
            xlabel="predicted score",
            ylabel="error (human − predicted)",
            ylim=(-most, most),
            xlim=_with_room(self.y_pred),
        )
        ax.set_title(
            f"{len(error):,} pairs\nlines: mean, 5th and 95th percentile of the errors",
            loc="left",
            fontsize="medium",
        )


def _with_room(values: np.ndarray) -> tuple[float, float]:
    """Return limits with room for labels at the right."""
    low, high = float(values.min()), float(values.max())
    width = (high - low) or 1.0
    return low - 0.03 * width, high + 0.12 * width
