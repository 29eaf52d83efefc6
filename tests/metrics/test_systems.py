"""Comparison of systems by the scores of their clips for shared prompts."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from clapstack.metrics import compare_systems, ktau, lcc, srcc


def made_clips(rng, n_prompts=20, effects=(0.0, 0.3, 0.5), draw=None):
    """Return one row per clip, with 1 to 4 clips per prompt and system."""
    draw = draw or (lambda size: rng.normal(size=size))
    shape = (len(effects), n_prompts)
    counts = rng.integers(1, 5, size=shape)
    cells = 5 + np.array(effects)[:, None] + draw(n_prompts) + 0.7 * draw(shape)
    system, prompt = np.divmod(
        np.repeat(np.arange(counts.size), counts.flat), n_prompts
    )
    return pd.DataFrame(
        {
            "system": np.array(["a", "b", "c", "d", "e", "f"])[system],
            "text": prompt,
            "score": cells[system, prompt] + draw(len(system)),
        }
    )


@pytest.fixture
def clips():
    return made_clips(np.random.default_rng(0))


def test_a_mean_is_over_prompts_of_the_mean_over_clips(clips):
    means = compare_systems(clips).means
    by_prompt = clips.groupby(["system", "text"])["score"].mean()
    assert list(means.index) == ["a", "b", "c"]
    for name, row in means.iterrows():
        expected = stats.ttest_1samp(by_prompt[name], 0).confidence_interval(0.95)
        assert row["mean"] == pytest.approx(by_prompt[name].mean())
        assert_allclose(row[["low", "high"]].astype(float), expected)
        assert row["n_clips"] == (clips["system"] == name).sum()
        assert row["n_prompts"] == 20


def test_differences_are_paired_t_tests_on_shared_prompts(clips):
    clips = clips[(clips["system"] != "b") | (clips["text"] > 7)]
    found = compare_systems(clips, coverage=0.9).differences
    assert list(found.index) == [("a", "b"), ("a", "c"), ("b", "c")]
    by_prompt = clips.groupby(["text", "system"])["score"].mean().unstack()
    for pair, row in found.iterrows():
        both = by_prompt[list(pair)].dropna()
        test = stats.ttest_rel(*both.to_numpy().T)
        assert row["n_prompts"] == len(both) == (20 if pair == ("a", "c") else 12)
        assert row["p_value"] == pytest.approx(test.pvalue)
        ends = test.confidence_interval(0.9)
        assert_allclose(row[["low", "high"]].astype(float), ends)


def test_p_better_compares_all_clips_of_a_prompt_and_counts_ties_half(clips):
    clips = clips.assign(score=clips["score"].round(0))
    found = compare_systems(clips).differences["p_better"]
    for pair, share in found.items():
        by_prompt = [
            np.mean([0.5 * (1 + np.sign(x - y)) for x in one for y in other])
            for one, other in (
                [part.loc[part["system"] == name, "score"] for name in pair]
                for _, part in clips.groupby("text")
            )
        ]
        assert share == pytest.approx(np.mean(by_prompt))


def test_p_values_are_adjusted_as_holm_does(clips):
    found = compare_systems(clips).differences
    small, middle, large = np.sort(found["p_value"])
    expected = np.maximum.accumulate([3 * small, 2 * middle, large]).clip(max=1)
    assert_allclose(np.sort(found["p_adjusted"]), expected)
    assert (found.sort_values("p_value")["p_adjusted"].diff().dropna() >= 0).all()


def test_arrays_and_other_names_and_orders_give_the_same(clips):
    whole = compare_systems(clips)
    arrays = compare_systems(
        clips["score"].tolist(), system=clips["system"], prompt=clips["text"].to_numpy()
    )
    renamed = clips.set_axis(["model", "prompt", "clap"], axis=1).iloc[::-1]
    other = compare_systems(renamed, system="model", prompt="prompt", score="clap")
    pd.testing.assert_frame_equal(arrays.differences, whole.differences)
    pd.testing.assert_frame_equal(other.means.loc[list("abc")], whole.means)
    swapped = other.differences.loc[("b", "a")]
    apart = whole.differences.loc[("a", "b"), "difference"]
    assert swapped["difference"] == pytest.approx(-apart)


def test_any_names_of_systems_are_kept():
    names = [1, "1", ("v", 2)]
    found = compare_systems(
        [1.0, 2, 3, 4, 5, 7], system=names * 2, prompt=[0, 0, 0, 1, 1, 1]
    )
    assert list(found.means.index) == names
    assert list(found.differences.index) == [
        (1, "1"),
        (1, ("v", 2)),
        ("1", ("v", 2)),
    ]


def test_a_copy_of_a_system_is_no_better_in_any_order_of_its_clips(clips):
    own = clips[clips["system"] == "a"]
    copy = own.sample(frac=1, random_state=0).assign(system="copy")
    row = compare_systems(pd.concat([own, copy])).differences.iloc[0]
    assert row[["difference", "low", "high"]].tolist() == [0, 0, 0]
    assert (row["p_value"], row["p_better"]) == (1, 0.5)


def test_systems_without_shared_prompts_have_no_difference(clips):
    alone = clips[clips["system"] == "a"].assign(system="x", text=lambda t: t.text + 90)
    found = compare_systems(pd.concat([clips, alone]))
    assert len(found.means) == 4
    row = found.differences.loc[("a", "x")]
    assert row["n_prompts"] == 0
    assert row.drop("n_prompts").isna().all()
    whole = compare_systems(clips).differences
    pd.testing.assert_series_equal(
        found.differences.loc[("a", "b")], whole.loc[("a", "b")]
    )


def test_a_verdict_names_what_is_better_and_what_is_not_shown_to_be():
    rng = np.random.default_rng(3)
    clips = made_clips(rng, 30, effects=(0, 0.01, 3))
    assert compare_systems(clips).verdict() == "c is better than a, b."
    two = compare_systems(clips[clips["system"] != "c"])
    best, other = two.means["mean"].sort_values().index[::-1]
    expected = f"{best} has the highest mean; no significant difference from {other}."
    assert two.verdict() == expected
    # Easy prompts that only "a" has make its mean the highest.
    easy = clips[clips["system"] == "a"].assign(
        text=lambda t: -1 - t["text"], score=lambda t: t["score"] + 50
    )
    unlike = compare_systems(pd.concat([clips, easy]))
    assert unlike.verdict().startswith("a has the highest mean; c is better than it on")


def test_agreement_with_ratings_is_of_the_means_of_rated_clips():
    rng = np.random.default_rng(1)
    clips = made_clips(rng, effects=np.linspace(0, 1, 6))
    clips["rating"] = clips["score"] + rng.normal(size=len(clips))
    clips.loc[rng.uniform(size=len(clips)) < 0.1, "rating"] = np.nan
    found = compare_systems(clips, ratings="rating")
    rated = clips.dropna().groupby(["system", "text"])[["score", "rating"]].mean()
    means = rated.groupby("system").mean()
    assert_allclose(found.means["rating"], means["rating"])
    assert list(found.agreement.index) == ["srcc", "lcc", "ktau"]
    for metric in (srcc, lcc, ktau):
        row = found.agreement.loc[metric.__name__]
        assert row["value"] == pytest.approx(metric(means["rating"], means["score"]))
        assert -1 <= row["low"] < row["value"] <= row["high"] <= 1
        assert row["n_systems"] == 6
    ends = stats.pearsonr(*means.to_numpy().T).confidence_interval(0.95)
    assert_allclose(found.agreement.loc["lcc", ["low", "high"]], ends)


def test_full_agreement_of_ranks_of_few_systems_is_not_certain():
    rng = np.random.default_rng(0)
    clips = made_clips(rng, effects=np.arange(5) * 3)
    found = compare_systems(clips, ratings="score").agreement
    assert found.loc["srcc", ["value", "high"]].tolist() == pytest.approx([1, 1])
    assert found.loc["srcc", "low"] < 0.5
    few = compare_systems(clips[clips["system"] < "d"], ratings="score").agreement
    assert few[["low", "high"]].isna().all(axis=None)


def test_intervals_cover_the_truth_where_clips_of_a_prompt_are_alike():
    rng = np.random.default_rng(2)
    held, clipwise = [], []
    for _ in range(80):
        clips = made_clips(rng, 20, draw=lambda size: rng.exponential(size=size) - 1)
        found = compare_systems(clips)
        truths = {"a": 5.0, "b": 5.3, "c": 5.5}
        for name, row in found.means.iterrows():
            held.append(row["low"] <= truths[name] <= row["high"])
            own = clips.loc[clips["system"] == name, "score"]
            low, high = stats.ttest_1samp(own, 0).confidence_interval()
            clipwise.append(low <= truths[name] <= high)
        for (one, other), row in found.differences.iterrows():
            held.append(row["low"] <= truths[one] - truths[other] <= row["high"])
    assert 0.92 <= np.mean(held) <= 0.98
    assert np.mean(clipwise) < 0.85


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: {"scores": t, "system": "model"},
            r"\['model'\] are missing or repeated",
        ),
        (
            lambda t: {"scores": t, "score": "clap"},
            r"\['clap'\] are missing or repeated",
        ),
        (lambda t: {"scores": t["score"]}, "a column, but scores is not a table"),
        (
            lambda t: {"scores": t[t["system"] == "a"]},
            "all clips come from one system, 'a'",
        ),
        (
            lambda t: {"scores": t.assign(score=np.where(t.index == 3, np.nan, 1.0))},
            r"scores has NaN or infinity in 1 of \d+ rows \(rows 3\)",
        ),
        (
            lambda t: {"scores": t.assign(text=t["text"].where(t.index != 4))},
            r"prompt has missing values in 1 of \d+ rows \(rows 4\)",
        ),
        (
            lambda t: {"scores": t, "prompt": ["x"]},
            r"prompt must have shape \(\d+,\), like the scores; got \(1,\)",
        ),
        (
            lambda t: {"scores": t.assign(text=range(len(t)))},
            "no two systems share two prompts",
        ),
        (lambda t: {"scores": t.head(0)}, "scores must have one number per clip"),
        (lambda t: {"scores": t, "ratings": [1.0]}, "ratings must have shape"),
        (
            lambda t: {"scores": t, "ratings": np.full(len(t), np.inf)},
            "ratings has NaN or infinity",
        ),
        (
            lambda t: {"scores": t, "ratings": np.full(len(t), np.nan)},
            "no clip has a rating",
        ),
        (lambda t: {"scores": t, "coverage": 95}, "a number between 0 and 1; got 95"),
        (lambda t: {"scores": t, "coverage": "0.9"}, "coverage must be a number betw"),
    ],
)
def test_what_cannot_be_compared_is_refused(clips, change, message):
    with pytest.raises(ValueError, match=message):
        compare_systems(**change(clips))


def test_labels_of_arrow_and_iterators_are_those_of_lists(clips):
    table = pa.Table.from_pandas(clips.astype({"text": str}))
    wanted = compare_systems(table)
    columns = {"system": table["system"], "prompt": table["text"].combine_chunks()}
    for labels in (columns, {k: iter(v.to_pylist()) for k, v in columns.items()}):
        found = compare_systems(table["score"], **labels)
        pd.testing.assert_frame_equal(found.means, wanted.means)


def test_ratings_of_one_system_give_no_agreement(clips):
    ratings = np.where(clips["system"] == "a", 3.0, np.nan)
    found = compare_systems(clips, ratings=ratings)
    assert found.agreement[["value", "low", "high"]].isna().all(axis=None)
    assert (found.agreement["n_systems"] == 1).all()


@pytest.mark.parametrize("step", [1, 0.1])
def test_equal_differences_on_few_prompts_show_little(step):
    scores = np.array([1, 2, 3, 1 + step, 2 + step, 3 + step])
    found = compare_systems(scores, system=list("aaabbb"), prompt=[0, 1, 2] * 2)
    assert found.differences["p_value"].item() == 0.25
    assert "no significant difference from a" in found.verdict()
