from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import Pipeline

from clapstack import (
    ClapStackingRegressor,
    CrossAgreement,
    make_clap_stack,
    save_model,
)
from clapstack.datasets import load_xacle, make_simulated_xacle


@pytest.fixture(autouse=True)
def pyplot():
    """Draw without a screen, and close what was drawn."""
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


@pytest.fixture(scope="session")
def challenge(tmp_path_factory):
    """Return the folder of a small simulated challenge."""
    root = tmp_path_factory.mktemp("challenge") / "XACLE_dataset"
    return make_simulated_xacle(root, n_train=30, n_validation=0, n_test=8)


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return str(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="session")
def model_file(challenge, cache, tmp_path_factory):
    """Return the file of a stack on the bundled mini checkpoints."""
    train = load_xacle(challenge, "train")
    pipeline = make_clap_stack("bundled", cache=cache, device="cpu")
    pipeline.fit(train.X, train.y)
    card = {
        "description": "For <b>tests</b> & nothing else.",
        "metrics": {"srcc": 0.1234, "seconds": 5},
        "licence": "MIT",
    }
    path = tmp_path_factory.mktemp("model") / "a&b.clapstack"
    return save_model(pipeline, path, card=card)


@pytest.fixture(scope="session")
def rated(challenge):
    """Return a CSV of rated pairs beside the clips; one text is an attack."""
    test = load_xacle(challenge, "test")
    clips = [str(Path(clip).relative_to(challenge)) for clip in test.X["audio"]]
    texts = list(test.X["text"])
    texts[:] = [f"{text} <script>alert($1)</script>" for text in texts]
    table = pd.DataFrame({"audio": clips, "text": texts, "score": test.y})
    table.to_csv(challenge / "rated.csv", index=False)
    return challenge / "rated.csv"
