"""Conformal intervals compared with their definition."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.dummy import DummyRegressor
from sklearn.model_selection import KFold, LeaveOneOut
from sklearn.neighbors import KNeighborsRegressor

from clapstack import ClapStackingRegressor, load_model, save_model
from clapstack.metrics import mse, srcc
from clapstack.stacking._intervals import (
    DisagreementScale,
    cross_conformal_interval,
    weight_of_a_new_unit,
)

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


def test_negative_correlation_with_disagreement_does_not_narrow():
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


@pytest.mark.slow
def test_intervals_of_the_stack_cover_as_often_as_they_say():
    """Over 50 seeds; within two points, for both kinds."""
    stack = ClapStackingRegressor(boosting=False)
    covered = {True: [], False: []}
    for seed in range(50):
        X, y = small_world(seed)
        fitted = clone(stack).fit(X[:250], y[:250])
        for scaled, shares in covered.items():
            low, high = fitted.predict_interval(X[250:], 0.9, scaled=scaled).T
            shares.append(np.mean((low <= y[250:]) & (y[250:] <= high)))
    for shares in covered.values():
        assert abs(np.mean(shares) - 0.9) < 0.02


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


def drawn_pairs(seed, n_pairs, signal=0.0):
    """Two families of three columns, and scores without bounds."""
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(
        rng.normal(size=(n_pairs, 6)),
        columns=[f"{f}__{c}" for f in ("a", "b") for c in ("x", "y", "cosine")],
    )
    y = 50 + 10 * (signal * (X["a__x"] + X["b__y"]) + rng.normal(size=n_pairs))
    return X, y.to_numpy(copy=True)


def mean_coverage(stack, n_pairs, n_seeds, signal=0.0, coverage=0.9):
    """Return the coverage of scaled and of unscaled intervals."""
    covered = []
    for seed in range(n_seeds):
        X, y = drawn_pairs(seed, n_pairs + 300, signal)
        new = y[n_pairs:]
        fitted = clone(stack).fit(X[:n_pairs], y[:n_pairs])
        for scaled in (True, False):
            interval = fitted.predict_interval(X[n_pairs:], coverage, scaled=scaled)
            covered.append(np.mean((interval[:, 0] <= new) & (new <= interval[:, 1])))
    return np.mean(covered[::2]), np.mean(covered[1::2])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n_pairs", "cv", "signal"), [(20, 10, 0.0), (20, 3, 1.0), (40, 5, 0.0)]
)
def test_few_pairs_are_covered_as_often_as_promised(ridges, n_pairs, cv, signal):
    """The final level must not learn from members that saw the fold it predicts."""
    for covered in mean_coverage(ridges.set_params(cv=cv), n_pairs, 30, signal):
        assert 0.89 <= covered <= 0.97


def test_a_choice_of_penalties_widens_little(ridges):
    """Members fitted on fewer pairs use the selected penalty."""
    X, y = drawn_pairs(0, 40)
    widths = [
        np.diff(clone(ridges).set_params(alphas=alphas).fit(X, y).predict_interval(X))
        for alphas in (1.5, [0.01, 1.5, 1000.0])
    ]
    assert widths[1].mean() < 1.3 * widths[0].mean()


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.95])
def test_other_coverages_of_few_pairs_are_kept(ridges, coverage):
    for covered in mean_coverage(ridges, 30, 10, coverage=coverage):
        assert coverage - 0.01 <= covered <= coverage + 0.12


@pytest.mark.parametrize("final_target", ["score", "auto"])
@pytest.mark.parametrize("cv", [2, 3, 10, LeaveOneOut()])
def test_a_held_out_score_ignores_its_own_target(ridges, final_target, cv):
    X, y = drawn_pairs(0, 40, signal=1.0)
    moved = y.copy()
    moved[7] += 50
    stack = ridges.set_params(final_target=final_target, cv=cv, calibration=True)
    before = clone(stack).fit(X, y).oof_scores_
    after = clone(stack).fit(X, moved).oof_scores_
    assert before[7] == after[7]
    assert np.sum(before != after) > 15


def test_pairs_of_weight_zero_are_absent(ridges):
    X, y = small_world(0, n_pairs=90)
    y = y.copy()
    splits = list(KFold(3, shuffle=True, random_state=0).split(X))
    weight = np.ones(90)
    weight[:30] = 0
    y[:30] = -1
    interval = ridges.set_params(cv=splits).fit(X, y, sample_weight=weight)
    interval = interval.predict_interval(X)
    assert interval.min() >= 0
    assert interval.max() <= 10
    place = np.arange(90) - 30
    rest = [tuple(place[part[part >= 30]] for part in split) for split in splits]
    alone = clone(ridges).set_params(cv=rest).fit(X[30:], y[30:]).predict_interval(X)
    assert_allclose(interval, alone, rtol=1e-9)


def test_a_fold_of_weight_zero_is_no_hindrance(ridges):
    X, y = drawn_pairs(0, 60, signal=1.0)
    weight = np.repeat([0.0, 1.0, 1.0], 20)
    fitted = ridges.set_params(cv=KFold(3)).fit(X, y, sample_weight=weight)
    rest = [(np.arange(20), np.arange(20, 40)), (np.arange(20, 40), np.arange(20))]
    alone = clone(ridges).set_params(cv=rest).fit(X[20:], y[20:])
    for stack in (fitted, alone):
        low, high = stack.predict_interval(X).T
        assert np.isfinite(low).all()
        assert (low < high).all()


@pytest.mark.parametrize("cv", [2, 3, 5, 10])
@pytest.mark.parametrize("scaled", [True, False])
def test_weighting_is_repeating(ridges, cv, scaled):
    X, y = drawn_pairs(0, 60, signal=1.0)
    weight = np.random.default_rng(1).integers(0, 4, size=60)
    repeated = np.repeat(np.arange(60), weight)
    splits = list(KFold(cv, shuffle=True, random_state=0).split(X))
    copies = [
        tuple(np.flatnonzero(np.isin(repeated, part)) for part in split)
        for split in splits
    ]
    weighted = clone(ridges).set_params(cv=splits).fit(X, y, sample_weight=weight)
    # Copies add no evidence: they are one group.
    listed = clone(ridges).set_params(cv=copies)
    listed.fit(X.iloc[repeated], y[repeated], groups=repeated)
    for coverage in (0.5, 0.9):
        assert_allclose(
            weighted.predict_interval(X, coverage, scaled=scaled),
            listed.predict_interval(X, coverage, scaled=scaled),
            rtol=1e-9,
        )


def test_weights_move_the_ends():
    """Quantiles of 0, 1, …, 99, the larger half of which counts nine times as often."""
    residuals = [np.arange(100.0)]
    plain, weighted = (
        cross_conformal_interval(np.zeros((1, 1)), residuals, np.ones(1), 0.5, **given)
        for given in ({}, {"weights": [np.repeat([1.0, 9.0], 50)], "new_weight": 5.0})
    )
    assert_allclose(plain, [[-50, 50]], atol=1e-8)
    assert_allclose(weighted, [[-72, 72]], atol=1e-8)


def test_only_ratios_of_weights_matter_to_quantiles():
    rng = np.random.default_rng(0)
    residuals = [rng.exponential(size=20) for _ in range(3)]
    weights = [rng.uniform(size=20) for _ in range(3)]
    units = np.arange(60)
    intervals = [
        cross_conformal_interval(
            np.zeros((3, 1)),
            residuals,
            np.ones(1),
            0.9,
            weights=[factor * part for part in weights],
            new_weight=weight_of_a_new_unit(factor * np.concatenate(weights), units),
        )
        for factor in (1.0, 1e-3, 7.0)
    ]
    assert_allclose(intervals[1], intervals[0])
    assert_allclose(intervals[2], intervals[0])


def test_equal_weights_are_none(ridges):
    X, y = drawn_pairs(0, 40, signal=1.0)
    plain = clone(ridges).fit(X, y).predict_interval(X)
    weighted = clone(ridges).fit(X, y, sample_weight=np.ones(40)).predict_interval(X)
    assert_allclose(weighted, plain, rtol=1e-9)


def test_pairs_of_new_groups_are_covered(ridges):
    """Half of the variance is the group's; the unit is the group, not the pair."""
    covered = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        X, y = drawn_pairs(seed, 400)
        groups = np.repeat(np.arange(80), 5)
        y += 10 * rng.normal(size=80)[groups]
        train, new = groups < 20, groups >= 20
        fitted = clone(ridges).fit(X[train], y[train], groups=groups[train])
        low, high = fitted.predict_interval(X[new]).T
        covered.append(np.mean((low <= y[new]) & (y[new] <= high)))
    assert np.mean(covered) >= 0.89


def test_eight_groups_are_too_few_for_ninety_percent(ridges):
    X, y = drawn_pairs(0, 80, signal=1.0)
    fitted = ridges.fit(X, y, groups=np.repeat(np.arange(8), 10))
    assert np.isinf(fitted.predict_interval(X, 0.9)).all()
    assert np.isfinite(fitted.predict_interval(X, 0.8)).all()


def test_too_few_pairs_for_a_coverage_give_the_whole_scale(ridges):
    X, y = drawn_pairs(0, 20, signal=1.0)
    fitted = clone(ridges).fit(X, y)
    assert np.isfinite(fitted.predict_interval(X, 0.95)).all()
    assert_array_equal(fitted.predict_interval(X[:1], 0.96), [[-np.inf, np.inf]])
    rated = clone(ridges).fit(X, np.clip(y / 10, 0, 10))
    assert_array_equal(rated.predict_interval(X[:1], 0.96), [[0, 10]])


def test_low_ends_are_never_above_high_ones(ridges):
    X, y = drawn_pairs(0, 20)
    low, high = ridges.set_params(cv=10).fit(X, y).predict_interval(X, 0.02).T
    assert (low <= high).all()


def test_splits_that_leave_rows_out_serve(ridges):
    """Neighbours of the test rows are in neither part."""
    X, y = drawn_pairs(0, 60, signal=1.0)
    rows = np.arange(60)
    splits = [
        (rows[(rows < test[0] - 3) | (rows > test[-1] + 3)], test)
        for test in np.split(rows, 6)
    ]
    interval = ridges.set_params(cv=splits).fit(X, y).predict_interval(X)
    assert np.isfinite(interval).all()


class Counting(DummyRegressor):
    """Count the fits of all instances."""

    fits = 0

    def fit(self, X, y, sample_weight=None):
        Counting.fits += 1
        return super().fit(X, y, sample_weight)


@pytest.mark.parametrize(
    ("n_pairs", "cv", "expected"),
    [(60, 2, 2 + 4), (60, 3, 3 + 3), (60, 5, 5 + 10), (60, 30, 30 + 10), (200, 3, 3)],
)
def test_what_intervals_cost(ridges, n_pairs, cv, expected):
    """At most ten further fits, and none from 100 pairs per prediction."""
    X, y = drawn_pairs(0, n_pairs)
    Counting.fits = 0
    stack = ridges.set_params(targets=["score"], base_estimators=Counting(), cv=cv)
    stack.fit(X[["a__x", "b__x"]], y)
    assert Counting.fits == 2 * expected


def test_a_regressor_that_needs_more_pairs_is_named(ridges):
    X, y = drawn_pairs(0, 30)
    ridges.set_params(base_estimators=KNeighborsRegressor(15))
    with pytest.warns(UserWarning, match="optimistic.*two of 3 folds.*n_neighbors"):
        ridges.fit(X, y)
    assert np.isfinite(ridges.predict_interval(X)).all()


def test_splits_with_nothing_in_common_are_named(ridges):
    """Each fold is trained only on the previous one."""
    X, y = drawn_pairs(0, 60, signal=1.0)
    parts = np.split(np.arange(60), 6)
    ridges.set_params(cv=[(parts[k - 1], parts[k]) for k in range(6)])
    with pytest.warns(UserWarning, match="optimistic.*share too few rows or groups"):
        ridges.fit(X, y)


def test_state_of_before_serves(ridges):
    """Older models have one scale, no weights, and one map for all members."""
    X, y = small_world(0)
    fitted = ridges.set_params(targets=["score"], final_target="rank").fit(X, y)
    expected = fitted.predict_interval(X)
    final, errors = fitted._final_level, fitted._errors
    members = [(member.scaler, member.estimator) for member in final.members_]
    final.__setstate__({**vars(final), "members_": members})
    errors.__setstate__(
        {
            "scale": errors.scales[0],
            "errors": errors.errors,
            "scaled": errors.scaled,
            "bounded": errors.bounded,
        }
    )
    assert_array_equal(fitted.predict_interval(X), expected)


def test_a_saved_model_gives_the_same_intervals(stack, tmp_path):
    X, y = drawn_pairs(0, 40, signal=1.0)
    fitted = stack.fit(X, y)
    expected = fitted.predict_interval(X)
    assert_array_equal(clone(stack).fit(X, y).predict_interval(X), expected)
    path = save_model(fitted, tmp_path / "stack.clapstack")
    assert_array_equal(load_model(path).predict_interval(X), expected)
