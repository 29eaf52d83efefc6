import importlib.util
from pathlib import Path

import pytest

pytest.importorskip("latex2mathml")
pytest.importorskip("sphinx")
SOURCE = Path(__file__).parents[2] / "docs" / "_extensions" / "mathml.py"


@pytest.fixture(scope="module")
def convert_equation():
    spec = importlib.util.spec_from_file_location("mathml", SOURCE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.convert_equation


@pytest.mark.parametrize(
    "latex",
    [
        r"\lVert w \rVert^2",
        r"\left\lVert w \right\rVert^2",
        r"\lvert w \rvert^2",
        r"\Bigl( w \Bigr)^2",
    ],
)
def test_exponent_applies_to_the_whole_fence(convert_equation, latex):
    mathml = convert_equation(latex, "block")
    power = mathml.partition("<msup>")[2]
    assert power.startswith('<mrow><mo stretchy="true" fence="true" form="prefix">')
    assert power.count("<mo ") == 2


def test_unknown_command_is_named(convert_equation):
    with pytest.raises(Exception, match=r"\\nosuch in .* has no MathML"):
        convert_equation(r"\nosuch x", "inline")


def test_lines_are_aligned_at_the_ampersand(convert_equation):
    mathml = convert_equation("a &= b \\\\\n c &= d", "block")
    assert mathml.count("<mtr>") == 2
    assert "&amp;" not in mathml
    assert "&#x00026;" not in mathml


def test_space_at_the_end_of_a_line_is_a_space(convert_equation):
    assert "\\" not in convert_equation("a,\\\n    b", "block")


@pytest.mark.parametrize("latex", [r"a \pm b", r"a \sim b", "f: A"])
def test_operators_are_set_with_space(convert_equation, latex):
    assert convert_equation(latex, "inline").count("<mo") == 1
