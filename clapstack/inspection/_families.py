"""Display of the out-of-fold SRCC of each family."""

from __future__ import annotations

from typing import Any

import pandas as pd

from clapstack._fitted import find_stack, model_and_target
from clapstack.inspection._canvas import (
    BLACK,
    BLUE,
    COLUMN,
    ORANGE,
    PALE,
    Display,
    percent,
)
from clapstack.metrics import bootstrap_interval, srcc

_COLUMNS = ("model", "target", "srcc", "low", "high")
_MARKS = {"score": ("o", BLUE), "rank": ("D", ORANGE)}
_STACK = "stack"


class FamilyScoresDisplay(Display):
    """Out-of-fold SRCC of each family, compared with that of the stack.

    Create it with :meth:`from_estimator`. Read more in the
    :ref:`User Guide <pictures>`.

    Parameters
    ----------
    scores : DataFrame
        One row per first-level prediction and one for the stack, with the columns
        ``model``, ``target`` (``"score"``, ``"rank"``, or ``"final"`` for the stack),
        ``srcc``, ``low`` and ``high``.
    coverage : float, default=0.95
        Nominal coverage of the intervals, for the label.

    Attributes
    ----------
    markers_ : list of Line2D
        One marker per row of `scores`.
    ax_ : Axes
        Axes of the picture.
    figure_ : Figure
        Figure of the picture.

    See Also
    --------
    FamilyAgreementDisplay : How similar the predictions of the families are.

    Examples
    --------
    >>> import pandas as pd
    >>> from clapstack.inspection import FamilyScoresDisplay
    >>> scores = pd.DataFrame(
    ...     [["msclap", "score", 0.5, 0.4, 0.6], ["stack", "final", 0.6, 0.5, 0.7]],
    ...     columns=["model", "target", "srcc", "low", "high"],
    ... )
    >>> FamilyScoresDisplay(scores=scores).describe()
    'Out-of-fold SRCC: stack 0.60, msclap 0.50.'
    """

    def __init__(self, *, scores: pd.DataFrame, coverage: float = 0.95):
        missing = [name for name in _COLUMNS if name not in scores]
        if missing:
            msg = (
                f"scores must have the columns {list(_COLUMNS)}; missing {missing}. "
                "Pass the result of family_scores."
            )
            raise ValueError(msg)
        self.scores = scores
        self.coverage = coverage

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        y: Any = None,
        *,
        n_resamples: int = 1000,
        coverage: float = 0.95,
        random_state: int | None = 0,
        ax: Any = None,
    ) -> Any:
        """Draw the families of a fitted stack.

        Parameters
        ----------
        estimator : estimator
            A fitted :class:`~clapstack.ClapStackingRegressor`, or a pipeline that ends
            in one.
        y : array-like of shape (n_pairs,), default=None
            Scores to compare with, for the training pairs in their order. None uses the
            scores of the fit.
        n_resamples : int, default=1000
            Number of bootstrap resamples, which are the same for all families.
        coverage : float, default=0.95
            Nominal coverage of the intervals, between 0 and 1.
        random_state : int or None, default=0
            Seed of the resampling.
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates a new figure.

        Returns
        -------
        display : FamilyScoresDisplay
            The drawn display.
        """
        stack = find_stack(estimator, f"{cls.__name__}.from_estimator")
        scores = family_scores(
            stack,
            y,
            n_resamples=n_resamples,
            coverage=coverage,
            random_state=random_state,
        )
        return cls(scores=scores, coverage=coverage).plot(ax)

    def _size(self) -> tuple[float, float]:
        return COLUMN, 0.88 + 0.27 * len(self._models())

    def _describe(self) -> str:
        best = self._best()
        listed = ", ".join(f"{name} {best[name]:.2f}" for name in self._models())
        return f"Out-of-fold SRCC: {listed}."

    def _best(self) -> pd.Series:
        return self.scores.groupby("model", sort=False)["srcc"].max()

    def _models(self) -> list[str]:
        """Return the stack, then the other models, best first."""
        others = self._best().drop(_STACK, errors="ignore")
        models = others.sort_values(ascending=False, kind="stable").index.tolist()
        return [_STACK, *models] if len(others) < len(self._best()) else models

    def _draw(self, ax: Any) -> None:
        models = self._models()
        self.markers_ = []
        seen: set[str] = set()
        row: Any
        for row in self.scores.itertuples():
            marker, color = _MARKS.get(row.target, ("s", BLACK))
            several = (self.scores["model"] == row.model).sum() > 1
            shift = {"score": -0.14, "rank": 0.14}.get(row.target, 0) * several
            at = models.index(row.model) + shift
            if row.target == "final":
                ax.axvspan(row.low, row.high, color=PALE, alpha=0.45, linewidth=0)
            ax.plot([row.low, row.high], [at, at], color=color, linewidth=1)
            labelled = row.target in _MARKS and row.target not in seen
            self.markers_ += ax.plot(
                row.srcc,
                at,
                marker=marker,
                markersize=4,
                color=color,
                markeredgecolor="white",
                markeredgewidth=0.4,
                linestyle="none",
                label=f"{row.target} target" if labelled else "_",
            )
            seen.add(row.target)
        for at, model in enumerate(models):
            ax.text(
                1.01,
                at,
                f"{self._best()[model]:.2f}",
                transform=ax.get_yaxis_transform(),
                va="center",
                fontsize="small",
                fontweight="bold" if model == _STACK else "normal",
            )
        ax.set_yticks(range(len(models)), models, parse_math=False)
        ax.tick_params(axis="y", length=0)
        ax.set(
            ylim=(len(models) - 0.5, -0.5),
            xlabel="out-of-fold SRCC (rank correlation)\n"
            f"lines: {percent(self.coverage)} interval",
        )
        if seen & set(_MARKS):
            ax.legend(
                loc="lower right",
                bbox_to_anchor=(1, 1),
                ncols=2,
                borderaxespad=0.2,
                handletextpad=0.1,
                columnspacing=1,
            )


def family_scores(
    estimator: Any,
    y: Any = None,
    *,
    n_resamples: int = 1000,
    coverage: float = 0.95,
    random_state: int | None = 0,
) -> pd.DataFrame:
    """Return the out-of-fold SRCC of a stack and of each of its families.

    Parameters
    ----------
    estimator : estimator
        A fitted :class:`~clapstack.ClapStackingRegressor`, or a pipeline that ends in
        one.
    y : array-like of shape (n_pairs,), default=None
        Scores to compare with, for the training pairs in their order. None uses the
        scores of the fit.
    n_resamples : int, default=1000
        Number of bootstrap resamples, which are the same for all families. With 0, both
        ends of each interval are the SRCC itself.
    coverage : float, default=0.95
        Nominal coverage of the intervals, between 0 and 1.
    random_state : int or None, default=0
        Seed of the resampling.

    Returns
    -------
    scores : DataFrame
        Table for :class:`FamilyScoresDisplay`, with the stack first.

    Raises
    ------
    TypeError
        If the model does not end in a stack.
    """
    stack = find_stack(estimator, "family_scores")
    y = stack.y_train_ if y is None else y
    names = [(_STACK, "final"), *map(model_and_target, stack.first_level_names_)]
    predictions = [stack.oof_scores_, *stack.oof_predictions_.T]
    rows = []
    for name, column in zip(names, predictions, strict=True):
        value = srcc(y, column)
        ends = (value, value)
        if n_resamples:
            ends = bootstrap_interval(
                srcc,
                y,
                column,
                n_resamples=n_resamples,
                coverage=coverage,
                random_state=random_state,
            )
        rows.append((*name, value, *ends))
    return pd.DataFrame(rows, columns=list(_COLUMNS))
