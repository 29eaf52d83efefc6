"""Links in the documents lead somewhere, as far as that can be told offline."""

import re
from urllib.parse import urlsplit

import pytest

from tests.docs.blocks import PAGES, ROOT

MARKDOWN = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [ROOT / "README.md", *(ROOT / "clapstack" / "bundled").rglob("*.md")]
)
SOURCES = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ("clapstack", "examples")
    for path in (ROOT / folder).rglob("*.py")
)


def links_of(page):
    """Return the targets of Markdown links and pictures."""
    return re.findall(r"\]\(([^)\s]+)\)", (ROOT / page).read_text())


def addresses_of(page):
    """Return every web address in a file."""
    found = re.findall(r"https?://[^\s\"'<>`)\]}]+", (ROOT / page).read_text())
    return [address.rstrip(".,;:") for address in found]


@pytest.mark.parametrize("page", MARKDOWN)
def test_relative_links_lead_to_files(page):
    relative = [link for link in links_of(page) if not urlsplit(link).scheme]
    missing = [
        link
        for link in relative
        if not ((ROOT / page).parent / link.split("#")[0]).exists()
    ]
    assert not missing


@pytest.mark.parametrize("page", [*PAGES, *MARKDOWN, *SOURCES])
def test_web_addresses_are_well_formed(page):
    for address in addresses_of(page):
        parts = urlsplit(address)
        assert re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", parts.netloc), address
        assert "//" not in parts.path, address


@pytest.mark.parametrize("page", PAGES)
def test_paths_in_the_documents_exist(page):
    """Files of the repository that documents name in literals are there."""
    text = (ROOT / page).read_text()
    named = re.findall(r"`((?:clapstack|docs|examples|tests)/[\w./-]+)`", text)
    assert not [path for path in named if not (ROOT / path).exists()]


@pytest.mark.parametrize("page", PAGES)
def test_tests_in_the_documents_exist(page):
    text = (ROOT / page).read_text()
    for path, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text):
        assert f"\ndef {name}(" in (ROOT / path).read_text(), f"{path}::{name}"


def test_readme_has_links():
    assert len(links_of("README.md")) > 3
