import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.model_selection import KFold

from clapstack._numerics.rows import StandardizedTable
from clapstack._numerics.svd import (
    block_lanczos,
    leading_right_singular_vectors,
    right_singular_vectors,
)
from clapstack.stacking._compression import fit_compressors
from clapstack.stacking._folds import Fold
from clapstack.streaming import StreamedFeatures


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(150, 120)) * np.geomspace(1, 1e-4, 120)
    return values.astype(np.float32)


def exact(table, n_components):
    wide = table.astype(np.float64)
    table = StandardizedTable(wide, standardize=False)
    return right_singular_vectors(table, n_components)


def vectors(table, n_components, **options):
    columns = np.arange(table.shape[1])
    return leading_right_singular_vectors(
        table, columns, n_components, solver="lanczos", **options
    )


def compress(X, folds, n_components, **options):
    return fit_compressors(X, np.arange(X.shape[1]), folds, n_components, **options)


def test_iterated_vectors_are_those_of_the_gram_matrix(table):
    assert_allclose(vectors(table, 4), exact(table, 4), atol=1e-11)


def test_start_of_the_iteration_matters_to_rounding_only(table):
    first = vectors(table, 4, random_state=0)
    second = vectors(table, 4, random_state=1)
    assert_allclose(first, second, atol=1e-11)
    assert_array_equal(first, vectors(table, 4, random_state=0))


def test_iteration_stops_at_the_rank():
    rng = np.random.default_rng(0)
    table = rng.normal(size=(150, 3)) @ rng.normal(size=(3, 120))
    found = vectors(table, 6)
    assert found.shape == (120, 3)
    assert_allclose(found, exact(table, 3), atol=1e-9)


def test_flat_spectrum_uses_the_gram_matrix():
    table = np.random.default_rng(0).normal(size=(150, 120))
    product = [table.T @ table]
    assert (
        block_lanczos(
            lambda blocks: [product[0] @ blocks[0]],
            120,
            7,
            width=4,
            tolerance=1e-14,
        )
        is None
    )
    assert_allclose(vectors(table, 7), exact(table, 7), atol=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
def test_compressions_of_all_folds_are_those_of_each(table, weighted):
    weight = np.arange(150) % 3 / 1.0 if weighted else np.ones(150)
    X = 3 + table
    folds = []
    for train, test in KFold(3).split(X):
        rows = train[weight[train] > 0]
        targets = np.zeros((len(rows), 1))
        folds.append(Fold(rows, weight[rows], targets, test, weight[test], None))
    columns = np.roll(np.arange(120), 5)
    # With columns of equal variance, the spectrum would be flat.
    latent = np.random.default_rng(1).normal(size=(150, 9)) * np.geomspace(9, 1, 9)
    X = X + latent @ np.random.default_rng(2).normal(size=(9, 120))
    together, alone = (
        fit_compressors(X, columns, folds, 4, solver=solver, tolerance=1e-5)
        for solver in ("lanczos", "gram")
    )
    for one, other, fold in zip(together, alone, folds, strict=True):
        whole = one.compressor.transform(X)
        assert_allclose(whole, other.compressor.transform(X), atol=2e-3)
        assert_allclose(one.train, whole[fold.train], atol=2e-5)


def test_large_tables_are_read_again_with_the_same_result():
    rng = np.random.default_rng(0)
    latent = rng.normal(size=(5000, 9)) * np.geomspace(9, 1, 9)
    X = (latent @ rng.normal(size=(9, 60)) + rng.normal(size=(5000, 60))).astype("f4")
    folds = []
    for train, test in KFold(3, shuffle=True, random_state=0).split(X):
        targets = np.zeros((len(train), 1))
        folds.append(Fold(train, None, targets, test, None, None))
    held, anew = (
        compress(X, folds, 3, solver="lanczos", held_bytes=held_bytes)
        for held_bytes in (1 << 30, 0)
    )
    for one, other in zip(held, anew, strict=True):
        assert_array_equal(one.compressor.projection, other.compressor.projection)
        assert other.train is None


def test_small_tables_are_compressed_fold_by_fold(table):
    targets = np.zeros((100, 1))
    fold = Fold(np.arange(100), None, targets, np.arange(100, 150), None, None)
    (found,) = compress(table, [fold], 3)
    (expected,) = compress(table, [fold], 3, solver="gram")
    assert_array_equal(found.compressor.projection, expected.compressor.projection)


def test_default_tolerance_keeps_the_explained_sum_of_squares():
    rng = np.random.default_rng(0)
    latent = rng.normal(size=(300, 60)) * np.arange(1, 61) ** -0.7
    X = latent @ rng.normal(size=(60, 400)) + 0.1 * rng.normal(size=(300, 400))
    folds = [
        Fold(train, None, np.zeros((len(train), 1)), test, None, None)
        for train, test in KFold(3).split(X)
    ]
    together, alone = (
        compress(X, folds, 12, solver=solver) for solver in ("lanczos", "gram")
    )
    for one, other, fold in zip(together, alone, folds, strict=True):
        held, best = (
            np.sum(c.compressor.transform(X[fold.train]) ** 2) for c in (one, other)
        )
        assert 0.999 * best <= held <= best * (1 + 1e-5)


def test_lazy_tables_are_compressed_as_arrays_are():
    rng = np.random.default_rng(0)
    sides = rng.normal(size=(2, 90, 8)).astype(np.float32)
    sides /= np.linalg.norm(sides, axis=2, keepdims=True)
    X = StreamedFeatures({"laion": tuple(sides)})
    folds = [
        Fold(train, None, np.zeros((len(train), 1)), test, None, None)
        for train, test in KFold(3).split(sides[0])
    ]
    lazy, held = (
        compress(table, folds, 2, solver="lanczos", tolerance=1e-5)
        for table in (X, X.rows(slice(None)))
    )
    for one, other in zip(lazy, held, strict=True):
        assert_array_equal(one.compressor.projection, other.compressor.projection)
