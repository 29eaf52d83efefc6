"""The ridge that is drawn to equal weights."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from sklearn.linear_model import LinearRegression
from sklearn.utils.estimator_checks import parametrize_with_checks

from clapstack.stacking import BlendRidge

steady = settings(max_examples=30, derandomize=True, deadline=None)


@parametrize_with_checks([BlendRidge()])
def test_sklearn_check(estimator, check):
    check(estimator)


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    signal = rng.normal(size=200)
    X = signal[:, None] + 0.3 * rng.normal(size=(200, 6))
    return X, signal + rng.normal(size=200)


def test_without_a_penalty_it_is_least_squares(data):
    X, y = data
    model = BlendRidge(alpha=0).fit(X, y)
    assert_allclose(model.coef_, LinearRegression().fit(X, y).coef_, atol=1e-8)


def test_a_large_penalty_gives_equal_weights_and_a_free_slope(data):
    X, y = data
    model = BlendRidge(alpha=1e7).fit(X, y)
    line = LinearRegression().fit(X.mean(axis=1, keepdims=True), y)
    assert_allclose(model.coef_, line.coef_[0] / 6, rtol=1e-4)
    expected = line.predict(X.mean(axis=1, keepdims=True))
    assert_allclose(model.predict(X), expected, atol=1e-4)


@steady
@given(st.integers(0, 10_000), st.floats(0.01, 1000))
def test_no_other_coefficients_have_a_smaller_loss(seed, alpha):
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(30, 4)), rng.normal(size=30)
    model = BlendRidge(alpha=alpha).fit(X, y)

    def loss(coef):
        rest = y - y.mean() - (X - X.mean(axis=0)) @ coef
        return rest @ rest + alpha * 4 * np.sum((coef - coef.mean()) ** 2)

    least = loss(model.coef_)
    for _ in range(10):
        assert loss(model.coef_ + 0.01 * rng.normal(size=4)) >= least


def test_columns_that_are_equal_share_the_weight(data):
    X, y = data
    twice = np.column_stack([X[:, 0], X[:, 0], X[:, 1]])
    coef = BlendRidge().fit(twice, y).coef_
    assert coef[0] == pytest.approx(coef[1])


def test_it_beats_least_squares_on_predictions_that_say_the_same():
    gain = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        signal = rng.normal(size=400)
        X = signal[:, None] + 0.3 * rng.normal(size=(400, 12))
        y = signal + 2 * rng.normal(size=400)
        train, test = slice(0, 100), slice(100, None)
        plain = LinearRegression().fit(X[train], y[train])
        blend = BlendRidge().fit(X[train], y[train])
        gain.append(blend.score(X[test], y[test]) - plain.score(X[test], y[test]))
    assert np.mean(gain) > 0.01
