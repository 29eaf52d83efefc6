import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score

from clapstack import metrics
from clapstack.metrics import (
    bootstrap_interval,
    ktau,
    lcc,
    mse,
    noise_ceiling,
    paired_bootstrap,
    score_report,
    srcc,
)

METRICS = {"srcc": srcc, "lcc": lcc, "ktau": ktau, "mse": mse}
CORRELATIONS = [srcc, lcc, ktau]

steady = settings(max_examples=30, derandomize=True, deadline=None)
paired_scores = st.lists(
    st.tuples(st.integers(-20, 20), st.integers(-20, 20)), min_size=3, max_size=30
).filter(lambda rows: all(len(set(column)) > 1 for column in zip(*rows, strict=True)))


@pytest.fixture
def scores():
    rng = np.random.default_rng(0)
    y_true = rng.integers(0, 11, size=60).astype(float)
    return y_true, y_true + rng.normal(scale=3.0, size=60)


@pytest.fixture
def ratings():
    """Pair ids and ratings with variance 4 between pairs and 8 within."""
    rng = np.random.default_rng(0)
    pair = np.repeat(np.arange(4000), 4)
    true = rng.normal(scale=2.0, size=4000)
    return pair, true[pair] + rng.normal(scale=8**0.5, size=pair.size)


def pearson_by_hand(x, y):
    x, y = x - x.mean(), y - y.mean()
    return (x @ y) / np.sqrt((x @ x) * (y @ y))


def midranks_by_hand(x):
    smaller = (x[:, None] > x[None, :]).sum(axis=1)
    tied = (x[:, None] == x[None, :]).sum(axis=1)
    return smaller + (tied + 1) / 2


@steady
@given(paired_scores)
def test_lcc_is_the_normalised_covariance(rows):
    x, y = np.array(rows, dtype=float).T
    assert lcc(x, y) == pytest.approx(pearson_by_hand(x, y), abs=1e-12)


@steady
@given(paired_scores)
def test_srcc_is_the_correlation_of_midranks(rows):
    x, y = np.array(rows, dtype=float).T
    expected = pearson_by_hand(midranks_by_hand(x), midranks_by_hand(y))
    assert srcc(x, y) == pytest.approx(expected, abs=1e-12)


@steady
@given(paired_scores)
def test_ktau_counts_concordant_pairs_and_corrects_for_ties(rows):
    x, y = np.array(rows, dtype=float).T
    upper = np.triu_indices(len(x), 1)
    dx = np.sign(x[:, None] - x[None, :])[upper]
    dy = np.sign(y[:, None] - y[None, :])[upper]
    expected = (dx @ dy) / np.sqrt((dx @ dx) * (dy @ dy))
    assert ktau(x, y) == pytest.approx(expected, abs=1e-12)


def test_mse_is_the_mean_of_squares():
    assert mse([0.0, 1.0, 2.0], [1.0, 1.0, 5.0]) == pytest.approx(10 / 3)


@steady
@given(paired_scores)
@pytest.mark.parametrize("metric", [srcc, ktau])
def test_rank_metrics_ignore_increasing_maps_of_the_score(metric, rows):
    x, y = np.array(rows, dtype=float).T
    assert metric(x, y**3 + y) == pytest.approx(metric(x, y), abs=1e-12)


@steady
@given(paired_scores)
@pytest.mark.parametrize("metric", METRICS.values())
def test_order_of_pairs_does_not_matter(metric, rows):
    x, y = np.array(rows, dtype=float).T
    assert metric(x[::-1], y[::-1]) == pytest.approx(metric(x, y), abs=1e-12)


@pytest.mark.parametrize("metric", CORRELATIONS)
def test_correlation_of_a_constant_prediction_is_zero_with_a_warning(metric):
    with pytest.warns(UndefinedMetricWarning, match=r"set to 0\.0: y_score is const"):
        assert metric([1.0, 2.0, 3.0], [5.0, 5.0, 5.0]) == 0.0


@pytest.mark.parametrize("metric", CORRELATIONS)
def test_correlation_with_a_constant_truth_is_zero_with_a_warning(metric):
    with pytest.warns(UndefinedMetricWarning, match=r"set to 0\.0: y_true is const"):
        assert metric([5.0, 5.0, 5.0], [1.0, 2.0, 3.0]) == 0.0


@pytest.mark.parametrize("metric", METRICS.values())
def test_metric_is_a_python_float(metric, scores):
    assert type(metric(*scores)) is float


@pytest.mark.parametrize("metric", METRICS.values())
def test_rows_of_nan_are_named(metric):
    message = r"y_score has NaN or infinity in 2 of 4 rows \(rows 1, 3\)"
    with pytest.raises(ValueError, match=message):
        metric([1.0, 2.0, 3.0, 4.0], [1.0, np.nan, 2.0, np.inf])


@pytest.mark.parametrize("metric", METRICS.values())
def test_different_lengths_are_refused(metric):
    with pytest.raises(ValueError, match=r"got shapes \(3,\) and \(2,\)"):
        metric([1.0, 2.0, 3.0], [1.0, 2.0])


@pytest.mark.parametrize("metric", METRICS.values())
def test_empty_input_is_refused(metric):
    with pytest.raises(ValueError, match="not empty"):
        metric([], [])


def test_report_holds_the_four_metrics(scores):
    assert score_report(*scores) == {
        name: metric(*scores) for name, metric in METRICS.items()
    }


def test_report_with_resamples_brackets_every_metric(scores):
    report = score_report(*scores, n_resamples=200)
    for name in METRICS:
        assert report[f"{name}_low"] < report[name] < report[f"{name}_high"]


@pytest.mark.parametrize("metric", [srcc, lcc, ktau, mse])
def test_fast_bootstrap_equals_one_resample_at_a_time(metric, scores):
    def plain(y_true, y_score):
        return metric(y_true, y_score)

    fast = bootstrap_interval(metric, *scores, n_resamples=50)
    slow = bootstrap_interval(plain, *scores, n_resamples=50)
    np.testing.assert_allclose(fast, slow, rtol=1e-12)


@steady
@given(paired_scores)
@pytest.mark.parametrize("metric", [srcc, ktau])
def test_fast_bootstrap_of_ranks_handles_ties_and_constant_resamples(metric, rows):
    x, y = np.array(rows, dtype=float).T
    fast = bootstrap_interval(metric, x, y, n_resamples=20)
    slow = bootstrap_interval(lambda a, b: metric(a, b), x, y, n_resamples=20)
    np.testing.assert_allclose(fast, slow, atol=1e-12)


def test_bootstrap_in_chunks_is_the_bootstrap_in_one(scores, monkeypatch):
    whole = bootstrap_interval(srcc, *scores, n_resamples=50)
    monkeypatch.setattr(metrics._bootstrap, "_CHUNK_ELEMENTS", 7 * len(scores[0]))
    assert bootstrap_interval(srcc, *scores, n_resamples=50) == whole


def test_bootstrap_repeats_with_its_random_state(scores):
    first = bootstrap_interval(ktau, *scores, n_resamples=30, random_state=3)
    assert bootstrap_interval(ktau, *scores, n_resamples=30, random_state=3) == first
    assert bootstrap_interval(ktau, *scores, n_resamples=30, random_state=4) != first


def test_bootstrap_interval_narrows_with_coverage(scores):
    wide = bootstrap_interval(lcc, *scores, coverage=0.95)
    narrow = bootstrap_interval(lcc, *scores, coverage=0.5)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_bootstrap_interval_covers_the_true_correlation():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(100):
        x = rng.normal(size=200)
        y = 0.6 * x + 0.8 * rng.normal(size=200)
        low, high = bootstrap_interval(lcc, x, y, n_resamples=300)
        hits += low < 0.6 < high
    assert 87 <= hits <= 99


def test_constant_resamples_do_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bootstrap_interval(ktau, [1.0, 2.0], [1.0, 2.0], n_resamples=20)


@pytest.mark.parametrize("coverage", [0.0, 1.0, 95, np.nan, "0.9", None, [0.9]])
def test_coverage_that_is_no_number_between_0_and_1_is_refused(scores, coverage):
    with pytest.raises(
        ValueError, match="coverage must be a number between 0 and 1; got "
    ):
        bootstrap_interval(mse, *scores, coverage=coverage)


@pytest.mark.parametrize("groups", [None, np.arange(60) % 5])
@pytest.mark.parametrize("n_resamples", [0, -1, 2.5, "3", None, True, np.nan])
def test_resamples_that_cannot_be_counted_are_refused(scores, n_resamples, groups):
    with pytest.raises(
        ValueError, match="n_resamples must be an integer of at least 1; got "
    ):
        bootstrap_interval(mse, *scores, n_resamples=n_resamples, groups=groups)


@pytest.mark.parametrize("random_state", ["a", 2.5, -1])
def test_a_random_state_that_is_no_seed_is_refused(scores, random_state):
    with pytest.raises(
        ValueError, match="random_state must be None or an integer of at least 0"
    ):
        bootstrap_interval(mse, *scores, random_state=random_state)


def test_a_system_does_not_differ_from_itself(scores):
    assert paired_bootstrap(srcc, *scores, scores[1]) == (0.0, 0.0, 0.0)


def test_paired_bootstrap_is_narrower_than_two_separate_ones(scores):
    y_true, y_score = scores
    nearly = y_score + 0.01 * np.random.default_rng(1).normal(size=60)
    paired = paired_bootstrap(srcc, y_true, y_score, nearly)
    alone = bootstrap_interval(srcc, y_true, y_score)
    assert paired.high - paired.low < 0.1 * (alone.high - alone.low)


def test_paired_bootstrap_sees_the_better_system(scores):
    y_true, y_score = scores
    difference, low, _ = paired_bootstrap(srcc, y_true, y_true, y_score)
    assert difference == pytest.approx(1.0 - srcc(y_true, y_score))
    assert low > 0


def test_paired_bootstrap_names_the_system_with_nan(scores):
    y_true, y_score = scores
    broken = np.where(np.arange(60) == 5, np.nan, y_score)
    with pytest.raises(ValueError, match=r"y_score_second has NaN .*rows 5\)"):
        paired_bootstrap(mse, y_true, y_score, broken)


def test_noise_ceiling_finds_the_reliability_of_the_mean(ratings):
    assert noise_ceiling(*ratings).reliability == pytest.approx(4 / 6, abs=0.02)


@pytest.mark.parametrize("n_raters", [0, -1, np.nan, "3", [3]])
def test_noise_ceiling_refuses_no_raters(ratings, n_raters):
    with pytest.raises(ValueError, match="n_raters must be a number above 0; got"):
        noise_ceiling(*ratings, n_raters=n_raters)


def test_noise_ceiling_is_the_icc_of_balanced_ratings():
    table = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6.0]])
    k = table.shape[1]
    between = k * table.mean(axis=1).var(ddof=1)
    within = table.var(axis=1, ddof=1).mean()
    pair = np.repeat(np.arange(4), k)
    ceiling = noise_ceiling(pair, table.ravel())
    assert ceiling.reliability == pytest.approx((between - within) / between)


def test_noise_ceiling_is_what_the_true_scores_reach(ratings):
    pair, rating = ratings
    true = np.random.default_rng(0).normal(scale=2.0, size=4000)
    observed = rating.reshape(4000, 4).mean(axis=1)
    ceiling = noise_ceiling(pair, rating)
    assert ceiling.lcc == pytest.approx(lcc(observed, true), abs=0.02)
    assert ceiling.mse == pytest.approx(mse(observed, true), rel=0.05)


def test_more_raters_raise_the_ceiling(ratings):
    one, eight = (noise_ceiling(*ratings, n_raters=k).lcc for k in (1, 8))
    assert one == pytest.approx((4 / 12) ** 0.5, abs=0.02)
    assert eight == pytest.approx((4 / 5) ** 0.5, abs=0.02)


def test_unequal_counts_of_ratings_keep_the_variances(ratings):
    pair, rating = ratings
    kept = np.random.default_rng(1).random(pair.size) < 0.7
    ceiling = noise_ceiling(pair[kept], rating[kept], n_raters=4)
    assert ceiling.reliability == pytest.approx(4 / 6, abs=0.03)


def test_raters_without_agreement_have_zero_reliability():
    ceiling = noise_ceiling([0, 0, 1, 1], [1.0, 9.0, 9.0, 1.0])
    assert ceiling == (0.0, 0.0, 16.0)


def test_equal_ratings_have_no_reliability():
    with pytest.warns(UndefinedMetricWarning, match="All ratings are equal"):
        assert noise_ceiling([0, 0, 1, 1], [3.0] * 4) == (0.0, 0.0, 0.0)


def test_one_rating_a_pair_has_no_noise_ceiling():
    with pytest.raises(ValueError, match="got 3 ratings of 3 pairs"):
        noise_ceiling([0, 1, 2], [1.0, 2.0, 3.0])


def test_ratings_of_nan_are_named():
    with pytest.raises(ValueError, match=r"ratings has NaN .* \(rows 2\)"):
        noise_ceiling([0, 0, 1, 1], [1.0, 2.0, np.nan, 3.0])


def test_ratings_without_pair_are_refused():
    with pytest.raises(ValueError, match=r"got shapes \(3,\) and \(4,\)"):
        noise_ceiling([0, 0, 1], [1.0, 2.0, 3.0, 4.0])


@pytest.mark.parametrize("name", METRICS)
def test_scorer_scores_a_regressor(name, scores):
    X, y = scores[1][:, np.newaxis], scores[0]
    scorer = getattr(metrics, f"{name}_scorer")
    model = Ridge().fit(X, y)
    sign = -1 if name == "mse" else 1
    assert scorer(model, X, y) == sign * METRICS[name](y, model.predict(X))


@pytest.mark.parametrize("name", METRICS)
def test_scorer_survives_pickle(name, scores):
    X, y = scores[1][:, np.newaxis], scores[0]
    scorer = getattr(metrics, f"{name}_scorer")
    model = Ridge().fit(X, y)
    assert pickle.loads(pickle.dumps(scorer))(model, X, y) == scorer(model, X, y)


def test_scorers_serve_a_grid_search(scores):
    X, y = scores[1][:, np.newaxis], scores[0]
    scoring = {name: getattr(metrics, f"{name}_scorer") for name in METRICS}
    search = GridSearchCV(Ridge(), {"alpha": [0.1, 1e4]}, scoring=scoring, refit="mse")
    assert search.fit(X, y).best_params_ == {"alpha": 0.1}


def test_scorer_serves_cross_val_score(scores):
    X, y = scores[1][:, np.newaxis], scores[0]
    values = cross_val_score(Ridge(), X, y, scoring=metrics.srcc_scorer, cv=3)
    assert (values > 0.3).all()


@pytest.mark.parametrize(
    ("y_true", "message"),
    [
        (["1", "7_5", "3"], "y_true must be numbers; its dtype is <U3"),
        (np.ma.masked_array([1.0, 2.0, 3.0], [0, 1, 0]), r"y_true has NaN .*rows 1\)"),
        (pd.Series([1, 2, None], dtype="Int64"), r"y_true has NaN .*rows 2\)"),
        (np.array([1, 2, 3], dtype="datetime64[s]"), "its dtype is datetime64"),
    ],
)
def test_scores_that_are_no_numbers_are_named(y_true, message):
    with pytest.raises(ValueError, match=message):
        srcc(y_true, [1.0, 2.0, 3.0])


def test_pair_ids_of_several_types_stay_apart():
    mixed = noise_ceiling([1, 1, "1", "1"], [1.0, 2.0, 8.0, 9.0])
    assert mixed == noise_ceiling(["a", "a", "b", "b"], [1.0, 2.0, 8.0, 9.0])
    with pytest.raises(ValueError, match=r"pair_ids has missing values .*rows 1\)"):
        noise_ceiling(["a", None, "b", "b"], [1.0, 2.0, 8.0, 9.0])
    with pytest.raises(ValueError, match="needs at least two pairs"):
        noise_ceiling([], [])
