import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from clapstack.stacking.ridge import _fit as _family
from clapstack.stacking.ridge import _krylov
from clapstack.stacking.ridge._fit import SharedSolver, fit_family_ridges
from clapstack.stacking.ridge._krylov import KrylovSolver
from clapstack.stacking.ridge._refine import NotRefinableError
from tests.stacking.test_family import assert_like_sklearn, make_folds, make_table


def solve(X, columns, folds, alphas):
    return KrylovSolver(X, columns, folds).fit(_family.check_alphas(alphas))


@pytest.fixture
def wide(monkeypatch):
    """Have small families solved as wide ones are."""
    monkeypatch.setattr(_family, "_LEAST_SHARED", 1)
    monkeypatch.setattr(_family, "_KRYLOV_WORK", 0)
    monkeypatch.setattr(_family, "_sharing_pays", lambda *_: True)


@pytest.mark.parametrize("alpha", [0.5, 1.5, 30.0, 1e5])
@pytest.mark.parametrize("shape", [(300, 240), (90, 250)])
@pytest.mark.parametrize("weighted", [False, True])
def test_ridges_are_those_of_sklearn(alpha, shape, weighted):
    X, y = make_table(*shape)
    weight = np.arange(len(y)) % 4 / 2.0 if weighted else None
    folds = make_folds(y, weight)
    columns = np.r_[20 : shape[1], 0:10]
    members = solve(X, columns, folds, alpha)
    assert_like_sklearn(X, columns, folds, members)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_columns_of_any_scale_and_place_are_solved(dtype):
    X, y = make_table(120, 60)
    X[:, :5] = X[:, :1]
    X[:, 5] = 0.1
    X[:, 6:9] += 1e4
    X = X.astype(dtype)
    X[:, 10:13] *= 1e-30
    X[:, 13:16] *= 1e30
    folds = make_folds(y)
    members = solve(X, np.arange(60), folds, 1.0)
    assert_like_sklearn(X, np.arange(60), folds, members)


def test_columns_beyond_single_precision_are_solved():
    X, y = make_table(120, 60)
    X = X.astype(np.float64)
    X[:, :3] *= 1e-60
    X[:, 3:6] *= 1e60
    folds = make_folds(y)
    members = solve(X, np.arange(60), folds, 1.0)
    assert_like_sklearn(X, np.arange(60), folds, members)


def test_column_constant_in_one_training_part_counts_nothing():
    X, y = make_table(90, 100)
    folds = make_folds(y)
    X[:, 3] = 0.1
    X[folds[1].test, 3] = 7.0
    members = solve(X, np.arange(100), folds, 0.5)
    assert members[0][1].penalty_ == 0.5 * 99
    assert members[0][1].coef_[3] == 0
    assert_like_sklearn(X, np.arange(100), folds, members)


def test_targets_that_say_the_same_are_solved():
    X, y = make_table(120, 60)
    folds = make_folds((y > 0).astype(np.float64))
    members = solve(X, np.arange(60), folds, 1.0)
    assert_like_sklearn(X, np.arange(60), folds, members)


def test_penalties_chosen_are_those_of_the_gram_matrix():
    X, y = make_table(200, 60)
    folds = make_folds(y)
    alphas = _family.check_alphas(np.geomspace(0.5, 50, 10))
    members = solve(X, np.arange(60), folds, alphas)
    others = SharedSolver(X, np.arange(60), folds).fit(alphas)
    for by_fold, by_fold_2 in zip(members, others, strict=True):
        assert [m.alpha for m in by_fold] == [m.alpha for m in by_fold_2]
    assert_like_sklearn(X, np.arange(60), folds, members)


def test_row_left_out_does_not_move_what_leaves_it_out():
    X, y = make_table(120, 60)
    before = solve(X, np.arange(60), make_folds(y), 1.0)
    moved = y.copy()
    row = make_folds(y)[1].test[0]
    moved[row] += 50
    after = solve(X, np.arange(60), make_folds(moved), 1.0)
    for one, other in zip(before, after, strict=True):
        assert_array_equal(one[1].coef_, other[1].coef_)
        assert np.any(one[0].coef_ != other[0].coef_)


def test_wide_families_are_solved_that_way(wide, monkeypatch):
    X, y = make_table(120, 60)
    folds = make_folds(y)
    expected = solve(X, np.arange(60), folds, 1.0)
    monkeypatch.setattr(_family, "SharedSolver", None)
    found = fit_family_ridges(X, np.arange(60), folds, 1.0)
    for one, other in zip(found, expected, strict=True):
        assert_array_equal(one[0].coef_, other[0].coef_)


def test_slow_convergence_takes_the_gram_matrix(wide, monkeypatch):
    monkeypatch.setattr(_krylov, "_MAX_STEPS", 2)
    X, y = make_table(200, 60)
    folds = make_folds(y)
    with pytest.raises(NotRefinableError):
        solve(X, np.arange(60), folds, 1.0)
    members = fit_family_ridges(X, np.arange(60), folds, 1.0)
    expected = SharedSolver(X, np.arange(60), folds).fit(np.ones(1))
    assert_array_equal(members[0][0].coef_, expected[0][0].coef_)


def test_small_penalties_take_the_gram_matrix(wide, monkeypatch):
    monkeypatch.setattr(_family, "KrylovSolver", None)
    X, y = make_table(200, 60)
    folds = make_folds(y)
    members = fit_family_ridges(X, np.arange(60), folds, [0.01, 1.0])
    assert_like_sklearn(X, np.arange(60), folds, members)


def test_tables_too_large_to_hold_take_the_gram_matrix(wide, monkeypatch):
    monkeypatch.setattr("clapstack.stacking.ridge._fold_product._HELD_BYTES", 0)
    monkeypatch.setattr(_family, "KrylovSolver", None)
    X, y = make_table(200, 60)
    folds = make_folds(y)
    members = fit_family_ridges(X, np.arange(60), folds, 1.0)
    assert_allclose([m.alpha for m in members[0]], 1.0)


def test_reading_anew_gives_the_same(monkeypatch):
    X, y = make_table(200, 60)
    folds = make_folds(y)
    held = solve(X, np.arange(60), folds, 1.0)
    monkeypatch.setattr("clapstack.stacking.ridge._fold_product._PRODUCT_ROWS", 31)
    parts = solve(X, np.arange(60), folds, 1.0)
    for one, other in zip(held, parts, strict=True):
        assert_allclose(one[0].predict(X), other[0].predict(X), atol=1e-9)
