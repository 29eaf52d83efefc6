"""Display of the rank correlation between the predictions of families."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from clapstack._fitted import find_stack, held_out_predictions
from clapstack.inspection._canvas import COLUMN, Display
from clapstack.metrics import srcc


class FamilyAgreementDisplay(Display):
    """SRCC between the predictions of every two families for the same pairs.

    Families that agree perfectly add nothing to each other. Read more in the
    :ref:`User Guide <pictures>`.

    Parameters
    ----------
    predictions : DataFrame of shape (n_pairs, n_families)
        One column per family: its predictions or its cosines.

    Attributes
    ----------
    agreement : DataFrame of shape (n_families, n_families)
        SRCC between columns.
    image_ : AxesImage
        The lower triangle of the matrix, which is symmetric.
    ax_ : Axes
        Axes of the picture.
    figure_ : Figure
        Figure of the picture.

    See Also
    --------
    FamilyScoresDisplay : How well each family predicts alone.
    clapstack.CrossAgreement : Agreement features for a stack.

    Examples
    --------
    >>> import pandas as pd
    >>> from clapstack.inspection import FamilyAgreementDisplay
    >>> cosines = pd.DataFrame({"laion": [0.1, 0.2, 0.4], "msclap": [0.3, 0.2, 0.5]})
    >>> FamilyAgreementDisplay(predictions=cosines).agreement.round(2)
            laion  msclap
    laion     1.0     0.5
    msclap    0.5     1.0
    """

    def __init__(self, *, predictions: pd.DataFrame):
        if predictions.shape[1] < 2:
            msg = (
                "predictions must have one column per family, for at least two "
                f"families; got {list(predictions.columns)}. Add a family."
            )
            raise ValueError(msg)
        self.predictions = predictions
        values = predictions.to_numpy(dtype=np.float64)
        agreement = np.eye(values.shape[1])
        for i, j in combinations(range(values.shape[1]), 2):
            agreement[i, j] = agreement[j, i] = srcc(values[:, i], values[:, j])
        names = [str(name) for name in predictions.columns]
        self.agreement = pd.DataFrame(agreement, index=names, columns=names)

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, target: str | None = None, ax: Any = None
    ) -> Any:
        """Draw the agreement between a fitted stack's out-of-fold predictions.

        Parameters
        ----------
        estimator : estimator
            A fitted :class:`~clapstack.ClapStackingRegressor`, or a pipeline that ends
            in one.
        target : {"score", "rank"}, default=None
            Target of the predictions. None uses the first target of the stack.
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates a new figure.

        Returns
        -------
        display : FamilyAgreementDisplay
            The drawn display.
        """
        stack = find_stack(estimator, f"{cls.__name__}.from_estimator")
        predictions = held_out_predictions(stack, target)
        return cls(predictions=predictions).plot(ax)

    @classmethod
    def from_predictions(
        cls, predictions: Any, *, names: Sequence[str] | None = None, ax: Any = None
    ) -> Any:
        """Draw the agreement between given predictions.

        Parameters
        ----------
        predictions : DataFrame or array-like of shape (n_pairs, n_families)
            One column per family.
        names : sequence of str, default=None
            Names of the families. None uses the names of the columns.
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates a new figure.

        Returns
        -------
        display : FamilyAgreementDisplay
            The drawn display.
        """
        table = pd.DataFrame(predictions)
        if names is not None:
            table = table.set_axis(list(names), axis="columns")
        return cls(predictions=table).plot(ax)

    @classmethod
    def from_features(cls, X: pd.DataFrame, *, ax: Any = None) -> Any:
        """Draw the agreement between the cosines of contrastive families.

        Parameters
        ----------
        X : DataFrame of shape (n_pairs, n_features)
            Features, of which the columns ``<family>__cosine`` are used. Columns of
            ``cross`` are ignored.
        ax : matplotlib Axes, default=None
            Axes to draw on. None creates a new figure.

        Returns
        -------
        display : FamilyAgreementDisplay
            The drawn display.
        """
        suffix = "__cosine"
        names = [
            str(name)
            for name in X.columns
            if str(name).endswith(suffix) and not str(name).startswith("cross__")
        ]
        families = [name.removesuffix(suffix) for name in names]
        return cls.from_predictions(X[names], names=families, ax=ax)

    def _size(self) -> tuple[float, float]:
        cells = 0.36 * len(self.agreement)  # room for two decimals in each cell
        return max(COLUMN, 1.6 + cells), 1.0 + cells

    def _describe(self) -> str:
        pairs = list(combinations(self.agreement.columns, 2))
        table = self.agreement.to_numpy()
        values = [float(table[place]) for place in self._places()]
        least, most = int(np.argmin(values)), int(np.argmax(values))
        named = [
            f"{' and '.join(pairs[number])} {how} (SRCC {values[number]:.2f})"
            for number, how in ((most, "agree most"), (least, "agree least"))
        ]
        return f"Agreement between families: {'; '.join(named[: len(pairs)])}."

    def _places(self) -> list[tuple[int, int]]:
        return list(combinations(range(len(self.agreement)), 2))

    def _draw(self, ax: Any) -> None:
        names = list(self.agreement.columns)
        values = self.agreement.to_numpy()
        below = np.ma.masked_where(~np.tri(len(names), k=-1, dtype=bool), values)
        self.image_ = ax.imshow(below[1:, :-1], cmap="cividis", aspect="auto")
        low, high = self.image_.get_clim()
        if high - low < 1e-9:  # a single shade
            self.image_.set_clim(low - 0.5, high + 0.5)
        for column, row in self._places():
            value = values[row, column]
            shade = self.image_.norm(value)
            ax.text(
                column,
                row - 1,
                f"{value:.2f}",
                ha="center",
                va="center",
                color="white" if shade < 0.55 else "black",
                fontsize="small",
            )
        places = range(len(names) - 1)
        ax.set_yticks(places, names[1:], parse_math=False)
        ax.set_xticks(
            places,
            names[:-1],
            rotation=35,
            ha="right",
            rotation_mode="anchor",
            parse_math=False,
        )
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        bar = ax.figure.colorbar(self.image_, ax=ax, shrink=0.8, pad=0.02)
        bar.outline.set_visible(False)
        bar.set_label("rank correlation (SRCC)")
