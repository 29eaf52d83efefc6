import numpy as np
import pandas as pd
import pytest

from clapstack.scoring import rank_candidates


@pytest.fixture
def table():
    return pd.DataFrame(
        {
            "prompt": ["rain", "dog", "rain", "dog", "rain ", "bell"],
            "score": [1.0, 5.0, 4.0, 5.0, np.nan, np.nan],
        },
        index=list("abcdef"),
    )


def test_best_worst_gain_margin_and_ties_of_each_prompt(table):
    ranked = rank_candidates(table, prompt="prompt", score="score").set_index("prompt")
    assert list(ranked.index) == ["rain", "dog", "bell"]
    rain = ranked.loc["rain"]
    assert (rain["best"], rain["worst"]) == ("c", "a")
    assert (rain["n"], rain["n_unscored"], rain["n_tied"]) == (2, 1, 1)
    assert (rain["gain"], rain["margin"], rain["mean"]) == (1.5, 3.0, 2.5)
    dog = ranked.loc["dog"]
    assert (dog["best"], dog["n_tied"], dog["margin"], dog["gain"]) == ("b", 2, 0, 0)


def test_a_prompt_without_any_score_has_no_best(table):
    bell = rank_candidates(table, prompt="prompt", score="score").iloc[2]
    assert bell["best"] is None
    assert (bell["n"], bell["n_unscored"], bell["n_tied"]) == (0, 1, 0)
    assert bell[["best_score", "worst_score", "mean", "gain", "margin"]].isna().all()


def test_the_gain_is_that_of_best_of_n_over_a_random_one():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"text": np.repeat(np.arange(500), 4)})
    table["score"] = rng.normal(size=2000)
    gain = rank_candidates(table, prompt="text", score="score")["gain"].mean()
    assert gain == pytest.approx(1.03, abs=0.1)  # the mean of the largest of 4 normals


def test_other_tables_are_ranked(table):
    polars = pytest.importorskip("polars")
    ranked = rank_candidates(polars.DataFrame(table), prompt="prompt", score="score")
    assert ranked["best"].tolist()[:2] == [2, 1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"prompt": [None] * 6},
            r"6 of 6 candidates have no prompt \(rows 0, .*Fill it in",
        ),
        ({"score": [np.inf, 1, 2, 3, 4, 5]}, r"an infinite score.*rows 0"),
        ({"score": list("abcdef")}, "scores must be numbers"),
    ],
)
def test_what_cannot_be_ranked_is_named(table, change, message):
    with pytest.raises(ValueError, match=message):
        rank_candidates(table.assign(**change), prompt="prompt", score="score")


def test_a_table_without_the_columns_is_refused(table):
    with pytest.raises(ValueError, match=r"\['text'\] are missing"):
        rank_candidates(table, prompt="text", score="score")
    with pytest.raises(ValueError, match="index of table has duplicate labels"):
        rank_candidates(table.set_axis(list("aabcde")), prompt="prompt", score="score")
    with pytest.raises(ValueError, match="the table has no rows"):
        rank_candidates(table[:0], prompt="prompt", score="score")
    with pytest.raises(TypeError, match="got list"):
        rank_candidates([1], prompt="prompt", score="score")
