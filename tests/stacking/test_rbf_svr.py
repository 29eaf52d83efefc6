"""Support vector regression on compressed columns."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import rankdata
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR
from sklearn.utils.estimator_checks import parametrize_with_checks

from clapstack._numerics.rows import StandardizedTable
from clapstack.metrics import srcc
from clapstack.stacking import ClapStackingRegressor, RbfSvr, rank_target
from clapstack.stacking._rbf_svr import leading_subspace, radial_kernel


def expected_failures(estimator):
    why = "a weight is a repetition to the tolerance of libsvm, and no nearer"
    return {"check_sample_weight_equivalence_on_dense_data": why}


@parametrize_with_checks([RbfSvr()], expected_failed_checks=expected_failures)
def test_sklearn_check(estimator, check):
    check(estimator)


@pytest.fixture
def data():
    """Return (X, y): 120 pairs of 40 columns that a few factors explain."""
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(120, 4))
    X = factors @ rng.normal(size=(4, 40)) + 0.1 * rng.normal(size=(120, 40))
    X = X * rng.uniform(1, 9, 40) + 5
    return X, 5 + factors[:, 0] * factors[:, 1] + 0.1 * rng.normal(size=120)


def test_uncompressed_it_is_scikit_learns(data):
    X, y = data
    pipeline = make_pipeline(StandardScaler(), SVR(C=3.0, epsilon=0.5))
    spread = y.std()
    expected = pipeline.fit(X, (y - y.mean()) / spread).predict(X) * spread + y.mean()
    plain = RbfSvr(relevance=0)
    assert_allclose(plain.fit(X, y).predict(X), expected, atol=1e-5)


def test_columns_are_stretched_by_their_correlation_with_the_ranks(data):
    X, y = data
    X = np.column_stack([X, np.ones(120)])
    power = 1.5
    svr = RbfSvr(relevance=power).fit(X, y)
    ranks = rankdata(y)
    relevance = np.array([abs(np.corrcoef(x, ranks)[0, 1]) for x in X[:, :-1].T])
    stretch = X[:, :-1].std(axis=0) / svr.scale_[:-1]
    assert_allclose(stretch, stretch[0] * (relevance / relevance[0]) ** power)
    assert_allclose(np.mean(stretch**2), 1)
    assert_allclose(svr.predict(X), svr.predict(X + np.eye(41)[-1]), atol=1e-4)


def test_a_relevant_column_is_not_drowned_by_many_that_are_not():
    rng = np.random.default_rng(0)
    cosine = rng.uniform(-1, 1, 600)
    X = np.column_stack([cosine, rng.normal(size=(600, 300))])
    y = np.sin(3 * cosine) + 0.3 * rng.normal(size=600)
    train, test = slice(400), slice(400, None)
    drowned, heard = (
        srcc(y[test], RbfSvr(relevance=r).fit(X[train], y[train]).predict(X[test]))
        for r in (0, 2)
    )
    assert heard > drowned + 0.1


def test_compression_keeps_what_the_columns_share(data):
    X, y = data
    whole = RbfSvr().fit(X, y).predict(X)
    small = RbfSvr(n_components=6).fit(X, y)
    assert small.projection_.shape == (40, 6)
    assert small.support_rows_.shape[1] == 6
    assert np.corrcoef(small.predict(X), whole)[0, 1] > 0.999


def test_subspace_holds_nearly_what_singular_vectors_hold(data):
    X, _ = data
    table = StandardizedTable(X)
    rows = (X - table.mean) / table.scale
    basis = leading_subspace(table, 6, 0)
    assert_allclose(basis.T @ basis, np.eye(6), atol=1e-5)
    held = np.sum((rows @ basis) ** 2)
    best = np.sum(np.linalg.svd(rows, compute_uv=False)[:6] ** 2)
    assert 0.99 * best < held <= best * (1 + 1e-6)


@pytest.mark.parametrize("n_components", [6, None])
def test_weight_counts_a_pair_as_often_as_it_says(data, n_components):
    X, y = data
    weight = np.random.default_rng(1).integers(0, 3, len(y))
    svr = RbfSvr(n_components=n_components)
    weighted = clone(svr).fit(X, y, sample_weight=weight).predict(X)
    repeated = clone(svr).fit(np.repeat(X, weight, 0), np.repeat(y, weight)).predict(X)
    assert_allclose(weighted, repeated, atol=0.01 * y.std())
    assert np.abs(weighted - clone(svr).fit(X, y).predict(X)).max() > 0.05 * y.std()


def test_targets_that_share_a_kernel_are_fitted_as_if_alone(data):
    X, y = data
    targets = np.column_stack([y, rank_target(y)])
    together = RbfSvr(n_components=6).fit_targets(X, targets)
    for fitted, target in zip(together, targets.T, strict=True):
        alone = RbfSvr(n_components=6).fit(X, target)
        assert_allclose(fitted.predict(X), alone.predict(X), rtol=1e-12)
    assert together[0].support_rows_ is together[1].support_rows_


def test_settings_mean_the_same_on_any_scale(data):
    X, y = data
    scores = RbfSvr().fit(X, y).predict(X)
    assert_allclose(RbfSvr().fit(7 * X - 3, y).predict(7 * X - 3), scores, rtol=1e-4)
    assert_allclose(
        RbfSvr().fit(X, 100 * y + 9).predict(X), 100 * scores + 9, rtol=1e-3
    )


def test_constant_target_and_constant_columns_are_borne(data):
    X, y = data
    assert_allclose(RbfSvr().fit(X, np.full(120, 3.0)).predict(X), 3.0)
    padded = np.column_stack([X, np.full((120, 5), 0.1)])
    assert_allclose(
        RbfSvr().fit(padded, y).predict(padded), RbfSvr().fit(X, y).predict(X)
    )


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("n_components", [None, 6])
def test_prediction_does_not_depend_on_its_neighbours(data, n_components, order):
    X, y = data
    X = np.asarray(X, order=order)  # a DataFrame holds columns, so "F"
    svr = RbfSvr(n_components=n_components).fit(X, y)
    alone = [svr.predict(X[[row]])[0] for row in range(30)]
    assert_array_equal(alone, svr.predict(X)[:30])


def test_refit_and_pickle_give_the_same_bits(data):
    X, y = data
    svr = RbfSvr(n_components=6).fit(X, y)
    scores = svr.predict(X)
    assert_array_equal(clone(svr).fit(X, y).predict(X), scores)
    assert_array_equal(pickle.loads(pickle.dumps(svr)).predict(X), scores)


def test_kernel_is_one_on_the_diagonal_and_as_defined(data):
    X, _ = data
    kernel = radial_kernel(X[:3], X[:5], 0.001)
    apart = np.sum((X[:3, None] - X[None, :5]) ** 2, axis=2)
    assert_allclose(kernel, np.exp(-0.001 * apart), rtol=1e-10)


def test_stack_takes_it_for_every_family(data):
    X, y = data
    stack = ClapStackingRegressor(
        base_estimators=RbfSvr(n_components=6), boosting=False
    )
    stack.fit(X, y)
    assert stack.first_level_names_ == ["features__score", "features__rank"]
    assert np.corrcoef(stack.oof_scores_, y)[0, 1] > 0.5
    (members,) = stack.estimators_.values()
    assert members["score"][0].projection_ is members["rank"][0].projection_


def test_wrong_settings_are_refused_in_either_way_of_fitting(data):
    X, y = data
    message = "The 'C' parameter of RbfSvr must be a float in the range"
    with pytest.raises(ValueError, match=message):
        RbfSvr(C=0).fit(X, y)
    with pytest.raises(ValueError, match=message):
        RbfSvr(C=0).fit_targets(X, y[:, np.newaxis])
