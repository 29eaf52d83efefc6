"""Clauses of a caption, and the claims of order among them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from clapstack.captions._links import Link, Piece, Word, pieces_of, words_of
from clapstack.captions._reading import (
    READ,
    Reading,
    class_of,
    ends_verb,
    may_share,
    read,
)
from clapstack.captions._words import (
    ADJECTIVES,
    ANIMALS,
    CALLS,
    DETERMINERS,
    EVENTS,
    NEED_OBJECT,
    NOISES,
    NOT_HE,
    NOT_SHE,
    PEOPLE,
    PREPOSITIONS,
    PRONOUNS,
    RELATIVES,
    SILENCE,
    TIMES,
    is_adverb,
    is_gerund,
    is_plural,
    verb_form,
    verb_of_gerund,
)

__all__ = ["Clauses", "split_clauses"]

# More is no caption, and claims grow with the square.
_MOST_CLAUSES = 64
# A longer subject is no subject, and to repeat it would take quadratic room.
_LONGEST_SUBJECT = 12

_FORWARD = {"then", "followed", "before"}
_REVERSE = {"after", "preceded"}
_TOGETHER = {"while", "during", "with"}
_FIRST = {"first", "firstly", "initially"}
_LATER = {"after", "afterwards", "afterward"}


@dataclass(frozen=True)
class Clauses:
    """A caption's clauses, and what it claims of their times.

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


@dataclass
class _Unit:
    """A clause in the making: words ``start`` to ``stop`` behind a carried subject."""

    start: int
    stop: int
    reading: Reading
    prefix: list[Word] = field(default_factory=list)
    subject: list[Word] = field(default_factory=list)
    hosts: list[_Unit] = field(default_factory=list)
    timed: bool = True


@dataclass
class _Group:
    """Clauses that an order word takes as one, and the groups that come before."""

    units: list[_Unit] = field(default_factory=list)
    earlier: list[_Group] = field(default_factory=list)


def split_clauses(caption: str) -> Clauses:
    """Split an English caption of sounds into clauses.

    Words such as "then", "followed by", "after", "while", "with", "and" and commas cut a
    caption where both sides can sound; a subject that is left out is said again. Where
    the rules are unsure the caption stays whole. Read more in the
    :ref:`User Guide <clauses>`.

    Parameters
    ----------
    caption : str
        A caption, such as ``"a dog barks and whines, then a door slams"``.

    Returns
    -------
    clauses : Clauses
        Its clauses and claims. A caption that cannot be split is one clause, stripped
        of white space at its ends.

    Raises
    ------
    TypeError
        If `caption` is no string.

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
    words = words_of(caption)
    parse = _Parse(words)
    for piece, reading in _with_subjects_joined(words):
        parse.add(piece, reading)
        if len(parse.units) > _MOST_CLAUSES:
            break
    parse.finish()
    units = parse.units
    if not 1 < len(units) <= _MOST_CLAUSES:
        return Clauses((caption.strip(),))
    place = {id(unit): k for k, unit in enumerate(units)}
    together = [
        (place[id(host)], place[id(unit)]) for unit in units for host in unit.hosts
    ]
    order = [
        (place[id(before)], place[id(after)])
        for group in parse.groups
        for earlier in group.earlier
        for before in _timed(earlier)
        for after in _timed(group)
    ]
    texts = [_written([*unit.prefix, *words[unit.start : unit.stop]]) for unit in units]
    return Clauses(tuple(texts), tuple(sorted(order)), tuple(sorted(together)))


def _timed(group: _Group) -> list[_Unit]:
    return [unit for unit in group.units if unit.timed] or group.units


def _written(words: list[Word]) -> str:
    """Return words as text, signs behind the words that they follow."""
    text = ""
    for word in words:
        text += (
            word.text if word.low in {",", ";", "."} or not text else f" {word.text}"
        )
    return text.rstrip(",;.!?… ")


class _Parse:
    """Pieces folded into clauses, from left to right."""

    def __init__(self, words: list[Word]) -> None:
        self.words = words
        self.units: list[_Unit] = []
        self.groups: list[_Group] = []
        self.main: _Group | None = None  # the group that the next "then" continues
        # The link in front of the sentence ("after", "while") and its first word.
        self.leading: tuple[str, int] | None = None
        self.hosts: list[_Unit] = []

    def add(self, piece: Piece, reading: Reading) -> None:
        """Make a piece a clause, or a part of the last one."""
        kind = piece.link.kind
        if self._is_silent(piece):
            return
        if not self.units:
            self._begin_sentence(piece, reading)
        elif piece.link.sentence and kind not in _FORWARD and reading.kind != "rest":
            self._begin_sentence(piece, reading)
        elif self.leading:
            self._follow_leading(piece, reading)
        elif self.words[piece.stop - 1].low in _LATER and kind in {"list", "with"}:
            self._new(piece._replace(stop=piece.stop - 1), reading, "then")
        else:
            self._tie(piece, reading, self.units[-1])

    # -- sentences, and the subordinate clause in front of them

    def _begin_sentence(self, piece: Piece, reading: Reading) -> None:
        kind = piece.link.kind
        begins = kind in _TOGETHER | _REVERSE | {"before"} and piece.start > piece.begin
        self.finish()
        main = self._main_clause(piece, reading) if begins else piece.stop
        self._new(piece._replace(stop=main), reading, "sentence")
        if begins:
            self.leading = (kind, piece.begin)
        if main < piece.stop:
            rest = Piece(Link("list", comma=True), main, main, piece.stop)
            self.add(rest, read(self.words[main : piece.stop]))

    def _main_clause(self, piece: Piece, reading: Reading) -> int:
        """Return where the main clause begins that no comma sets apart, or the end."""
        if reading.kind == "clause":
            first = piece.start + reading.verb + 1
            for at in range(first, min(piece.stop, first + 20)):
                before, low = self.words[at - 1].low, self.words[at].low
                starts = low in DETERMINERS or low in PEOPLE
                inside = before in DETERMINERS | PREPOSITIONS | ADJECTIVES | {"and"}
                if starts and not inside:
                    if read(self.words[at : piece.stop]).kind == "clause":
                        return at
        return piece.stop

    def _follow_leading(self, piece: Piece, reading: Reading) -> None:
        """Tie the main clause: "after a dog barks" goes in front of "a bell rings"."""
        assert self.leading is not None
        kind, _ = self.leading
        listed = piece.link.kind == "list"
        if listed and not (piece.link.comma and reading.kind != "rest"):
            self._join(piece)
        elif listed and not self._stands_in_front(self.units[-1]):
            self._join(piece)
            self.finish()
        elif listed:
            self.leading = None
            kind = {"after": "before", "before": "after"}.get(kind, kind)
            self._new(piece, reading, kind)
        else:
            self.finish()
            self._tie(piece, reading, self.units[-1])

    def _stands_in_front(self, unit: _Unit) -> bool:
        """Return whether a leading clause sounds: not "as it turns", "while walking"."""
        pronoun = self.words[unit.start].low in PRONOUNS
        return unit.reading.kind not in {"phrase", "rest"} and not pronoun

    def finish(self) -> None:
        """Give a subordinate clause whose main clause was not found its link back."""
        if self.leading is not None:
            self.units[-1].start = self.leading[1]
            self.leading = None

    # -- joining and splitting

    def _lows(self, start: int, stop: int) -> list[str]:
        return [word.low for word in self.words[start : min(stop, start + READ)]]

    def _is_silent(self, piece: Piece) -> bool:
        lows = self._lows(piece.start, piece.stop)
        return len(lows) < 4 and any(low in SILENCE for low in lows[-1:])

    def _join(self, piece: Piece) -> None:
        unit = self.units[-1]
        unit.stop = piece.stop
        if unit.reading.kind != "clause":
            unit.reading = read(
                self.words[unit.start : min(unit.stop, unit.start + READ)]
            )
            unit.subject = self._subject(unit)
        self._note_background(unit)

    def _new(
        self,
        piece: Piece,
        reading: Reading,
        kind: str,
        *,
        prefix: list[Word] | None = None,
        start: int | None = None,
    ) -> None:
        """Begin a clause, in the group and with the claims that its link says."""
        begin = piece.start if start is None else start
        if self.words[begin].low in _FIRST and begin + 1 < piece.stop:
            if self.words[begin + 1].low in DETERMINERS:
                begin, reading = begin + 1, reading._replace(verb=reading.verb - 1)
        unit = _Unit(begin, piece.stop, reading, prefix or [])
        unit.subject = prefix or self._subject(unit)
        if kind == "list" and self.hosts and not piece.link.comma:
            unit.hosts = self.hosts
        elif kind in _TOGETHER:
            group = self.groups[-1].units
            self.hosts = unit.hosts = [u for u in group if not u.hosts]
        else:
            self.hosts = []
        self.units.append(unit)
        if kind in {"sentence", "apart"} or not self.groups:
            self._open(unit)
        elif kind in _FORWARD:
            main = self.main
            self._open(unit)
            self.groups[-1].earlier.append(main)
        elif kind in _REVERSE:
            group = _Group([unit])
            self.groups[-1].earlier.append(group)
            self.groups.append(group)
        else:
            self.groups[-1].units.append(unit)
        self._note_background(unit)

    def _open(self, unit: _Unit) -> None:
        self.main = _Group([unit])
        self.groups.append(self.main)

    def _note_background(self, unit: _Unit) -> None:
        """Take a sound in the background out of the order: it goes on behind it."""
        units = self.groups[-1].units
        if unit is units[0] or "background" not in self._lows(unit.stop - 3, unit.stop):
            return
        unit.timed = False
        if not unit.hosts:
            unit.hosts = [u for u in units if u is not unit and not u.hosts][-1:]

    def _subject(self, unit: _Unit) -> list[Word]:
        """Return the words in front of a clause's verb, or a whole noun phrase."""
        kind = unit.reading.kind
        if kind == "clause":
            stop = unit.start + unit.reading.verb
        elif kind in {"noun", "sound"}:
            stop = unit.stop
        else:
            return []
        for at in range(unit.start + 1, min(stop, unit.start + _LONGEST_SUBJECT)):
            if self.words[at - 1].low == "," and self.words[at].low in RELATIVES:
                stop = at - 1  # "a train, which blows its horn, passes"
                break
        while stop > unit.start and is_adverb(self.words[stop - 1].low):
            stop -= 1
        if stop - unit.start > _LONGEST_SUBJECT:
            return []
        return self.words[unit.start : stop]

    # -- the rules

    def _tie(self, piece: Piece, reading: Reading, unit: _Unit) -> None:
        link = piece.link
        if reading.kind == "rest" or unit.reading.kind == "rest":
            self._join(piece)
        elif self.words[piece.start].low in PRONOUNS:
            self._tie_pronoun(piece, reading, unit)
        elif reading.kind == "phrase":
            self._tie_phrase(piece, reading, unit)
        elif link.kind == "list":
            self._coordinate(piece, reading, unit)
        elif self._stands(piece, reading, unit):
            self._new(piece, reading, link.kind)
        else:
            self._join(piece)

    def _stands(self, piece: Piece, reading: Reading, unit: _Unit) -> bool:
        """Return whether a piece behind an order word or "while" is a clause."""
        kind, lows = piece.link.kind, self._lows(piece.start, piece.stop)
        if kind == "with":
            bare = unit.reading.kind == "noun"
            if reading.kind == "clause":
                return reading.form == "ing" or not bare
            plain = self.words[piece.start - 1].low == "with" and (
                self.words[piece.start - 2].low not in {"along", "together"}
            )
            return (
                reading.kind == "sound"
                or "background" in lows
                or not plain
                or (unit.reading.kind != "clause" and self._is_source(piece))
            )
        if kind in {"while", "during"}:
            return reading.kind == "clause" or (
                kind == "during" and reading.kind == "sound"
            )
        if unit.reading.form == "s" and reading.kind == "noun" and kind != "followed":
            # "waits" may be a verb that no list holds
            known = lows[0] in DETERMINERS | PEOPLE | ANIMALS
            return known or not is_plural(lows[0])
        return not all(
            low in TIMES or low in DETERMINERS or low in ADJECTIVES for low in lows
        )

    def _is_source(self, piece: Piece) -> bool:
        """Return whether a noun names a thing, rather than a manner ("with force")."""
        lows = self._lows(piece.start, piece.stop)
        return lows[0] in DETERMINERS or class_of(lows) != "thing"

    def _tie_pronoun(self, piece: Piece, reading: Reading, unit: _Unit) -> None:
        """Say the last subject for its pronoun; where unsure, keep the words joined."""
        kind, start = piece.link.kind, piece.start + 1
        if kind == "list" and self.words[start].low == "then":
            kind, start = "then", start + 1
        subject = self._meant_by(self.words[piece.start])
        if kind not in {"list", "then"} or start >= piece.stop or not subject:
            self._join(piece)
        elif subject[0].low in PRONOUNS:
            self._new(piece, reading, kind)
        else:
            rest = self._read_from(start, piece.stop)
            self._new(piece, rest, kind, prefix=subject, start=start)

    def _meant_by(self, said: Word) -> list[Word]:
        """Return the last subject that a pronoun may stand for, or the pronoun."""
        pronoun = said.low
        excluded = {"he": NOT_HE, "she": NOT_SHE}.get(pronoun, frozenset())
        for unit in reversed(self.units):
            lows = {word.low for word in unit.subject}
            if not lows or unit.reading.kind != "clause":
                continue
            people = class_of([word.low for word in unit.subject]) == "people"
            if pronoun == "they":
                several = is_plural(unit.subject[-1].low) or "and" in lows
                return unit.subject if several else [said]
            fits = people == (pronoun in {"he", "she"})
            if lows <= PRONOUNS or (fits and not lows & excluded):
                return unit.subject
        return []

    def _read_from(self, start: int, stop: int) -> Reading:
        """Return the reading of a verb phrase as a clause of a carried subject."""
        reading = read(self.words[start:stop])
        return Reading("clause", 0, reading.form)

    def _tie_phrase(self, piece: Piece, reading: Reading, unit: _Unit) -> None:
        kind = piece.link.kind
        verb = self.words[piece.start + reading.verb].low
        if kind in {"with", "followed", "preceded", "during"}:
            if kind == "with" and reading.form != "ing" and verb not in EVENTS:
                self._join(piece)
            else:
                self._new(piece, Reading("sound"), kind)
        elif kind in {"while", "before", "after"} and reading.form == "ing":
            base = verb_of_gerund(verb)
            if (
                unit.subject
                and unit.reading.kind == "clause"
                and base in CALLS | NOISES
            ):
                self._carry(piece, reading, unit, unit.subject)
            else:
                self._join(piece)
        elif kind == "while":
            self._join(piece)
        elif reading.form == "ing":
            self._tie_gerund(piece, reading, unit, verb)
        else:
            self._tie_finite(piece, reading, unit, verb)

    def _carry(
        self, piece: Piece, reading: Reading, unit: _Unit, prefix: list[Word]
    ) -> None:
        form = "be" if len(prefix) > len(unit.subject) else reading.form
        self._new(piece, Reading("clause", 0, form), piece.link.kind, prefix=prefix)
        self.units[-1].subject = unit.subject

    def _tie_gerund(
        self, piece: Piece, reading: Reading, unit: _Unit, verb: str
    ) -> None:
        lows = [word.low for word in unit.subject]
        own = unit.reading
        if piece.link.kind == "list" and self._shares_object(piece, reading, unit):
            self._join(piece)
            return
        if own.kind == "clause" and own.form in {"ing", "be"} and lows:
            behind = self._lows(piece.start + reading.verb + 1, piece.stop)[:1]
            verbal = own.form == "be" or bool(behind and behind[0] in DETERMINERS)
            if may_share(lows, verb, verbal=verbal):
                prefix = self._with_auxiliary(unit)
                self._carry(piece, reading, unit, prefix)
                return
        elif piece.link.kind == "list" and self._shares_tail(piece, unit):
            self._join(piece)
            return
        self._new(piece, Reading("sound"), piece.link.kind)

    def _with_auxiliary(self, unit: _Unit) -> list[Word]:
        """Return a subject and its auxiliary: "a man is" of "a man is talking"."""
        at = unit.start + unit.reading.verb
        if unit.prefix and len(unit.prefix) > len(unit.subject):
            return unit.prefix
        low = self.words[at].low
        if unit.prefix or is_gerund(low):
            return unit.subject
        return [*unit.subject, self.words[at]]

    def _tie_finite(
        self, piece: Piece, reading: Reading, unit: _Unit, verb: str
    ) -> None:
        own, link = unit.reading, piece.link
        listed = link.kind == "list"
        event = verb in EVENTS
        if own.kind != "clause" or not unit.subject:
            one = self.words[unit.start].low in DETERMINERS | PEOPLE
            if own.kind in {"noun", "sound"} and link.kind == "then" and one:
                self._carry_over_then(piece, reading, unit)
            elif event or not listed:
                self._new(piece, Reading("sound"), link.kind)
            else:
                self._join(piece)
            return
        if listed and self._shares_object(piece, reading, unit):
            self._join(piece)
            return
        prefix = unit.subject
        if reading.form == "base" and own.form != "base":
            prefix = self._up_to_infinitive(unit)
        elif reading.form == "ed" and own.form == "be":
            prefix = self._with_auxiliary(unit)
        elif own.form == "ing" and listed and event:
            prefix = []
        elif reading.form == "s" and own.form == "base" and event:
            prefix = []
        if prefix:
            self._carry(piece, reading, unit, prefix)
        elif event:
            self._new(piece, Reading("sound"), link.kind)
        else:
            self._join(piece)

    def _shares_object(self, piece: Piece, reading: Reading, unit: _Unit) -> bool:
        """Return whether "a door" of "and closes a door" is what "opens" opens."""
        behind = self._lows(piece.start + reading.verb + 1, piece.stop)[:1]
        bare = not behind or ends_verb(behind[0])
        return self.words[unit.stop - 1].low in NEED_OBJECT and not bare

    def _up_to_infinitive(self, unit: _Unit) -> list[Word]:
        """Return "a man begins to" of "a man begins to laugh"; nothing without "to"."""
        stop = min(unit.stop, unit.start + _LONGEST_SUBJECT)
        for at in range(unit.start, stop - 1):
            if self.words[at].low == "to" and verb_form(self.words[at + 1].low):
                return [*unit.prefix, *self.words[unit.start : at + 1]]
        return []

    def _carry_over_then(self, piece: Piece, reading: Reading, unit: _Unit) -> None:
        """Join "a crowd" and "then cheers" to a clause that comes later."""
        alone = len(self.units) == 1 or piece.link.comma or piece.link.conjunction
        group = self.groups[-1]
        if alone or unit.hosts or group.units[-1] is not unit or len(group.units) < 2:
            if piece.link.comma or piece.link.conjunction:
                self._carry(piece, reading, unit, unit.subject)
            else:
                self._join(piece)
            return
        group.units.pop()
        self.units.pop()
        self._new(
            piece,
            Reading("clause", 0, reading.form),
            "then",
            prefix=unit.subject,
        )

    def _coordinate(self, piece: Piece, reading: Reading, unit: _Unit) -> None:
        """Tie two pieces with "and" or a comma between them."""
        own, link = unit.reading, piece.link
        joined = link.conjunction and self.words[piece.start - 1].low != "but"
        if reading.kind == "clause":
            self._new(piece, reading, link.kind)
        elif (joined and self._shares_tail(piece, unit)) or not (joined or link.comma):
            self._join(piece)  # "no sound but the wind"
        elif (
            unit.reading.kind == "noun"
            and unit.stop - unit.start == 1
            and (joined and self.words[piece.start].low not in DETERMINERS)
        ):
            self._join(piece)  # "car and truck engines"
        elif reading.kind == "sound" or self._is_apart(piece, unit):
            self._new(piece, reading, link.kind)
        else:
            self._join(piece)

    def _shares_tail(self, piece: Piece, unit: _Unit) -> bool:
        """Return whether what follows belongs to both: "pops and bursts of steam"."""
        lows = self._lows(unit.start, min(unit.stop, unit.start + 4))
        if not piece.link.conjunction or unit.reading.kind == "clause":
            return False
        if unit.stop - unit.start > 3:
            return False
        bare = lows[0] not in DETERMINERS and not any(
            low in PREPOSITIONS for low in lows
        )
        if not bare or not (is_gerund(lows[-1]) or lows[-1] in EVENTS):
            return False
        said = self._lows(piece.start, min(piece.stop, piece.start + 8))
        if any(low in {"of", "from"} for low in said[1:]):
            return True
        attributive = is_gerund(said[0]) and len(said) > 1 and not is_adverb(said[1])
        return attributive and said[1] not in PREPOSITIONS and is_gerund(lows[-1])

    def _is_apart(self, piece: Piece, unit: _Unit) -> bool:
        """Return whether a noun is a sound of its own, and no second object."""
        tail = self._lows(max(unit.start, unit.stop - 12), unit.stop)
        determined = self.words[piece.start].low in DETERMINERS
        if unit.reading.kind != "clause":
            placed = any(low in PREPOSITIONS and low != "of" for low in tail)
            return not placed and (determined or "of" not in tail)
        ends = verb_form(tail[-1]) is not None or is_adverb(tail[-1])
        return determined and (ends or piece.link.comma)


def _with_subjects_joined(words: list[Word]) -> list[tuple[Piece, Reading]]:
    """Return pieces and readings, "a man", "and a woman talk" as one clause."""

    def read_piece(piece: Piece) -> Reading:
        return read(words[piece.start : min(piece.stop, piece.start + READ)])

    done: list[tuple[Piece, Reading]] = []  # from the last to the first
    for piece in reversed(pieces_of(words)):
        reading = read_piece(piece)
        if done and _one_subject(words, piece, reading, *done[-1]):
            last, _ = done.pop()
            piece = piece._replace(stop=last.stop)
            reading = read_piece(piece)
        done.append((piece, reading))
    return done[::-1]


def _one_subject(
    words: list[Word], noun: Piece, its: Reading, piece: Piece, reading: Reading
) -> bool:
    """Return whether a noun and the clause that follows it are one clause."""
    link = piece.link
    if link.kind != "list" or words[piece.start - 1].low == "but":
        return False
    if its.form == "ing" and noun.stop - noun.start == 1 and link.conjunction:
        # "laughing and giggling children play"
        return reading.kind == "clause" and is_gerund(words[piece.start].low)
    if its.kind != "noun":
        return False
    lows = [
        word.low for word in words[piece.start : min(piece.stop, piece.start + READ)]
    ]
    subject = lows[: reading.verb] if reading.kind == "clause" else lows
    same = class_of(
        [w.low for w in words[noun.start : min(noun.stop, noun.start + READ)]]
    ) == class_of(subject)
    if not link.conjunction:
        return same and "and" in subject
    if reading.kind != "clause":
        return reading.plural
    first, verb = lows[0], lows[reading.verb]
    if first in {"someone", "somebody"}:
        return False
    if first in DETERMINERS and (reading.form == "s" or verb in {"is", "was", "has"}):
        return False
    return same or verb in {"are", "were", "have"}
