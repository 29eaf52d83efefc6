"""Splitting of many captions, rejected input, and properties of any text."""

import re
import string
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clapstack.captions import Clauses, split_clauses
from clapstack.datasets import simulate_caption, simulate_scene, sound_classes

# One caption a line: "caption -> clause | clause ; 0<1 0=1", where 0<1 says that clause
# 0 comes first, 0=1 that both sound together; a line without an arrow is one clause.
TABLE = Path(__file__).with_name("captions.txt").read_text(encoding="utf-8")
LINES = [line for line in TABLE.splitlines() if line and not line.startswith("#")]
CAPTIONS = [line.partition(" -> ")[0] for line in LINES]
SIGNS = string.punctuation + "…’"


def clauses_of(line):
    """Return the caption and the clauses in a line of the table."""
    caption, arrow, expected = line.partition(" -> ")
    if not arrow:
        return caption, Clauses((caption.strip(),))
    texts, _, claims = expected.partition(" ; ")

    def pairs(sign):
        found = re.findall(rf"(\d+){sign}(\d+)", claims)
        return tuple((int(i), int(j)) for i, j in found)

    return caption, Clauses(tuple(texts.split(" | ")), pairs("<"), pairs("="))


def test_captions_of_all_shapes():
    wrong = {}
    for line in LINES:
        caption, expected = clauses_of(line)
        found = split_clauses(caption)
        if found != expected:
            wrong[caption] = found
    assert not wrong
    assert len(LINES) > 250


def test_a_clause_split_again_is_that_clause():
    for caption in CAPTIONS:
        for text in split_clauses(caption).texts:
            assert split_clauses(text) == Clauses((text,)), caption


def test_case_and_white_space_change_no_claim():
    for caption in CAPTIONS:
        plain = split_clauses(caption)
        loud = split_clauses(caption.upper())
        assert [text.upper() for text in plain.texts] == [*loud.texts], caption
        assert (plain.order, plain.together) == (loud.order, loud.together)
        spaced = split_clauses(f"\n {caption.replace(' ', '  ')}\t")
        assert (plain.order, plain.together) == (spaced.order, spaced.together)
        if len(plain.texts) > 1:
            assert plain.texts == spaced.texts


def test_simulated_captions_say_their_sounds_and_their_order():
    classes, n_captions, n_whole = sound_classes(), 2000, 0
    for seed in range(n_captions):
        rng = np.random.default_rng([16, seed])
        caption = simulate_caption(simulate_scene(rng), rng)
        found = split_clauses(caption.text)
        in_order = caption.relation == "sequence"
        if len(found.texts) < len(caption.names) and not in_order:
            n_whole += 1  # such as "a truck pulling away with an electric guitar"
            continue
        for text, name in zip(found.texts, caption.names, strict=True):
            assert any(words in text for words in classes[name].words), caption.text
        chain = tuple(pairwise(range(len(caption.names))))
        assert found.order == (chain if in_order else ()), caption.text
    assert n_whole < 0.02 * n_captions


@pytest.mark.parametrize("caption", [None, 3, b"a dog barks", ["a dog barks"], np.nan])
def test_what_is_no_string_is_refused(caption):
    with pytest.raises(TypeError, match=r"caption must be a string; got .*Fill it in"):
        split_clauses(caption)


def test_more_than_64_clauses_are_no_caption():
    most = ", ".join(f"bell {k} rings" for k in range(64))
    assert len(split_clauses(most).texts) == 64
    more = f"{most}, a dog barks"
    assert split_clauses(f" {more} ") == Clauses((more,))


@pytest.mark.parametrize(
    "unit", ["a dog barks and whines and ", "and the ", "a man and a ", "......", " ,"]
)
def test_a_long_text_ends(unit):
    text = (unit * 20_000)[:20_000]
    assert split_clauses(text) == Clauses((text.strip(),))


# In any order, what the rules know and what they do not.
WORDS = (
    "a the some dog dogs man woman crowd music bang siren engine loud softly barks "
    "bark barking barked speaks is are rustling splashing of in background distance "
    "it he they who that which and , ; . but then followed by before after until once "
    "while as with together along during preceded seconds few later silence to open "
    "opens closed first nearby afterwards xyz's 3 ( -"
)
SALAD = st.lists(st.sampled_from(WORDS.split(" ")), max_size=30).map(" ".join)


@given(st.one_of(st.text(), SALAD))
def test_any_text_gives_clauses_of_its_words_and_claims_about_them(text):
    found = split_clauses(text)
    assert found == split_clauses(text)
    said = {word.strip(SIGNS) for word in re.split(r"[\s,;]+", text)}
    for clause in found.texts:
        words = {word.strip(SIGNS) for word in re.split(r"[\s,;]+", clause)}
        assert words <= said | {""}
    if len(found.texts) > 1:
        assert all(clause.strip(SIGNS + " ") for clause in found.texts)
    for claims in (found.order, found.together):
        assert claims == tuple(sorted(set(claims)))
        for i, j in claims:
            assert i != j
            assert 0 <= i < len(found.texts)
            assert 0 <= j < len(found.texts)


@given(SALAD)
def test_claimed_orders_have_no_circle(text):
    found = split_clauses(text)
    left = set(range(len(found.texts)))
    while left:
        free = {
            j for j in left if not any(b == j and a in left for a, b in found.order)
        }
        assert free, text
        left -= free


SUBJECTS = st.sampled_from(["a dog", "the crowd", "an old engine", "birds", "someone"])
VERBS = st.sampled_from(["barks", "is humming", "speaking loudly", "rattles a chain"])
SIMPLE = st.tuples(SUBJECTS, VERBS).map(" ".join)
LINKS = st.sampled_from(
    [", then ", " and ", ", ", " followed by ", " while ", " after "]
)


@given(SIMPLE, st.lists(st.tuples(LINKS, SIMPLE), min_size=1, max_size=6))
def test_clauses_with_a_subject_each_come_back_as_they_were(first, others):
    caption = first + "".join(link + clause for link, clause in others)
    found = split_clauses(caption)
    assert found.texts == (first, *(clause for _, clause in others))
    n_orders = sum(
        link in {", then ", " followed by ", " after "} for link, _ in others
    )
    assert len(found.order) >= n_orders
    assert bool(found.together) == any(link == " while " for link, _ in others)
