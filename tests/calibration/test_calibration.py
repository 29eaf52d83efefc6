"""Increasing maps and the regressors that they calibrate."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold
from sklearn.neighbors import KNeighborsRegressor
from sklearn.utils.estimator_checks import parametrize_with_checks

from clapstack.calibration import CalibratedRegressor, IncreasingMap
from clapstack.metrics import ktau, mse, srcc

steady = settings(derandomize=True, deadline=None)
shapes = st.sampled_from(["auto", "line", "pieces"])


def expected_failures(estimator):
    reason = "repeated rows fall into other folds"
    return {
        "check_sample_weight_equivalence_on_dense_data": reason,
        "check_sample_weight_equivalence_on_sparse_data": reason,
    }


# Some checks draw y at random, with which no prediction rises.
@pytest.mark.filterwarnings("ignore:The predictions of Ridge are left:UserWarning")
@parametrize_with_checks(
    [CalibratedRegressor(Ridge())], expected_failed_checks=expected_failures
)
def test_sklearn_check(estimator, check):
    check(estimator)


@steady
@given(st.integers(0, 10_000), st.integers(2, 80), shapes)
def test_map_is_strictly_increasing(seed, n_pairs, shape):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n_pairs)
    back = IncreasingMap(shape).fit(x, x + 2 * rng.normal(size=n_pairs))
    assume(back.exists_)
    grid = np.linspace(x.min() - 3, x.max() + 3, 500)
    assert (np.diff(back.predict(grid)) > 0).all()


def test_pieces_follow_a_curve():
    x = np.linspace(0, 1, 500)
    back = IncreasingMap("pieces").fit(x, 10 * x**2)
    assert_allclose(back.predict(x), 10 * x**2, atol=0.6)


def test_pieces_keep_the_mean():
    rng = np.random.default_rng(0)
    x = rng.uniform(size=400)
    y = 10 * x**2 + rng.normal(size=400)
    back = IncreasingMap("pieces").fit(x, y)
    assert back.predict(x).mean() == pytest.approx(y.mean(), abs=0.1)


@pytest.mark.parametrize("shape", ["line", "pieces"])
def test_map_with_weights_is_that_of_repeated_pairs(shape):
    rng = np.random.default_rng(0)
    x = rng.uniform(size=60)
    y = x + rng.normal(scale=0.2, size=60)
    weight = rng.integers(1, 4, size=60)
    grid = np.linspace(-0.5, 1.5, 50)
    repeated = IncreasingMap(shape).fit(np.repeat(x, weight), np.repeat(y, weight))
    weighted_map = IncreasingMap(shape).fit(x, y, weight)
    assert_allclose(weighted_map.predict(grid), repeated.predict(grid))


@pytest.mark.parametrize("shape", ["line", "pieces"])
def test_there_is_no_increasing_map_to_a_falling_target(shape):
    x = np.linspace(0, 1, 50)
    falling = IncreasingMap(shape).fit(x, -x)
    assert not falling.exists_
    with pytest.raises(ValueError, match="y does not rise with the predictions"):
        falling.predict(x)


def test_predictions_that_are_calibrated_are_left_alone():
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 10, 500)
    back = IncreasingMap().fit(x, x + rng.normal(size=500))
    assert back.shape_ == "identity"
    assert_array_equal(back.predict(x), x)


@pytest.mark.parametrize(
    ("truth", "shape"), [(lambda x: 3 + 4 * x, "line"), (lambda x: 10 * x**3, "pieces")]
)
def test_the_plainest_shape_that_serves_is_taken(truth, shape):
    rng = np.random.default_rng(0)
    x = rng.uniform(size=500)
    y = truth(x) + 0.3 * rng.normal(size=500)
    assert IncreasingMap().fit(x, y).shape_ == shape


def test_the_choice_does_not_depend_on_the_order_of_rows():
    rng = np.random.default_rng(0)
    x = rng.uniform(size=200)
    y = x**2 + 0.3 * rng.normal(size=200)
    order = rng.permutation(200)
    first, second = IncreasingMap().fit(x, y), IncreasingMap().fit(x[order], y[order])
    assert first.shape_ == second.shape_
    assert_allclose(first.predict(x), second.predict(x))


def test_two_predictions_never_become_a_tie_beyond_the_knots():
    x = np.linspace(0, 1, 100)
    back = IncreasingMap("pieces").fit(x, np.clip(20 * x - 5, 0, 10))
    far = back.predict(np.linspace(-2, 3, 1000))
    assert len(np.unique(far)) == 1000


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 5))
    y = np.clip(5 + 2 * X.sum(axis=1) + rng.normal(size=400), 0, 10)
    return X, y


class Ranker(Ridge):
    """Predict on a scale that is not that of y."""

    def predict(self, X):
        return np.tanh(super().predict(X) / 10) - 100


def test_calibration_repairs_the_scale_and_keeps_the_ranking(data):
    X, y = data
    plain = Ranker().fit(X[:300], y[:300]).predict(X[300:])
    calibrated = CalibratedRegressor(Ranker()).fit(X[:300], y[:300]).predict(X[300:])
    assert srcc(y[300:], calibrated) == pytest.approx(srcc(y[300:], plain), abs=1e-12)
    assert ktau(y[300:], calibrated) == pytest.approx(ktau(y[300:], plain), abs=1e-12)
    assert mse(y[300:], plain) > 9000
    assert mse(y[300:], calibrated) < 2


def test_calibration_does_not_cost_error_on_average():
    """Over 40 draws, on a regressor that is calibrated as it is."""
    change = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(600, 4))
        y = X.sum(axis=1) + 2 * rng.normal(size=600)
        train, test = slice(0, 150), slice(150, None)
        plain = Ridge().fit(X[train], y[train]).predict(X[test])
        model = CalibratedRegressor(Ridge()).fit(X[train], y[train])
        change.append(mse(y[test], model.predict(X[test])) - mse(y[test], plain))
    assert np.mean(change) < 0.01 * 4  # one percent of the noise


def test_groups_reach_the_splitter(data):
    X, y = data
    groups = np.arange(len(y)) % 10
    model = CalibratedRegressor(Ridge(), cv=GroupKFold(5))
    assert model.fit(X, y, groups=groups).map_.exists_
    with pytest.raises(ValueError, match="groups"):
        model.fit(X, y)


def test_weights_that_the_estimator_cannot_take_are_refused(data):
    X, y = data
    model = CalibratedRegressor(KNeighborsRegressor())
    with pytest.raises(ValueError, match=r"KNeighborsRegressor\.fit takes none"):
        model.fit(X, y, sample_weight=np.ones(len(y)))


class Backwards(Ridge):
    def predict(self, X):
        return -super().predict(X)


def test_an_estimator_that_ranks_backwards_is_left_alone_with_a_warning(data):
    X, y = data
    with pytest.warns(UserWarning, match="y does not rise with them"):
        model = CalibratedRegressor(Backwards()).fit(X, y)
    assert_array_equal(model.predict(X), Backwards().fit(X, y).predict(X))
