"""Captions split into what sounds and what they claim of its order."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Clauses", "split_clauses"]

_LINK = re.compile(
    r"[\s,;]*(?:(?P<order>\b(?:and )?then\b|\bfollowed by\b|\bbefore\b|\band afterwards\b"
    r"|\band finally\b)|(?P<reverse>\bafter\b)"
    r"|(?P<together>\bwhile\b|\bas\b|\b(?:together )?with\b)|(?P<list>\band\b|[,;]))\s*",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Clauses:
    """A caption's clauses and what it claims of their times.

    Parameters
    ----------
    texts : tuple of str
        What sounds, in the order of the caption: each a text of its own.
    order : tuple of (int, int)
        Pairs (i, j): clause i is claimed to sound before clause j. Claims that follow
        from others are not repeated.
    together : tuple of (int, int)
        Pairs (i, j): clauses i and j are claimed to sound at the same time.
    """

    texts: tuple[str, ...]
    order: tuple[tuple[int, int], ...] = ()
    together: tuple[tuple[int, int], ...] = ()


def split_clauses(caption: str) -> Clauses:
    """Split an English caption of sounds into clauses.

    Parameters
    ----------
    caption : str
        A caption, such as ``"a dog barks and whines, then a door slams"``.

    Returns
    -------
    clauses : Clauses
        Its clauses, and their claimed order. A caption that cannot be split is one
        clause.

    Raises
    ------
    TypeError
        If `caption` is no string.

    Examples
    --------
    >>> from clapstack.captions import split_clauses
    >>> split_clauses("a dog barks, then a door slams")
    Clauses(texts=('a dog barks', 'a door slams'), order=((0, 1),), together=())
    """
    if not isinstance(caption, str):
        msg = (
            f"A caption must be a string; got {type(caption).__name__}: {caption!r}. "
            "Fill it in or drop the row."
        )
        raise TypeError(msg)
    texts, order, together = [], [], []
    start, link = 0, None
    for match in [*_LINK.finditer(caption), None]:
        text = caption[start : match.start() if match else None].strip(" ,;.")
        if text:
            here = len(texts)
            texts.append(text)
            if here and link == "order":
                order.append((here - 1, here))
            elif here and link == "reverse":
                order.append((here, here - 1))
            elif here and link == "together":
                together.append((here - 1, here))
        if match:
            start, link = match.end(), match.lastgroup
    if len(texts) < 2:
        return Clauses((caption.strip(),))
    return Clauses(tuple(texts), tuple(order), tuple(together))
