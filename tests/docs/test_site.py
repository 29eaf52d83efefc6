"""Check that pages, names, and answers can be found on the site."""

import ast
import re

import clapstack
from tests.docs.blocks import ROOT

DOCS = ROOT / "docs"
QUESTIONS = (
    "How do I choose among several takes?",
    "How sure is the score?",
    "Can I use my own encoder?",
    "Can I work offline?",
    "Which checkpoint should I use?",
    "What does the score mean?",
    "Is it better than a CLAP score?",
    "How many ratings do I need?",
    "How do I cite the protocol?",
    "How do I add a system?",
)


def sections_of(page):
    """Return {title: text} of the sections of a page."""
    parts = re.split(r"^(.+)\n-{3,}\n", (DOCS / page).read_text(), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_common_questions_are_answered_with_a_link():
    sections = sections_of("questions.rst")
    assert set(QUESTIONS) <= set(sections)
    assert not [title for title, text in sections.items() if ":`" not in text]
    assert ":doc:`questions`" in (DOCS / "index.rst").read_text()


def test_user_guide_lists_and_describes_every_page():
    text = (DOCS / "user_guide.rst").read_text()
    pages = {f"guide/{path.stem}" for path in (DOCS / "guide").glob("*.rst")}
    assert set(re.findall(r"^   (guide/\w+)$", text, re.M)) == pages
    assert set(re.findall(r"^- :doc:`(guide/\w+)`: ", text, re.M)) == pages


def test_api_page_lists_every_public_name():
    listed = re.findall(
        r"^   ~(clapstack\.[\w.]+)$", (DOCS / "api.rst").read_text(), re.M
    )
    assert len(listed) == len(set(listed))
    assert {f"clapstack.{name}" for name in clapstack.__all__} <= set(listed)


def test_gallery_orders_every_example():
    tree = ast.parse((DOCS / "_extensions" / "gallery_order.py").read_text())
    order = next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "_ORDER"
    )
    examples = {path.name for path in (ROOT / "examples").glob("plot_*.py")}
    assert len(order) == len(examples)
    assert set(order) == examples
