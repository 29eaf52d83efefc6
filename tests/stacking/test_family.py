from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold
from sklearn.preprocessing import StandardScaler

from clapstack.metrics import srcc
from clapstack.stacking import rank_target
from clapstack.stacking._folds import Fold
from clapstack.stacking._targets import rank_among
from clapstack.stacking.ridge import _fit as _family
from clapstack.stacking.ridge import _fold_sums as _gram
from clapstack.stacking.ridge._fit import SharedSolver, fit_family_ridges
from clapstack.stacking.ridge._fold_sums import CellSums, have_cells
from clapstack.stacking.ridge._refine import NotRefinableError


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


@pytest.fixture
def shared(monkeypatch):
    """Have small families solved as large ones are, or fail."""

    def fit(X, columns, folds, alphas):
        alphas = _family.check_alphas(alphas)
        return SharedSolver(X, columns, folds).fit(alphas)

    return fit


@pytest.mark.parametrize("penalty", [1e-1, 1.0, 1e2, 1e5])
@pytest.mark.parametrize("shape", [(200, 60), (90, 150)])
@pytest.mark.parametrize("weighted", [False, True])
def test_refined_ridges_are_those_of_sklearn(shared, shape, penalty, weighted):
    X, y = make_table(*shape)
    weight = np.arange(len(y)) % 4 / 2.0 if weighted else None
    folds = make_folds(y, weight)
    columns = np.r_[20 : shape[1], 0:10]
    members = shared(X, columns, folds, penalty / len(columns))
    assert_like_sklearn(X, columns, folds, members)


@settings(max_examples=25, deadline=None)
@given(
    n_pairs=st.integers(12, 80),
    n_columns=st.integers(1, 60),
    log_penalty=st.floats(-2, 5),
    seed=st.integers(0, 99),
    cv=st.integers(2, 6),
)
def test_any_table_is_solved_as_sklearn_does(n_pairs, n_columns, log_penalty, seed, cv):
    """With constant and repeated columns, whichever way is taken."""
    X, y = make_table(n_pairs, n_columns, seed)
    X = np.column_stack([X, X[:, :1], np.full(n_pairs, 0.1, np.float32)])
    folds = make_folds(y, cv=cv)
    columns = np.arange(X.shape[1])
    alphas = np.array([10.0**log_penalty / (n_columns + 1)])
    try:
        members = SharedSolver(X, columns, folds).fit(alphas)
    except NotRefinableError:
        members = fit_family_ridges(X, columns, folds, alphas)
    assert_like_sklearn(X, columns, folds, members)


def test_columns_far_from_zero_lose_no_digits(shared):
    X, y = make_table(150, 40)
    X = (X + 1e4).astype(np.float32)
    folds = make_folds(y)
    members = shared(X, np.arange(40), folds, 0.5)
    assert_like_sklearn(X, np.arange(40), folds, members)


def test_column_constant_in_one_training_part_counts_nothing(shared):
    X, y = make_table(90, 30)
    folds = make_folds(y)
    X[:, 3] = 0.1
    X[folds[1].test, 3] = 7.0
    members = shared(X, np.arange(30), folds, 0.5)
    assert members[0][1].penalty_ == 0.5 * 29
    assert members[0][1].coef_[3] == 0
    assert_like_sklearn(X, np.arange(30), folds, members)


def test_many_folds_take_turns(shared):
    X, y = make_table(120, 40)
    folds = make_folds(y, cv=10)
    members = shared(X, np.arange(40), folds, [0.3, 1.0, 3.0])
    assert_like_sklearn(X, np.arange(40), folds, members)


def test_blocks_and_updates_do_not_matter(shared, monkeypatch):
    X, y = make_table(200, 40)
    folds = make_folds(y)
    whole = shared(X, np.arange(40), folds, 1.0)
    monkeypatch.setattr(_gram, "_UPDATE_ROWS", 23)
    monkeypatch.setattr("clapstack._numerics.rows._BLOCK_ELEMENTS", 40 * 7)
    parts = shared(X, np.arange(40), folds, 1.0)
    for one, other in zip(chain(*whole), chain(*parts), strict=True):
        assert_allclose(one.predict(X), other.predict(X), atol=1e-11)


def test_row_left_out_does_not_move_what_leaves_it_out(shared):
    X, y = make_table(120, 60)
    before = shared(X, np.arange(60), make_folds(y), 1.0)
    moved = y.copy()
    moved[make_folds(y)[1].test[0]] += 50
    after = shared(X, np.arange(60), make_folds(moved), 1.0)
    for one, other in zip(before, after, strict=True):
        assert_array_equal(one[1].coef_, other[1].coef_)
        assert np.any(one[0].coef_ != other[0].coef_)


def test_scattered_columns_are_read(shared):
    X, y = make_table(100, 300)
    folds = make_folds(y)
    columns = np.random.default_rng(0).permutation(300)[:150]
    members = shared(X, columns, folds, 1.0)
    assert_like_sklearn(X, columns, folds, members)


def test_both_ways_choose_the_same_penalties(shared):
    X, y = make_table(200, 60)
    folds = make_folds(y, np.arange(200) % 3 + 1.0)
    alphas = np.geomspace(1e-3, 1e3, 9)
    apart = fit_family_ridges(X, np.arange(60), folds, alphas)
    together = shared(X, np.arange(60), folds, alphas)
    for one, other in zip(chain(*apart), chain(*together), strict=True):
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
    # Both shrink the coefficients almost alike, so the order is the same.
    assert members[0][0].alpha == 1e7


def test_too_small_a_penalty_for_single_precision_is_noticed(shared):
    X, y = make_table(90, 150)
    with pytest.raises(NotRefinableError):
        shared(X, np.arange(150), make_folds(y), 1e-12)


def test_splits_without_cells_are_told_from_partitions():
    folds = make_folds(np.arange(30.0))
    assert have_cells(folds)
    fewer = [folds[0]._replace(train=folds[0].train[5:]), *folds[1:]]
    assert not have_cells(fewer)
    twice = np.concatenate([folds[0].train, folds[0].train[:1]])
    assert not have_cells([folds[0]._replace(train=twice), *folds[1:]])


def test_sums_of_parts_add_up_to_those_of_the_table():
    rng = np.random.default_rng(0)
    block, base = rng.normal(size=(50, 6)), rng.uniform(1, 2, size=50)
    cell, targets = rng.integers(0, 3, size=50), rng.normal(size=(50, 2, 2))

    def sums(rows):
        out = CellSums(6, 2, 2, cells=(-1, 0))
        out.add(block[rows].copy(), base[rows], cell[rows], targets[rows])
        out.add_gram(block[rows].astype(np.float32), cell[rows])
        return out

    whole = sums(slice(None))
    merged = sums(slice(0, 20)).merge(sums(slice(20, None)))
    for name in ("weight", "sum", "square", "cross"):
        assert_allclose(getattr(merged, name), getattr(whole, name), atol=1e-12)
    for cell_number, gram in whole.grams.items():
        assert_allclose(merged.grams[cell_number], gram, rtol=1e-4, atol=1e-4)


def test_rank_among_is_the_own_rank_of_training_values():
    y, weight = np.array([3.0, 9.0, 3.0, 7.0]), np.array([1.0, 2.0, 1.0, 3.0])
    assert_array_equal(rank_among(y, y, weight), rank_target(y, weight))


def test_rank_among_lies_between_the_neighbours():
    assert_allclose(rank_among(np.array([4.0]), np.array([3.0, 5.0])), [0.5])


@pytest.mark.parametrize("alphas", [0.0, [], [1.0, -1.0], [np.nan], [[1.0]]])
def test_bad_penalties_are_refused(alphas):
    with pytest.raises(ValueError, match="'alphas' parameter must be a positive"):
        _family.check_alphas(alphas)
