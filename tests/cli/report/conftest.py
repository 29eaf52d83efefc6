from pathlib import Path

import pandas as pd
import pytest

from clapstack import make_clap_stack, save_model
from tests.inspection.conftest import features, model, pyplot

__all__ = ["features", "model", "pyplot"]


@pytest.fixture(scope="session")
def model_file(challenge, cache, tmp_path_factory):
    """Return the file of a stack on the bundled mini checkpoints."""
    train, _ = challenge
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
def rated(challenge, tmp_path_factory):
    """Return a CSV of rated pairs beside the clips; the texts are attacks."""
    folder = tmp_path_factory.mktemp("rated")
    _, test = challenge
    for clip in test.X["audio"]:
        (folder / Path(clip).name).symlink_to(clip)
    clips = [Path(clip).name for clip in test.X["audio"]]
    texts = [f"{text} <script>alert($1)</script>" for text in test.X["text"]]
    table = pd.DataFrame({"audio": clips, "text": texts, "score": test.y})
    table.to_csv(folder / "rated.csv", index=False)
    return folder / "rated.csv"
