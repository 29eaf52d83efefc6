"""A regressor that learns an order, and predicts on the scale of scores."""

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.estimator_checks import parametrize_with_checks

from clapstack import ClapStackingRegressor, load_model, save_model
from clapstack.metrics import srcc
from clapstack.ranking import RankingRegressor
from clapstack.ranking._losses import LOSSES
from clapstack.ranking._solver import LinearProblem
from clapstack.stacking import StandardizedRidge, rank_target

ESTIMATORS = [RankingRegressor(loss) for loss in LOSSES]


# Some checks draw y at random, with which no prediction rises.
@pytest.mark.filterwarnings("ignore:Predictions of RankingRegressor:UserWarning")
@parametrize_with_checks(ESTIMATORS)
def test_sklearn_check(estimator, check):
    check(estimator)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=LOSSES)
def test_the_battery_is_not_vacuous(estimator):
    def probe(estimator, check):
        pass

    (mark,) = parametrize_with_checks([estimator])(probe).pytestmark
    assert len(list(mark.args[1])) > 40


@pytest.fixture
def data(rng):
    """Return X and scores 0-10 in quarters, as four listeners give."""
    X = rng.normal(size=(120, 8)) * np.logspace(-3, 3, 8) + 5.0
    signal = (X - 5.0) @ (1.0 / np.logspace(-3, 3, 8))
    y = np.clip(5 + signal + rng.normal(size=120), 0, 10)
    return X, np.round(4 * y) / 4


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("n_columns", [8, 700], ids=["tall", "wide"])
def test_coefficients_are_where_the_gradient_vanishes(loss, n_columns, rng):
    X = rng.normal(size=(60, n_columns)) @ np.diag(rng.uniform(0.1, 9, n_columns))
    y = X[:, 0] + rng.normal(size=60)
    weight = rng.uniform(0.5, 2.0, 60)
    model = RankingRegressor(loss, alpha=0.7).fit(X, y, weight)
    mean = np.average(X, axis=0, weights=weight)
    scale = np.sqrt(np.average((X - mean) ** 2, axis=0, weights=weight))
    Z = (X - mean) / scale
    slope = LOSSES[loss](y, weight)(X @ model.coef_ + model.intercept_)[1]
    gradient = Z.T @ slope + 2 * 0.7 * n_columns * (model.coef_ * scale)
    start = Z.T @ LOSSES[loss](y, weight)(np.zeros(60))[1]
    assert np.abs(gradient).max() < 1e-6 * np.abs(start).max()


@pytest.mark.parametrize("loss", ["pairwise", "spearman"])
def test_only_the_order_of_scores_sets_the_order_of_predictions(loss, data):
    X, y = data
    one = RankingRegressor(loss).fit(X, y)
    other = RankingRegressor(loss).fit(X, np.exp(y))
    assert_array_equal(one.coef_, other.coef_)


def test_under_a_strong_penalty_spearman_is_ridge_on_ranks(data):
    X, y = data
    ridge = StandardizedRidge(alpha=1e6).fit(X, rank_target(y))
    model = RankingRegressor("spearman", alpha=1e6).fit(X, y)
    assert_allclose(model.coef_, ridge.coef_, rtol=1e-3)


@pytest.mark.parametrize("loss", LOSSES)
def test_predictions_are_on_the_scale_of_scores(loss, data):
    X, y = data
    for scale, shift in ((1.0, 0.0), (0.1, -40.0)):
        model = RankingRegressor(loss).fit(X, scale * y + shift)
        assert model.score(X, scale * y + shift) > 0.6


def test_the_map_keeps_the_order_and_makes_no_tie(data):
    X, y = data
    model = RankingRegressor().fit(X, y)
    raw = X @ model.coef_ + model.intercept_
    assert_allclose(srcc(raw, model.predict(X)), 1.0, atol=1e-12)


def test_the_map_is_fitted_on_held_out_predictions(rng):
    """In sample, predictions of noise are right; they must not be believed."""
    X, y = rng.normal(size=(200, 400)), rng.normal(size=200)
    model = RankingRegressor(alpha=0.01, shape="line").fit(X, y)
    assert srcc(y, model.predict(X)) > 0.9
    assert np.std(model.predict(X)) < 0.3 * np.std(y)


def test_where_scores_do_not_rise_predictions_keep_their_order_and_warn():
    y = np.arange(10.0)
    with pytest.warns(UserWarning, match="keep their order, but their spread means"):
        fitted = RankingRegressor()._fit_map(-y, y, np.ones(10))
    assert_allclose(fitted.predict([-3.0, 0.0, 2.0]), [1.5, 4.5, 6.5])


def test_a_weight_counts_repetitions(data):
    X, y = data
    times = np.arange(120) % 3
    weighted = RankingRegressor().fit(X, y, sample_weight=times)
    repeated = RankingRegressor().fit(np.repeat(X, times, axis=0), np.repeat(y, times))
    assert_allclose(weighted.predict(X), repeated.predict(X), rtol=1e-6)


def test_identical_fits_give_identical_bits(data):
    X, y = data
    one, other = (RankingRegressor().fit(X, y).predict(X) for _ in range(2))
    assert_array_equal(one, other)


def test_few_steps_are_needed_however_long_the_columns_are(data):
    X, y = data
    assert RankingRegressor(alpha=0.01).fit(X, y).n_iter_ < 60


def test_too_few_steps_warn(data):
    with pytest.warns(ConvergenceWarning, match="Raise max_iter, tol or alpha"):
        RankingRegressor(max_iter=1).fit(*data)


def test_float32_features_give_nearly_the_same(data):
    X, y = data
    one = RankingRegressor().fit(X, y).predict(X)
    other = RankingRegressor().fit(X.astype(np.float32), y).predict(X)
    assert_allclose(one, other, rtol=1e-3)


def test_constant_scores_are_refused(data):
    with pytest.raises(ValueError, match="y is constant: all of 120 scores are 3"):
        RankingRegressor().fit(data[0], np.full(120, 3.0))


def test_two_levels_of_scores_are_enough(data):
    X, y = data
    model = RankingRegressor().fit(X, np.where(y > np.median(y), 7.0, 3.0))
    assert srcc(y, model.predict(X)) > 0.5


def test_one_score_apart_from_all_others_is_enough(data):
    """A fold's training scores may then be all the same."""
    X, y = data
    model = RankingRegressor(shape="line").fit(X, np.where(y == y.max(), 9.0, 2.0))
    assert np.all(np.isfinite(model.predict(X)))


def test_fewer_pairs_than_folds_are_refused(data):
    X, y = data
    with pytest.raises(ValueError, match=r"n_folds=5 needs at least 5 pairs; X has "):
        RankingRegressor().fit(X[:4], y[:4])
    weight = np.zeros(120)
    weight[:4] = 1.0
    with pytest.raises(ValueError, match="n_samples=4 of positive sample_weight"):
        RankingRegressor().fit(X, y, weight)


def test_nan_is_refused_with_its_place(data):
    X, y = data
    X[7, 3] = np.nan
    with pytest.raises(ValueError, match="the first is row 7"):
        RankingRegressor().fit(X, y)
    y[9] = np.nan
    with pytest.raises(ValueError, match="rows 9"):
        RankingRegressor().fit(np.nan_to_num(X), y)


def test_constant_columns_get_no_coefficient(data):
    X, y = data
    X[:, 2] = 4.0
    model = RankingRegressor().fit(X, y)
    assert model.coef_[2] == 0.0
    assert model.penalty_ == 5.0 * 7


@pytest.mark.parametrize("n_columns", [2, 500])
def test_features_that_do_not_vary_predict_the_mean(n_columns, data):
    with pytest.warns(UserWarning, match="no increasing map"):
        model = RankingRegressor().fit(np.ones((120, n_columns)), data[1])
    assert_allclose(model.predict(np.ones((3, n_columns))), data[1].mean())


def test_wide_tables_are_solved_as_tall_ones_are(rng):
    X, weight = rng.normal(size=(20, 200)), rng.uniform(0.5, 2, 20)
    loss = LOSSES["listnet"](X[:, 0], weight)
    fitted = []
    for factor in (0, 1000):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("clapstack.ranking._solver._WIDE", factor)
            problem = LinearProblem(X, weight, 0.1)
        turned, _ = problem.solve(loss, slice(None), max_iter=500, tol=1e-10)
        fitted.append(problem.coefficients(turned)[0])
    assert_allclose(*fitted, atol=1e-8)


@pytest.fixture
def families(rng):
    """Return X of two small families, and y."""
    names = ["laion__product0", "laion__cosine", "msclap__product0", "msclap__cosine"]
    X = pd.DataFrame(rng.normal(size=(40, 4)), columns=names)
    return X, X.sum(axis=1).to_numpy() + rng.normal(size=40)


def make_stack():
    return ClapStackingRegressor(
        base_estimators=["ridge", RankingRegressor(n_folds=2)],
        boosting=False,
        targets=("score",),
    )


def test_it_is_a_model_of_the_stack(families):
    stack = make_stack().fit(*families)
    assert "msclap__rankingregressor__score" in stack.first_level_names_
    assert stack.score(*families) > 0.5


def test_out_of_fold_row_ignores_its_own_score(families):
    X, y = families
    moved = y.copy()
    moved[7] += 5
    before = make_stack().fit(X, y).oof_predictions_
    after = make_stack().fit(X, moved).oof_predictions_
    assert_array_equal(before[7], after[7])
    assert np.any(before != after)


def test_it_clones_pickles_and_goes_through_a_model_file(families, tmp_path):
    X, y = families
    stack = make_stack().fit(X, y)
    expected = stack.predict(X)
    assert_array_equal(pickle.loads(pickle.dumps(stack)).predict(X), expected)
    assert_array_equal(clone(stack).fit(X, y).predict(X), expected)
    loaded = load_model(save_model(stack, tmp_path / "stack.clapstack"))
    assert_array_equal(loaded.predict(X), expected)


def test_warnings_point_at_the_caller(data):
    with pytest.warns(ConvergenceWarning) as caught:
        RankingRegressor(max_iter=1).fit(*data)
    assert {warning.filename for warning in caught} == {__file__}
