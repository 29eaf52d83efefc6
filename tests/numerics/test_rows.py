import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from threadpoolctl import threadpool_limits

from clapstack._numerics.rows import matmul


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
