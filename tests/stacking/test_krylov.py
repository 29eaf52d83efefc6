import numpy as np
import pytest
from numpy.testing import assert_array_equal

from clapstack.stacking.ridge import (
    FoldProduct,
    NotConvergedError,
    fit_family_ridges,
)
from clapstack.stacking.ridge._equations import RidgeSystems
from clapstack.stacking.ridge._krylov import KrylovSolver
from tests.stacking.test_family import assert_like_sklearn, make_folds, make_table


def solve(X, columns, folds, alphas):
    return fit_family_ridges(X, columns, folds, alphas, solver="krylov")


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


def test_collinear_targets_are_solved():
    X, y = make_table(120, 60)
    folds = make_folds((y > 0).astype(np.float64))
    members = solve(X, np.arange(60), folds, 1.0)
    assert_like_sklearn(X, np.arange(60), folds, members)


def test_wide_families_use_the_krylov_method():
    X, y = make_table(300, 200)
    folds = make_folds(y, cv=10)
    expected = solve(X, np.arange(200), folds, 1.0)
    found = fit_family_ridges(X, np.arange(200), folds, 1.0)
    for one, other in zip(found, expected, strict=True):
        assert_array_equal(one[0].coef_, other[0].coef_)


def test_slow_convergence_raises():
    X, y = make_table(200, 60)
    solver = KrylovSolver(X, np.arange(60), make_folds(y), max_steps=2)
    with pytest.raises(NotConvergedError):
        solver.solve(np.ones(2))


def test_plain_method_solves_what_single_precision_cannot():
    # A factor shared by all columns is uninformative and dominates the signal.
    rng = np.random.default_rng(0)
    own, shared = rng.normal(size=(800, 42)), rng.normal(size=800)
    y = own[:, 0] - shared * (shared @ own[:, 0]) / (shared @ shared)
    X, columns, folds = own + shared[:, np.newaxis], np.arange(42), make_folds(y, cv=40)
    with pytest.raises(NotConvergedError):
        solve(X, columns, folds, 0.5)
    found, plain = (
        fit_family_ridges(X, columns, folds, 0.5, solver=solver)
        for solver in (None, "plain")
    )
    assert_array_equal(found[0][0].coef_, plain[0][0].coef_)


def test_small_penalties_use_the_plain_method():
    X, y = make_table(300, 200)
    folds = make_folds(y, cv=10)
    found, plain = (
        fit_family_ridges(X, np.arange(200), folds, [0.01, 1.0], solver=solver)
        for solver in (None, "plain")
    )
    for one, other in zip(found, plain, strict=True):
        assert_array_equal(one[0].coef_, other[0].coef_)


def test_reading_again_gives_the_same_bits():
    X, y = make_table(5000, 30)
    systems = RidgeSystems(X, np.arange(30), make_folds(y))
    blocks = [np.eye(30, 4, dtype=np.float32)] * 3
    held, anew = (
        FoldProduct(
            systems.rows, systems.weights, systems.columns, held_bytes=held_bytes
        )(blocks)
        for held_bytes in (1 << 30, 0)
    )
    assert_array_equal(held, anew)
