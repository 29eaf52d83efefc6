import numpy as np
import pandas as pd
import pytest

from clapstack.systems import bundled_checkpoints
from tests.checkpoints import make_all_not_bundled


@pytest.fixture(scope="session")
def tiny_checkpoints(tmp_path_factory):
    """Return where tiny checkpoints of all families are that have no bundled one.

    Their weights are random: what runs on them proves that the code does, and says
    nothing of how well a system predicts.
    """
    return make_all_not_bundled(tmp_path_factory.mktemp("checkpoints"))


@pytest.fixture(scope="session")
def checkpoints(tiny_checkpoints):
    """Return a checkpoint of every family, bundled where there is one."""
    return bundled_checkpoints(tiny_checkpoints)


@pytest.fixture
def features():
    """Return (X, y): 90 pairs of two contrastive families and one auxiliary."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=90)
    columns = {}
    for family in ("laion_unfused", "msclap"):
        a, b = rng.normal(size=(2, 90, 4))
        a[:, 0] += 1.5 * truth
        b[:, 0] += 1.5
        a /= np.linalg.norm(a, axis=1, keepdims=True)
        b /= np.linalg.norm(b, axis=1, keepdims=True)
        for side, values in (("audio", a), ("text", b)):
            columns |= {f"{family}__{side}{i}": values[:, i] for i in range(4)}
        columns[f"{family}__cosine"] = np.sum(a * b, axis=1)
    columns["beats__logit0"] = truth + rng.normal(size=90)
    y = np.clip(5 + 2 * truth + rng.normal(size=90), 0, 10)
    return pd.DataFrame(columns, dtype=np.float32), y
