"""HTML by construction: whatever is not made here is text, and is escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

_VOID = {"br", "img", "meta"}


class Markup(str):
    """Text that is HTML already; made by the functions of this module alone."""


def escaped(content: Any) -> Markup:
    """Return something as HTML: markup as it is, anything else as text."""
    if isinstance(content, Markup):
        return content
    return Markup(html.escape(str(content)))


def tag(name: str, /, *content: Any, **attributes: Any) -> Markup:
    """Return an element.

    Parameters
    ----------
    name : str
        Such as ``"p"``.
    *content
        Markup, or texts, which are escaped.
    **attributes
        Values are escaped; a trailing underscore of a name is dropped (``class_``) and
        others become hyphens; those of None are left out.

    Returns
    -------
    element : Markup
    """
    said = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Markup(f"<{name}{said}>")
    return Markup(f"<{name}{said}>{joined(content)}</{name}>\n")


def joined(parts: Iterable[Any]) -> Markup:
    """Return parts one after another."""
    return Markup("".join(escaped(part) for part in parts))


def paragraphs(text: str) -> Markup:
    """Return a text of several paragraphs, parted by empty lines."""
    return joined(tag("p", part) for part in text.split("\n\n") if part.strip())


def table(caption: str, header: Sequence[Any], rows: Iterable[Sequence[Any]]) -> Markup:
    """Return a table whose first column names the rows; it scrolls where it is wide."""
    head = tag("tr", *(tag("th", cell, scope="col") for cell in header))
    body = joined(
        tag("tr", tag("th", row[0], scope="row"), *(tag("td", c) for c in row[1:]))
        for row in rows
    )
    inner = tag(
        "table", tag("caption", caption), tag("thead", head), tag("tbody", body)
    )
    how = {"role": "group", "aria_label": caption, "tabindex": 0}
    return tag("div", inner, class_="wide", **how)


def facts(rows: Iterable[tuple[Any, Any]], *, in_a_row: bool = False) -> Markup:
    """Return names and what they stand for, below each other or in a row."""
    return tag(
        "dl",
        *(
            tag("div", tag("dt", name), tag("dd", value))
            for name, value in rows
            if value not in (None, "")
        ),
        class_="row" if in_a_row else None,
    )


def code(text: Any) -> Markup:
    """Return something that is typed rather than said, such as a path."""
    return tag("code", text)


def digest(text: Any) -> Markup:
    """Return a fingerprint, which may break wherever there is no room."""
    return tag("code", text, class_="digest")
