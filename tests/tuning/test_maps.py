"""Low-rank maps of embeddings, and how far they leave the identity."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from clapstack.tuning._maps import CosineProblem, apply_map
from clapstack.tuning._shrinkage import choose_shrinkage


@pytest.fixture
def problem(embeddings, rng):
    return CosineProblem(*embeddings, rng.uniform(0.5, 2.0, 150), rank=2)


def test_loss_is_the_variance_that_a_line_in_the_mapped_cosine_leaves(embeddings, rng):
    a, b, y = embeddings
    weight = rng.uniform(0.5, 2.0, 150)
    maps = rng.normal(size=(2, 2, 6, 2))
    cosine = np.sum(apply_map(maps[0], a) * apply_map(maps[1], b), axis=1)
    covariance = np.cov(cosine, y, aweights=weight)
    r = covariance[0, 1] ** 2 / covariance[0, 0] / covariance[1, 1]
    value, _ = CosineProblem(a, b, y, weight, 2).loss(maps)
    assert_allclose(value, 1 - r, rtol=1e-10)


def test_gradient_is_that_of_finite_differences(problem, rng):
    maps = 0.5 * rng.normal(size=(2, 2, 6, 2))
    step = 1e-6
    numeric = [
        problem.loss(maps + step * unit.reshape(maps.shape))[0]
        - problem.loss(maps - step * unit.reshape(maps.shape))[0]
        for unit in np.eye(maps.size)
    ]
    gradient = problem.loss(maps)[1].ravel()
    assert_allclose(gradient, np.array(numeric) / (2 * step), atol=1e-8)


def test_slope_at_the_identity_is_the_one_by_the_first_direction(problem, rng):
    right = rng.normal(size=6)
    maps = np.zeros((2, 2, 6, 2))
    maps[0, 1, :, 0] = right
    _, gradient = problem.loss(maps)
    audio, _ = problem._slope_at_identity()
    assert_allclose(gradient[0, 0, :, 0], audio @ right, atol=1e-10)


def test_from_the_largest_penalty_on_the_map_is_the_identity(problem):
    largest = problem.largest_penalty
    assert not problem.fit(largest, 50).any()
    assert np.abs(problem.fit(0.99 * largest, 500)).max() > 1e-3
    # Just above it, small maps do not pay.
    maps = 1e-3 * problem._start
    at_identity = problem.loss(np.zeros_like(maps))[0]
    penalised = problem.loss(maps)[0] + 1.01 * largest * np.sum(maps**2) / 2
    assert penalised > at_identity


def test_smaller_penalties_leave_less_variance(problem):
    left = [
        problem.loss(problem.fit(part * problem.largest_penalty, 200))[0]
        for part in (1.0, 0.7, 0.4, 0.1)
    ]
    assert np.all(np.diff(left) < 0)


def test_mapped_embeddings_have_unit_norm(rng):
    mapped = apply_map(rng.normal(size=(2, 6, 2)), rng.normal(size=(9, 6)))
    assert_allclose(np.linalg.norm(mapped, axis=1), 1.0)


def test_identical_fits_give_identical_bits(embeddings):
    one, other = (CosineProblem(*embeddings, np.ones(150), 3) for _ in range(2))
    assert_array_equal(
        one.fit(0.5 * one.largest_penalty, 50), other.fit(0.5 * one.largest_penalty, 50)
    )


def test_scores_that_no_map_tells_keep_the_identity(rng):
    """The choice looks at held-out pairs: in sample, any map would do better."""
    a, b = (z / np.linalg.norm(z, axis=1)[:, None] for z in rng.normal(size=(2, 80, 6)))
    y, weight = np.sum(a * b, axis=1) + rng.normal(size=80), np.ones(80)

    def fit(a, b, y, weight, shrinkages):
        problem = CosineProblem(a, b, y, weight, 4)
        return [problem.fit(s * problem.largest_penalty, 50) for s in shrinkages]

    half = np.arange(40), np.arange(40, 80)
    splits = [half, half[::-1]]
    shrinkages = [1.0, 0.3]
    assert choose_shrinkage(a, b, y, weight, splits, shrinkages, fit) == 1.0
    whole = fit(a, b, y, weight, shrinkages)
    in_sample = [CosineProblem(a, b, y, weight, 4).loss(maps)[0] for maps in whole]
    assert in_sample[1] < in_sample[0] - 0.1
