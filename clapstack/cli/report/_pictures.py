"""Displays as pictures inside a page."""

from __future__ import annotations

import base64
import io
from typing import Any

from clapstack._optional import import_optional
from clapstack.cli.report._html import Markup, tag
from clapstack.inspection._canvas import PAPER, Display

_DOTS = 200  # per inch, of what is drawn as pixels
# The same picture gives the same bytes.
_SVG = {"svg.hashsalt": "clapstack", "svg.fonttype": "path", "savefig.dpi": _DOTS}
_PIXELS = 96  # per inch, in CSS


def picture(display: Display, title: str, reading: str) -> Markup:
    """Draw a display into a figure of a page.

    Parameters
    ----------
    display : Display
        What is drawn; its words are the alt text.
    title : str
        The first words of the caption.
    reading : str
        How the picture is read.

    Returns
    -------
    figure : Markup
        An SVG inside the page, so that nothing is fetched.
    """
    width, height = display.size
    source = base64.b64encode(_svg(display)).decode()
    image = tag(
        "img",
        src=f"data:image/svg+xml;base64,{source}",
        alt=display.describe(),
        width=round(width * _PIXELS),
        height=round(height * _PIXELS),
    )
    caption = tag("figcaption", tag("b", f"{title}."), f" {reading}")
    return tag("figure", image, caption)


def _svg(display: Display) -> bytes:
    """Draw without a screen, in a figure that no window holds."""
    pyplot = import_optional("matplotlib.pyplot", extra="plot", caller="A report")
    figure_class = pyplot.Figure
    with pyplot.rc_context({**PAPER, **_SVG}):
        figure: Any = figure_class(figsize=display.size, layout="constrained")
        display.plot(figure.subplots())
        buffer = io.BytesIO()
        metadata = {"Date": None, "Creator": None}
        figure.savefig(buffer, format="svg", metadata=metadata)
    return buffer.getvalue()
