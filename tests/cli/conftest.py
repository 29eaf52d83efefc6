import csv
import json

import numpy as np
import pandas as pd
import pytest
import soundfile as sf
from sklearn.pipeline import FeatureUnion, Pipeline
from typer.testing import CliRunner

from clapstack import ClapStackingRegressor, MsClapPairFeatures, save_model
from clapstack.cli import app

N_CLIPS = 6
N_PAIRS = 24


@pytest.fixture(scope="session", autouse=True)
def _store(tmp_path_factory):
    """Keep embeddings where this session can find them again, and nobody else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLAPSTACK_CACHE", str(tmp_path_factory.mktemp("store")))
        yield


@pytest.fixture(scope="session")
def clips(tmp_path_factory):
    """Return a folder of short clips, 0.wav, 1.wav, …"""
    folder = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(0)
    for number in range(N_CLIPS):
        noise = rng.normal(size=4000).cumsum()
        sf.write(folder / f"{number}.wav", 0.5 * noise / abs(noise).max(), 16_000)
    return folder


@pytest.fixture(scope="session")
def pairs():
    """Return rows of audio, text, score and id; paths are relative."""
    rng = np.random.default_rng(1)
    words = ["a dog barks", "rain on a roof", "a synth bass", "a bell"]
    return [
        {
            "audio": f"{i % N_CLIPS}.wav",
            "text": words[i // N_CLIPS],
            "score": round(float(rng.uniform(0, 10)), 2),
            "id": f"pair {i}",
        }
        for i in range(N_PAIRS)
    ]


@pytest.fixture(scope="session")
def model_file(clips, pairs, tmp_path_factory):
    """Return the file of a model over the bundled MS-CLAP."""
    X = pd.DataFrame(pairs)[["audio", "text"]]
    X["audio"] = [str(clips / name) for name in X["audio"]]
    features = MsClapPairFeatures("bundled:msclap", blocks=("product", "cosine"))
    model = Pipeline(
        [
            ("features", FeatureUnion([("msclap", features)])),
            ("stack", ClapStackingRegressor(boosting=False)),
        ]
    ).set_output(transform="pandas")
    model.fit(X, [pair["score"] for pair in pairs])
    return save_model(model, tmp_path_factory.mktemp("model") / "m.clapstack")


@pytest.fixture
def write_csv(clips):
    """Write rows beside the clips; return the file."""
    written = []

    def write(rows, name="table.csv"):
        path = clips / name
        with open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        written.append(path)
        return path

    yield write
    for path in written:
        path.unlink()


@pytest.fixture(scope="session")
def run():
    """Run the command; return what came of it."""

    def run(*arguments, **settings):
        return CliRunner().invoke(app, [str(each) for each in arguments], **settings)

    return run


@pytest.fixture(scope="session")
def read_csv():
    def read(path):
        with open(path, newline="") as file:
            return list(csv.DictReader(file))

    return read


@pytest.fixture(scope="session")
def read_lines():
    def read(path):
        return [json.loads(line) for line in path.read_text().splitlines()]

    return read
