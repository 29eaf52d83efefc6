import json
import re
import shutil

import numpy as np
import pytest
import soundfile as sf

from clapstack.cli.tables import join_by_key, read_by_key, read_rated, remarks
from clapstack.exceptions import BadRowsError
from clapstack.scoring.tables import PairTable

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
    assert (
        remarks(read)[0]
        == "3 rows with 2 distinct pairs: the ratings of repeated pairs are averaged"
    )


def test_a_text_that_is_no_utf_8_does_not_stop_the_remarks(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"audio,text,score\na,caf\xe9,7\nb,caf\xe9,3\n")
    (words,) = remarks(read_rated(PairTable(path, roles=ROLES)))
    assert words.startswith("2 of 2 pairs share their text")


def test_pairs_that_share_a_text_or_a_clip_are_remarked_unless_there_are_groups(rated):
    lines = ["a,x,1,1", "b,x,5,1", "c,y,4,2"]
    (words,) = remarks(rated(*lines))
    assert words.startswith(
        "2 of 3 pairs share their text with another pair; --groups text"
    )
    assert remarks(rated(*lines, groups="g")) == []


@pytest.mark.parametrize(
    ("groups", "expected"), [("g", ["1", "2"]), ("text", ["x", "y"])]
)
def test_groups_are_any_column(rated, groups, expected):
    read = rated("a,x,1,1", "b,y,5,2", "a,x,2,1", groups=groups)
    assert read.groups.tolist() == expected


@pytest.fixture
def same_clip(tmp_path):
    """Return names of one clip: as it is, from here, from the root, a link, a copy."""
    sf.write(tmp_path / "a.wav", np.linspace(-0.5, 0.5, 800), 8_000)
    (tmp_path / "link.wav").symlink_to(tmp_path / "a.wav")
    shutil.copy(tmp_path / "a.wav", tmp_path / "copy.wav")
    return ["a.wav", "./a.wav", tmp_path / "a.wav", "link.wav", "copy.wav"]


def test_ratings_of_one_clip_by_other_names_are_of_one_pair(rated, same_clip):
    read = rated(*(f"{name},x,{score}," for score, name in enumerate(same_clip)))
    assert read.y.tolist() == [2]


def test_texts_that_differ_in_white_space_or_unicode_form_are_one(rated):
    read = rated("a,a caf\u00e9,1,", "a,a  cafe\u0301 ,3,", "a,A caf\u00e9,9,")
    assert read.y.tolist() == [2, 9]
    assert read.pairs["text"].tolist() == ["a caf\u00e9", "A caf\u00e9"]


def test_a_clip_by_other_names_is_one_group(rated, same_clip):
    lines = [f"{name},text {i},1," for i, name in enumerate(same_clip)]
    read = rated(*lines, "other.wav,x,1,", groups="audio")
    assert len(read.y) == 6
    assert len(set(read.groups[:5])) == 1
    assert read.groups[5] not in read.groups[:5]
    assert (
        "5 of 6 pairs share their audio with another"
        in remarks(rated(*lines, "o,x,1,"))[0]
    )


def test_null_is_not_the_text_none(tmp_path):
    lines = [{"text": None}, {"text": "None"}, {"text": None}, {"audio": None}]
    path = tmp_path / "t.jsonl"
    rows = ({"audio": "a", "text": "x", "score": 1, **line} for line in lines)
    path.write_text("\n".join(map(json.dumps, rows)))
    read = read_rated(PairTable(path, roles=ROLES))
    assert read.pairs["text"].tolist() == [None, "None", None, "x"]


def test_rows_without_a_group_are_named(rated):
    message = (
        "the group column 'g' is empty in row 1 (''), row 3 (' '). Correct the table "
    )
    with pytest.raises(BadRowsError, match=re.escape(message + "in line 3, 5.")):
        rated("a,x,1,p", "b,x,1,", "c,x,1,p", "d,x,1, ", groups="g")


@pytest.mark.parametrize("rating", ["7_5", "٣", '"7,5"', "0x7", "1e400", "inf", "TRUE"])
def test_what_is_no_plain_number_is_no_rating(rated, rating):
    with pytest.raises(
        BadRowsError, match=r"not a finite number in row 1 .* in line 3"
    ):
        rated("a,x,1,", f"b,x,{rating},")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "has no rows"),
        (["a,x,1,", "b,x,,", "c,x,nan,"], "in row 1 (''), row 2 ('nan'). Correct"),
        (["a,x,1,1", "a,x,2,2"], "row 1: the pair is in two groups, '1' and '2'"),
    ],
)
def test_ratings_that_cannot_be_used_are_named(rated, lines, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        rated(*lines, groups="g")


def test_predictions_are_matched_by_key_in_any_order(by_key):
    truth = by_key("score", ["id"], "id,score", "p,1", "q,2", "p,3")
    scores = by_key("prediction", ["id"], "pred_score,id", "7,q", ",p")
    y, predicted = join_by_key(truth, scores)
    assert y.tolist() == [2, 2]
    np.testing.assert_array_equal(predicted, [np.nan, 7])


def test_two_predictions_for_a_key_are_refused(by_key):
    with pytest.raises(ValueError, match=r"for the same key in row 2 \(p\)"):
        by_key("prediction", ["id"], "id,score", "p,1", "q,1", "p,1")


@pytest.mark.parametrize(
    ("ids", "message"),
    [("p", "no prediction for q"), ("pqr", r"score\.csv has no row for r \(1 of 3\)")],
)
def test_what_has_no_partner_is_named(by_key, ids, message):
    truth = by_key("score", ["id"], "id,score", "p,1", "q,2")
    lines = [f"{each},1" for each in ids]
    with pytest.raises(ValueError, match=message):
        join_by_key(truth, by_key("prediction", ["id"], "id,score", *lines))


def test_keys_stay_as_they_are(by_key):
    truth = by_key("score", ["id"], "id,score", "007,1", "7,2")
    scores = by_key("prediction", ["id"], "id,score", "7,20", "007,10")
    y, predicted = join_by_key(truth, scores)
    assert list(zip(y, predicted, strict=True)) == [(1, 10), (2, 20)]


def test_rows_without_a_key_are_named(by_key):
    with pytest.raises(BadRowsError, match=r"key is empty in row 1 \(''\).* line 3"):
        by_key("prediction", ["id"], "id,score", "p,1", ",2")


def test_numbers_in_json_match_their_digits_in_csv(tmp_path, by_key):
    path = tmp_path / "p.jsonl"
    path.write_text('{"id": 7, "score": 1}\n{"id": 8.0, "score": 2}\n')
    scores = read_by_key(
        PairTable(path, roles=("prediction",), others=["id"]), "prediction", ["id"]
    )
    truth = by_key("score", ["id"], "id,score", "8,5", "7,6")
    y, predicted = join_by_key(truth, scores)
    assert list(zip(y, predicted, strict=True)) == [(5, 2), (6, 1)]
