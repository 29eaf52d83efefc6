"""Readings of pieces: has it a subject, a verb, or does it only say how and where."""

from __future__ import annotations

from typing import NamedTuple

from clapstack.captions._links import Word
from clapstack.captions._words import (
    ADJECTIVES,
    ANIMALS,
    AUXILIARIES,
    CALLS,
    DETERMINERS,
    EVENTS,
    NOISES,
    PEOPLE,
    PLURAL_DETERMINERS,
    PREPOSITIONS,
    PRONOUNS,
    RELATIVES,
    is_adverb,
    is_gerund,
    is_plural,
    verb_form,
    verb_of_gerund,
)

__all__ = ["READ", "Reading", "class_of", "ends_verb", "may_share", "read"]

# A clause shows what it is in its first words; so a caption is read in linear time.
READ = 40
_BEGINNINGS = frozenset(
    "begin begins start starts continue continues keep keeps".split()
)
_IN_FRONT = {("in", "the", "background"), ("in", "the", "distance")}
_TAKES_OBJECT = frozenset(
    "playing making giving using hitting delivering producing having eating chopping "
    "spraying washing filling cutting tearing typing drinking chewing hammering "
    "operating sawing opening closing strumming shaking changing shifting stirring "
    "cooking frying".split()
)


class Reading(NamedTuple):
    """What a piece is.

    `kind` is ``"clause"`` (subject and verb), ``"phrase"`` (a verb without a subject),
    ``"sound"`` (a noun that sounds), ``"noun"`` or ``"rest"`` (how, where and when).
    `verb` is the place of the verb within the piece, `form` its form: ``"base"``,
    ``"s"``, ``"ed"``, ``"ing"``, ``"be"`` (with an auxiliary). `plural` says that a word
    of a noun may be a verb whose subject is a plural: "cello play" of "a violin and a
    cello play".
    """

    kind: str
    verb: int = -1
    form: str = ""
    plural: bool = False


def read(words: list[Word]) -> Reading:
    """Read a piece.

    Parameters
    ----------
    words : list of Word
        Words and signs of the piece; those from the forty-first on are not looked at.

    Returns
    -------
    reading : Reading
    """
    lows = [word.low for word in words[:READ]]
    first = 3 if tuple(lows[:3]) in _IN_FRONT and len(lows) > 3 else 0
    while first < len(lows) and is_adverb(lows[first]):
        first += 1
    if first == len(lows):
        return Reading("rest")
    if lows[first] in {"of", "which", "who", "whose"}:
        return Reading("rest")
    if lows[-1].endswith(("'s", "s'")):
        return Reading("rest")  # "men's and women's voices"
    if lows[first] in PRONOUNS | {"there"} and first + 1 < len(lows):
        verb = lows[first + 1]
        form = "be" if verb in AUXILIARIES else verb_form(verb)
        return Reading("clause", first + 1, form or "s")
    found = _verb_in_front(lows, first) or _verb_behind_subject(lows, first)
    placed = lows[first] in PREPOSITIONS
    if found and not (placed and found.form in {"ing", "ed"}):
        return found
    core = _core(lows[first:])
    if placed or all(
        low in ADJECTIVES or low in DETERMINERS or is_adverb(low) for low in core
    ):
        return Reading("rest")
    sounds = any(low in EVENTS or is_gerund(low) for low in core)
    plural = any(
        verb_form(low) == "base" and _is_noun(lows, at - 1, first)
        for at, low in enumerate(lows)
        if at > first
    )
    return Reading("sound" if sounds else "noun", plural=plural)


def _core(lows: list[str]) -> list[str]:
    """Return a noun phrase without what a preposition other than "of" adds."""
    core: list[str] = []
    for low in lows:
        if core and low in PREPOSITIONS and low != "of":
            break
        core.append(low)
    return core


def ends_verb(low: str | None) -> bool:
    """Return whether a word that follows a verb is none of its nouns."""
    return (
        low is None
        or is_adverb(low)
        or low in PREPOSITIONS
        or low in DETERMINERS
        or low in {"and", ",", "then", "as", "with", "while", "idle"}
        or low in {"shut", "open", "closed"}
    )


def _verb_in_front(lows: list[str], first: int) -> Reading | None:
    """Return the reading of a piece that begins with its verb."""
    word = lows[first]
    following = lows[first + 1] if first + 1 < len(lows) else None
    if word in AUXILIARIES:
        return Reading("phrase", first, "be")
    form = verb_form(word)
    if form is None and following in DETERMINERS and is_plural(word):
        known = word in EVENTS or word in PEOPLE or word in ANIMALS or first
        form = None if known else "s"  # "applies its brake"
    if form is None or following == "of":
        return None  # "splashing of water"
    if form == "ing":
        if ends_verb(following) or word in _TAKES_OBJECT:
            return Reading("phrase", first, "ing")
        return None  # "running water"
    if following is not None and not ends_verb(following):
        next_form = "be" if following in AUXILIARIES else verb_form(following)
        agrees = {"s": {"base", "be", "ing"}, "base": {"s", "be", "ing"}}
        if form == "s" and next_form == "ing" and word not in EVENTS:
            return Reading("phrase", first, "s")  # "accelerates shifting gears"
        if form == "ed":
            return None  # "muffled speech"
        if form == "base" and _verb_behind_subject(lows, first):
            return None  # "race cars pass"
        if next_form in agrees.get(form, ()):
            return None  # "horns honk", "a drill spins"
        if word in EVENTS and following in EVENTS:
            return None
    return Reading("phrase", first, form)


def _verb_behind_subject(lows: list[str], first: int) -> Reading | None:
    several = lows[first] in PLURAL_DETERMINERS or lows[first].isdigit()
    for at in range(first + 1, len(lows)):
        low = lows[at]
        if low in AUXILIARIES:
            return Reading("clause", at, "be")
        form = verb_form(low) or _unlisted(lows, at, first)
        if form is None or not _is_noun(lows, at - 1, first):
            continue
        if (
            is_gerund(lows[at - 1])
            and at - 1 == first
            and (form != "s" or low in EVENTS)
        ):
            continue  # "buzzing insects", but "rustling occurs"
        following = lows[at + 1] if at + 1 < len(lows) else None
        if form == "ing" and (following is None or following not in EVENTS):
            return Reading("clause", at, "ing")
        if form == "s" and following and verb_form(following) == "base":
            continue  # "popping noises sound"
        subject = lows[first:at]
        joint = "and" in subject or "or" in subject
        noun = _last_noun(subject)
        if form == "s" and not (several and low in EVENTS and not is_plural(noun)):
            if low in {"sounds", "shots"} and not _is_one(lows[first]):
                continue
            if low in _BEGINNINGS and following is not None and is_gerund(following):
                return Reading("clause", at, "ing")
            return Reading("clause", at, "s")
        bare = at == first + 1 and noun in PEOPLE | ANIMALS and low not in EVENTS
        if form == "base" and (is_plural(noun) or joint or bare):
            return Reading("clause", at, "base")
        if form == "ed" and ends_verb(following) and low not in ADJECTIVES:
            return Reading("clause", at, "ed")
    return None


def _unlisted(lows: list[str], at: int, first: int) -> str | None:
    """Return ``"s"`` of "tells" in "a comedian tells a joke", which no list holds."""
    plain = at > first + 1 and _is_one(lows[first]) and not is_plural(lows[at - 1])
    word = lows[at]
    known = word in EVENTS or word in PEOPLE or word in ANIMALS or is_adverb(word)
    return "s" if plain and is_plural(word) and not known else None


def _last_noun(lows: list[str]) -> str:
    return next((low for low in reversed(lows) if not is_adverb(low)), "")


def _is_one(low: str) -> bool:
    return low in DETERMINERS - PLURAL_DETERMINERS


def _is_noun(lows: list[str], at: int, first: int) -> bool:
    """Return whether a verb's predecessor, adverbs left out, may end its subject."""
    while at > first and is_adverb(lows[at]) and lows[at] not in PEOPLE:
        at -= 1
    low = lows[at]
    if low in PEOPLE or low in {"that", "which", "who"}:
        return True
    if low in DETERMINERS or low in PREPOSITIONS or low in ADJECTIVES:
        return False
    if low in {"and", "or", ",", "to"} or is_adverb(low):
        return False
    return not (low.endswith("ed") and len(low) > 4)


def class_of(lows: list[str]) -> str:
    """Return whether a noun phrase names ``"people"``, an ``"animal"`` or a thing."""
    core = _core(lows)
    if any(low in PEOPLE or low in {"he", "she", "they"} for low in core):
        return "people"
    return "animal" if any(low in ANIMALS for low in core) else "thing"


def may_share(subject: list[str], gerund: str, *, verbal: bool) -> bool:
    """Return whether a subject can do what a gerund after "and" says.

    "Birds chirping and rustling" names rustling, not birds that rustle; `verbal` says
    that the gerund is a verb for sure.
    """
    verb = verb_of_gerund(gerund)
    if class_of(subject) == "thing":
        return verb not in CALLS
    return verbal or verb not in NOISES
