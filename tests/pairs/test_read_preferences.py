"""Tables of comparisons between two clips for a text."""

import numpy as np
import pandas as pd
import pytest

from clapstack.pairs import read_preferences

ROWS = [
    ("a dog barks", "v1.wav", "v2.wav", "a"),
    ("a  dog barks ", "v3.wav", "./v1.wav", "TIE"),
    ("rain", "v1.wav", "v2.wav", " b"),
]
TABLE = pd.DataFrame(ROWS, columns=["text", "audio_a", "audio_b", "winner"])


def test_each_pair_is_listed_once():
    X, preferences, groups = read_preferences(TABLE)
    assert X.to_numpy().tolist() == [
        ["v1.wav", "a dog barks"],
        ["v2.wav", "a dog barks"],
        ["v3.wav", "a dog barks"],
        ["v1.wav", "rain"],
        ["v2.wav", "rain"],
    ]
    assert preferences.tolist() == [[0, 1, 1], [2, 0, 0.5], [3, 4, 0]]
    assert groups.tolist() == [0, 0, 0, 1, 1]


@pytest.mark.parametrize("labels", [(1, 2, 0), ("1", "2", "0"), (1.0, 2.0, 0.0)])
def test_winners_may_be_numbers_and_columns_have_other_names(labels):
    table = pd.DataFrame(
        {"p": ["x", "x"], "l": ["1", "2"], "r": ["2", "3"], "w": [2, 0]}
    )
    found = read_preferences(
        table, text="p", first="l", second="r", winner="w", labels=labels
    )
    assert found.preferences.tolist() == [[0, 1, 0], [1, 2, 0.5]]


def test_clips_may_be_samples():
    a, b = np.zeros(100, np.float32), np.ones(100, np.float32)
    table = pd.DataFrame(
        {
            "text": ["x", "x"],
            "audio_a": [(a, 16_000), (b, 16_000)],
            "audio_b": [(b, 16_000), (a + 0.5, 16_000)],
            "winner": ["a", "b"],
        }
    )
    X, preferences, _ = read_preferences(table)
    assert len(X) == 3
    assert preferences[:, :2].tolist() == [[0, 1], [1, 2]]
    assert X["audio"][1][0] is b


def test_polars_tables_are_tables():
    pl = pytest.importorskip("polars")
    found = read_preferences(pl.DataFrame(TABLE.to_dict("list")))
    assert found.preferences.tolist() == read_preferences(TABLE).preferences.tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"winner": ["a", "c", "b"]}, r"not one of \('a', 'b', 'tie'\).* \(rows 1\)"),
        ({"winner": ["a", None, "b"]}, r"not one of .* \(rows 1\).*labels="),
        ({"text": ["a", " ", 3]}, r"text that is empty .* \(rows 1, 2\)"),
        (
            {"audio_b": ["v1.wav", "x", "./v1.wav"]},
            r"the same clip on both .* \(rows 0, 2",
        ),
    ],
)
def test_invalid_comparisons_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        read_preferences(TABLE.assign(**change))


def test_a_missing_column_is_named():
    with pytest.raises(ValueError, match="no column audio_b; it has"):
        read_preferences(TABLE.drop(columns="audio_b"))
    with pytest.raises(TypeError, match=r"Use pandas\.DataFrame"):
        read_preferences(ROWS)
