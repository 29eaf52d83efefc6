"""Clauses of a caption, and their claimed order."""

from __future__ import annotations

from dataclasses import dataclass

from clapstack.captions._clauses import Parse
from clapstack.captions._links import SIGNS, Word, words_of

__all__ = ["Clauses", "split_clauses"]

# Longer texts are not captions, and the number of claims grows quadratically.
_MOST_CLAUSES = 64


@dataclass(frozen=True)
class Clauses:
    """A caption's clauses, and its claims about their order.

    Parameters
    ----------
    texts : tuple of str
        One self-contained text per sound event, in the order of the caption.
    order : tuple of (int, int)
        Pairs (i, j): the caption claims that clause i sounds before clause j. Claims
        that follow from others are not repeated.
    together : tuple of (int, int)
        Pairs (i, j): the caption claims that clauses i and j sound at the same time.
    """

    texts: tuple[str, ...]
    order: tuple[tuple[int, int], ...] = ()
    together: tuple[tuple[int, int], ...] = ()


def split_clauses(caption: str) -> Clauses:
    """Split an English caption of sounds into clauses.

    A caption is split at words such as "then", "followed by", "after", "while", "with"
    and "and" and at commas, if both sides can be sounds. An omitted subject is
    repeated. In doubt, the caption is not split. Read more in the
    :ref:`User Guide <clauses>`.

    Parameters
    ----------
    caption : str
        A caption, such as ``"a dog barks and whines, then a door slams"``.

    Returns
    -------
    clauses : Clauses
        Its clauses and claims. A caption that cannot be split, or with more than 64
        clauses, becomes a single clause, stripped of white space.

    Raises
    ------
    TypeError
        If `caption` is not a string.

    Examples
    --------
    >>> from clapstack.captions import split_clauses
    >>> clauses = split_clauses("a dog barks and whines, then a door slams")
    >>> clauses.texts
    ('a dog barks', 'a dog whines', 'a door slams')
    >>> clauses.order
    ((0, 2), (1, 2))
    """
    if not isinstance(caption, str):
        msg = (
            f"A caption must be a string; got {type(caption).__name__}: {caption!r}. "
            "Fill it in or drop the row."
        )
        raise TypeError(msg)
    parse = Parse(words_of(caption), most=_MOST_CLAUSES)
    if not 1 < len(parse.units) <= _MOST_CLAUSES:
        return Clauses((caption.strip(),))
    place = {id(unit): k for k, unit in enumerate(parse.units)}
    together = {
        (place[id(host)], place[id(unit)])
        for unit in parse.units
        for host in unit.hosts
    }
    order = {
        (place[id(before)], place[id(after)])
        for group in parse.groups
        for earlier in group.earlier
        for before in earlier.timed()
        for after in group.timed()
    }
    texts = tuple(_written(unit.said()) for unit in parse.units)
    return Clauses(texts, tuple(sorted(order)), tuple(sorted(together)))


def _written(words: list[Word]) -> str:
    """Join words into a text, with signs attached to the preceding words."""
    text = "".join(
        word.text if word.low in SIGNS else f" {word.text}" for word in words
    )
    return text.strip(",;.!?… ")
