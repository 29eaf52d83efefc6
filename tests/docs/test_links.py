"""Check the links in the documents, as far as possible offline."""

import re
from urllib.parse import urlsplit

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


def text_of(page):
    return (ROOT / page).read_text()


def links_of(page):
    """Return the targets of Markdown links and pictures."""
    return re.findall(r"\]\(([^)\s]+)\)", text_of(page))


def addresses_of(page):
    """Return every web address in a file."""
    found = re.findall(r"https?://[^\s\"'<>`)\]}]+", text_of(page))
    return [address.rstrip(".,;:") for address in found]


def test_relative_links_lead_to_files():
    relative = [
        (page, link)
        for page in MARKDOWN
        for link in links_of(page)
        if not urlsplit(link).scheme
    ]
    assert relative
    missing = [
        (page, link)
        for page, link in relative
        if not ((ROOT / page).parent / link.split("#")[0]).exists()
    ]
    assert not missing


def test_web_addresses_are_well_formed():
    found = [(p, a) for p in [*PAGES, *MARKDOWN, *SOURCES] for a in addresses_of(p)]
    assert found
    for page, address in found:
        parts = urlsplit(address)
        is_host = re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", parts.netloc)
        assert is_host, (page, address)
        assert "//" not in parts.path, (page, address)


def test_paths_in_the_documents_exist():
    """Files of the repository that documents name in literals exist."""
    pattern = re.compile(r"`((?:clapstack|docs|examples|tests)/[\w./-]+)`")
    named = [(p, path) for p in PAGES for path in pattern.findall(text_of(p))]
    assert named
    assert not [(page, path) for page, path in named if not (ROOT / path).exists()]


def test_tests_in_the_documents_exist():
    pattern = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
    named = [(p, *test) for p in PAGES for test in pattern.findall(text_of(p))]
    assert named
    for page, path, name in named:
        assert f"\ndef {name}(" in text_of(path), f"{page}: {path}::{name}"
