"""Increasing maps from predictions to scores."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import Ridge
from sklearn.model_selection import cross_val_predict

from clapstack.calibration import IncreasingMap
from clapstack.metrics import ktau, mse, srcc

steady = settings(derandomize=True, deadline=None)
scales = st.booleans()


@steady
@given(st.integers(0, 10_000), st.integers(2, 80), scales)
def test_map_is_strictly_increasing(seed, n_pairs, on_scale):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n_pairs)
    back = IncreasingMap(on_scale=on_scale).fit(x, x + 2 * rng.normal(size=n_pairs))
    assume(back.exists_)
    grid = np.linspace(x.min() - 3, x.max() + 3, 500)
    assert (np.diff(back.predict(grid)) > 0).all()


def test_pieces_follow_a_curve():
    x = np.linspace(0, 1, 500)
    back = IncreasingMap(on_scale=False).fit(x, 10 * x**2)
    assert_allclose(back.predict(x), 10 * x**2, atol=0.6)


def test_pieces_keep_the_mean():
    rng = np.random.default_rng(0)
    x = rng.uniform(size=400)
    y = 10 * x**2 + rng.normal(size=400)
    back = IncreasingMap(on_scale=False).fit(x, y)
    assert back.predict(x).mean() == pytest.approx(y.mean(), abs=0.1)


rows = st.lists(
    st.tuples(st.integers(-12, 12), st.integers(-3, 3), st.integers(0, 3)),
    min_size=12,
    max_size=40,
)


def make_data(drawn):
    """Return predictions with ties, scores and whole weights, one of them positive."""
    x, noise, weight = np.array(drawn, dtype=float).T
    weight[0] = max(weight[0], 1.0)
    return x / 4, x / 4 + noise, weight.astype(int)


def assert_same_map(one, other):
    assert one.exists_ == other.exists_
    if one.exists_:
        grid = np.linspace(-4, 4, 30)
        assert_allclose(one.predict(grid), other.predict(grid), rtol=1e-7, atol=1e-7)


@steady
@given(rows, scales)
def test_a_weight_of_the_map_is_a_repetition(drawn, on_scale):
    x, y, weight = make_data(drawn)
    repeated = IncreasingMap(on_scale=on_scale).fit(
        np.repeat(x, weight), np.repeat(y, weight)
    )
    assert_same_map(IncreasingMap(on_scale=on_scale).fit(x, y, weight), repeated)


@steady
@given(rows, scales, st.floats(-12, 12))
def test_the_scale_of_weights_does_not_move_the_map(drawn, on_scale, power):
    x, y, weight = make_data(drawn)
    scaled = IncreasingMap(on_scale=on_scale).fit(x, y, weight * 10.0**power)
    assert_same_map(scaled, IncreasingMap(on_scale=on_scale).fit(x, y, weight))


@steady
@given(rows, scales)
def test_a_weight_of_zero_leaves_a_pair_out_of_the_map(drawn, on_scale):
    x, y, weight = make_data(drawn)
    spoilt = np.where(weight == 0, 1e6, y)
    used = weight > 0
    without = IncreasingMap(on_scale=on_scale).fit(x[used], y[used], weight[used])
    assert_same_map(IncreasingMap(on_scale=on_scale).fit(x, spoilt, weight), without)


@steady
@given(rows, scales, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_move_the_map(drawn, on_scale, random):
    x, y, weight = make_data(drawn)
    order = random.sample(range(len(x)), len(x))
    shuffled = IncreasingMap(on_scale=on_scale).fit(x[order], y[order], weight[order])
    assert_same_map(IncreasingMap(on_scale=on_scale).fit(x, y, weight), shuffled)


@pytest.mark.parametrize("scale", [1.0, 0.1, 0.01, 0.001, 1e-12, 1e12])
def test_equal_weights_of_any_size_give_ten_knots(scale):
    x = np.arange(100.0)
    weighted = IncreasingMap(on_scale=False).fit(x, x, np.full(100, scale))
    plain = IncreasingMap(on_scale=False).fit(x, x)
    assert_allclose(weighted.x_knots_, plain.x_knots_)
    assert len(plain.x_knots_) == 10


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ([1, np.nan, 1], r"finite and not negative; 1 of 3 .*\(rows 1\)"),
        ([1, 1, np.inf], r"\(rows 2\)"),
        ([-1, 1, -1], r"2 of 3 rows are not \(rows 0, 2\)"),
        ([0, 0, 0], "sample_weight is zero for all pairs"),
        ([1, 1], r"must have shape \(3,\)"),
    ],
)
def test_weights_that_the_map_cannot_use_are_named(weight, message):
    with pytest.raises(ValueError, match=message):
        IncreasingMap().fit([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], weight)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([], [], "x passed to IncreasingMap has no values"),
        ([1.0, np.nan], [1.0, 2.0], "x passed .* NaN or infinity in rows 1"),
        ([1.0, 2.0], [np.inf, 2.0], "y passed .* NaN or infinity in rows 0"),
        ([1.0, 2.0], [1.0], "got 2 predictions and 1 scores"),
        (["1", "2"], [1.0, 2.0], "x must be numbers; its dtype is <U1"),
    ],
)
def test_pairs_that_the_map_cannot_use_are_named(x, y, message):
    with pytest.raises(ValueError, match=message):
        IncreasingMap().fit(x, y)


@pytest.mark.parametrize("on_scale", [True, False])
def test_predictions_that_differ_by_rounding_alone_have_no_map(on_scale):
    x = 0.1 + 1e-17 * np.arange(50)
    assert not IncreasingMap(on_scale=on_scale).fit(x, np.arange(50.0)).exists_


@pytest.mark.parametrize("on_scale", [True, False])
def test_there_is_no_increasing_map_to_a_falling_target(on_scale):
    x = np.linspace(0, 1, 50)
    falling = IncreasingMap(on_scale=on_scale).fit(x, -x)
    assert not falling.exists_
    with pytest.raises(ValueError, match="y does not rise with the predictions"):
        falling.predict(x)


def test_predictions_that_are_calibrated_are_left_alone():
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 10, 500)
    back = IncreasingMap().fit(x, x + rng.normal(size=500))
    assert_allclose(back.predict(x), x, atol=0.1)


def test_a_line_that_noise_explains_is_the_identity_on_scale():
    rng = np.random.default_rng(0)
    x = rng.normal(5, 1, 100)
    back = IncreasingMap().fit(x, x + 3 * rng.normal(size=100))
    assert_allclose(back.predict(x), x, atol=1e-12)


def test_a_curve_that_noise_explains_is_a_line_off_scale():
    rng = np.random.default_rng(4)
    x = rng.uniform(size=100)
    y = 3 + 4 * x + 3 * rng.normal(size=100)
    back = IncreasingMap(on_scale=False).fit(x, y)
    slope, offset = np.polyfit(x, y, 1)
    assert_allclose(back.predict(x), slope * x + offset, atol=1e-12)


def test_departures_are_kept_by_how_far_they_exceed_their_noise():
    """Compared with the equation in the docstring, on bins of ten pairs each."""
    rng = np.random.default_rng(0)
    x = np.sort(rng.normal(size=100))
    y = 4 + 2 * x + 0.5 * x**3 + rng.normal(size=100)
    line = np.polyval(np.polyfit(x, y, 1), x)
    gaps = (y - line).reshape(10, 10).mean(axis=1)
    left = y - line - np.repeat(gaps, 10)
    variance = np.sum((left / 100) ** 2)
    straight = 1 - 2 * variance / np.mean((line - x) ** 2)
    curved = 1 - 8 * variance / np.mean(gaps**2)
    assert 0.1 < curved < 0.9
    means = x.reshape(10, 10).mean(axis=1)
    base = line.reshape(10, 10).mean(axis=1)
    expected = means + straight * (base - means) + curved * gaps
    assert (np.diff(expected) > 0).all()
    back = IncreasingMap().fit(x, y)
    assert_allclose(back.x_knots_, means)
    assert_allclose(back.y_knots_, expected)


@steady
@given(rows, st.floats(-3, 3), st.floats(-50, 50))
def test_off_scale_the_units_of_scores_are_those_of_the_map(drawn, power, shift):
    x, y, weight = make_data(drawn)
    scale = 10.0**power
    one = IncreasingMap(on_scale=False).fit(x, y, weight)
    other = IncreasingMap(on_scale=False).fit(x, scale * y + shift, weight)
    assert one.exists_ == other.exists_
    if one.exists_:
        grid = np.linspace(-4, 4, 30)
        expected = scale * one.predict(grid) + shift
        assert_allclose(other.predict(grid), expected, rtol=1e-6, atol=1e-6 * scale)


@pytest.mark.parametrize("on_scale", [True, False])
def test_predictions_of_few_values_follow_their_means(on_scale):
    """Most of eleven integers have their own bin."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 11, 5000).astype(float)
    y = 0.1 * x**2 + rng.normal(size=5000)
    mapped = IncreasingMap(on_scale=on_scale).fit(x, y).predict(x)
    assert np.mean((mapped - 0.1 * x**2) ** 2) < 0.02


def test_two_values_have_a_map_however_often_one_comes():
    x = np.r_[np.zeros(99), 1.0]
    back = IncreasingMap(on_scale=False).fit(x, 2 + 3 * x)
    assert_allclose(back.predict([0.0, 1.0]), [2.0, 5.0])


def test_two_predictions_never_become_a_tie_beyond_the_knots():
    x = np.linspace(0, 1, 100)
    back = IncreasingMap(on_scale=False).fit(x, np.clip(20 * x - 5, 0, 10))
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
    held_out = cross_val_predict(Ranker(), X[:300], y[:300])
    plain = Ranker().fit(X[:300], y[:300]).predict(X[300:])
    calibrated = IncreasingMap().fit(held_out, y[:300]).predict(plain)
    assert srcc(y[300:], calibrated) == pytest.approx(srcc(y[300:], plain), abs=1e-12)
    assert ktau(y[300:], calibrated) == pytest.approx(ktau(y[300:], plain), abs=1e-12)
    assert mse(y[300:], plain) > 9000
    assert mse(y[300:], calibrated) < 2


def test_calibration_does_not_cost_error_on_average():
    """Over 40 draws, on a regressor that is already calibrated."""
    change = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(600, 4))
        y = X.sum(axis=1) + 2 * rng.normal(size=600)
        train, test = slice(0, 150), slice(150, None)
        plain = Ridge().fit(X[train], y[train]).predict(X[test])
        held_out = cross_val_predict(Ridge(), X[train], y[train])
        calibrated = IncreasingMap().fit(held_out, y[train]).predict(plain)
        change.append(mse(y[test], calibrated) - mse(y[test], plain))
    assert np.mean(change) < 0.01 * 4  # one percent of the noise


def test_predictions_that_are_not_numbers_are_refused():
    one = IncreasingMap().fit(np.arange(20.0), np.arange(20.0))
    with pytest.raises(ValueError, match="x must be numbers; its dtype is <U3"):
        one.predict(["7_5"])
    hidden = np.ma.masked_array([1.0, 2.0], mask=[False, True])
    assert_array_equal(np.isnan(one.predict(hidden)), [False, True])
