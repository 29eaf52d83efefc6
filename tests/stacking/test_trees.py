"""The default boosted trees on binned columns."""

import numpy as np
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.utils.fixes import parse_version

from clapstack.stacking._trees import BoostedTrees, make_trees

N_PAIRS = 510  # more than there are bins, and many quantiles lie between two values

with_weighted_bins = pytest.mark.skipif(
    parse_version(sklearn.__version__) < parse_version("1.9"),
    reason="cuts columns elsewhere, without a look at the weights",
)


@pytest.fixture
def data():
    """Return (X, y, weight, new X), with a coarse and a constant column."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N_PAIRS + 100, 6)).astype(np.float32)
    X[:, 4] = X[:, 4].round(1)
    X[:, 5] = 2.0
    X, new = X[:N_PAIRS], X[N_PAIRS:]
    y = X[:, 0] + X[:, 1] * X[:, 2] + X[:, 4] + rng.normal(size=N_PAIRS)
    return X, y, rng.integers(1, 5, N_PAIRS).astype(float), new


@with_weighted_bins
@pytest.mark.parametrize("weighted", [False, True])
def test_trees_are_those_of_scikit_learn(data, weighted):
    X, y, weight, new = data
    given = {"sample_weight": weight} if weighted else {}
    found = BoostedTrees().fit(X, y, **given)
    assert_array_equal(found.predict(new), make_trees().fit(X, y, **given).predict(new))


def test_weights_are_equivalent_to_repetition(data):
    X, y, weight, new = data
    often = np.repeat(np.arange(N_PAIRS), weight.astype(int))
    found = BoostedTrees().fit(X, y, weight)
    expected = BoostedTrees().fit(X[often], y[often])
    assert_array_equal(found.edges_, expected.edges_)
    assert_allclose(found.predict(new), expected.predict(new), atol=1e-6)
    assert not np.array_equal(found.edges_, BoostedTrees().fit(X, y).edges_)


def test_targets_together_are_the_targets_alone(data):
    X, y, weight, new = data
    targets = np.column_stack([y, np.argsort(np.argsort(y))])
    together = BoostedTrees(20).fit_targets(X, targets, weight)
    assert [trees.max_iter for trees in together] == [20, 20]
    for found, target in zip(together, targets.T, strict=True):
        alone = BoostedTrees(20).fit(X, target, weight)
        assert_array_equal(found.predict(new), alone.predict(new))
