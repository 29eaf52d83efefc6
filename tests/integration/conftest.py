import pytest

from clapstack import make_clap_stack


@pytest.fixture
def pipeline(cache):
    """Return the whole system on the bundled mini checkpoints, unfitted."""
    return make_clap_stack("bundled", cache=cache, device="cpu")


@pytest.fixture(scope="session")
def fitted(challenge, cache):
    train, _ = challenge
    pipeline = make_clap_stack("bundled", cache=cache, device="cpu")
    return pipeline.fit(train.X, train.y)
