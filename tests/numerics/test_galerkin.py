import numpy as np
import pytest
from numpy.testing import assert_allclose

from clapstack._numerics.galerkin import GalerkinBasis, next_block


@pytest.fixture
def matrix():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(50, 40))
    return root.T @ root


def test_a_basis_is_orthonormal_and_projects_the_matrix(matrix):
    basis = GalerkinBasis(40, 12, np.float64, keep_products=True)
    block = np.linalg.qr(np.random.default_rng(1).normal(size=(40, 3)))[0]
    for _ in range(4):
        basis.add(block, matrix @ block)
        block, _ = next_block(matrix @ block, basis.directions)
    assert_allclose(basis.directions.T @ basis.directions, np.eye(12), atol=1e-13)
    assert_allclose(basis.products, matrix @ basis.directions, rtol=1e-12)
    inside = basis.directions.T @ matrix @ basis.directions
    assert_allclose(basis.projected, inside, atol=1e-11)


@pytest.mark.parametrize("size", [1.0, 1e-12])
def test_a_block_nearly_within_the_basis_becomes_orthogonal(size):
    rng = np.random.default_rng(0)
    basis = GalerkinBasis(60, 8, np.float64)
    first = np.linalg.qr(rng.normal(size=(60, 4)))[0]
    basis.add(first, first)
    block = first @ rng.normal(size=(4, 4)) + size * rng.normal(size=(60, 4))
    new, factor = next_block(block, basis.directions)
    assert_allclose(new.T @ new, np.eye(4), atol=1e-13)
    assert_allclose(first.T @ new, 0, atol=1e-13)
    assert_allclose(new @ factor, block - first @ (first.T @ block), atol=1e-9)
