import pytest

from clapstack.datasets import make_simulated_xacle


@pytest.fixture(scope="session")
def simulated_folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("simulated") / "XACLE_dataset"
    return make_simulated_xacle(root, n_train=12, n_validation=3, n_test=4)
