"""Scores learned from pairwise preferences."""

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

from clapstack import load_model, save_model
from clapstack.features import pair_feature_names, pair_features
from clapstack.metrics import pair_accuracy
from clapstack.stacking import PreferenceRegressor
from clapstack.streaming import StreamedFeatures


@parametrize_with_checks([PreferenceRegressor()])
def test_sklearn_check(estimator, check):
    check(estimator)


def prefer(utility, groups, rng):
    """Return simulated preferences between all rows of each group."""
    first, second = np.triu_indices(len(utility), 1)
    together = groups[first] == groups[second]
    first, second = first[together], second[together]
    wins = rng.uniform(size=len(first)) < 1 / (
        1 + np.exp(utility[second] - utility[first])
    )
    return np.column_stack(
        [np.where(wins, first, second), np.where(wins, second, first)]
    )


@pytest.fixture(scope="module")
def known():
    """Features, a linear utility, preferences within prompts, and the prompts."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 12)) * rng.uniform(0.1, 10, 12)
    coef = rng.normal(size=12) / X.std(axis=0) * 0.6
    groups = np.arange(300) // 3
    return X, coef, prefer(X @ coef, groups, rng), groups


@pytest.fixture(scope="module")
def fitted(known):
    X, _, preferences, groups = known
    return PreferenceRegressor().fit(X, preferences=preferences, groups=groups)


def test_a_known_linear_utility_is_recovered(known, fitted):
    X, coef, _, _ = known
    assert np.corrcoef(X @ coef, fitted.predict(X))[0, 1] > 0.97
    assert_allclose(np.std(fitted.predict(X)), np.std(X @ coef), rtol=0.15)
    assert abs(fitted.predict(X).mean()) < 1e-9


@pytest.mark.parametrize(("n_rows", "n_columns"), [(120, 5), (40, 90)])
def test_it_is_logistic_regression_on_differences(n_rows, n_columns):
    rng = np.random.default_rng(1)
    X = rng.normal(loc=3, size=(n_rows, n_columns)) * rng.uniform(0.5, 5, n_columns)
    X[:, 1] = 7.0
    rows = rng.permutation(n_rows).reshape(-1, 2)
    share = rng.choice([0.0, 0.25, 0.5, 1.0], len(rows))
    model = PreferenceRegressor(0.7).fit(X, preferences=np.column_stack([rows, share]))
    scale = X.std(axis=0) * np.sqrt(n_columns - 1)
    scale[1] = np.inf
    apart = (X[rows[:, 0]] - X[rows[:, 1]]) / scale
    expected = LogisticRegression(
        C=1 / 0.7, fit_intercept=False, tol=1e-12, max_iter=10_000
    ).fit(
        np.concatenate([apart, apart]),
        np.repeat([1, 0], len(rows)),
        np.concatenate([share, 1 - share]),
    )
    assert_allclose(model.coef_, expected.coef_[0] / scale, atol=1e-6)
    assert_allclose(
        model.predict(X) - model.predict(X).mean(),
        ((X - X.mean(axis=0)) / scale) @ expected.coef_[0],
        atol=1e-6,
    )


def make_pairs(n_rows, rng, dim=8):
    """Return features of a family, and a utility that depends on its cosine."""
    a, b = rng.normal(size=(2, n_rows, dim)).astype(np.float32)
    b += rng.normal(size=(n_rows, 1)) * a
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    b /= np.linalg.norm(b, axis=1, keepdims=True)
    names = [f"laion__{name}" for name in pair_feature_names(dim)]
    X = pd.DataFrame(pair_features(a, b), columns=names)
    return X, 2 * X["laion__cosine"].to_numpy() + 12 * (a * b)[:, 0]


def test_it_beats_the_cosine_on_simulated_preferences():
    rng = np.random.default_rng(2)
    X, utility = make_pairs(900, rng)
    groups = np.arange(900) // 3
    train, test = X[:450], X[450:].reset_index(drop=True)
    model = PreferenceRegressor().fit(
        train, preferences=prefer(utility[:450], groups[:450], rng)
    )
    asked = prefer(utility[450:], groups[450:], rng)
    found = pair_accuracy(model.predict(test), asked, groups=groups[450:])
    cosine = pair_accuracy(test["laion__cosine"], asked, groups=groups[450:])
    assert found.low > cosine.accuracy
    held_out = pair_accuracy(
        model.oof_scores_, prefer(utility[:450], groups[:450], rng)
    )
    assert abs(held_out.accuracy - found.accuracy) < 0.06


def test_a_cosine_counts_as_much_as_all_products():
    rng = np.random.default_rng(3)
    X, _ = make_pairs(60, rng)
    utility = 4 * X["laion__cosine"].to_numpy()
    preferences = rng.permutation(60).reshape(-1, 2)
    ahead = utility[preferences[:, 0]] > utility[preferences[:, 1]]
    preferences = np.where(ahead[:, None], preferences, preferences[:, ::-1])
    named = PreferenceRegressor(1.0).fit(X, preferences=preferences)
    nameless = PreferenceRegressor(1.0).fit(X.to_numpy(), preferences=preferences)
    scores = named.predict(X), nameless.predict(X.to_numpy())
    first, second = (np.corrcoef(score, utility)[0, 1] for score in scores)
    assert first > second


def test_out_of_fold_scores_ignore_own_preferences(known):
    X, _, preferences, groups = known
    model = PreferenceRegressor(1.0, cv=GroupKFold(5))
    before = clone(model).fit(X, preferences=preferences, groups=groups)
    moved = preferences.copy()
    own = groups[moved[:, 0]] == 7
    moved[own] = moved[own][:, ::-1]
    after = clone(model).fit(X, preferences=moved, groups=groups)
    assert_array_equal(before.oof_scores_[groups == 7], after.oof_scores_[groups == 7])
    assert not np.allclose(before.coef_, after.coef_)


def test_rows_that_preferences_link_stay_together_without_groups(known):
    X, _, preferences, groups = known
    model = PreferenceRegressor(1.0).fit(X, preferences=preferences)
    given = PreferenceRegressor(1.0).fit(X, preferences=preferences, groups=groups)
    assert_array_equal(model.oof_scores_, given.oof_scores_)


def test_few_ratings_set_the_scale(known):
    X, coef, preferences, groups = known
    truth = 5 + 1.5 * (X @ coef) / np.std(X @ coef)
    y = np.full(300, np.nan)
    y[:40] = truth[:40]
    model = PreferenceRegressor().fit(X, y, preferences=preferences, groups=groups)
    plain = PreferenceRegressor().fit(X, preferences=preferences, groups=groups)
    assert np.sqrt(np.mean((model.predict(X) - truth) ** 2)) < 0.5
    assert_allclose(
        model.predict(X) - model.predict(X).mean(),
        model.slope_ * plain.predict(X),
        atol=1e-9,
    )
    offset = model.intercept_ + X.mean(axis=0) @ model.coef_
    expected = offset + model.slope_ * plain.oof_scores_
    assert_allclose(model.oof_scores_, expected, atol=1e-9)


def test_ratings_alone_are_compared_within_groups(known):
    X, coef, _, groups = known
    y = np.round(X @ coef + 10 * (groups % 7))
    model = PreferenceRegressor(1.0).fit(X, y, groups=groups)
    ordered = prefer(1e6 * (X @ coef), groups, np.random.default_rng(0))
    assert pair_accuracy(model.predict(X), ordered, n_resamples=0).accuracy > 0.85


def test_searches_and_pipelines_take_ratings(known):
    X, coef, _, groups = known
    pipe = Pipeline(
        [("same", FunctionTransformer()), ("preference", PreferenceRegressor(1.0))]
    )
    y = X @ coef
    given = {"preference__groups": groups}
    held_out = cross_val_predict(
        pipe, X, y, groups=groups, cv=GroupKFold(3), params=given
    )
    assert np.corrcoef(held_out, y)[0, 1] > 0.9


def test_preferences_are_routed_through_a_pipeline(known, fitted):
    X, _, preferences, groups = known
    with config_context(enable_metadata_routing=True):
        pipe = Pipeline(
            [("same", FunctionTransformer()), ("preference", PreferenceRegressor())]
        ).fit(X, preferences=preferences, groups=groups)
    assert_array_equal(pipe.predict(X), fitted.predict(X))


def test_clone_pickle_and_model_file(known, fitted, tmp_path):
    X, *_ = known
    assert not hasattr(clone(fitted), "coef_")
    again = pickle.loads(pickle.dumps(fitted))
    loaded = load_model(save_model(fitted, tmp_path / "p.clapstack"))
    assert_array_equal(again.predict(X), fitted.predict(X))
    assert_array_equal(loaded.predict(X), fitted.predict(X))


def test_streamed_features_are_features(known):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 300, 3)).astype(np.float32)
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    b /= np.linalg.norm(b, axis=1, keepdims=True)
    table = StreamedFeatures({"laion": (a, b)})
    held = pd.DataFrame(table.rows(slice(None)), columns=table.columns)
    expected = PreferenceRegressor(1.0).fit(held, preferences=known[2]).predict(held)
    model = PreferenceRegressor(1.0).fit(table, preferences=known[2])
    assert_allclose(model.predict(table), expected, atol=1e-9)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "requires y to be passed"),
        ({"preferences": [(0, 300)]}, r"have invalid row numbers; .* 0 to 299"),
        ({"preferences": [(0.5, 1)]}, "have invalid row numbers"),
        ({"preferences": [(-1, 1)]}, "have invalid row numbers"),
        ({"preferences": [(3, 3)]}, "compare a row with itself"),
        ({"preferences": [(3, 4, 1.2)]}, r"share of votes outside \[0, 1\]"),
        ({"preferences": [(3, 4, np.nan)]}, r"share of votes outside \[0, 1\]"),
        ({"preferences": [3, 4]}, r"must have shape \(n_preferences, 2\)"),
        ({"preferences": []}, r"must have shape \(n_preferences, 2\)"),
        ({"preferences": [(3, 4, 0.5)]}, "all preferences are ties"),
        ({"y": np.ones(300)}, "y is constant"),
        (
            {"y": np.arange(300), "groups": np.arange(300)},
            "every row has its own group",
        ),
    ],
)
def test_unusable_input_is_refused(known, given, message):
    with pytest.raises(ValueError, match=message):
        PreferenceRegressor().fit(known[0], **given)


@pytest.mark.parametrize("n_columns", [3, 90])
def test_constant_features_are_refused(n_columns):
    with pytest.raises(ValueError, match=f"all {n_columns} columns of X are constant"):
        PreferenceRegressor(1.0).fit(np.ones((40, n_columns)), preferences=[(0, 1)])


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (lambda y: y[:5], r"y must have shape \(300,\)"),
        (lambda y: np.full(300, np.nan), "two different ratings; y has 0"),
        (lambda y: np.where(np.isnan(y), np.inf, y), "y has infinite ratings"),
        (lambda y: -y, "they contradict the preferences"),
    ],
)
def test_ratings_that_set_no_scale_are_refused(known, y, message):
    X, coef, preferences, groups = known
    ratings = np.where(np.arange(300) < 50, X @ coef, np.nan)
    with pytest.raises(ValueError, match=message):
        PreferenceRegressor(1.0).fit(
            X, y(ratings), preferences=preferences, groups=groups
        )


def test_a_penalty_without_preferences_to_judge_it_is_refused(known):
    X, *_ = known
    alone = np.arange(300)
    with pytest.raises(ValueError, match="no preference has both rows in one test"):
        PreferenceRegressor(cv=5).fit(X, preferences=[(0, 1)], groups=alone)
