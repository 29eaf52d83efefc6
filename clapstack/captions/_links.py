"""Words of a caption, and the links between its pieces."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

from clapstack.captions._words import (
    DETERMINERS,
    PEOPLE,
    PRONOUNS,
    RELATIVES,
    TIMES,
)

__all__ = ["SIGNS", "Cut", "Link", "Word", "cuts_of", "words_of"]

# A comma within a number ("1,000") is part of it.
_TOKEN = re.compile(r"[,;](?!\d)|(?:[^\s,;]|[,;](?=\d))+")
_CLOSING = ".!?…"
# Their full stop does not end a sentence: "Dr. Smith", "at 10 p.m.".
_ABBREVIATED = re.compile(
    r"\W*(?:(?:[a-z]\.)+[a-z]|dr|mr|mrs|ms|prof|st|vs|ca|approx|feat|ft)\.", re.I
)
#: Signs, in lookup form: "." stands for all signs that end a sentence.
SIGNS = frozenset({",", ";", "."})


class Word(NamedTuple):
    """A word as written, and in lookup form."""

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
        if bare != "&" and not any(map(str.isalnum, bare)):
            continue  # a dash, a bracket
        if _ABBREVIATED.fullmatch(token):
            bare = token
        words.append(Word(bare, bare.strip("\"'()[]").lower().replace("’", "'")))
        if bare != token:
            words.append(Word(token[len(bare) :], "."))
    return words


@dataclass(frozen=True)
class Link:
    """How a piece is linked to the preceding ones.

    `kind` is one of ``"list"`` (and, commas), ``"then"``, ``"followed"``, ``"before"``,
    ``"after"``, ``"preceded"``, ``"apart"`` (before and after), ``"while"``,
    ``"meanwhile"``, ``"during"``, ``"with"`` or ``"alongside"``. The flags tell whether
    a comma, "and", "but" or the end of a sentence was part of it.
    """

    kind: str
    comma: bool = False
    conjunction: bool = False
    contrast: bool = False
    sentence: bool = False


class Cut(NamedTuple):
    """Words ``start`` to ``stop``, after a link that begins at ``begin``."""

    link: Link
    begin: int
    start: int
    stop: int


_SAID = {
    "list": "and, but, plus, &, as well as",
    "then": (
        "then, afterwards, finally, eventually, later, lastly, subsequently, "
        "after that, after which, right after that, soon after that, "
        "shortly after that, before finally, then after, next, and soon"
    ),
    "followed": (
        "ending with, ending in, ends with, ends in, concluding with, leading to, "
        "interrupted by, is interrupted by, then by"
    ),
    "before": (
        "before, until, till, prior to, just before, right before, shortly before"
    ),
    "after": (
        "after, once, right after, just after, shortly after, soon after, as soon as, "
        "immediately after"
    ),
    "apart": "before and after, after and before",
    "while": (
        "while, as, whilst, when, just as, at the same time as, as long as, "
        "during which"
    ),
    "meanwhile": "meanwhile",
    "during": "during",
    "with": "with",
    "alongside": (
        "along with, together with, accompanied by, alongside, amid, amidst, "
        "mixed with, combined with, over the sound of, over the sounds of, "
        "against a backdrop of, against a background of"
    ),
    # Not links, despite their first word.
    "": (
        "such as, as if, as though, as well, same as, before long, filled with, "
        "covered with, next to, once again, once more, once or twice"
    ),
}
# Words that may precede "followed by", or occur within it.
_LEADS = (
    ", is, are, was, is then, in turn, which is, which are, that is, being, all, then, "
    "closely, shortly, immediately, soon, quickly, directly"
)
_MANNERS = (
    ", closely, shortly, quickly, immediately, then, soon, directly, again, later"
)


def _table() -> dict[tuple[str, ...], str]:
    table = {
        tuple(phrase.split()): kind
        for kind, phrases in _SAID.items()
        for phrase in phrases.split(",")
    }
    verbs = {"followed": "followed", "proceeded": "followed", "preceded": "preceded"}
    ways = product(_LEADS.split(","), verbs.items(), _MANNERS.split(","))
    for lead, (verb, kind), manner in ways:
        table[tuple(f"{lead} {verb} {manner} by".split())] = kind
    return table


_TABLE = _table()
_LONGEST = max(map(len, _TABLE))
_FIRST = frozenset(phrase[0] for phrase in _TABLE)
# Also adverbs: not links at the end of a sentence.
_LATE = frozenset({"after", "before", "later", "once", "as", "afterwards"})
# After a pronoun they belong to its verb: "girls who then speak".
_INNER = frozenset({"then", "finally", "eventually", "later", "afterwards", "before"})


def cuts_of(words: list[Word]) -> list[Cut]:
    """Split a caption at every possible link."""
    cuts: list[Cut] = []
    link, begin, start, at = Link("list", sentence=True), 0, 0, 0
    while at < len(words):
        found, after = _run_of_links(words, at, first=not cuts and at == start)
        if found is not None:
            if at > start:
                cuts.append(Cut(link, begin, start, at))
            link, begin, start = found, at, after
        at = after
    if start < len(words):
        cuts.append(Cut(link, begin, start, len(words)))
    return cuts


def _run_of_links(
    words: list[Word], at: int, *, first: bool
) -> tuple[Link | None, int]:
    """Return the link formed by signs and phrases from a word on, and its end."""
    begin, kinds, said = at, [], set()
    while at < len(words):
        kind, length = "", 1
        if words[at].low not in SIGNS:
            kind, length = _link_at(words, at)
            if not kind:
                break
            kinds.append(kind)
        said.add(words[at].low)
        at += length
    if at == begin:
        return None, at + length
    strong = [kind for kind in kinds if kind != "list"]
    if len(strong) > 1 and strong[0] == "with":
        del strong[0]  # "is played with and then"
    link = Link(
        strong[0] if strong else "list",
        comma=bool(said & SIGNS),
        conjunction=bool(said & {"and", "plus", "&"}) or "as" in said,
        contrast="but" in said,
        sentence=first or bool(said & {".", ";"}),
    )
    return link, at


def _link_at(words: list[Word], at: int) -> tuple[str, int]:
    """Return the kind and length of the link phrase at a word, or ("", its length)."""
    kind, length = _timed_link(words, at)
    if kind and _links(words, at, length):
        return kind, length
    if words[at].low in _FIRST:
        lows = tuple(word.low for word in words[at : at + _LONGEST])
        for length in range(len(lows), 0, -1):
            if lows[:length] in _TABLE:
                kind = _TABLE[lows[:length]]
                return (kind if _links(words, at, length) else ""), length
    return "", 1


def _timed_link(words: list[Word], at: int) -> tuple[str, int]:
    """Find "a few seconds later", "after a pause" and "followed moments later by"."""
    lows = [word.low for word in words[at : at + 8]]
    if lows[0] == "followed" and "by" in lows:
        by = lows.index("by")
        return ("followed", by + 1) if lows[by - 1] in {"later", "after"} else ("", 1)
    skipped = 1 if lows[0] == "after" else 0
    length = next((k for k, low in enumerate(lows) if low in TIMES), 0) + 1
    counted = all(
        low in DETERMINERS or low in {"short", "brief"} or low.isdigit()
        for low in lows[skipped : length - 1]
    )
    if not counted or lows[length - 1] not in TIMES:
        return "", 1
    if skipped:
        return "then", length
    return ("then", length + 1) if lows[length : length + 1] == ["later"] else ("", 1)


def _links(words: list[Word], at: int, length: int) -> bool:
    """Return whether a phrase links two pieces, rather than describing one."""
    stop = at + length
    if stop == len(words):
        return False
    phrase, following = words[at].low, words[stop].low
    before = words[at - 1].low if at else "."
    ends = following in SIGNS and before not in SIGNS | {"and", "then"}
    if ends and words[stop - 1].low in _LATE | TIMES:
        return False
    if before == "a":  # "for a while"
        return False
    if phrase == "next":
        return before in SIGNS | {"and", "then"}
    if phrase in {"once", "till"} and length == 1:  # not "twice or once", "a cash till"
        return at == 0 or following in DETERMINERS | PRONOUNS | PEOPLE
    return phrase not in _INNER or before not in RELATIVES | PRONOUNS
