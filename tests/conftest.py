"""What is made once for a run of the tests, for any number of processes."""

import os
from pathlib import Path

import pytest
from filelock import FileLock

from clapstack.datasets import load_xacle, make_simulated_xacle

HERE = Path(__file__).parent
# What loads models, starts processes or fits on and on; marked slow, so that the others
# take a minute and a half. Single tests elsewhere are marked where they stand.
SLOW = (
    "audio/test_fuzz.py",
    "cli/challenge",
    "cli/report",
    "cli/test_fit_command.py",
    "cli/test_own_encoders.py",
    "cli/test_streams.py",
    "distributed",
    "encoders/audio",
    "encoders/clap",
    "encoders/test_checkpoint_forms.py",
    "encoders/test_forged_checkpoints.py",
    "encoders/test_registry.py",
    "encoders/test_same_bits.py",
    "integration",
    "reference",
    "sharing/test_refusals.py",
    "sharing/test_round_trip.py",
    "stacking/test_ablation.py",
    "stacking/test_family.py",
    "stacking/test_intervals.py",
    "stacking/test_meta_estimator.py",
    "stacking/test_sample_weight.py",
    "systems",
)


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(HERE):
            place = item.path.relative_to(HERE).as_posix()
            if place.startswith(SLOW):
                item.add_marker(pytest.mark.slow)


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
