import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.stats import rankdata, spearmanr

from clapstack.stacking import rank_target
from clapstack.stacking._targets import IncreasingMap, weighted_srcc

steady = settings(max_examples=50, derandomize=True, deadline=None)
values = st.lists(st.integers(-5, 5), min_size=1, max_size=30)
weighted = st.lists(
    st.tuples(st.integers(-5, 5), st.integers(-5, 5), st.integers(1, 4)),
    min_size=4,
    max_size=20,
)


@steady
@given(values)
def test_rank_target_is_the_mean_rank_over_n(rows):
    assert_allclose(rank_target(rows), rankdata(rows) / len(rows))


@steady
@given(values)
def test_rank_target_lies_in_zero_to_one(rows):
    ranks = rank_target(rows)
    assert (ranks > 0).all()
    assert (ranks <= 1).all()


@steady
@given(weighted)
def test_weighted_ranks_are_those_of_repeated_values(rows):
    y, _, weight = np.array(rows).T
    repeated = rank_target(np.repeat(y, weight))
    assert_allclose(np.repeat(rank_target(y, weight), weight), repeated)


@steady
@given(weighted)
def test_weighted_srcc_is_that_of_repeated_pairs(rows):
    x, y, weight = np.array(rows).T
    assume(len(set(x)) > 1 and len(set(y)) > 1)
    expected = spearmanr(np.repeat(x, weight), np.repeat(y, weight)).statistic
    assert weighted_srcc(x, y, weight) == pytest.approx(expected, abs=1e-12)


def test_weighted_srcc_of_a_constant_is_zero():
    assert weighted_srcc([1.0, 2.0, 3.0], [4.0, 4.0, 4.0]) == 0.0


@steady
@given(st.integers(0, 10_000), st.integers(2, 80))
def test_increasing_map_is_strictly_increasing(seed, n_pairs):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n_pairs)
    back = IncreasingMap().fit(x, x + 2 * rng.normal(size=n_pairs))
    assume(back.exists_)
    grid = np.linspace(x.min() - 3, x.max() + 3, 500)
    assert (np.diff(back.predict(grid)) > 0).all()


def test_increasing_map_follows_a_curve():
    x = np.linspace(0, 1, 500)
    back = IncreasingMap().fit(x, 10 * x**2)
    assert_allclose(back.predict(x), 10 * x**2, atol=0.6)


def test_increasing_map_keeps_the_mean():
    rng = np.random.default_rng(0)
    x = rng.uniform(size=400)
    y = 10 * x**2 + rng.normal(size=400)
    back = IncreasingMap().fit(x, y)
    assert back.predict(x).mean() == pytest.approx(y.mean(), abs=0.1)


def test_increasing_map_with_weights_is_that_of_repeated_pairs():
    rng = np.random.default_rng(0)
    x = rng.uniform(size=60)
    y = x + rng.normal(scale=0.2, size=60)
    weight = rng.integers(1, 4, size=60)
    grid = np.linspace(-0.5, 1.5, 50)
    repeated = IncreasingMap().fit(np.repeat(x, weight), np.repeat(y, weight))
    weighted_map = IncreasingMap().fit(x, y, weight)
    assert_allclose(weighted_map.predict(grid), repeated.predict(grid))


def test_there_is_no_increasing_map_to_a_falling_target():
    x = np.linspace(0, 1, 50)
    assert not IncreasingMap().fit(x, -x).exists_
