"""Encoders on workers load weights once per process, with identical results."""

import pandas as pd
import pytest
import torch
from pandas.testing import assert_frame_equal

from clapstack import LaionClapPairFeatures
from clapstack.datasets import load_bundled_sounds
from clapstack.distributed import extract_partitions
from tests.distributed.conftest import cut

N_CLIPS = 12


def loads():
    """Return how many encoders this process has loaded."""
    from clapstack.encoders import _registry

    return _registry._load.cache_info().misses


@pytest.fixture
def one_thread():
    """Use one torch thread, as on the workers: other numbers change rounding."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_workers_load_weights_once_and_give_the_bits_of_one_machine(cluster):
    settings = {"blocks": ("audio", "text"), "device": "cpu", "cache": None}
    laion = LaionClapPairFeatures("bundled:laion-unfused", **settings)
    sounds = load_bundled_sounds()[:N_CLIPS]
    pairs = pd.DataFrame({"audio": sounds["path"], "text": sounds["class"]})
    before = cluster.run(loads)
    features = extract_partitions(laion.fit(pairs), cut(pairs))
    there = features.compute()
    after = cluster.run(loads)
    assert there["error"].isna().all()
    assert_frame_equal(there, features.compute(scheduler="synchronous"))
    loaded = [after[worker] - before[worker] for worker in after]
    assert len(loaded) == 2
    assert set(loaded) == {1}
