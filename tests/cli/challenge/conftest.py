import pytest

from clapstack.datasets import make_simulated_xacle


@pytest.fixture(scope="session")
def challenge_folder(tmp_path_factory):
    """Return a simulated challenge folder, small enough for every system."""
    root = tmp_path_factory.mktemp("challenge") / "XACLE_dataset"
    return make_simulated_xacle(root, n_train=36, n_validation=8, n_test=8)


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return str(tmp_path_factory.mktemp("store"))
