import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from clapstack._numerics import rows as _linalg
from clapstack.stacking import StandardizedRidge


@pytest.fixture(params=["tall", "wide"])
def data(request):
    rng = np.random.default_rng(0)
    shape = {"tall": (80, 12), "wide": (30, 70)}[request.param]
    X = rng.normal(size=shape) * rng.uniform(0.01, 9, shape[1]) + rng.normal(
        size=shape[1]
    )
    return X, X[:, 0] + rng.normal(size=shape[0]), rng.integers(1, 4, size=shape[0])


def sklearn_predictions(X, y, penalty, weight=None):
    scaler = StandardScaler().fit(X, sample_weight=weight)
    ridge = Ridge(alpha=penalty).fit(scaler.transform(X), y, sample_weight=weight)
    return ridge.predict(scaler.transform(X))


def test_ridge_is_that_of_sklearn_on_standardised_columns(data):
    X, y, _ = data
    ridge = StandardizedRidge(alpha=0.3).fit(X, y)
    expected = sklearn_predictions(X, y, 0.3 * X.shape[1])
    assert_allclose(ridge.predict(X), expected, rtol=1e-9)


def test_weighted_ridge_is_that_of_sklearn(data):
    X, y, weight = data
    ridge = StandardizedRidge(alpha=0.3).fit(X, y, weight)
    expected = sklearn_predictions(X, y, 0.3 * X.shape[1], weight)
    assert_allclose(ridge.predict(X), expected, rtol=1e-9)


def test_ridge_in_chunks_is_the_ridge_in_one(data, monkeypatch):
    X, y, weight = data
    whole = StandardizedRidge().fit(X, y, weight).predict(X)
    monkeypatch.setattr(_linalg, "_CHUNK_ELEMENTS", 3 * X.shape[1])
    chunked = StandardizedRidge().fit(X, y, weight).predict(X)
    assert_allclose(chunked, whole, rtol=1e-11)


def test_float32_columns_are_solved_in_float64(data):
    X, y, _ = data
    X = X.astype(np.float32)
    single = StandardizedRidge().fit(X, y).predict(X)
    double = StandardizedRidge().fit(X.astype(float), y).predict(X.astype(float))
    assert_allclose(single, double, rtol=1e-12)


def test_scale_of_a_column_does_not_matter(data):
    X, y, _ = data
    expected = StandardizedRidge().fit(X, y).predict(X)
    scaled = X * np.linspace(0.001, 1000, X.shape[1])
    assert_allclose(StandardizedRidge().fit(scaled, y).predict(scaled), expected)


def test_constant_columns_change_nothing(data):
    X, y, _ = data
    expected = StandardizedRidge().fit(X, y).predict(X)
    more = np.column_stack([X, np.full(len(X), 0.1), np.zeros(len(X))])
    ridge = StandardizedRidge().fit(more, y)
    assert_allclose(ridge.predict(more), expected, rtol=1e-9)


def test_repeating_the_columns_changes_nothing(data):
    X, y, _ = data
    expected = StandardizedRidge().fit(X, y).predict(X)
    twice = np.hstack([X, X])
    assert_allclose(StandardizedRidge().fit(twice, y).predict(twice), expected)


def test_alpha_too_small_for_dependent_columns_is_refused():
    rng = np.random.default_rng(0)
    X = np.repeat(rng.normal(size=(40, 1)), 3, axis=1)
    with pytest.raises(ValueError, match="alpha=1e-300 is too small"):
        StandardizedRidge(alpha=1e-300).fit(X, X[:, 0])
