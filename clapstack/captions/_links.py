"""Words of a caption, and the links that tie its pieces together."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple

from clapstack.captions._words import (
    DETERMINERS,
    PEOPLE,
    PRONOUNS,
    RELATIVES,
    TIMES,
)

__all__ = ["Link", "Piece", "Word", "pieces_of", "words_of"]

# A comma within a number ("1,000") is part of it.
_TOKEN = re.compile(r"[,;](?!\d)|(?:[^\s,;]|[,;](?=\d))+")
_CLOSING = ".!?…"


class Word(NamedTuple):
    """A word as written and as looked up; of punctuation both are its sign."""

    text: str
    low: str


def words_of(caption: str) -> list[Word]:
    """Return the words and signs of a caption, in order."""
    words = []
    for token in _TOKEN.findall(caption):
        bare = token.rstrip(_CLOSING)
        if bare in {"", ",", ";"}:
            words.append(Word(token, bare or "."))
            continue
        words.append(Word(bare, bare.strip("\"'()[]").lower().replace("’", "'")))
        if bare != token:
            words.append(Word(token[len(bare) :], "."))
    return words


@dataclass(frozen=True)
class Link:
    """How a piece is tied to what precedes it.

    `kind` is one of ``"list"`` (and, commas), ``"then"``, ``"followed"``, ``"before"``, ``"after"``, ``"preceded"``, ``"apart"`` (before and
    after), ``"while"``, ``"during"``, ``"with"``; `comma`, `conjunction` and `sentence`
    say whether a comma, "and" or the end of a sentence were part of it.
    """

    kind: str
    comma: bool = False
    conjunction: bool = False
    sentence: bool = False


class Piece(NamedTuple):
    """Words ``start`` to ``stop``, and the link in front of them, from ``begin`` on."""

    link: Link
    begin: int
    start: int
    stop: int


def _table() -> dict[tuple[str, ...], str]:
    said = {
        "list": "and|but|plus|&|as well as|and also|along with also",
        "then": "then|and then|but then|and afterwards|afterwards|and finally|"
        "finally|and eventually|eventually|then finally|then eventually|and later|later|"
        "and after that|after that|and subsequently|subsequently|after which|"
        "before finally|before then|then afterwards|then after|and next|and lastly|"
        "lastly|and then finally|and soon",
        "followed": "ending with|ending in|and ends with|and ending with|"
        "ends with|leading to|and ends in|concluding with|"
        "interrupted by|is interrupted by|and interrupted by",
        "before": "before|until|till|prior to|just before|right before|shortly before",
        "after": "after|once|right after|just after|shortly after|soon after|"
        "immediately after|as soon as",
        "apart": "before and after|after and before|before then after",
        "while": "while|as|whilst|when|just as|at the same time as|while also",
        "during": "during",
        "with": "with|along with|together with|accompanied by|alongside|amid|amidst|"
        "and with|as well as with|over the sound of|combined with|mixed with|"
        "against a backdrop of|against a background of|over a background of",
        # These are no links, whatever their first word.
        "": "such as|as if|as though|as well|same as|"
        "just before long|before long|filled with|covered with|once again|once more|once or twice",
    }
    table = {
        tuple(phrase.split()): kind
        for kind, phrases in said.items()
        for phrase in phrases.split("|")
    }
    leads = ["", "is", "are", "is then", "which is", "that is", "which are", "being"]
    leads += ["and", "and is", "and then", "then", "and are", "was", "all", "closely"]
    leads += ["shortly", "immediately", "soon", "quickly", "directly"]
    manners = ["", "closely", "shortly", "quickly", "immediately", "then", "soon"]
    manners += ["directly", "again", "briefly", "later"]
    verbs = {"followed": "followed", "proceeded": "followed", "preceded": "preceded"}
    for lead, (verb, kind), manner in product(leads, verbs.items(), manners):
        table[tuple(f"{lead} {verb} {manner} by".split())] = kind
    return table


_TABLE = _table()
_LONGEST = max(map(len, _TABLE))
_FIRST = frozenset(phrase[0] for phrase in _TABLE)


def _link_at(words: list[Word], at: int) -> tuple[str, int]:
    """Return the kind and length of the link phrase at a word; ("", 1) of none."""
    for find in (_followed_later, _time_later, _after_time):
        kind, length = find(words, at)
        if kind and _links(words, at, length):
            return kind, length
    if words[at].low not in _FIRST:
        return "", 1
    for length in range(_LONGEST, 0, -1):
        phrase = tuple(word.low for word in words[at : at + length])
        kind = _TABLE.get(phrase)
        if kind is not None and len(phrase) == length:
            return (kind if _links(words, at, length) else ""), length
    return "", 1


def _followed_later(words: list[Word], at: int) -> tuple[str, int]:
    """Find "followed a few seconds later by"."""
    if words[at].low == "followed":
        lows = [word.low for word in words[at : at + 8]]
        if "by" in lows and lows[lows.index("by") - 1] in {"later", "after"}:
            return "followed", lows.index("by") + 1
    return "", 1


def _time_later(words: list[Word], at: int) -> tuple[str, int]:
    """Find "a few seconds later"."""
    lows = [word.low for word in words[at : at + 5]]
    length = next((k for k, low in enumerate(lows) if low == "later"), 0)
    before = lows[:length]
    timed = any(low in TIMES for low in before) and all(
        low in TIMES or low in DETERMINERS or low in {"short", "brief"} or low.isdigit()
        for low in before
    )
    return ("then", length + 1) if timed else ("", 1)


def _after_time(words: list[Word], at: int) -> tuple[str, int]:
    """Find "after a few seconds"."""
    if words[at].low != "after":
        return "", 1
    lows = [word.low for word in words[at + 1 : at + 6]]
    length = next((k for k, low in enumerate(lows) if low in TIMES), None)
    if length is None or not all(
        low in DETERMINERS or low in {"short", "brief", "long"} or low.isdigit()
        for low in lows[:length]
    ):
        return "", 1
    return "then", length + 2


def _links(words: list[Word], at: int, length: int) -> bool:
    """Return whether a phrase ties two pieces, rather than says when or how."""
    phrase, stop = words[at].low, at + length
    before = words[at - 1].low if at else ""
    ends = stop == len(words) or words[stop].low in {",", ";", "."}
    in_front = before in {"", ",", ";", "."} or before in {"and", "then"}
    late = {"after", "before", "later", "once", "as", "afterwards"}
    if ends and not in_front and words[stop - 1].low in late:
        return False
    if stop == len(words):
        return False
    if before == "a":  # "for a while"
        return False
    if phrase == "once" and length == 1:
        following = words[stop].low
        return at == 0 or following in DETERMINERS | PRONOUNS | PEOPLE
    if phrase in {"then", "finally", "eventually", "later", "afterwards", "before"}:
        return before not in RELATIVES | PRONOUNS
    return True


def pieces_of(words: list[Word]) -> list[Piece]:
    """Cut a caption at every link that it may have."""
    pieces: list[Piece] = []
    link, begin, start, at = Link("list", sentence=True), 0, 0, 0
    while at < len(words):
        found, after = _run_of_links(words, at)
        if found is None:
            at = after
            continue
        if at > start:
            pieces.append(Piece(link, begin, start, at))
        found = replace(found, sentence=found.sentence or not pieces)
        link, begin, start, at = found, at, after, after
    if start < len(words):
        pieces.append(Piece(link, begin, start, len(words)))
    return pieces


def _run_of_links(words: list[Word], at: int) -> tuple[Link | None, int]:
    """Return the link that signs and phrases from a word on make, and their end."""
    kinds, comma, conjunction, sentence, begin = [], False, False, False, at
    while at < len(words):
        low = words[at].low
        if low in {",", ";", "."}:
            comma = True
            sentence |= low != ","
            at += 1
            continue
        kind, length = _link_at(words, at)
        if not kind:
            if at == begin:
                return None, at + length
            break
        conjunction |= low in {"and", "but", "plus", "&"}
        kinds.append(kind)
        at += length
    strong = [kind for kind in kinds if kind != "list"]
    if len(strong) > 1 and strong[0] == "with":
        del strong[0]  # "is played with and then"
    kind = strong[0] if strong else "list"
    return Link(kind, comma, conjunction, sentence), at
