import numpy as np
import pandas as pd
import pytest

from clapstack.features import pair_feature_names, pair_features


def unit(z):
    return z / np.linalg.norm(z, axis=1, keepdims=True)


@pytest.fixture
def rng():
    """Return a generator of fixed seed."""
    return np.random.default_rng(0)


@pytest.fixture
def embeddings(rng):
    """Return (a, b, y): scores are told by one of six directions."""
    common = rng.normal(size=(150, 6))
    a = unit(common + rng.normal(size=(150, 6)))
    b = unit(common + rng.normal(size=(150, 6)))
    return a, b, 5 + 4 * a[:, 0] * b[:, 0] + 0.3 * rng.normal(size=150)


@pytest.fixture
def table(embeddings, rng):
    """Return X of two contrastive families and one more, and y."""
    a, b, y = embeddings
    other = unit(rng.normal(size=(150, 4))), unit(rng.normal(size=(150, 4)))
    blocks = [pair_features(a, b), pair_features(*other), rng.normal(size=(150, 2))]
    names = [
        *(f"laion__{name}" for name in pair_feature_names(6)),
        *(f"msclap__{name}" for name in pair_feature_names(4)),
        *("beats__logit0", "beats__logit1"),
    ]
    X = pd.DataFrame(np.hstack(blocks).astype(np.float32), columns=names)
    return X, y
