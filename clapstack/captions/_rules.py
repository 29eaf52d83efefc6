"""Rules that decide which pieces of a caption are separate sounds."""

from __future__ import annotations

from clapstack.captions._links import Link
from clapstack.captions._reading import Span, class_of, ends_verb
from clapstack.captions._words import (
    ADJECTIVES,
    ANIMALS,
    CALLS,
    DETERMINERS,
    EVENTS,
    NEED_OBJECT,
    NOISES,
    PEOPLE,
    PREPOSITIONS,
    SILENCE,
    TIMES,
    is_adverb,
    is_gerund,
    is_plural,
    verb_form,
    verb_of_gerund,
)

__all__ = [
    "is_apart",
    "is_silent",
    "is_sound_of",
    "may_share_subject",
    "one_subject",
    "shares_noun",
    "shares_object",
    "shares_tail",
    "stands",
]

_OBJECTS = frozenset({"them", "him", "her", "it", "us", "other", "others", "that"})


def is_silent(piece: Span) -> bool:
    """Return whether a piece names no sound: "silence", "etc." or a number."""
    if all(low.isdigit() or low == "etc" for low in piece.lows):
        return True
    return piece.stop - piece.start < 4 and piece.tail[-1] in SILENCE


def stands(unit: Span, piece: Span, kind: str) -> bool:
    """Return whether a piece after an order word, "while" or "with" is a clause."""
    lows, reading, own = piece.lows, piece.reading, unit.reading
    if kind in {"while", "during"}:
        sounds = kind == "during" and reading.kind == "sound"
        return sounds or reading.kind == "clause"
    if kind in {"with", "alongside"}:
        if reading.kind == "clause":  # not "a man with a deep voice speaks"
            return reading.form == "ing" or own.kind != "noun"
        if reading.kind == "sound" or kind == "alongside" or "background" in lows:
            return True
        # "a clock with a piano", not "a door with force" nor "paints with a brush"
        named = lows[0] in DETERMINERS or class_of(lows) != "thing"
        return own.kind != "clause" and named
    if all(low in TIMES | DETERMINERS | ADJECTIVES | _OBJECTS for low in lows):
        return False  # "after a while", "after them"
    # "waits" in "speaks and then waits" may be an unlisted verb.
    verbal = own.form == "s" and reading.kind == "noun" and kind != "followed"
    known = lows[0] in DETERMINERS | PEOPLE | ANIMALS or not is_plural(lows[0])
    return known or not verbal


def is_sound_of(subject: list[str], gerund: str) -> bool:
    """Return whether "while laughing" or "before sneezing" claims a sound."""
    return bool(subject) and verb_of_gerund(gerund) in CALLS | NOISES


def may_share_subject(unit: Span, subject: list[str], piece: Span) -> bool:
    """Return whether a subject can perform a gerund that follows "and".

    "Birds chirping and rustling" names rustling, not birds that rustle.
    """
    verb = verb_of_gerund(piece.lows[piece.reading.verb])
    if class_of(subject) == "thing":
        return verb not in CALLS
    verbal = unit.reading.form == "be" or piece.behind_verb in DETERMINERS
    return verbal or verb not in NOISES


def one_subject(noun: Span, piece: Span, link: Link) -> bool:
    """Return whether two pieces are one clause: "a man and a woman talk".

    Decided by agreement ("a violin and a cello play") if the verb form reveals it, else
    by class: people with people, things with things.
    """
    reading, lows = piece.reading, piece.lows
    if link.kind != "list" or link.contrast:
        return False
    if _is_adjectival(noun):  # "followed by a loud, shrill scream"
        return reading.kind in {"sound", "noun", "clause"}
    if noun.reading.form == "ing" and noun.stop - noun.start == 1 and link.conjunction:
        # "laughing and giggling children play"
        return reading.kind == "clause" and is_gerund(lows[0])
    if noun.reading.kind != "noun":
        return False
    subject = lows[: reading.verb] if reading.kind == "clause" else lows
    same = class_of(noun.lows) == class_of(subject)
    if not link.conjunction:
        return same and "and" in subject
    if lows[0] == "other":
        return True  # "a hen and other poultry"
    if reading.kind != "clause":
        return reading.plural
    verb = lows[reading.verb]
    singular = reading.form == "s" or verb in {"is", "was", "has"}
    if lows[0] in {"someone", "somebody"} or (singular and lows[0] in DETERMINERS):
        return False
    return same or verb in {"are", "were", "have"}


def _is_adjectival(piece: Span) -> bool:
    """Return whether a piece has adjectives, and their noun comes later."""
    last = piece.lows[-1]
    adjective = last in ADJECTIVES and not is_adverb(last)
    return adjective and piece.reading.kind == "rest" and len(piece.lows) < 4


def shares_noun(unit: Span, piece: Span) -> bool:
    """Return whether the last noun belongs to both: "car and truck engines"."""
    bare = unit.reading.kind == "noun" and len(unit.lows) == 1
    return bare and len(piece.lows) > 1 and piece.lows[0] not in DETERMINERS


def shares_object(unit: Span, piece: Span) -> bool:
    """Return whether verbs share an object, as in "opens and closes a door"."""
    return unit.tail[-1] in NEED_OBJECT and not (
        piece.behind_verb is None
        or (ends_verb(piece.behind_verb) and piece.behind_verb not in DETERMINERS)
    )


def shares_tail(unit: Span, piece: Span) -> bool:
    """Return whether the following words belong to both: "pops and bursts of steam"."""
    lows, said = unit.lows, piece.lows
    if len(lows) == 2 and lows[0] in {"a", "an"} and is_gerund(lows[1]):
        return is_gerund(said[0]) and len(said) > 1  # "a shuffling, clanking noise"
    if unit.reading.kind == "clause" or len(lows) > 3 or lows[0] in DETERMINERS:
        return False
    if not (is_gerund(lows[-1]) or lows[-1] in EVENTS):
        return False
    if any(low in PREPOSITIONS for low in lows):
        return False
    if any(low in {"of", "from"} for low in said[1:8]):
        return True
    if len(said) == 1 or is_adverb(said[1]) or said[1] in PREPOSITIONS:
        return False
    return is_gerund(said[0]) and is_gerund(lows[-1])  # "gurgling and splashing water"


def is_apart(unit: Span, piece: Span, link: Link) -> bool:
    """Return whether a noun after "and" or a comma is not a second object."""
    tail, determined = unit.tail, piece.lows[0] in DETERMINERS
    if unit.reading.kind != "clause":
        placed = any(low in PREPOSITIONS and low != "of" for low in tail)
        return not placed and (determined or "of" not in tail)
    ends = verb_form(tail[-1]) is not None or is_adverb(tail[-1])
    return determined and (ends or link.comma)
