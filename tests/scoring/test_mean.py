import numpy as np
import pytest
from scipy import stats

from clapstack.scoring.tables import GroupedMean


def mean_of(texts, scores):
    mean = GroupedMean()
    for text, score in zip(texts, scores, strict=True):
        mean.add(text, score)
    return mean.result()


def test_distinct_texts_give_the_usual_interval():
    scores = np.random.default_rng(0).normal(5, 1, 30)
    found = mean_of(map(str, range(30)), scores)
    usual = stats.t.interval(0.95, 29, scores.mean(), stats.sem(scores))
    np.testing.assert_allclose(found[:3], [scores.mean(), *usual])


def test_copies_of_pairs_add_no_certainty():
    scores = np.random.default_rng(0).normal(5, 1, 30)
    once = mean_of(map(str, range(30)), scores)
    texts = [f"{n} " for n in range(30)] + [f" {n}" for n in range(30)]
    twice = mean_of(texts, np.tile(scores, 2))
    np.testing.assert_allclose(twice[:3], once[:3])
    assert (twice.n_pairs, twice.n_texts) == (60, 30)


@pytest.mark.parametrize("n_texts", [20, 100])
def test_the_interval_covers_where_one_over_pairs_does_not(n_texts):
    rng = np.random.default_rng(n_texts)
    covered = naive = 0
    for _ in range(400):
        sizes = rng.integers(1, 5, n_texts)
        texts = np.repeat(np.arange(n_texts), sizes)
        scores = rng.normal(size=n_texts)[texts] + rng.normal(0, 0.5, len(texts))
        found = mean_of(map(str, texts), scores)
        covered += found.low < 0 < found.high
        low, high = stats.t.interval(
            0.95, len(scores) - 1, scores.mean(), stats.sem(scores)
        )
        naive += low < 0 < high
    assert covered / 400 > 0.92
    assert naive / 400 < 0.85


def test_without_scores_or_with_one_text_there_is_no_interval():
    assert np.isnan(mean_of([], []).mean)
    one = mean_of(["a", "a"], [1, 3])
    assert one.mean == 2
    assert np.isnan([one.low, one.high]).all()


def test_renaming_texts_changes_no_bit():
    scores = np.random.default_rng(0).normal(size=300)
    results = []
    for name in ("a", "b", "c"):
        results.append(mean_of([f"{name} {row // 2}" for row in range(300)], scores))
    assert results[0] == results[1] == results[2]
