"""Conformal intervals against their definition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

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
