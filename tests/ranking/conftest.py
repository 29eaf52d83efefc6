import numpy as np
import pytest


@pytest.fixture
def rng():
    """Return a generator of fixed seed."""
    return np.random.default_rng(0)
