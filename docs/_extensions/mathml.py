"""Equations as MathML, which browsers show by themselves, without a script or network.

MathJax comes from a network, or as megabytes of fonts. MathML is made when the pages
are built, and is part of them.
"""

import re

from docutils.nodes import SkipNode
from latex2mathml.converter import convert
from sphinx.errors import SphinxError

_BARS = re.compile(r"(\\left|\\right)?\\([lr])([vV]ert)\b")


def _as_fence(bar):
    side = {"l": r"\left", "r": r"\right"}[bar[2]]
    return rf"{side}\{bar[2]}{bar[3]}"


def convert_equation(latex, display):
    r"""Return the MathML of an equation.

    Parameters
    ----------
    latex : str
        The equation, as in ``:math:``.
    display : {"inline", "block"}
        Within a line, or on a line of its own.

    Returns
    -------
    mathml : str
        A ``<math>`` element.

    Raises
    ------
    SphinxError
        If a command is not known, and so would be shown as it is written.
    """
    # Bars of a norm are operators of their own to the converter: an exponent would be
    # the closing bar's alone, and browsers stretch that bar to the exponent's height.
    latex = _BARS.sub(_as_fence, latex)
    mathml = convert(latex, display=display)
    unknown = re.search(r"\\[A-Za-z]+", mathml)
    if unknown:
        msg = f"{unknown.group()} in {latex!r} has no MathML; write it in another way"
        raise SphinxError(msg)
    return mathml


def visit_inline(translator, node):
    """Write an equation within a line."""
    translator.body.append(convert_equation(node.astext(), "inline"))
    raise SkipNode


def visit_block(translator, node):
    """Write an equation on a line of its own."""
    mathml = convert_equation(node.astext(), "block")
    translator.body.append(f'<div class="equation">{mathml}</div>')
    raise SkipNode


def setup(app):
    """Register the renderer."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
