"""Parsing of a caption's pieces into clauses and groups, from left to right."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from clapstack.captions._links import Cut, Link, Word, cuts_of
from clapstack.captions._reading import READ, Reading, Span, class_of, read_span
from clapstack.captions._rules import (
    is_apart,
    is_silent,
    is_sound_of,
    may_share_subject,
    one_subject,
    shares_noun,
    shares_object,
    shares_tail,
    stands,
)
from clapstack.captions._words import (
    ADJECTIVES,
    DETERMINERS,
    EVENTS,
    NOT_HE,
    NOT_SHE,
    PEOPLE,
    PREPOSITIONS,
    PRONOUNS,
    RELATIVES,
    is_adverb,
    is_gerund,
    is_plural,
    verb_form,
)

__all__ = ["Group", "Parse", "Unit"]

# Longer phrases are not subjects, and repeating them would take quadratic space.
_LONGEST_SUBJECT = 12
_FORWARD = {"then", "followed", "before"}
_REVERSE = {"after", "preceded"}
_TOGETHER = {"while", "meanwhile", "during", "with", "alongside"}
# These link a sentence to the previous one.
_ACROSS = _FORWARD | {"meanwhile"}
# Words that only repeat the meaning of an order word.
_IN_FRONT = {"first", "firstly", "initially"}
_LOOSE = {"list", "with"}
_AT_THE_END = {"after", "afterwards", "afterward"}


@dataclass
class Piece(Span):
    """Words between two links, and the preceding link, which starts at `begin`."""

    link: Link
    begin: int


@dataclass(eq=False)
class Unit(Span):
    """A clause: words of the caption, preceded by an omitted subject.

    `hosts` are the clauses that it is claimed to sound together with. A clause that is
    not timed is in the background, without order; a listed one follows a comma.
    """

    prefix: list[Word] = field(default_factory=list)
    subject: list[Word] = field(default_factory=list)
    hosts: list[Unit] = field(default_factory=list)
    is_timed: bool = True
    is_listed: bool = False

    def said(self) -> list[Word]:
        return [*self.prefix, *self.words[self.start : self.stop]]


@dataclass
class Group:
    """Clauses that an order word treats as one, and the groups claimed before it."""

    units: list[Unit]
    earlier: list[Group] = field(default_factory=list)

    def timed(self) -> list[Unit]:
        return [unit for unit in self.units if unit.is_timed] or self.units

    def last_item(self) -> Group:
        """Return the part bound by a link without comma: "B and C" in "A, B and C"."""
        listed = [k for k, unit in enumerate(self.units) if unit.is_listed]
        return Group(self.units[listed[-1] :]) if listed else self


def _pieces_of(words: list[Word]) -> list[Piece]:
    """Split a caption at its links, but not between the subjects of one verb."""

    def piece_of(cut: Cut, stop: int) -> Piece:
        reading = read_span(words, cut.start, stop)
        return Piece(words, cut.start, stop, reading, cut.link, cut.begin)

    pieces: list[Piece] = []  # from the last to the first
    for cut in reversed(cuts_of(words)):
        piece = piece_of(cut, cut.stop)
        if pieces and one_subject(piece, pieces[-1], pieces[-1].link):
            piece = piece_of(cut, pieces.pop().stop)
        pieces.append(_with_last_word_in_front(piece))
    return pieces[::-1]


def _with_last_word_in_front(piece: Piece) -> Piece:
    """Return "a bell rings afterwards" as "then a bell rings"."""
    longer = piece.stop - piece.start > 1
    if longer and piece.tail[-1] in _AT_THE_END and piece.link.kind in _LOOSE:
        piece.stop -= 1
        piece.link = replace(piece.link, kind="then")
        piece.reading = read_span(piece.words, piece.start, piece.stop)
    return piece


class Parse:
    """The clauses of a caption and their groups.

    Parameters
    ----------
    words : list of Word
        The caption.
    most : int
        Parsing stops after this number of clauses.
    """

    def __init__(self, words: list[Word], *, most: int) -> None:
        self.words = words
        self.units: list[Unit] = []
        self.groups: list[Group] = []
        # The group that the next "then" continues.
        self._main = Group([])
        # Clauses that sound together with those after "while" or "with".
        self._hosts: list[Unit] = []
        # A leading subordinate clause whose main clause is still to come.
        self._leading: Piece | None = None
        for piece in _pieces_of(words):
            self._add(piece)
            if len(self.units) > most:
                break
        self._give_leading_back()

    def _add(self, piece: Piece) -> None:
        """Turn a piece into a clause, or into a part of the last one."""
        kind = piece.link.kind
        if is_silent(piece):
            return
        sentence = piece.link.sentence and kind not in _ACROSS
        if not self.units or (sentence and piece.reading.kind != "rest"):
            self._begin_sentence(piece)
        elif self._leading is not None:
            self._follow_leading(piece, self._leading)
        else:
            self._tie(piece, self.units[-1])

    # Sentences, and subordinate clauses that precede them.

    def _begin_sentence(self, piece: Piece) -> None:
        self._give_leading_back()
        leads = _TOGETHER | _REVERSE | {"before"}
        if piece.link.kind not in leads or piece.start == piece.begin:
            self._new(piece, "sentence")
            return
        main, stop = self._main_clause(piece), piece.stop
        piece.stop = main
        self._new(piece, "sentence")
        self._leading = piece
        if main < stop:
            reading = read_span(self.words, main, stop)
            link = Link("list", comma=True)
            self._add(Piece(self.words, main, stop, reading, link, main))

    def _main_clause(self, piece: Piece) -> int:
        """Return the start of a main clause without a comma before it, or the end."""
        if piece.reading.kind != "clause":
            return piece.stop
        inside = DETERMINERS | PREPOSITIONS | ADJECTIVES | {"and"}
        first = piece.start + piece.reading.verb + 1
        for at in range(first, min(piece.stop, first + 20)):
            begins = self.words[at].low in DETERMINERS | PEOPLE
            if (
                begins
                and self.words[at - 1].low not in inside
                and read_span(self.words, at, piece.stop).kind == "clause"
            ):
                return at
        return piece.stop

    def _follow_leading(self, piece: Piece, leading: Piece) -> None:
        """Attach the main clause: "a bell rings" to a leading "after a dog barks"."""
        if piece.link.kind != "list":
            self._give_leading_back()
            self._tie(piece, self.units[-1])
        elif not piece.link.comma or piece.reading.kind == "rest":
            self._join(piece)
        elif leading.reading.kind in {"phrase", "rest"} or leading.lows[0] in PRONOUNS:
            self._join(piece)  # "as it turns", "while walking"
            self._give_leading_back()
        else:
            kind = leading.link.kind
            self._leading = None
            self._new(piece, {"after": "before", "before": "after"}.get(kind, kind))

    def _give_leading_back(self) -> None:
        if self._leading is not None:
            self.units[-1].start = self._leading.begin
            self._leading = None

    # Clauses, their groups, and their claims.

    def _join(self, piece: Piece) -> None:
        unit = self.units[-1]
        changes = unit.reading.kind != "clause" and unit.stop - unit.start < READ
        unit.stop = piece.stop
        if changes:
            unit.reading = read_span(self.words, unit.start, unit.stop)
            unit.subject = self._subject(unit)
        self._note_background(unit)

    def _new(
        self, piece: Piece, kind: str, *, prefix: list[Word] | None = None
    ) -> Unit:
        """Begin a clause, with the group and claims that its link implies."""
        start, reading = piece.start, piece.reading
        if piece.lows[0] in _IN_FRONT and DETERMINERS.intersection(piece.lows[1:2]):
            start, reading = start + 1, read_span(self.words, start + 1, piece.stop)
        unit = Unit(self.words, start, piece.stop, reading, prefix or [])
        unit.subject = unit.prefix or self._subject(unit)
        if kind in _TOGETHER:
            self._hosts = self._hosts_of(piece.link)
        elif kind != "list" or piece.link.comma:
            self._hosts = []
        unit.hosts = self._hosts
        if kind in {"list"} | _TOGETHER:
            if unit.hosts and kind == "list":
                unit.is_timed = self.units[-1].is_timed
            unit.is_listed = kind == "list" and piece.link.comma
            self.groups[-1].units.append(unit)
        else:
            self._begin_group(unit, kind, piece.link)
        self.units.append(unit)
        self._note_background(unit)
        return unit

    def _hosts_of(self, link: Link) -> list[Unit]:
        """Return the clauses that "while" or "with" links the next one to."""
        group = self.groups[-1]
        last = [unit for unit in group.last_item().units if not unit.hosts]
        if last and not link.comma:
            return last
        return [unit for unit in group.units if not unit.hosts]

    def _begin_group(self, unit: Unit, kind: str, link: Link) -> None:
        group = Group([unit])
        if kind in _REVERSE:
            self.groups[-1].earlier.append(group)
        else:
            if kind in _FORWARD:
                group.earlier.append(self._main)
            if kind == "followed" and not link.comma:
                group.earlier = [self._main.last_item()]
            self._main = group
        self.groups.append(group)

    def _note_background(self, unit: Unit) -> None:
        """Exclude a background sound from the order: it sounds throughout."""
        units = self.groups[-1].units
        if unit is units[0] or "background" not in unit.tail[-3:]:
            return
        unit.is_timed = False
        if not unit.hosts:
            unit.hosts = [u for u in units if u is not unit and not u.hosts][-1:]

    def _subject(self, unit: Unit) -> list[Word]:
        """Return the words before a clause's verb, or a whole noun phrase."""
        start, stop = unit.start, unit.stop
        if unit.reading.kind == "clause":
            stop = start + unit.reading.verb
        elif unit.reading.kind not in {"noun", "sound"}:
            return []
        for at in range(start + 1, min(stop, start + _LONGEST_SUBJECT)):
            if self.words[at - 1].low == "," and self.words[at].low in RELATIVES:
                stop = at - 1  # "a train, which blows its horn, passes"
                break
        while stop > start and is_adverb(self.words[stop - 1].low):
            stop -= 1
        return self.words[start:stop] if stop - start <= _LONGEST_SUBJECT else []

    # How a piece is linked to the previous clause.

    def _tie(self, piece: Piece, unit: Unit) -> None:
        if piece.reading.kind == "rest" or unit.reading.kind == "rest":
            self._join(piece)
        elif piece.lows[0] in PRONOUNS:
            self._tie_pronoun(piece)
        elif piece.reading.kind == "phrase":
            self._tie_phrase(piece, unit)
        elif piece.link.kind == "list":
            self._coordinate(piece, unit)
        elif stands(unit, piece, piece.link.kind):
            self._new(piece, piece.link.kind)
        else:
            self._join(piece)

    def _coordinate(self, piece: Piece, unit: Unit) -> None:
        """Link two pieces that are separated by "and" or a comma."""
        link, kind = piece.link, piece.reading.kind
        if kind == "clause":
            joins = False
        elif link.conjunction:
            joins = shares_noun(unit, piece) or shares_tail(unit, piece)
        else:
            # "no sound but the wind", "a shuffling, clanking noise"
            joins = not link.comma or (len(unit.lows) == 2 and shares_tail(unit, piece))
        if joins or not (kind in {"clause", "sound"} or is_apart(unit, piece, link)):
            self._join(piece)
        else:
            self._new(piece, "list")

    def _tie_pronoun(self, piece: Piece) -> None:
        """Replace a pronoun by the last subject; in doubt, do not split."""
        kind, lows = piece.link.kind, piece.lows
        verb = 2 if kind == "list" and lows[1:2] == ["then"] else 1
        subject = self._meant_by(self.words[piece.start])
        if kind not in {"list", "then"} or verb >= len(lows) or not subject:
            self._join(piece)
            return
        if subject[0].low in PRONOUNS:
            self._new(piece, kind)
            return
        piece.start += verb
        form = read_span(self.words, piece.start, piece.stop).form
        piece.reading = Reading("clause", 0, form)
        self._new(piece, "then" if verb == 2 else kind, prefix=subject)

    def _meant_by(self, said: Word) -> list[Word]:
        """Return the last subject that a pronoun may refer to, or the pronoun."""
        excluded = {"he": NOT_HE, "she": NOT_SHE}.get(said.low, frozenset())
        for unit in reversed(self.units):
            lows = [word.low for word in unit.subject]
            if not lows or unit.reading.kind != "clause":
                continue
            if said.low == "they":
                several = is_plural(lows[-1]) or "and" in lows
                return unit.subject if several else [said]
            people = class_of(lows) == "people"
            fits = people == (said.low in {"he", "she"}) and not excluded & {*lows}
            if fits or lows[0] in PRONOUNS:
                return unit.subject
        return []

    def _tie_phrase(self, piece: Piece, unit: Unit) -> None:
        """Link a piece that begins with its verb."""
        kind, form = piece.link.kind, piece.reading.form
        verb = piece.lows[piece.reading.verb]
        if kind in {"with", "alongside", "followed", "preceded", "during"}:
            if kind == "with" and form != "ing" and verb not in EVENTS:
                self._join(piece)
            else:
                self._new_sound(piece)
        elif kind in {"while", "before", "after"} and form == "ing":
            subject = unit.subject if unit.reading.kind == "clause" else []
            sounds = is_sound_of([word.low for word in subject], verb)
            self._carry_or_join(piece, unit, subject if sounds else [])
        elif kind == "while":
            self._join(piece)
        elif form == "ing":
            self._tie_gerund(piece, unit)
        elif unit.reading.kind == "clause" and unit.subject:
            self._tie_verb(piece, unit, verb)
        else:
            self._tie_verb_to_noun(piece, unit, verb)

    def _new_sound(self, piece: Piece) -> None:
        """Treat an apparent verb as a noun: "rattling", "two beeps"."""
        piece.reading = Reading("sound")
        self._new(piece, piece.link.kind)

    def _carry_or_join(self, piece: Piece, unit: Unit, prefix: list[Word]) -> None:
        """Repeat a subject, with its auxiliary if `prefix` has one."""
        if not prefix:
            self._join(piece)
            return
        form = "be" if len(prefix) > len(unit.subject) else piece.reading.form
        piece.reading = Reading("clause", 0, form)
        self._new(piece, piece.link.kind, prefix=prefix).subject = unit.subject

    def _tie_gerund(self, piece: Piece, unit: Unit) -> None:
        listed = piece.link.kind == "list"
        subject = [word.low for word in unit.subject]
        verbal = unit.reading.kind == "clause" and unit.reading.form in {"ing", "be"}
        if listed and (shares_object(unit, piece) or shares_tail(unit, piece)):
            self._join(piece)
        elif verbal and subject and may_share_subject(unit, subject, piece):
            self._carry_or_join(piece, unit, self._with_auxiliary(unit))
        else:
            self._new_sound(piece)

    def _with_auxiliary(self, unit: Unit) -> list[Word]:
        """Return a subject and its auxiliary: "a man is" in "a man is talking"."""
        if unit.prefix:
            return unit.prefix
        verb = self.words[unit.start + unit.reading.verb]
        return unit.subject if is_gerund(verb.low) else [*unit.subject, verb]

    def _tie_verb(self, piece: Piece, unit: Unit, verb: str) -> None:
        """Link a finite verb or a participle to a clause, if the forms agree."""
        own, form = unit.reading.form, piece.reading.form
        listed, event = piece.link.kind == "list", verb in EVENTS
        if listed and shares_object(unit, piece):
            self._join(piece)
            return
        prefix = unit.subject
        if form == "base" and own != "base":
            prefix = self._up_to_infinitive(unit)
        elif form == "ed" and own == "be":
            prefix = self._with_auxiliary(unit)
        elif event and ((own == "ing" and listed) or (own == "base" and form == "s")):
            prefix = []
        if event and not prefix:
            self._new_sound(piece)
        else:
            self._carry_or_join(piece, unit, prefix)

    def _up_to_infinitive(self, unit: Unit) -> list[Word]:
        """Return "a man begins to" in "a man begins to laugh"; nothing without "to"."""
        stop = min(unit.stop, unit.start + _LONGEST_SUBJECT)
        for at in range(unit.start, stop - 1):
            if self.words[at].low == "to" and verb_form(self.words[at + 1].low):
                return [*unit.prefix, *self.words[unit.start : at + 1]]
        return []

    def _tie_verb_to_noun(self, piece: Piece, unit: Unit, verb: str) -> None:
        """Link a verb to a noun: "a crowd" and "then cheers", "a bang" and "echoes"."""
        link = piece.link
        one = unit.lows[0] in DETERMINERS | PEOPLE
        if piece.reading.form == "base" and verb in EVENTS:
            self._new_sound(piece)  # "a bell, then thunder"
        elif unit.reading.kind in {"noun", "sound"} and link.kind == "then" and one:
            group = self.groups[-1].units
            inner = not (link.comma or link.conjunction or unit.hosts)
            if inner and len(group) > 1:  # "a man speaks, a crowd then cheers"
                group.pop()
                self.units.pop()
                self._carry_or_join(piece, unit, unit.subject)
            elif inner or unit.hosts:
                self._join(piece)
            else:
                self._carry_or_join(piece, unit, unit.subject)
        elif verb in EVENTS or link.kind != "list":
            self._new_sound(piece)
        else:
            self._join(piece)
