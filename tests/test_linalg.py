import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.model_selection import KFold
from threadpoolctl import threadpool_limits

from clapstack._numerics import rows as _linalg
from clapstack._numerics.rows import (
    StandardizedTable,
    block_lanczos,
    leading_right_singular_vectors,
    matmul,
)
from clapstack.stacking import _compression
from clapstack.stacking._compression import fit_compressors
from clapstack.stacking._folds import Fold
from clapstack.stacking.ridge import _fold_product as _product


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(150, 120)) * np.geomspace(1, 1e-4, 120)
    return values.astype(np.float32)


@pytest.fixture
def iterate(monkeypatch):
    """Have small tables iterated for as large ones are."""
    monkeypatch.setattr(_linalg, "_LARGE", 1)
    monkeypatch.setattr(_compression, "_LARGE", 1)
    monkeypatch.setattr(_compression, "_TOLERANCE", 1e-5)


def exact(table, n_components):
    wide = table.astype(np.float64)
    return StandardizedTable(wide, standardize=False).right_singular_vectors(
        n_components
    )


def test_iterated_vectors_are_those_of_the_gram_matrix(table, iterate, monkeypatch):
    columns = np.arange(120)
    monkeypatch.setattr(_linalg, "StandardizedTable", None)
    found = leading_right_singular_vectors(table, columns, 4)
    monkeypatch.undo()
    assert_allclose(found, exact(table, 4), atol=1e-11)


def test_start_of_the_iteration_matters_to_rounding_only(table, iterate):
    first = leading_right_singular_vectors(table, np.arange(120), 4, random_state=0)
    second = leading_right_singular_vectors(table, np.arange(120), 4, random_state=1)
    assert_allclose(first, second, atol=1e-11)
    again = leading_right_singular_vectors(table, np.arange(120), 4, random_state=0)
    assert_array_equal(first, again)


def test_iteration_stops_at_the_rank(iterate):
    rng = np.random.default_rng(0)
    table = rng.normal(size=(150, 3)) @ rng.normal(size=(3, 120))
    found = leading_right_singular_vectors(table, np.arange(120), 6)
    assert found.shape == (120, 3)
    assert_allclose(found, exact(table, 3), atol=1e-9)


def test_flat_spectrum_takes_the_gram_matrix(iterate):
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
    found = leading_right_singular_vectors(table, np.arange(120), 7)
    assert_allclose(found, exact(table, 7), atol=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
def test_compressions_of_all_folds_are_those_of_each(table, iterate, weighted):
    weight = np.arange(150) % 3 / 1.0 if weighted else np.ones(150)
    X = 3 + table
    folds = []
    for train, test in KFold(3).split(X):
        rows = train[weight[train] > 0]
        targets = np.zeros((len(rows), 1))
        folds.append(Fold(rows, weight[rows], targets, test, weight[test], None))
    columns = np.roll(np.arange(120), 5)
    # Scaled to one variance the columns would have a flat spectrum.
    latent = np.random.default_rng(1).normal(size=(150, 9)) * np.geomspace(9, 1, 9)
    X = X + latent @ np.random.default_rng(2).normal(size=(9, 120))
    together = _compression._fit_together(X, columns, folds, 4)
    for one, fold in zip(together, folds, strict=True):
        other = _compression._fit_alone(X, columns, fold, 4)
        whole = one.compressor.transform(X)
        assert_allclose(whole, other.compressor.transform(X), atol=2e-3)
        assert_allclose(one.train, whole[fold.train], atol=2e-5)


def test_large_tables_are_read_anew_with_the_same_result(table, monkeypatch):
    X = 3 + table
    folds = []
    for train, test in KFold(3, shuffle=True, random_state=0).split(X):
        targets = np.zeros((len(train), 1))
        folds.append(Fold(train, None, targets, test, None, None))
    held = _compression._fit_together(X, np.arange(120), folds, 3)
    monkeypatch.setattr(_product, "_HELD_BYTES", 0)
    monkeypatch.setattr(_product, "_PRODUCT_ROWS", 31)
    anew = _compression._fit_together(X, np.arange(120), folds, 3)
    for one, other in zip(held, anew, strict=True):
        found, expected = (c.compressor.transform(X) for c in (one, other))
        assert_allclose(found, expected, atol=2e-3)
        assert other.train is None


def test_small_tables_are_compressed_fold_by_fold(table):
    targets = np.zeros((100, 1))
    fold = Fold(np.arange(100), None, targets, np.arange(100, 150), None, None)
    (found,) = fit_compressors(table, np.arange(120), [fold], 3)
    expected = _compression._fit_alone(table, np.arange(120), fold, 3)
    assert_array_equal(found.compressor.projection, expected.compressor.projection)


def test_default_tolerance_keeps_what_the_exact_vectors_hold():
    rng = np.random.default_rng(0)
    latent = rng.normal(size=(300, 60)) * np.arange(1, 61) ** -0.7
    X = latent @ rng.normal(size=(60, 400)) + 0.1 * rng.normal(size=(300, 400))
    folds = [
        Fold(train, None, np.zeros((len(train), 1)), test, None, None)
        for train, test in KFold(3).split(X)
    ]
    together = _compression._fit_together(X, np.arange(400), folds, 12)
    for one, fold in zip(together, folds, strict=True):
        other = _compression._fit_alone(X, np.arange(400), fold, 12)
        held, best = (
            np.sum(c.compressor.transform(X[fold.train]) ** 2) for c in (one, other)
        )
        assert 0.999 * best <= held <= best * (1 + 1e-5)


@pytest.mark.parametrize("shape", [(3_000, 40), (700, 2), (700,), (9,), (50, 300)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bits_of_a_product_do_not_depend_on_other_rows_nor_threads(shape, dtype):
    rng = np.random.default_rng(0)
    coefficients = rng.normal(size=shape)
    X = rng.normal(size=(77, shape[0])).astype(dtype)
    with threadpool_limits(2):
        found = matmul(X, coefficients)
        alone = np.concatenate([matmul(X[i : i + 1], coefficients) for i in range(77)])
        backwards = matmul(np.asfortranarray(X[::-1]), coefficients)
    with threadpool_limits(1):
        with_one = matmul(X, coefficients)
    assert_allclose(found, X.astype(np.float64) @ coefficients, rtol=0, atol=1e-11)
    assert_array_equal(alone, found)
    assert_array_equal(backwards[::-1], found)
    assert_array_equal(with_one, found)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0)])
def test_products_of_nothing_are_zero(shape):
    found = matmul(np.ones((5, shape[0])), np.ones(shape))
    assert_array_equal(found, np.zeros((5, *shape[1:])))
