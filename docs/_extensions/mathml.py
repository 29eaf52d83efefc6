"""Equations as MathML, which browsers display without a script or a network.

MathJax would need a network, or megabytes of fonts. MathML is generated when the pages
are built, and is part of them.
"""

import re

from docutils.nodes import SkipNode
from latex2mathml.converter import convert
from sphinx.errors import SphinxError

_BARS = re.compile(r"(\\left|\\right)?\\([lr])([vV]ert)\b")
_SIDES = {"l": r"\left", "r": r"\right"}
_SIZED_FENCE = re.compile(r"\\[Bb]igg?([lr])(?![A-Za-z])")
_SPACE_AT_LINE_END = re.compile(r"(?<!\\)\\\n\s*")
# The converter makes identifiers of ±, ~ and :, which browsers set without space.
_OPERATORS = re.compile(r"<mi>(&#x000B1;|&#x0007E;|&#x0003A;|±|~|:)</mi>")


def _as_fence(bar):
    return rf"{_SIDES[bar[2]]}\{bar[2]}{bar[3]}"


def convert_equation(latex, display):
    r"""Return the MathML of an equation.

    Parameters
    ----------
    latex : str
        The equation, as in ``:math:``.
    display : {"inline", "block"}
        Within a line, or on a separate line.

    Returns
    -------
    mathml : str
        A ``<math>`` element.

    Raises
    ------
    SphinxError
        If a command is unknown and would be displayed as it is written.
    """
    # The converter treats each bar of a norm, and each parenthesis of fixed size, as an
    # operator: an exponent would belong to the closing one alone, and browsers would
    # stretch that one to its height.
    latex = _BARS.sub(_as_fence, latex)
    latex = _SIZED_FENCE.sub(lambda found: _SIDES[found[1]], latex)
    latex = _SPACE_AT_LINE_END.sub(r"\\ ", latex)
    if "&" in latex and r"\begin" not in latex:
        latex = rf"\begin{{align*}}{latex}\end{{align*}}"
    mathml = _OPERATORS.sub(r"<mo>\1</mo>", convert(latex, display=display))
    unknown = re.search(r"\\[A-Za-z]+", mathml)
    if unknown:
        msg = f"{unknown.group()} in {latex!r} has no MathML; use another command"
        raise SphinxError(msg)
    return mathml


def visit_inline(translator, node):
    """Write an equation within a line."""
    translator.body.append(convert_equation(node.astext(), "inline"))
    raise SkipNode


def visit_block(translator, node):
    """Write an equation on a separate line."""
    mathml = convert_equation(node.astext(), "block")
    translator.body.append(f'<div class="equation">{mathml}</div>')
    raise SkipNode


def setup(app):
    """Register the renderer."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
