"""What is made once for a run of the tests, whatever the number of its processes."""

import os

import pytest
from filelock import FileLock

from clapstack.datasets import load_xacle, make_simulated_xacle


@pytest.fixture(scope="session")
def make_once(tmp_path_factory):
    """Return a function that makes a folder in the first process that asks for it."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # one folder of the run holds those of its workers

    def make_once(name, make):
        folder = root / name
        with FileLock(root / f"{name}.lock"):
            if not folder.exists():
                begun = root / f"{name}.begun"
                make(begun)
                begun.rename(folder)
        return folder

    return make_once


@pytest.fixture(scope="session")
def challenge_folder(make_once):
    """Return a simulated challenge of 48 training, 8 validation and 16 test pairs."""

    def make(folder):
        sizes = {"n_train": 48, "n_validation": 8, "n_test": 16}
        make_simulated_xacle(folder / "XACLE_dataset", **sizes)

    return make_once("challenge", make) / "XACLE_dataset"


@pytest.fixture(scope="session")
def challenge(challenge_folder):
    """Return (train, test) of the simulated challenge."""
    return load_xacle(challenge_folder, "train"), load_xacle(challenge_folder, "test")


@pytest.fixture(scope="session")
def cache(make_once):
    """Return a store of embeddings that all tests share."""
    return str(make_once("store", lambda folder: folder.mkdir()))
