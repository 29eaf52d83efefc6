import pytest

from clapstack import make_clap_stack
from clapstack.datasets import load_xacle, make_simulated_xacle


@pytest.fixture(scope="session")
def challenge(tmp_path_factory):
    """Return (train, test) of a small simulated challenge."""
    root = tmp_path_factory.mktemp("challenge") / "XACLE_dataset"
    make_simulated_xacle(root, n_train=72, n_validation=0, n_test=24)
    return load_xacle(root, "train"), load_xacle(root, "test")


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return str(tmp_path_factory.mktemp("store"))


@pytest.fixture
def pipeline(cache):
    """Return the whole system on the bundled mini checkpoints, unfitted."""
    return make_clap_stack("bundled", cache=cache, device="cpu")


@pytest.fixture(scope="session")
def fitted(challenge, cache):
    train, _ = challenge
    pipeline = make_clap_stack("bundled", cache=cache, device="cpu")
    return pipeline.fit(train.X, train.y)
