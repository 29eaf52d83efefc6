from pathlib import Path

import pandas as pd
import pytest

from clapstack import make_clap_stack, save_model
from clapstack.datasets import load_xacle, make_simulated_xacle
from tests.inspection.conftest import features, model, pyplot

__all__ = ["features", "model", "pyplot"]


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
