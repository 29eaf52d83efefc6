"""Grammatical readings of pieces: clause, verb phrase, noun or circumstance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from clapstack.captions._links import Word
from clapstack.captions._words import (
    ADJECTIVES,
    ANIMALS,
    AUXILIARIES,
    BEGINNINGS,
    DETERMINERS,
    EVENTS,
    PEOPLE,
    PLURAL_DETERMINERS,
    PREPOSITIONS,
    PRONOUNS,
    RELATIVES,
    TAKE_OBJECT,
    is_adverb,
    is_gerund,
    is_plural,
    verb_form,
)

__all__ = ["READ", "Reading", "Span", "class_of", "ends_verb", "read", "read_span"]

#: The first words determine a clause's reading, so a caption takes linear time.
READ = 40
_IN_FRONT = (["in", "the", "background"], ["in", "the", "distance"])
_NO_OBJECT = frozenset(
    {"and", ",", "then", "as", "with", "while", "idle", "shut", "open", "closed"}
)


class Reading(NamedTuple):
    """Grammatical reading of a piece.

    `kind` is ``"clause"`` (subject and verb), ``"phrase"`` (a verb without a subject),
    ``"sound"`` (a noun that names a sound), ``"noun"`` or ``"rest"`` (where, when and
    how). `verb` is the position of the verb within the piece, `form` its form:
    ``"base"``, ``"s"``, ``"ed"``, ``"ing"``, ``"be"`` (with an auxiliary). `plural`
    means that a noun contains a word that may be a verb of several subjects: "cello
    play" in "a violin and a cello play".
    """

    kind: str
    verb: int = -1
    form: str = ""
    plural: bool = False


@dataclass
class Span:
    """Words ``start`` to ``stop`` of a caption, and their reading."""

    words: list[Word]
    start: int
    stop: int
    reading: Reading

    @property
    def lows(self) -> list[str]:
        """The first words, in lookup form."""
        return [
            w.low for w in self.words[self.start : min(self.stop, self.start + READ)]
        ]

    @property
    def tail(self) -> list[str]:
        """The last words, in lookup form."""
        return [w.low for w in self.words[max(self.start, self.stop - 12) : self.stop]]

    @property
    def behind_verb(self) -> str | None:
        """The word that follows the verb."""
        lows, behind = self.lows, self.reading.verb + 1
        return lows[behind] if behind < len(lows) else None


def read_span(words: list[Word], start: int, stop: int) -> Reading:
    """Read words ``start`` to ``stop``."""
    return read([word.low for word in words[start : min(stop, start + READ)]])


def read(lows: list[str]) -> Reading:
    """Read a piece from its first words."""
    first = 3 if lows[:3] in _IN_FRONT and len(lows) > 3 else 0
    while first < len(lows) and is_adverb(lows[first]):
        first += 1
    if first == len(lows) or lows[first] in {"of", "which", "who", "whose"}:
        return Reading("rest")
    if lows[-1].endswith(("'s", "s'")):
        return Reading("rest")  # "men's and women's voices"
    if lows[first] in PRONOUNS | {"there"} and first + 1 < len(lows):
        verb = lows[first + 1]
        form = "be" if verb in AUXILIARIES else verb_form(verb) or "s"
        return Reading("clause", first + 1, form)
    found = _verb_in_front(lows, first) or _verb_behind_subject(lows, first)
    placed = lows[first] in PREPOSITIONS
    if found and not (placed and found.form in {"ing", "ed"}):
        return found
    core = _core(lows[first:])
    if placed or all(_says_how(low) for low in core):
        return Reading("rest")
    sounds = any(low in EVENTS or is_gerund(low) for low in core)
    plural = any(_may_agree(lows, at, first) for at in range(first + 1, len(lows)))
    return Reading("sound" if sounds else "noun", plural=plural)


def _may_agree(lows: list[str], at: int, first: int) -> bool:
    """Return whether a word may be the verb of a plural: not in "a shaken rattle"."""
    noun = lows[at] in EVENTS and _is_one(lows[first])
    living = lows[at - 1] in PEOPLE | ANIMALS
    verbal = verb_form(lows[at]) == "base" and (living or not noun)
    return verbal and _is_noun(lows, at - 1, first)


def _says_how(low: str) -> bool:
    return low in ADJECTIVES or low in DETERMINERS or is_adverb(low)


def _core(lows: list[str]) -> list[str]:
    """Return a noun phrase up to the first preposition other than "of"."""
    for at, low in enumerate(lows):
        if at and low in PREPOSITIONS and low != "of":
            return lows[:at]
    return lows


def class_of(lows: list[str]) -> str:
    """Return whether a noun phrase names ``"people"``, an ``"animal"`` or a thing."""
    core = _core(lows)
    if any(low in PEOPLE or low in {"he", "she", "they"} for low in core):
        return "people"
    return "animal" if any(low in ANIMALS for low in core) else "thing"


def ends_verb(low: str | None) -> bool:
    """Return whether a word after a verb is neither its object nor its noun."""
    return (
        low is None
        or low in PREPOSITIONS
        or low in DETERMINERS
        or low in _NO_OBJECT
        or is_adverb(low)
    )


def _verb_in_front(lows: list[str], first: int) -> Reading | None:
    """Read a piece that begins with its verb."""
    word = lows[first]
    following = lows[first + 1] if first + 1 < len(lows) else None
    if word in AUXILIARIES:
        return Reading("phrase", first, "be")
    form = verb_form(word)
    if form is None and first == 0 and following in DETERMINERS and is_plural(word):
        form = None if _is_known(word) else "s"  # "applies its brake"
    if form is None or following == "of":
        return None  # "splashing of water"
    if form == "ing" and following == "and" and _verb_behind_subject(lows, first):
        return None  # "clattering and squeaking are heard"
    if not ends_verb(following) and not _takes(lows, first, form):
        return None
    return Reading("phrase", first, form)


def _takes(lows: list[str], first: int, form: str) -> bool:
    """Return whether the noun after an initial verb is its object."""
    word, following = lows[first], lows[first + 1]
    following_form = "be" if following in AUXILIARIES else verb_form(following)
    if form == "ing":
        return word in TAKE_OBJECT  # not "running water"
    if form == "ed" or (word in EVENTS and following in EVENTS):
        return False  # "muffled speech"
    if form == "s":  # "horns honk", but "accelerates shifting gears"
        subject = following_form in {"base", "be"}
        return not subject and not (following_form == "ing" and word in EVENTS)
    # "a drill spins", "race cars pass"
    subject = following_form in {"s", "be", "ing"}
    return not subject and _verb_behind_subject(lows, first) is None


def _verb_behind_subject(lows: list[str], first: int) -> Reading | None:
    """Read a piece whose subject begins at a word."""
    for at in range(first + 1, len(lows)):
        form = _form_of_verb(lows, at, first)
        if form:
            return Reading("clause", at, form)
    return None


def _form_of_verb(lows: list[str], at: int, first: int) -> str | None:
    """Return the form of a word if it is the verb of the preceding words."""
    low, subject = lows[at], lows[first:at]
    if low in AUXILIARIES:
        return "be"
    form = verb_form(low) or _unlisted(lows, at, first)
    if form is None or not _is_noun(lows, at - 1, first):
        return None
    if at == first + 1 and is_gerund(lows[first]) and (form != "s" or low in EVENTS):
        return None  # "buzzing insects", but "rustling occurs"
    following = lows[at + 1] if at + 1 < len(lows) else None
    noun = next((word for word in reversed(subject) if not is_adverb(word)), "")
    if form == "ing":
        return None if following in EVENTS else form  # "water dripping sounds"
    if form == "ed":
        return form if ends_verb(following) and low not in ADJECTIVES else None
    if form == "base":
        several = is_plural(noun) or "and" in subject or "or" in subject
        sloppy = at == first + 1 and noun in PEOPLE | ANIMALS and low not in EVENTS
        return form if several or sloppy else None
    if following is not None and verb_form(following) == "base":
        return None  # "popping noises sound"
    if low in EVENTS and _is_several(lows[first]) and not is_plural(noun):
        return None  # "several dog barks"
    if low in {"sounds", "shots"} and not _is_one(lows[first]):
        return None  # "engine sounds"
    if low in BEGINNINGS and following is not None and is_gerund(following):
        return "ing"
    return form


def _unlisted(lows: list[str], at: int, first: int) -> str | None:
    """Return ``"s"`` for an unlisted verb, as "recites" in "a man recites a poem"."""
    plain = at > first + 1 and _is_one(lows[first]) and not is_plural(lows[at - 1])
    return "s" if plain and is_plural(lows[at]) and not _is_known(lows[at]) else None


def _is_known(low: str) -> bool:
    return low in EVENTS or low in PEOPLE or low in ANIMALS or is_adverb(low)


def _is_several(low: str) -> bool:
    return low in PLURAL_DETERMINERS or low.isdigit()


def _is_one(low: str) -> bool:
    return low in DETERMINERS - PLURAL_DETERMINERS


def _is_noun(lows: list[str], at: int, first: int) -> bool:
    """Return whether a verb's predecessor, adverbs left out, may end its subject."""
    while at > first and is_adverb(lows[at]):
        at -= 1
    low = lows[at]
    if low in PEOPLE or low in RELATIVES:
        return True
    return not (
        _says_how(low)
        or low in PREPOSITIONS
        or low in {"and", "or", ",", "to"}
        or (low.endswith("ed") and len(low) > 4)
    )
