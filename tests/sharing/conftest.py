import hashlib
import json
import zipfile

import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import Pipeline

from clapstack import ClapStackingRegressor, CrossAgreement, save_model


@pytest.fixture(scope="session")
def features():
    """Return (X, y): pair features of two small families."""
    rng = np.random.default_rng(0)
    blocks = ("audio", "text", "product", "absdiff", "sqdiff")
    columns = [
        f"{family}__{name}"
        for family in ("laion", "msclap")
        for name in [*(f"{block}{i}" for block in blocks for i in range(2)), "cosine"]
    ]
    X = pd.DataFrame(rng.normal(size=(60, len(columns))), columns=columns)
    return X, 5 + X["laion__cosine"] + X["msclap__product0"] ** 2


@pytest.fixture(scope="session")
def model(features):
    """Return a fitted pipeline with every part of the stack, boosted trees too."""
    steps = [
        ("agreement", CrossAgreement(n_components=2)),
        ("stack", ClapStackingRegressor()),
    ]
    return Pipeline(steps).set_output(transform="pandas").fit(*features)


@pytest.fixture(scope="session")
def saved(model, tmp_path_factory):
    """Return a model file."""
    return save_model(model, tmp_path_factory.mktemp("saved") / "model.clapstack")


@pytest.fixture
def forge_state(tmp_path):
    """Write a changed model file with matching checksums, as a forger would."""

    def write(path, change=None, *, manifest=None, members=None):
        with zipfile.ZipFile(path) as file:
            new = {name: file.read(name) for name in file.namelist()}
        new |= members or {}
        if change is not None:
            state = json.loads(new["state.json"])
            change(state)
            new["state.json"] = json.dumps(state).encode()
        facts = json.loads(new.pop("manifest.json"))
        if manifest is not None:
            manifest(facts)
        facts["sha256"] = {
            n: hashlib.sha256(data).hexdigest() for n, data in new.items()
        }
        new["manifest.json"] = json.dumps(facts).encode()
        forged = tmp_path / "forged.clapstack"
        with zipfile.ZipFile(forged, "w") as file:
            for name, data in new.items():
                file.writestr(name, data)
        return forged

    return write
