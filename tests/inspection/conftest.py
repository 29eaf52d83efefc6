import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import Pipeline

from clapstack import ClapStackingRegressor, CrossAgreement


@pytest.fixture(autouse=True)
def pyplot():
    """Draw without a screen, and close all figures afterwards."""
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    from matplotlib import pyplot

    yield pyplot
    pyplot.close("all")


@pytest.fixture(scope="session")
def features():
    """Return (X, y): 120 pairs of two synthetic contrastive families."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=120)
    columns = {}
    for family, noise in (("laion", 1.5), ("msclap", 1.0)):
        for name in ("audio0", "text0", "product0", "absdiff0", "sqdiff0"):
            columns[f"{family}__{name}"] = rng.normal(size=120)
        columns[f"{family}__cosine"] = truth + noise * rng.normal(size=120)
    y = np.clip(5 + 2 * truth + rng.normal(size=120), 0, 10)
    return pd.DataFrame(columns), y


@pytest.fixture(scope="session")
def model(features):
    """Return a fitted pipeline of agreement and stack."""
    X, y = features
    steps = [
        ("agreement", CrossAgreement(n_components=1)),
        ("stack", ClapStackingRegressor(boosting=False)),
    ]
    return Pipeline(steps).set_output(transform="pandas").fit(X[:80], y[:80])
