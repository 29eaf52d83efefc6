"""Ranking losses against their definitions over all pairs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.special import softmax
from scipy.stats import rankdata

from clapstack.ranking._losses import LOSSES, ListNetLoss, PairwiseLoss, SpearmanLoss

steady = settings(derandomize=True, deadline=None, max_examples=15)


@st.composite
def cases(draw):
    """Draw scores with or without ties, predictions with some ties, and weights."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    n = draw(st.integers(2, 25))
    levels = draw(st.sampled_from([1, 2, 5, 1000]))
    y = rng.integers(0, levels, n).astype(float)
    f = draw(st.sampled_from([0.01, 1.0, 10.0])) * rng.normal(size=n)
    f[: n // 3] = f[0]
    return y, f, rng.uniform(0.5, 2.0, n)


def soft_step(u):
    u = np.clip(u, -1.0, 1.0)
    return np.where(u < 0, (1 + u) ** 2 / 2, 1 - (1 - u) ** 2 / 2)


@steady
@given(cases())
def test_pairwise_is_the_mean_squared_hinge_of_all_pairs(case):
    y, f, weight = case
    pair = np.outer(weight, weight) * (y[:, None] > y)
    hinge = np.maximum(0.0, 1.0 - (f[:, None] - f)) ** 2
    total = pair.sum()
    expected = weight.sum() / 2 * (pair * hinge).sum() / total if total else 0.0
    assert_allclose(PairwiseLoss(y, weight)(f)[0], expected, rtol=1e-9, atol=1e-9)


@steady
@given(cases())
def test_spearman_is_the_squared_error_of_soft_ranks(case):
    y, f, weight = case
    soft = soft_step(f[:, None] - f) @ weight / weight.sum()
    below = (y[:, None] > y) @ weight
    tied = (y[:, None] == y) @ weight
    true = (below + tied / 2) / weight.sum()
    expected = weight @ (soft - true) ** 2
    assert_allclose(SpearmanLoss(y, weight)(f)[0], expected, rtol=1e-9, atol=1e-9)


@steady
@given(cases())
def test_listnet_is_the_divergence_between_chances_to_be_first(case):
    y, f, weight = case
    mean = np.average(y, weights=weight)
    spread = np.sqrt(np.average((y - mean) ** 2, weights=weight)) or 1.0
    p = softmax((y - mean) / spread + np.log(weight))
    q = softmax(f + np.log(weight))
    expected = weight.sum() * np.sum(p * np.log(p / q))
    assert_allclose(ListNetLoss(y, weight)(f)[0], expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", LOSSES)
@steady
@given(cases())
def test_gradient_is_that_of_finite_differences(name, case):
    y, f, weight = case
    loss = LOSSES[name](y, weight)
    step = 1e-6
    numeric = [
        (loss(f + step * unit)[0] - loss(f - step * unit)[0]) / (2 * step)
        for unit in np.eye(len(f))
    ]
    scale = 1.0 + abs(loss(f)[0])
    assert_allclose(loss(f)[1], numeric, rtol=1e-4, atol=2e-6 * scale)


@pytest.mark.parametrize("name", LOSSES)
@steady
@given(cases())
def test_a_weight_counts_repetitions(name, case):
    y, f, weight = case
    times = np.ceil(2 * weight).astype(int)
    once, slope = LOSSES[name](y, times.astype(float))(f)
    again = LOSSES[name](np.repeat(y, times), np.ones(times.sum()))
    repeated, slopes = again(np.repeat(f, times))
    assert_allclose(once, repeated, rtol=1e-9, atol=1e-9)
    row = np.repeat(np.arange(len(y)), times)
    summed = np.bincount(row, weights=slopes)
    assert_allclose(slope, summed, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", ["pairwise", "spearman"])
def test_increasing_transforms_of_scores_change_no_bit(name, rng):
    y, f = rng.normal(size=(2, 50))
    weight = rng.uniform(0.5, 2.0, 50)
    one, slope = LOSSES[name](y, weight)(f)
    other, other_slope = LOSSES[name](np.exp(y), weight)(f)
    assert one == other
    np.testing.assert_array_equal(slope, other_slope)


@pytest.mark.parametrize("name", LOSSES)
def test_a_common_shift_of_predictions_changes_nothing(name, rng):
    y, f = rng.normal(size=(2, 50))
    loss = LOSSES[name](y, np.ones(50))
    assert_allclose(loss(f + 3.0)[0], loss(f)[0], rtol=1e-10)
    assert abs(loss(f)[1].sum()) < 1e-10


def test_small_predictions_make_spearman_least_squares_of_ranks(rng):
    y, f = rng.normal(size=50), 1e-4 * rng.normal(size=50)
    f -= f.mean()
    ranks = (rankdata(y) - 0.5) / 50 - 0.5
    value = SpearmanLoss(y, np.ones(50))(f)[0]
    assert_allclose(value, np.sum((ranks - f) ** 2), rtol=1e-6)
