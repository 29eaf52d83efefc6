from functools import partial
from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold
from sklearn.preprocessing import StandardScaler

from clapstack._numerics.ranks import rank_among
from clapstack.metrics import srcc
from clapstack.stacking import rank_target
from clapstack.stacking._folds import Fold
from clapstack.stacking.ridge import (
    NotConvergedError,
    check_alphas,
    fit_family_ridges,
    hold_out_once,
)
from clapstack.streaming import StreamedFeatures


def make_folds(y, weight=None, cv=3):
    folds = []
    for split in KFold(cv, shuffle=True, random_state=0).split(y):
        train, test = (
            rows if weight is None else rows[weight[rows] > 0] for rows in split
        )
        used = None if weight is None else weight[train]
        folds.append(
            Fold(
                train,
                used,
                np.column_stack([y[train], rank_target(y[train], used)]),
                test,
                None if weight is None else weight[test],
                np.column_stack([y[test], rank_among(y[test], y[train], used)]),
            )
        )
    return folds


def make_table(n_pairs, n_columns, seed=0):
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=(n_pairs, 4))
    X = latent @ rng.normal(size=(4, n_columns)) + rng.normal(size=(n_pairs, n_columns))
    X = X * rng.uniform(0.01, 9, n_columns) + 5 * rng.normal(size=n_columns)
    y = latent[:, 0] + 0.3 * rng.normal(size=n_pairs)
    return X.astype(np.float32), y


def expected(X, columns, fold, target, penalty):
    """Predict all rows with scikit-learn's float64 ridge."""
    X = X[:, columns].astype(np.float64)
    scaler = StandardScaler().fit(X[fold.train], sample_weight=fold.weight)
    ridge = Ridge(alpha=penalty)
    ridge.fit(
        scaler.transform(X[fold.train]),
        fold.targets[:, target],
        sample_weight=fold.weight,
    )
    return ridge.predict(scaler.transform(X))


def assert_like_sklearn(X, columns, folds, members):
    for target, by_fold in enumerate(members):
        for fold, member in zip(folds, by_fold, strict=True):
            assert_allclose(
                member.predict(X[:, columns]),
                expected(X, columns, fold, target, member.penalty_),
                atol=1e-9 * fold.targets[:, target].std(),
                rtol=0,
            )


@pytest.fixture(params=["krylov", "plain"])
def fit(request):
    """Return `fit_family_ridges` with one of its methods."""
    return partial(fit_family_ridges, solver=request.param)


@pytest.mark.parametrize("alpha", [0.5, 1.5, 30.0, 1e5])
@pytest.mark.parametrize("shape", [(300, 240), (90, 250)])
@pytest.mark.parametrize("weighted", [False, True])
def test_ridges_are_those_of_sklearn(fit, shape, alpha, weighted):
    X, y = make_table(*shape)
    weight = np.arange(len(y)) % 4 / 2.0 if weighted else None
    folds = make_folds(y, weight)
    columns = np.r_[20 : shape[1], 0:10]
    members = fit(X, columns, folds, alpha)
    assert_like_sklearn(X, columns, folds, members)


@pytest.mark.parametrize("alpha", [1e-4, 1e-2])
def test_small_penalties_are_those_of_sklearn(alpha):
    X, y = make_table(90, 150)
    folds = make_folds(y)
    members = fit_family_ridges(X, np.arange(150), folds, alpha)
    assert_like_sklearn(X, np.arange(150), folds, members)


@settings(max_examples=25, deadline=None)
@given(
    n_pairs=st.integers(12, 80),
    n_columns=st.integers(1, 60),
    log_penalty=st.floats(-2, 5),
    seed=st.integers(0, 99),
    cv=st.integers(2, 6),
)
def test_any_table_is_solved_as_sklearn_does(n_pairs, n_columns, log_penalty, seed, cv):
    """With constant and repeated columns, by either method."""
    X, y = make_table(n_pairs, n_columns, seed)
    X = np.column_stack([X, X[:, :1], np.full(n_pairs, 0.1, np.float32)])
    folds = make_folds(y, cv=cv)
    columns = np.arange(X.shape[1])
    alphas = np.array([10.0**log_penalty / (n_columns + 1)])
    try:
        members = fit_family_ridges(X, columns, folds, alphas, solver="krylov")
    except NotConvergedError:
        members = fit_family_ridges(X, columns, folds, alphas)
    assert_like_sklearn(X, columns, folds, members)


def test_columns_far_from_zero_lose_no_digits(fit):
    X, y = make_table(150, 60)
    X = (X + 1e4).astype(np.float32)
    folds = make_folds(y)
    members = fit(X, np.arange(60), folds, 0.5)
    assert_like_sklearn(X, np.arange(60), folds, members)


def test_column_constant_in_one_training_part_is_ignored(fit):
    X, y = make_table(90, 100)
    folds = make_folds(y)
    X[:, 3] = 0.1
    X[folds[1].test, 3] = 7.0
    members = fit(X, np.arange(100), folds, 0.5)
    assert members[0][1].penalty_ == 0.5 * 99
    assert members[0][1].coef_[3] == 0
    assert_like_sklearn(X, np.arange(100), folds, members)


def test_ten_folds_are_those_of_sklearn(fit):
    X, y = make_table(120, 40)
    folds = make_folds(y, cv=10)
    members = fit(X, np.arange(40), folds, [0.3, 1.0, 3.0])
    assert_like_sklearn(X, np.arange(40), folds, members)


def test_held_out_row_does_not_change_its_fold_member(fit):
    X, y = make_table(120, 60)
    before = fit(X, np.arange(60), make_folds(y), 1.0)
    moved = y.copy()
    moved[make_folds(y)[1].test[0]] += 50
    after = fit(X, np.arange(60), make_folds(moved), 1.0)
    for one, other in zip(before, after, strict=True):
        assert_array_equal(one[1].coef_, other[1].coef_)
        assert np.any(one[0].coef_ != other[0].coef_)


def test_scattered_columns_are_read(fit):
    X, y = make_table(100, 300)
    folds = make_folds(y)
    columns = np.random.default_rng(0).permutation(300)[:150]
    members = fit(X, columns, folds, 1.0)
    assert_like_sklearn(X, columns, folds, members)


def test_both_methods_select_the_same_penalties():
    X, y = make_table(200, 60)
    folds = make_folds(y, np.arange(200) % 3 + 1.0)
    alphas = np.geomspace(0.5, 1e3, 9)
    plain, krylov = (
        fit_family_ridges(X, np.arange(60), folds, alphas, solver=solver)
        for solver in ("plain", "krylov")
    )
    for one, other in zip(chain(*plain), chain(*krylov), strict=True):
        assert one.alpha == other.alpha
        assert_allclose(one.predict(X), other.predict(X), atol=1e-9)


def test_the_chosen_penalty_orders_best_out_of_fold():
    X, y = make_table(90, 40)
    folds = make_folds(y)
    columns = np.arange(40)
    alphas = [1e-4, 0.1, 1e4]
    chosen = fit_family_ridges(X, columns, folds, alphas)[0][0].alpha
    tested = np.concatenate([fold.test for fold in folds])
    scores = []
    for alpha in alphas:
        members = fit_family_ridges(X, columns, folds, alpha)[0]
        predicted = [
            member.predict(X[fold.test])
            for member, fold in zip(members, folds, strict=True)
        ]
        scores.append(srcc(y[tested], np.concatenate(predicted)))
    assert len(set(scores)) == 3
    assert alphas[int(np.argmax(scores))] == chosen


def test_equal_penalties_keep_the_largest():
    X, y = make_table(60, 5)
    members = fit_family_ridges(X, np.arange(5), make_folds(y), [1e6, 1e7])
    # Both penalties shrink all coefficients almost equally, so the order is the same.
    assert members[0][0].alpha == 1e7


def test_a_krylov_space_too_small_for_the_penalty_is_noticed():
    X, y = make_table(90, 150)
    with pytest.raises(NotConvergedError):
        fit_family_ridges(X, np.arange(150), make_folds(y), 1e-12, solver="krylov")


@pytest.mark.parametrize("alphas", [1.0, [0.5, 1.0, 30.0]])
def test_families_of_lazy_tables_are_solved_as_those_of_arrays(alphas):
    a, b, y = (make_table(80, 20, seed)[i] for seed, i in ((0, 0), (1, 0), (0, 1)))
    a, b = (e / np.linalg.norm(e, axis=1, keepdims=True) for e in (a, b))
    X = StreamedFeatures({"laion": (a, b)})
    columns = np.r_[30:101, 0:20]
    folds = make_folds(y)
    expected = fit_family_ridges(X.rows(slice(None)), columns, folds, alphas)
    for read_bytes in (0, 1 << 20):
        found = fit_family_ridges(X, columns, folds, alphas, read_bytes=read_bytes)
        for one, other in zip(chain(*found), chain(*expected), strict=True):
            assert one.alpha == other.alpha
            assert_allclose(one.coef_, other.coef_, rtol=1e-9)


def test_splits_that_hold_rows_out_once_are_detected():
    folds = make_folds(np.arange(30.0))
    assert hold_out_once(folds)
    fewer = [folds[0]._replace(train=folds[0].train[5:]), *folds[1:]]
    assert not hold_out_once(fewer)
    twice = np.concatenate([folds[0].train, folds[0].train[:1]])
    assert not hold_out_once([folds[0]._replace(train=twice), *folds[1:]])


@pytest.mark.parametrize("alphas", [0.0, [], [1.0, -1.0], [np.nan], [[1.0]]])
def test_bad_penalties_are_refused(alphas):
    with pytest.raises(ValueError, match="'alphas' parameter must be a positive"):
        check_alphas(alphas)
