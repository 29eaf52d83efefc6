"""Scores and weights from ratings of many listeners."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from clapstack.listeners import ListenerModel
from clapstack.metrics import mse, srcc


def simulated_ratings(
    rng, *, n_pairs=300, n_listeners=60, n_each=4, careless=0, bias=1.0
):
    """Return (true scores, ratings); the first `careless` listeners rate at random."""
    truth = rng.uniform(2, 8, n_pairs)
    lean = rng.normal(0, bias, n_listeners)
    rows = []
    for pair in range(n_pairs):
        for listener in rng.choice(n_listeners, n_each, replace=False):
            score = truth[pair] + lean[listener] + rng.normal(0, 1.0)
            if listener < careless:
                score = rng.uniform(0, 10)
            rows.append((pair, np.clip(score, 0, 10), f"listener {listener}"))
    return truth, pd.DataFrame(rows, columns=["pair", "score", "listener_id"])


@pytest.fixture
def ratings(rng):
    return simulated_ratings(rng)[1]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("seed", range(5))
def test_scores_are_nearer_to_the_truth_than_plain_means(seed):
    rng = np.random.default_rng(seed)
    truth, ratings = simulated_ratings(rng, careless=10)
    plain = ratings.groupby("pair")["score"].mean()
    model = ListenerModel().fit(ratings)
    assert srcc(truth, model.scores_) > srcc(truth, plain) + 0.02
    assert mse(truth, model.shrunk_scores_) < mse(truth, plain) - 0.1


def test_careless_listeners_weigh_less(rng):
    _, ratings = simulated_ratings(rng, careless=10)
    weight = ListenerModel().fit(ratings).listeners_["weight"]
    careless = weight.index.isin([f"listener {i}" for i in range(10)])
    assert weight[careless].max() < weight[~careless].median()


def test_a_lenient_listener_is_seen_through():
    """Two listeners three points apart agree once their biases are known."""
    scores = [(pair, pair, "strict") for pair in range(7)]
    scores += [(pair, pair + 3, "lenient") for pair in range(7)]
    ratings = pd.DataFrame(scores, columns=["pair", "score", "listener_id"])
    bias = ListenerModel().fit(ratings).listeners_["bias"]
    assert_allclose(bias["lenient"] - bias["strict"], 3, atol=0.1)


def test_row_order_and_names_do_not_matter(ratings):
    model = ListenerModel().fit(ratings)
    mixed = ratings.sample(frac=1, random_state=1)
    mixed["listener_id"] = mixed["listener_id"].str.upper()
    other = ListenerModel().fit(mixed)
    assert_allclose(other.scores_, model.scores_, atol=1e-8)


def test_equal_input_gives_equal_bits(ratings):
    first, second = ListenerModel().fit(ratings), ListenerModel().fit(ratings)
    assert_array_equal(first.scores_, second.scores_)


def test_more_ratings_weigh_more():
    rng = np.random.default_rng(0)
    _, ratings = simulated_ratings(rng, n_pairs=100)
    kept = (ratings["pair"] >= 50) | ~ratings.duplicated("pair")
    weight = ListenerModel().fit(ratings[kept]).sample_weight_
    assert weight[:50].max() < weight[50:].min()
    assert_allclose(weight.mean(), 1)


def test_one_listener_alone_keeps_the_plain_means():
    ratings = pd.DataFrame(
        {"pair": [0, 0, 1, 1, 2, 2], "score": [1, 2, 5, 6, 8, 9], "listener_id": "a"}
    )
    assert_allclose(ListenerModel().fit(ratings).scores_, [1.5, 5.5, 8.5], atol=1e-6)


def test_a_listener_with_one_rating_is_hardly_judged(ratings):
    once = pd.DataFrame({"pair": [0], "score": [0.0], "listener_id": ["newcomer"]})
    model = ListenerModel().fit(pd.concat([ratings, once]))
    newcomer = model.listeners_.loc["newcomer"]
    assert newcomer["n_ratings"] == 1
    # Most of a lone rating's surprise is laid on its noise and on the pair.
    assert abs(newcomer["bias"]) < 0.6 * model.scores_[0]


def test_constant_ratings_give_that_score_and_equal_weights():
    ratings = pd.DataFrame(
        {"pair": [0, 0, 1, 1], "score": 7, "listener_id": ["a", "b", "a", "b"]}
    )
    model = ListenerModel().fit(ratings)
    assert_array_equal(model.scores_, [7, 7])
    assert_array_equal(model.shrunk_scores_, [7, 7])
    assert_array_equal(model.sample_weight_, [1, 1])


def test_ratings_that_agree_within_every_pair_are_kept():
    """No noise at all is no reason to divide by zero."""
    ratings = pd.DataFrame(
        {
            "pair": np.repeat(np.arange(20), 3),
            "score": np.repeat(np.arange(20) / 2, 3),
            "listener_id": np.tile(["a", "b", "c"], 20),
        }
    )
    model = ListenerModel().fit(ratings)
    assert np.isfinite(model.sample_weight_).all()
    assert_allclose(model.scores_, np.arange(20) / 2, atol=1e-6)


def test_screened_listeners_do_not_count(rng):
    _, ratings = simulated_ratings(rng, careless=5)
    model = ListenerModel(screen=0.5).fit(ratings)
    out = model.listeners_["n_ratings"] == 0
    assert 0 < out.sum() < 15


def test_screening_that_leaves_pairs_bare_is_refused(ratings):
    with pytest.raises(ValueError, match=r"have no rating .*Lower screen=50"):
        ListenerModel(screen=50.0).fit(ratings)


def test_ratings_outside_the_scale_are_named(ratings):
    ratings.loc[[3, 8], "score"] = 11
    with pytest.raises(ValueError, match=r"2 of 1200 .*\[0, 10\] \(rows 3, 8\)"):
        ListenerModel().fit(ratings)


@pytest.mark.parametrize("dtype", ["Int64", "Float64"])
def test_missing_numbers_of_nullable_columns_are_named(ratings, dtype):
    whole = ratings.round()
    expected = ListenerModel().fit(whole).scores_
    nullable = whole.astype({"score": dtype, "pair": dtype})
    assert_allclose(ListenerModel().fit(nullable).scores_, expected)
    for column, message in (("score", "a score that is"), ("pair", "a pair that is")):
        spoilt = nullable.copy()
        spoilt.loc[4, column] = pd.NA
        with pytest.raises(ValueError, match=rf"1 of 1200 .*{message}.*\(rows 4\)"):
            ListenerModel().fit(spoilt)


def test_a_mistaken_pair_number_takes_no_memory(ratings):
    ratings.loc[7, "pair"] = 10**12
    with pytest.raises(ValueError, match="of 1000000000001 pairs have no rating"):
        ListenerModel().fit(ratings)
    ratings["pair"] = ratings["pair"].astype(float)
    ratings.loc[7, "pair"] = 1e300
    with pytest.raises(ValueError, match=r"not a row number \(rows 7\)"):
        ListenerModel().fit(ratings)


def test_missing_listener_is_named(ratings):
    ratings.loc[4, "listener_id"] = None
    with pytest.raises(ValueError, match=r"no listener_id \(rows 4\)"):
        ListenerModel().fit(ratings)


def test_missing_column_is_named(ratings):
    with pytest.raises(ValueError, match=r"missing \['listener_id'\]"):
        ListenerModel().fit(ratings[["pair", "score"]])


def test_pairs_without_ratings_are_named(ratings):
    with pytest.raises(ValueError, match=r"1 of 300 pairs have no rating \(pairs 5\)"):
        ListenerModel().fit(ratings[ratings["pair"] != 5])


def test_one_rating_a_pair_is_refused(ratings):
    with pytest.raises(ValueError, match="no pair has two ratings"):
        ListenerModel().fit(ratings.drop_duplicates("pair"))


@pytest.mark.parametrize(
    "convert", [lambda s: s + 1j, lambda s: pd.to_timedelta(s, unit="ns")]
)
def test_dates_and_complex_numbers_are_no_scores(ratings, convert):
    with pytest.raises(ValueError, match="a score that is not a number"):
        ListenerModel().fit(ratings.assign(score=convert(ratings["score"])))
