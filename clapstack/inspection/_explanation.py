"""Display of the contributions to the score of one pair."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from clapstack._fitted import features_of, last_step, refuse_axes
from clapstack.inspection._canvas import (
    BLACK,
    BLUE,
    COLUMN,
    GREY,
    VERMILION,
    Display,
)

_START, _END = "baseline", "prediction"
_LAST = "calibration"  # it is applied last, so it is drawn last
_TOLERANCE = 1e-6


class ExplanationDisplay(Display):
    """Score of one pair as a baseline plus the contribution of each family.

    Create it with :meth:`from_estimator` or :meth:`from_contributions`. Read more in
    the :ref:`User Guide <pictures>`.

    Parameters
    ----------
    contributions : Series or mapping of str to float
        ``baseline``, then one number per family (and for ``boosting``,
        ``calibration``, …), and optionally ``prediction``, their sum.

    Attributes
    ----------
    baseline, prediction : float
        Start and end of the bars.
    steps : Series
        The contributions, largest first, with the calibration last.
    bars_ : BarContainer
        The bars of `steps`.
    ax_ : Axes
        Axes of the picture.
    figure_ : Figure
        Figure of the picture.

    See Also
    --------
    FamilyScoresDisplay : How well each family predicts over all pairs.

    Examples
    --------
    >>> from clapstack.inspection import ExplanationDisplay
    >>> ExplanationDisplay(
    ...     contributions={"baseline": 5, "laion": -0.5, "msclap": 2}
    ... ).describe()
    'From the baseline of 5.00 to 6.50: msclap +2.00, laion -0.50.'
    """

    def __init__(self, *, contributions: Any):
        row = pd.Series(contributions, dtype=np.float64)
        _check(row)
        self.contributions = row
        self.baseline = float(row[_START])
        parts = row.drop([_START, _END], errors="ignore")
        self.prediction = float(row.get(_END, self.baseline + parts.sum()))
        order = np.lexsort((-parts.abs().to_numpy(), parts.index == _LAST))
        self.steps = parts.iloc[order]

    @classmethod
    def from_estimator(cls, estimator: Any, X: Any, *, ax: Any = None) -> Any:
        """Draw the contributions to the score of one pair by a fitted stack.

        Parameters
        ----------
        estimator : estimator
            A fitted :class:`~clapstack.ClapStackingRegressor`, or a pipeline that ends
            in one.
        X : DataFrame of one row
            The pair, or its features.
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates a new figure.

        Returns
        -------
        display : ExplanationDisplay
            The drawn display.

        Raises
        ------
        TypeError
            If the model has no method ``explain``.
        ValueError
            If `X` is not one row, or the model predicts several axes.
        """
        refuse_axes(estimator, f"{cls.__name__}.from_estimator")
        last = last_step(estimator)
        if not hasattr(last, "explain"):
            msg = (
                f"{cls.__name__}.from_estimator needs a model with a method 'explain'; "
                f"{type(last).__name__} has none. Pass your own contributions to "
                "from_contributions."
            )
            raise TypeError(msg)
        if len(X) != 1:
            msg = f"X must have one row; got {len(X)} rows. Select one: X.iloc[[i]]."
            raise ValueError(msg)
        explained = last.explain(features_of(estimator, X))
        return cls.from_contributions(explained.iloc[0], ax=ax)

    @classmethod
    def from_contributions(cls, contributions: Any, *, ax: Any = None) -> Any:
        """Draw given contributions, such as one row of ``explain``.

        Parameters
        ----------
        contributions : Series or mapping of str to float
            Contributions, as for the class.
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates a new figure.

        Returns
        -------
        display : ExplanationDisplay
            The drawn display.
        """
        return cls(contributions=contributions).plot(ax)

    def _size(self) -> tuple[float, float]:
        return COLUMN, 0.6 + 0.22 * (len(self.steps) + 2)

    def _describe(self) -> str:
        parts = ", ".join(f"{name} {size:+.2f}" for name, size in self.steps.items())
        return (
            f"From the baseline of {self.baseline:.2f} to {self.prediction:.2f}: "
            f"{parts or 'nothing else'}."
        )

    def _draw(self, ax: Any) -> None:
        sizes = self.steps.to_numpy()
        ends = self.baseline + np.cumsum(sizes)
        starts = ends - sizes
        places = np.arange(1, len(sizes) + 1)
        self.bars_ = ax.barh(
            places,
            sizes,
            left=starts,
            height=0.62,
            color=[BLUE if size >= 0 else VERMILION for size in sizes],
        )
        levels = [self.baseline, *ends]
        for at, level in enumerate(levels):
            ax.plot([level, level], [at, at + 1], color=GREY, linewidth=0.6)
        for place, start, size in zip(
            places.tolist(), starts.tolist(), sizes.tolist(), strict=True
        ):
            right = max(start, start + size)
            _label(ax, right, place, _signed(size))
        for at, value in ((0, self.baseline), (len(sizes) + 1, self.prediction)):
            ax.plot(value, at, marker="o", markersize=4.5, color=BLACK)
            _label(ax, value, at, f"{value:.2f}", fontweight="bold")
        names = [_START, *map(str, self.steps.index), _END]
        ax.set_yticks(range(len(names)), names, parse_math=False)
        for place in (0, -1):
            ax.get_yticklabels()[place].set_fontweight("bold")
        ax.tick_params(axis="y", length=0)
        low, high = min(*levels, self.prediction), max(*levels, self.prediction)
        width = (high - low) or 1.0
        ax.set(
            xlim=(low - 0.08 * width, high + 0.2 * width),
            ylim=(len(names) - 0.4, -0.6),
            xlabel="score (bars: contributions)",
        )


def _signed(size: float) -> str:
    """Return a contribution with its sign, or without if it rounds to zero."""
    text = f"{size:+.2f}".replace("-", "−")
    return "0.00" if text[1:] == "0.00" else text


def _label(ax: Any, x: float, y: float, text: str, **how: Any) -> None:
    ax.annotate(
        text,
        (x, y),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        fontsize="small",
        **how,
    )


def _check(row: pd.Series) -> None:
    """Refuse contributions that do not add up to a score."""
    if _START not in row:
        msg = (
            f"contributions must have an entry {_START!r}, where the bars start; got "
            f"{list(row.index)}. Add it."
        )
        raise ValueError(msg)
    twice = row.index[row.index.duplicated()]
    if len(twice):
        msg = f"contributions has {twice[0]!r} twice. Add the two up."
        raise ValueError(msg)
    wrong = row.index[~np.isfinite(row)]
    if len(wrong):
        msg = (
            f"contributions has NaN or infinity at {list(wrong)}. Pass finite numbers."
        )
        raise ValueError(msg)
    if _END in row:
        total = row.drop(_END).sum()
        if abs(total - row[_END]) > _TOLERANCE * max(1.0, abs(row[_END])):
            msg = (
                f"contributions add up to {total:.6g}, but {_END!r} is "
                f"{row[_END]:.6g}. Pass all contributions, or leave {_END!r} out."
            )
            raise ValueError(msg)
