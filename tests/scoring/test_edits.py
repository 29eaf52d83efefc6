"""Edits of captions and clips."""

import numpy as np
import pytest

from clapstack.scoring.tables._edits import (
    EDITS,
    KINDS,
    edited_clip,
    edited_text,
    steps_of,
)

RATE = 16_000


def edited(edit, text, other="a cat meows", seed=0):
    return edited_text(edit, text, other, np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("edit", "text", "expected"),
    [
        ("swap", "A dog barks, then a bell rings", "a bell rings, then a dog barks"),
        ("swap", "After a bell rings, A man talks", "a man talks, then a bell rings"),
        ("swap", "rain and thunder, then a bell", "a bell, then rain and thunder"),
        ("swap", "a dog barks and a bell rings", None),
        ("swap", "a dog barks", None),
        ("drop", "a dog barks", None),
        ("add", "A dog barks", "a dog barks and a cat meows"),
        ("add", "rain, then a bell", "rain, then a bell and a cat meows"),
        ("replace", "A dog barks", "a cat meows"),
        ("negate", "A dog barks", "no dog barks"),
        ("negate", "the rain falls", "no rain falls"),
        ("negate", "no rain falls", "rain falls"),
        ("reword", "A dog barks followed by DJ music", "a dog barks, then DJ music"),
        ("reword", "a dog barks", None),
        ("case", "a dog barks", "A DOG BARKS"),
        ("case", "犬が吠える", None),
        ("whitespace", "a dog barks", " a  dog  barks "),
    ],
)
def test_captions_are_edited(edit, text, expected):
    assert edited(edit, text) == expected


@pytest.mark.parametrize("edit", ["add", "replace"])
def test_without_another_clause_nothing_is_added(edit):
    assert edited(edit, "a dog barks", other=None) is None


@pytest.mark.parametrize("edit", ["drop", "replace", "negate"])
def test_every_clause_may_be_drawn(edit):
    text = "a dog barks and a bell rings, then rain falls"
    found = {edited(edit, text, seed=seed) for seed in range(30)}
    assert len(found) == 3


def test_a_step_without_clauses_is_no_step():
    found = {edited("drop", "rain falls, then a bell rings", seed=s) for s in range(20)}
    assert found == {"rain falls", "a bell rings"}


def test_a_reworded_caption_has_the_same_clauses_and_order():
    for text in (
        "rain, then a dog barks and a cat meows",
        "A bell rings before rain falls",
    ):
        assert steps_of(edited("reword", text) or text) == steps_of(text)


def test_edits_of_clips_have_the_documented_size():
    rng = np.random.default_rng(0)
    clip = 0.1 * rng.normal(size=RATE).astype(np.float32)
    power = np.mean(clip**2)
    noisy = edited_clip("noise", clip, np.random.default_rng(1))
    assert 10 * np.log10(power / np.mean((noisy - clip) ** 2)) == pytest.approx(
        10, 0.02
    )
    quiet = edited_clip("level", clip, rng)
    assert 10 * np.log10(power / np.mean(quiet**2)) == pytest.approx(20)
    np.testing.assert_array_equal(edited_clip("truncation", clip[:9], rng), clip[:5])
    kinds = {edited_clip(e, clip, rng).dtype for e in EDITS if KINDS[e] == "clip"}
    assert kinds == {np.dtype(np.float32)}
