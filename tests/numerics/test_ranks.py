import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import rankdata, spearmanr

from clapstack._numerics.ranks import rank_among, weighted_srcc
from clapstack.stacking import rank_target

steady = settings(max_examples=50, derandomize=True, deadline=None)
values = st.lists(st.integers(-5, 5), min_size=1, max_size=30)
weighted = st.lists(
    st.tuples(st.integers(-5, 5), st.integers(-5, 5), st.integers(1, 4)),
    min_size=4,
    max_size=20,
)


@steady
@given(values)
def test_rank_target_is_the_mean_rank_less_a_half_over_n(rows):
    assert_allclose(rank_target(rows), (rankdata(rows) - 0.5) / len(rows))


@steady
@given(values)
def test_rank_target_lies_in_zero_to_one(rows):
    ranks = rank_target(rows)
    assert (ranks > 0).all()
    assert (ranks < 1).all()


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


def test_rank_among_is_the_own_rank_of_training_values():
    y, weight = np.array([3.0, 9.0, 3.0, 7.0]), np.array([1.0, 2.0, 1.0, 3.0])
    assert_array_equal(rank_among(y, y, weight), rank_target(y, weight))


def test_rank_among_lies_between_the_neighbours():
    assert_allclose(rank_among(np.array([4.0]), np.array([3.0, 5.0])), [0.5])
