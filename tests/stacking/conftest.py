import numpy as np
import pandas as pd
import pytest

from clapstack.stacking import ClapStackingRegressor
from clapstack.stacking._trees import BoostedTrees


def make_features(n_pairs, seed):
    """Two contrastive families, their agreement and an auxiliary family."""
    rng = np.random.default_rng(seed)
    match = rng.uniform(0, 1, size=n_pairs)
    columns = {}
    for family in ("msclap", "laion"):
        cosine = match + rng.normal(scale=0.3, size=n_pairs)
        for i in range(4):
            columns[f"{family}__product{i}"] = 0.3 * cosine + rng.normal(size=n_pairs)
        columns[f"{family}__cosine"] = cosine
    gap = columns["msclap__cosine"] - columns["laion__cosine"]
    columns["cross__laion_msclap_cosine_gap"] = np.abs(gap)
    columns["cross__laion_cosine"] = columns["laion__cosine"]
    columns |= {f"beats__mean{i}": rng.normal(size=n_pairs) for i in range(3)}
    y = 10 * match**2 + rng.normal(scale=0.5, size=n_pairs)
    return pd.DataFrame(columns), y


@pytest.fixture
def pairs():
    return make_features(90, seed=0)


@pytest.fixture
def new_pairs():
    return make_features(60, seed=1)


@pytest.fixture
def stack():
    """A whole stack, with few trees to save time."""
    return ClapStackingRegressor(boosting=BoostedTrees(max_iter=10))


@pytest.fixture
def ridges():
    """A stack without trees, for tests that do not need them."""
    return ClapStackingRegressor(boosting=False)
