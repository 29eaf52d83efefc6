"""Scores and weights from ratings of many listeners."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning

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


def few_ratings_each(rng, bias, *, n_listeners=400, n_each=5, together=False):
    """Return ratings, four a pair, by listeners of this bias variance.

    Listeners of a group rate the same pairs together, or are drawn at random.
    """
    n_pairs = n_listeners * n_each // 4
    pair = np.repeat(np.arange(n_pairs), 4)
    listener = rng.permutation(np.repeat(np.arange(n_listeners), n_each))
    if together:
        listener = pair // n_each * 4 + np.tile(np.arange(4), n_pairs)
    score = 2 * rng.normal(size=n_pairs)[pair]
    score += np.sqrt(bias) * rng.normal(size=n_listeners)[listener]
    score += rng.normal(size=len(pair))
    return pd.DataFrame({"pair": pair, "score": score, "listener_id": listener})


def dense_log_likelihood(ratings, variances, weight=1.0):
    """Return the restricted log-likelihood, and predictions of pairs and biases.

    This is the textbook's form, with the covariance of all ratings in full.
    """
    pair = np.asarray(pd.get_dummies(ratings["pair"]), dtype=float)
    listener = np.asarray(pd.get_dummies(ratings["listener_id"]), dtype=float)
    score, one = ratings["score"].to_numpy(float), np.ones(len(ratings))
    noise = np.diag(variances["noise"] / (weight * one))
    covariance = noise + variances["pair"] * pair @ pair.T
    covariance += variances["bias"] * listener @ listener.T
    inverse = np.linalg.inv(covariance)
    information = one @ inverse @ one
    mean = one @ inverse @ score / information
    rest = inverse @ (score - mean)
    log_det = np.linalg.slogdet(covariance)[1] + np.log(information)
    square = rest @ covariance @ rest
    value = -((len(one) - 1) * np.log(2 * np.pi) + log_det + square) / 2
    pairs = mean + variances["pair"] * pair.T @ rest
    return value, pairs, variances["bias"] * listener.T @ rest


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


def test_scores_are_corrected_for_a_lenient_listener():
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
    # Most of a single rating's residual is attributed to noise and to the pair.
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
    """Without noise, nothing is divided by zero."""
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
    assert_array_equal(out, model.listeners_["weight"] < 0.5)


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


@pytest.mark.parametrize("dtype", [bool, "boolean", object])
def test_true_and_false_are_no_row_numbers(ratings, dtype):
    ratings["pair"] = pd.Series(ratings["pair"] % 2 == 1).astype(dtype)
    with pytest.raises(ValueError, match="a pair that is not a row number"):
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


@pytest.mark.parametrize("bias", [0, 0.05, 0.64])
@pytest.mark.parametrize("seed", range(4))
def test_variances_and_effects_are_those_of_the_dense_equations(seed, bias):
    rng = np.random.default_rng(seed)
    ratings = few_ratings_each(rng, bias, n_listeners=40, together=bool(seed % 2))
    again = ratings.sample(frac=0.1, random_state=seed)  # rated twice: both count
    ratings = pd.concat([ratings, again.assign(score=again["score"] + 1)])
    ratings["score"] = ratings["score"].clip(-5, 5)
    model = ListenerModel(scale=(-5, 5)).fit(ratings)
    most, _, _ = dense_log_likelihood(ratings, model.variances_)
    assert_allclose(model.log_likelihood_, most, rtol=1e-10)
    for name, variance in model.variances_.items():
        for changed in (1.1 * variance, 0.9 * variance, variance + 0.03):
            other, _, _ = dense_log_likelihood(
                ratings, {**model.variances_, name: changed}
            )
            assert other <= most + 1e-7
    listeners = model.listeners_.sort_index()
    weight = listeners["weight"].loc[ratings["listener_id"]].to_numpy()
    _, pairs, biases = dense_log_likelihood(ratings, model.variances_, weight)
    assert_allclose(model.shrunk_scores_, pairs, atol=1e-8)
    assert_allclose(listeners["bias"], biases, atol=1e-8)


def test_variances_are_those_of_statsmodels():
    """statsmodels 0.15, ``MixedLM`` with two variance components and REML."""
    listener = "054023341035031421315245403425423435"
    scores = "966744303836864242647668275314454536"
    ratings = pd.DataFrame(
        {
            "pair": np.repeat(np.arange(12), 3),
            "score": list(map(int, scores)),
            "listener_id": list(listener),
        }
    )
    model = ListenerModel(prior_ratings=1e9).fit(ratings)
    expected = {"pair": 1.226391, "bias": 2.319615, "noise": 1.170611}
    assert_allclose(list(model.variances_.values()), list(expected.values()), rtol=5e-5)
    assert_allclose(model.log_likelihood_, -67.953883, rtol=1e-8)
    biases = model.listeners_["bias"].sort_index()
    assert_allclose(
        biases,
        [2.505891, -1.222909, -0.608507, -0.501917, -1.102718, 0.930159],
        atol=1e-5,
    )


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_five_ratings_a_listener_show_the_variance_of_biases(seed, together):
    ratings = few_ratings_each(np.random.default_rng(seed), 0.64, together=together)
    found = ListenerModel(scale=(-30, 30)).fit(ratings).variances_
    assert_allclose(found["bias"], 0.64, atol=0.15)
    assert_allclose(found["noise"], 1, atol=0.15)


def test_additive_ratings_show_both_variances():
    """Without noise, the variances are those of the pairs and of the listeners."""
    pair, listener = np.indices((7, 2)).reshape(2, -1)
    ratings = pd.DataFrame(
        {"pair": pair, "score": pair + 3 * listener, "listener_id": listener}
    )
    found = ListenerModel().fit(ratings).variances_
    assert_allclose(found["pair"], np.var(np.arange(7), ddof=1), rtol=1e-4)
    assert_allclose(found["bias"], np.var([0, 3], ddof=1), rtol=1e-4)
    assert found["noise"] < 1e-4


@pytest.mark.parametrize(
    ("pair", "listener", "zero"),
    [
        ([0, 0, 0, 0], "aabb", "pair"),
        ([0, 0, 1, 1], "aaaa", "bias"),
        ([0, 0, 1, 1], "abcd", "bias"),
        ([0, 0, 1, 1], "aabb", "bias"),
    ],
    ids=["one pair", "one listener", "one rating each", "one pair each"],
)
def test_a_variance_that_cannot_be_separated_is_zero(pair, listener, zero):
    ratings = pd.DataFrame(
        {"pair": pair, "score": [1, 2, 5, 5], "listener_id": list(listener)}
    )
    variances = ListenerModel().fit(ratings).variances_
    assert variances.pop(zero) == 0
    assert min(variances.values()) > 0


def test_a_fit_that_did_not_converge_is_reported(ratings):
    with pytest.warns(ConvergenceWarning, match=r"max_iter=1 .*Raise") as caught:
        ListenerModel(max_iter=1).fit(ratings)
    assert caught[0].filename == __file__


def test_known_listeners_ratings_are_predicted_better(rng):
    _, ratings = simulated_ratings(rng)
    held = ratings["pair"].duplicated(keep=False) & ~ratings.duplicated("pair")
    model, held = ListenerModel().fit(ratings[~held]), ratings[held]
    without = model.shrunk_scores_[held["pair"]]
    assert mse(held["score"], model.predict(held)) < 0.8 * mse(held["score"], without)


def test_an_unknown_listener_has_no_bias(ratings):
    model = ListenerModel().fit(ratings)
    asked = pd.DataFrame({"pair": [4, 4], "listener_id": ["listener 3", "new"]})
    bias = model.listeners_.loc["listener 3", "bias"]
    expected = model.shrunk_scores_[4] + [bias, 0]
    assert_array_equal(model.predict(asked), expected)


def test_ids_of_another_type_are_reported(ratings):
    model = ListenerModel().fit(ratings)
    asked = pd.DataFrame({"pair": [4, 5], "listener_id": [3, 4]})
    with pytest.warns(UserWarning, match=r"like 'listener \d+'; got ids like 3"):
        assert_array_equal(model.predict(asked), model.shrunk_scores_[4:6])


def test_pairs_that_were_not_fitted_are_named(ratings):
    asked = ratings.assign(pair=ratings["pair"] + 1)
    with pytest.raises(ValueError, match=r"not among the 300 fitted \(rows 1196, 1197"):
        ListenerModel().fit(ratings).predict(asked)


def test_too_many_linked_listeners_are_refused():
    ratings = pd.DataFrame(
        {
            "pair": np.repeat(np.arange(5_000), 2),
            "score": 5,
            "listener_id": np.arange(1, 10_001) // 2,  # each rates two pairs
        }
    )
    ratings.loc[0, "score"] = 6
    with pytest.raises(ValueError, match=r"5001 listeners are linked .*at most 5000"):
        ListenerModel().fit(ratings)


@pytest.mark.parametrize(
    "scale",
    [(0, np.inf), (0,), (10, 0), (5, 5), ("a", "b"), (0, None), (0, np.nan), (0, 1j)],
    ids=str,
)
def test_an_invalid_scale_is_refused(ratings, scale):
    with pytest.raises(ValueError, match=r"scale must be two finite numbers.*; got"):
        ListenerModel(scale=scale).fit(ratings)


@pytest.mark.parametrize("bad", [["a"], {"a": 1}, {"a"}, np.arange(2), ("a", [1])])
def test_ids_that_cannot_be_compared_are_named(ratings, bad):
    model = ListenerModel().fit(ratings)
    ratings["listener_id"] = ratings["listener_id"].astype(object)
    ratings.at[4, "listener_id"] = bad
    for method in (model.fit, model.predict):
        with pytest.raises(ValueError, match=r"listener_id that is a list.*rows 4\)"):
            method(ratings)


@pytest.mark.parametrize(
    "ids", [("a", 1), pd.Timestamp("2020-01-01"), b"a", True, 1.5], ids=repr
)
def test_any_hashable_id_is_known_again(ratings, ids):
    ratings["listener_id"] = ratings["listener_id"].astype(object)
    for row in ratings.index[ratings["listener_id"] == "listener 3"]:
        ratings.at[row, "listener_id"] = ids
    model = ListenerModel().fit(ratings)
    bias = model.predict(ratings) - model.shrunk_scores_[ratings["pair"]]
    place = list(model.listeners_.index).index(ids)
    rows = ratings["listener_id"].map(lambda name: name == ids)
    assert_allclose(bias[rows], model.listeners_["bias"].iloc[place])
