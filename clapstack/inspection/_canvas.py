"""Base class of the displays, and their common style: width, colours and scales."""

from __future__ import annotations

import io
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from clapstack._optional import import_optional

# Inches: the column width of a two-column paper.
COLUMN = 3.35

# Okabe and Ito's colours, which colour-blind readers can distinguish.
BLUE = "#0072B2"
SKY = "#56B4E9"
ORANGE = "#E69F00"
VERMILION = "#D55E00"
BLACK = "#000000"
GREY = "#767676"  # the lightest grey that is still readable on white (4.5:1)
PALE = "#D9D9D9"

_N_GRID = 40
_LEAST_NEAR = 40

# More points than this are drawn as pixels, to keep vector files small.
MANY = 1_500

PAPER: Mapping[str, Any] = {
    "font.size": 8,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "axes.linewidth": 0.6,
    "axes.titlesize": 8,
    "axes.titlelocation": "left",
    "axes.titlepad": 5,
    "axes.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "figure.dpi": 150,
    "savefig.dpi": 300,
}
# A fixed salt makes the file reproducible. Parts drawn as pixels have 200 per inch.
_SVG = {"svg.hashsalt": "clapstack", "svg.fonttype": "path", "savefig.dpi": 200}
_TICKS: Mapping[str, Any] = {"width": 0.6, "length": 2.5, "labelsize": 7.5}


class Display(ABC):
    """Base of the displays, with `plot` as in scikit-learn's displays."""

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches of a figure that the display creates."""
        return self._size()

    def describe(self) -> str:
        """Describe the picture in a sentence or two.

        Returns
        -------
        description : str
            Text for a caption or an alt attribute.
        """
        return self._describe()

    @abstractmethod
    def _size(self) -> tuple[float, float]:
        """Return width and height in inches."""

    @abstractmethod
    def _describe(self) -> str:
        """Return a description of the picture."""

    @abstractmethod
    def _draw(self, ax: Any) -> None:
        """Draw on the axes."""

    def plot(self, ax: Any = None) -> Any:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on, in the current style. None creates a figure one paper
            column wide, in the style of this package.

        Returns
        -------
        display : object
            The display, with `ax_` and `figure_`.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        with canvas(ax, f"{type(self).__name__}.plot", self.size) as ax:
            self._draw(ax)
        self.ax_ = ax
        self.figure_ = ax.figure
        return self

    def to_svg(self) -> bytes:
        """Return the picture as the content of an SVG file, without opening a window.

        Returns
        -------
        svg : bytes
            SVG content; the same picture gives the same bytes.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        caller = f"{type(self).__name__}.to_svg"
        pyplot = import_optional("matplotlib.pyplot", extra="plot", caller=caller)
        with pyplot.rc_context({**PAPER, **_SVG}):
            figure = pyplot.Figure(figsize=self.size, layout="constrained")
            self.plot(figure.subplots())
            buffer = io.BytesIO()
            dateless = {"Date": None, "Creator": None}
            figure.savefig(buffer, format="svg", metadata=dateless)
        # Matplotlib repeats texts in comments, where XML forbids control characters.
        return re.sub(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]", b"", buffer.getvalue())


@contextmanager
def canvas(ax: Any, caller: str, size: tuple[float, float]) -> Iterator[Any]:
    """Yield `ax`, or new axes in the style of this package."""
    pyplot = import_optional("matplotlib.pyplot", extra="plot", caller=caller)
    if ax is not None:
        yield ax
        return
    with pyplot.rc_context(PAPER):
        _, ax = pyplot.subplots(figsize=size, layout="constrained")
        # Ticks are created when first drawn, after the style context has ended.
        ax.tick_params(which="both", **_TICKS)
        yield ax


def scale_limits(*values: Any) -> tuple[float, float]:
    """Return limits around all values: those of the 0-10 scale if values fit it."""
    low = min(float(np.min(part)) for part in values)
    high = max(float(np.max(part)) for part in values)
    if low >= 0 and high <= 10:
        low, high = 0.0, 10.0
    margin = 0.03 * (high - low) or 1.0
    return low - margin, high + margin


def scatter(ax: Any, x: Any, y: Any) -> Any:
    """Draw pairs as points whose size and opacity suit their number."""
    n = len(x)
    return ax.scatter(
        x,
        y,
        s=float(np.clip(3000 / n, 3, 14)),
        alpha=float(np.clip(30 / np.sqrt(n), 0.15, 0.75)),
        color=BLUE,
        linewidths=0,
        rasterized=n > MANY,
    )


def local_rows(y_pred: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return an even grid over the predictions, and the nearest pairs of each point.

    The grid runs from the lowest to the highest prediction. Each point has a tenth of
    the pairs, but at least 40, as row numbers of shape (n_grid, n_near) in order of
    prediction.
    """
    n_pairs = len(y_pred)
    order = np.argsort(y_pred, kind="stable")
    n_near = min(n_pairs, max(_LEAST_NEAR, n_pairs // 10))
    grid = np.linspace(y_pred.min(), y_pred.max(), _N_GRID)
    middle = np.searchsorted(y_pred[order], grid)
    first = np.clip(middle - n_near // 2, 0, n_pairs - n_near)
    return grid, order[first[:, None] + np.arange(n_near)]


def percent(share: float) -> str:
    """Return a share as a percentage."""
    return f"{100 * share:.3g} %"
