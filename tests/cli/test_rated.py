import re

import numpy as np
import pytest

from clapstack._tabular import PairTable, join_by_key, read_by_key, read_rated, remarks

ROLES = ("audio", "text", "score")


@pytest.fixture
def rated(tmp_path):
    """Read rated pairs from lines of CSV."""

    def read(*lines, groups=None):
        path = tmp_path / "t.csv"
        path.write_text("\n".join(["audio,text,score,g", *lines]) + "\n")
        others = ["g"] if groups == "g" else []
        return read_rated(PairTable(path, roles=ROLES, others=others), groups)

    return read


@pytest.fixture
def by_key(tmp_path):
    def read(role, keys, *lines):
        path = tmp_path / f"{role}.csv"
        path.write_text("\n".join(lines) + "\n")
        return read_by_key(PairTable(path, roles=(role,), others=keys), role, keys)

    return read


def test_ratings_of_one_pair_are_averaged(rated):
    read = rated("a,x,1,", "b,x,5,", "a,x,4,")
    assert read.y.tolist() == [2.5, 5]
    assert [name[-1] for name in read.pairs["audio"]] == ["a", "b"]
    assert read.n_ratings == 3
    assert remarks(read)[0] == "3 ratings of 2 pairs; each pair has the mean"


def test_pairs_that_share_a_text_or_a_clip_are_told_unless_there_are_groups(rated):
    lines = ["a,x,1,1", "b,x,5,1", "c,y,4,2"]
    (words,) = remarks(rated(*lines))
    assert words.startswith("2 of 3 pairs share their text with another; --groups text")
    assert remarks(rated(*lines, groups="g")) == []


@pytest.mark.parametrize(
    ("groups", "expected"), [("g", ["1", "2"]), ("text", ["x", "y"])]
)
def test_groups_are_any_column(rated, groups, expected):
    read = rated("a,x,1,1", "b,y,5,2", "a,x,2,1", groups=groups)
    assert read.groups.tolist() == expected


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "has no rows"),
        (["a,x,1,", "b,x,,", "c,x,nan,"], "in row 1 (''), row 2 ('nan'). Correct"),
        (["a,x,1,1", "a,x,2,2"], "row 1: the pair stands in the groups '1' and '2'"),
    ],
)
def test_ratings_that_cannot_be_used_are_named(rated, lines, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        rated(*lines, groups="g")


def test_predictions_are_matched_by_key_whatever_their_order(by_key):
    truth = by_key("score", ["id"], "id,score", "p,1", "q,2", "p,3")
    scores = by_key("prediction", ["id"], "pred_score,id", "7,q", ",p")
    y, predicted = join_by_key(truth, scores)
    assert y.tolist() == [2, 2]
    np.testing.assert_array_equal(predicted, [np.nan, 7])


def test_two_predictions_for_a_key_are_refused(by_key):
    with pytest.raises(ValueError, match=r"stands before row 2 \(p\)"):
        by_key("prediction", ["id"], "id,score", "p,1", "q,1", "p,1")


@pytest.mark.parametrize(
    ("ids", "message"), [("p", "no prediction for q"), ("pqr", "no rating for r")]
)
def test_what_has_no_partner_is_named(by_key, ids, message):
    truth = by_key("score", ["id"], "id,score", "p,1", "q,2")
    lines = [f"{each},1" for each in ids]
    with pytest.raises(ValueError, match=message):
        join_by_key(truth, by_key("prediction", ["id"], "id,score", *lines))
