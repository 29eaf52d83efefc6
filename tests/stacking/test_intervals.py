"""Conformal intervals against their definition."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from clapstack import ClapStackingRegressor
from clapstack.metrics import mse, srcc
from clapstack.stacking._intervals import DisagreementScale, cross_conformal_interval

steady = settings(max_examples=40, derandomize=True, deadline=None)


@steady
@given(st.integers(0, 10_000), st.integers(1, 4), st.floats(0.5, 0.95))
def test_ends_are_order_statistics_over_all_training_pairs(seed, n_folds, coverage):
    rng = np.random.default_rng(seed)
    predictions = rng.normal(5, 1, (n_folds, 7))
    residuals = [rng.exponential(size=20) for _ in range(n_folds)]
    scale = rng.uniform(0.5, 2, 7)
    interval = cross_conformal_interval(predictions, residuals, scale, coverage)
    reach = [part[:, None] * scale for part in residuals]
    above = np.sort(
        np.vstack([p + r for p, r in zip(predictions, reach, strict=True)]), 0
    )
    below = np.sort(
        np.vstack([p - r for p, r in zip(predictions, reach, strict=True)]), 0
    )
    n = len(above)
    rank = int(np.ceil(coverage * (n + 1)))
    assert_allclose(interval[:, 1], above[rank - 1], atol=1e-8)
    assert_allclose(interval[:, 0], below[n - rank], atol=1e-8)


def test_too_few_residuals_give_an_infinite_interval():
    interval = cross_conformal_interval(
        np.zeros((1, 2)), [np.ones(5)], np.ones(2), 0.95
    )
    assert_array_equal(interval, [[-np.inf, np.inf]] * 2)


def test_disagreement_widens():
    rng = np.random.default_rng(0)
    disagreement = rng.uniform(0, 1, 500)
    residuals = np.abs(rng.normal(0, 0.2 + disagreement))
    scale = DisagreementScale(residuals, disagreement)
    assert scale(np.array([0.9])) > 2 * scale(np.array([0.1]))


def test_disagreement_that_says_nothing_does_not_narrow():
    rng = np.random.default_rng(0)
    disagreement = rng.uniform(0, 1, 500)
    residuals = np.abs(rng.normal(0, 1.5 - disagreement))
    scale = DisagreementScale(residuals, disagreement)
    assert scale(np.array([0.9])) >= scale(np.array([0.1]))


def test_scale_never_reaches_zero():
    scale = DisagreementScale(np.zeros(20), np.zeros(20))
    assert (scale(np.zeros(3)) > 0).all()


@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_exchangeable_pairs_are_covered(coverage):
    """Sample means as predictions of four folds: 200 draws of one new pair each."""
    covered = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        y = rng.normal(size=(4, 25))
        means = np.array([np.delete(y, k, axis=0).mean() for k in range(4)])
        residuals = [np.abs(y[k] - means[k]) for k in range(4)]
        predictions = np.tile(means[:, None], (1, 20))
        interval = cross_conformal_interval(
            predictions, residuals, np.ones(20), coverage
        )
        new = rng.normal(size=20)
        covered.append(np.mean((interval[:, 0] <= new) & (new <= interval[:, 1])))
    assert abs(np.mean(covered) - coverage) < 0.02


def small_world(seed, n_pairs=400):
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(
        rng.normal(size=(n_pairs, 6)),
        columns=[f"{f}__{c}" for f in ("a", "b") for c in ("x", "y", "cosine")],
    )
    signal = X["a__x"] + X["b__y"]
    y = np.clip(5 + signal + rng.normal(size=n_pairs), 0, 10).to_numpy()
    return X, y


def test_intervals_of_the_stack_cover_as_often_as_they_say():
    """Over 50 seeds; within two points, for both kinds."""
    stack = ClapStackingRegressor(boosting=False)
    for scaled in (True, False):
        covered = []
        for seed in range(50):
            X, y = small_world(seed)
            fitted = clone(stack).fit(X[:250], y[:250])
            low, high = fitted.predict_interval(X[250:], 0.9, scaled=scaled).T
            covered.append(np.mean((low <= y[250:]) & (y[250:] <= high)))
        assert abs(np.mean(covered) - 0.9) < 0.02


def test_intervals_stay_on_the_rating_scale():
    X, y = small_world(0)
    interval = ClapStackingRegressor(boosting=False).fit(X, y).predict_interval(X)
    assert interval.min() >= 0
    assert interval.max() <= 10
    assert (interval[:, 0] < interval[:, 1]).all()


def test_intervals_on_another_scale_are_not_clipped():
    X, y = small_world(0)
    interval = ClapStackingRegressor(boosting=False).fit(X, 10 * y).predict_interval(X)
    assert interval.max() > 10


def test_higher_coverage_gives_wider_intervals():
    X, y = small_world(0)
    stack = ClapStackingRegressor(boosting=False).fit(X, y)
    narrow, wide = (np.diff(stack.predict_interval(X, c)).mean() for c in (0.5, 0.95))
    assert wide > 2 * narrow


def test_impossible_coverage_is_refused():
    X, y = small_world(0)
    stack = ClapStackingRegressor(boosting=False).fit(X, y)
    with pytest.raises(ValueError, match="between 0 and 1; got 90"):
        stack.predict_interval(X, 90)


def test_calibration_keeps_the_order_and_never_loses_much():
    X, y = small_world(0)
    bent = 10 * (y / 10) ** 3
    stack = ClapStackingRegressor(boosting=False, final_target="score")
    plain = clone(stack).fit(X[:250], bent[:250]).predict(X[250:])
    calibrated = clone(stack).set_params(calibration=True).fit(X[:250], bent[:250])
    predicted = calibrated.predict(X[250:])
    assert srcc(bent[250:], predicted) == pytest.approx(srcc(bent[250:], plain), 1e-12)
    assert mse(bent[250:], predicted) < mse(bent[250:], plain)
