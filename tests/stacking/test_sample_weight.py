"""Weights are equivalent to repetition; their scale only affects penalties."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import LeaveOneGroupOut

from clapstack import ClapStackingRegressor
from clapstack._numerics.ranks import rank_among, weighted_srcc
from clapstack.stacking import (
    KernelRegressor,
    StandardizedRidge,
    rank_target,
)
from clapstack.stacking._trees import BoostedTrees

SCALES = [1e-12, 0.001, 0.1, 3.7, 1e12]
FINAL_TARGETS = ["auto", "score", "rank"]
steady = settings(max_examples=50, derandomize=True, deadline=None)
rows = st.lists(
    st.tuples(st.integers(-5, 5), st.integers(-5, 5), st.integers(1, 4)),
    min_size=4,
    max_size=20,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def data(rng):
    """Return (X, y, whole weights, weights): 90 pairs of two small families."""
    names = ["laion__audio0", "laion__cosine", "msclap__text0", "msclap__cosine"]
    X = pd.DataFrame(rng.normal(size=(90, 4)), columns=names)
    y = 5 + X.sum(axis=1).to_numpy() + rng.normal(size=90)
    return X, y, rng.integers(0, 4, 90), rng.uniform(0.3, 2.0, 90)


def make_stack(**parameters):
    return ClapStackingRegressor(boosting=False, **parameters)


def predict(estimator, X, y, at, **fit):
    return clone(estimator).fit(X, y, **fit).predict(at)


@steady
@given(rows, st.floats(-12, 12))
def test_scale_of_weights_does_not_move_ranks(drawn, power):
    x, y, weight = np.array(drawn).T
    scaled = weight * 10.0**power
    assert_allclose(rank_target(y, scaled), rank_target(y, weight))
    assert_allclose(rank_among(x, y, scaled), rank_among(x, y, weight))
    assert_allclose(
        weighted_srcc(x, y, scaled), weighted_srcc(x, y, weight), atol=1e-12
    )


def test_weight_of_zero_leaves_a_value_out_of_ranks():
    ranks = rank_target([3.0, 8.0, 1.0], [1.0, 0.0, 1.0])
    assert_allclose(ranks[[0, 2]], rank_target([3.0, 1.0]))


@pytest.mark.parametrize(
    ("y", "weight", "message"),
    [
        ([], None, "finite and not empty"),
        ([1.0, np.nan], None, "1 NaN or infinite values"),
        ([[1.0, 2.0]], None, r"one-dimensional.*got shape \(1, 2\)"),
        ([1.0, 2.0], [1.0, -1.0], r"not negative.*rows 1"),
        ([1.0, 2.0], [0.0, 0.0], "zero for all pairs"),
    ],
)
def test_values_without_ranks_are_refused(y, weight, message):
    with pytest.raises(ValueError, match=message):
        rank_target(y, weight)


@pytest.mark.parametrize("final_target", FINAL_TARGETS)
@pytest.mark.parametrize("calibration", [False, True])
def test_scale_of_weights_does_not_move_the_stack(final_target, calibration, data):
    X, y, _, weight = data
    stack = make_stack(final_target=final_target, calibration=calibration)
    for base in (weight, np.ones(90)):
        expected = predict(stack, X, y, X, sample_weight=base)
        for scale in SCALES:
            found = predict(stack, X, y, X, sample_weight=base * scale)
            assert_allclose(found, expected, rtol=1e-9)


def test_scale_of_weights_does_not_move_the_trees(data):
    X, y, _, weight = data
    stack = ClapStackingRegressor(boosting=BoostedTrees(max_iter=20))
    expected = predict(stack, X, y, X, sample_weight=weight)
    for scale in (1e-12, 1e12):
        found = predict(stack, X, y, X, sample_weight=weight * scale)
        assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("scale", SCALES)
def test_equal_weights_are_no_weights(scale, data):
    X, y, *_ = data
    stack = ClapStackingRegressor(
        boosting=BoostedTrees(max_iter=20), final_target="rank"
    )
    equal = clone(stack).fit(X, y, sample_weight=np.full(90, scale))
    plain = stack.fit(X, y)
    assert_allclose(equal.predict(X), plain.predict(X), rtol=1e-9)
    assert_allclose(
        equal.predict_interval(X), plain.predict_interval(X), rtol=1e-6, atol=1e-6
    )


@pytest.mark.slow
@pytest.mark.parametrize("final_target", FINAL_TARGETS)
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"calibration": True},
        {"alphas": [0.3, 3.0]},
        {"final_estimator": "mean"},
        {"kernel": True},
        {"base_estimators": ["ridge", LinearRegression()]},
    ],
    ids=lambda parameters: "-".join(parameters) or "default",
)
def test_stack_with_whole_weights_is_that_of_repeated_pairs(
    final_target, parameters, data
):
    X, y, times, _ = data
    groups = np.arange(90) % 4
    often = np.repeat(np.arange(90), times)
    fitted = []
    for taken, given_ in (
        (np.arange(90), {"sample_weight": times}),
        (often, {}),
    ):
        splits = list(LeaveOneGroupOut().split(taken, groups=groups[taken]))
        stack = make_stack(cv=splits, final_target=final_target, **parameters)
        stack.fit(X.iloc[taken], y[taken], groups=groups[taken], **given_)
        fitted.append(stack)
    weighted, repeated = fitted
    assert weighted.final_target_ == repeated.final_target_
    assert_allclose(weighted.predict(X), repeated.predict(X), rtol=1e-5)
    used = np.flatnonzero(times)
    first = np.searchsorted(often, used)
    assert_allclose(weighted.oof_scores_[used], repeated.oof_scores_[first], rtol=1e-5)


def test_weights_with_a_common_divisor_count_without_it(data):
    X, y, times, _ = data
    expected = predict(make_stack(), X, y, X, sample_weight=times)
    found = predict(make_stack(), X, y, X, sample_weight=6 * times)
    assert_array_equal(found, expected)


def test_whole_weights_too_large_for_counts_compare_pairs(data):
    X, y, _, weight = data
    expected = predict(make_stack(), X, y, X, sample_weight=weight)
    found = predict(make_stack(), X, y, X, sample_weight=np.rint(weight * 1e12))
    assert_allclose(found, expected, rtol=1e-6)


REGRESSORS = [StandardizedRidge(), KernelRegressor()]


@pytest.mark.parametrize("regressor", REGRESSORS)
def test_weights_of_regressors_are_repetitions(regressor, data):
    X, y, times, _ = data
    weighted = predict(regressor, X, y, X, sample_weight=times)
    often = np.repeat(np.arange(90), times)
    repeated = predict(regressor, X.iloc[often], y[often], X)
    assert_allclose(weighted, repeated, rtol=1e-5)


@pytest.mark.parametrize("regressor", REGRESSORS)
def test_weight_of_zero_leaves_a_pair_out_of_regressors(regressor, data):
    X, y, times, _ = data
    used = times > 0
    spoilt = np.where(used, y, 1e3)
    found = predict(regressor, X, spoilt, X, sample_weight=times)
    expected = predict(regressor, X[used], y[used], X, sample_weight=times[used])
    assert_allclose(found, expected, rtol=1e-7)


@pytest.mark.parametrize("regressor", REGRESSORS)
def test_order_of_rows_does_not_move_regressors(regressor, data, rng):
    X, y, _, weight = data
    y = np.round(y)  # with ties
    order = rng.permutation(90)
    found = predict(regressor, X.iloc[order], y[order], X, sample_weight=weight[order])
    expected = predict(regressor, X, y, X, sample_weight=weight)
    assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_scale_of_weights_of_a_ridge_is_that_of_its_penalty(scale, data):
    X, y, _, weight = data
    expected = predict(StandardizedRidge(1.0), X, y, X, sample_weight=weight)
    found = predict(StandardizedRidge(scale), X, y, X, sample_weight=weight * scale)
    assert_allclose(found, expected, rtol=1e-9)


WEIGHTED = [*REGRESSORS, make_stack(), ClapStackingRegressor(calibration=True)]


@pytest.mark.parametrize("estimator", WEIGHTED)
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.nan, r"finite and not negative; 1 of 90 .*\(rows 7\)"),
        (np.inf, r"\(rows 7\)"),
        (-1.0, r"\(rows 7\)"),
        (None, r"\(rows 7\)"),
        ("1", "row 7 has '1'"),
    ],
)
def test_weights_that_cannot_be_used_are_named(estimator, bad, message, data):
    X, y, *_ = data
    weight = [1.0] * 90
    weight[7] = bad
    if bad == "1":
        weight = np.array(weight, dtype=object)
    with pytest.raises(ValueError, match=message):
        clone(estimator).fit(X, y, sample_weight=weight)
    with pytest.raises(ValueError, match="sample_weight is zero for all pairs"):
        clone(estimator).fit(X, y, sample_weight=np.zeros(90))
