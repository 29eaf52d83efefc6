"""Accuracy of scores on preferences."""

import numpy as np
import pytest

from clapstack.metrics import pair_accuracy


def test_equal_scores_count_half_and_ties_of_listeners_not_at_all():
    score = [3.0, 2.0, 2.0, 1.0]
    preferences = [(0, 1, 1), (1, 2, 0.8), (3, 0, 0.2), (0, 3, 0.4), (1, 3, 0.5)]
    found = pair_accuracy(score, preferences, n_resamples=0)
    assert found.accuracy == (1 + 0.5 + 1 + 0) / 4
    assert found.n_preferences == 4
    assert np.isnan([found.low, found.high]).all()


def test_two_columns_are_the_better_and_the_worse_row():
    assert pair_accuracy([1, 2, 3], [(2, 1), (1, 0)]).accuracy == 1
    assert pair_accuracy([1, 2, 3], [(1, 2), (1, 0)]).accuracy == 0.5


def test_preferences_of_one_prompt_are_drawn_together():
    rng = np.random.default_rng(0)
    # All preferences of a prompt are right or wrong together: 30 units, not 1,350.
    groups = np.repeat(np.arange(30), 10)
    score = np.tile(np.arange(10), 30) * np.repeat(rng.choice([-1, 1], 30), 10)
    first, second = np.triu_indices(10, 1)
    rows = [np.column_stack([second, first]) + 10 * g for g in range(30)]
    preferences = np.concatenate(rows)
    apart = pair_accuracy(score, preferences)
    together = pair_accuracy(score, preferences, groups=groups)
    assert apart.accuracy == together.accuracy
    assert apart.high - apart.low < 0.06
    expected = 2 * 1.96 * np.sqrt(0.25 / 30)
    assert together.high - together.low == pytest.approx(expected, rel=0.15)


def test_intervals_cover_the_truth_of_simulated_prompts():
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(150):
        chance = np.repeat(rng.beta(3, 1, 40), 4)  # a mean of 0.75
        right = rng.uniform(size=160) < chance
        rows = np.arange(320).reshape(-1, 2)
        score = np.where(right[:, None], [1, 0], [0, 1]).ravel()
        found = pair_accuracy(
            score, rows, groups=np.repeat(np.arange(40), 8), n_resamples=200
        )
        inside += found.low <= 0.75 <= found.high
    assert 0.88 <= inside / 150 <= 0.99


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"preferences": [(0, 1, 0.5)]}, "all preferences are ties"),
        ({"preferences": [(0, 5)]}, "valid are integers from 0 to 2"),
        ({"y_score": [1, np.nan, 2]}, "y_score has NaN or infinity in 1 of 3 rows"),
        ({"y_score": [[1], [2], [3]]}, "y_score must have one number per row"),
        ({"groups": [0, 1, 0]}, r"between rows of two groups \(rows 0 of preferences"),
        ({"groups": [0, 0]}, r"groups must have shape \(3,\)"),
        ({"n_resamples": -1}, "n_resamples must be an integer of at least 0"),
        ({"n_resamples": 2.5}, "n_resamples must be an integer of at least 0"),
        ({"coverage": 2}, "coverage must be a number between 0 and 1"),
        ({"coverage": "0.9"}, "coverage must be a number between 0 and 1"),
        ({"random_state": "a"}, "random_state must be None or an integer"),
    ],
)
def test_what_cannot_be_judged_is_refused(given, message):
    usual = {"y_score": [1.0, 2.0, 3.0], "preferences": [(0, 1), (2, 0)]}
    with pytest.raises(ValueError, match=message):
        pair_accuracy(**{**usual, **given})
