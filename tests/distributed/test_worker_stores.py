"""One store per worker, and merging them."""

import os
from types import SimpleNamespace

import pytest
from numpy.testing import assert_array_equal

from clapstack.distributed import (
    merge_worker_stores,
    score_partitions,
    use_worker_stores,
)
from clapstack.distributed._plugin import WorkerStore
from clapstack.store import EmbeddingStore
from tests.distributed.conftest import cut, make_stack
from tests.distributed.encoders import BandsEncoder


@pytest.fixture
def worker_stores(cluster, tmp_path):
    """Return the folder of the workers' stores, used only in this test."""
    before = os.environ.get("CLAPSTACK_CACHE", "")
    use_worker_stores(cluster, tmp_path / "workers")
    yield tmp_path / "workers"
    cluster.unregister_worker_plugin("clapstack-worker-store")
    cluster.run(os.environ.__setitem__, "CLAPSTACK_CACHE", before)


def test_stores_of_workers_merge_into_one_that_has_every_embedding_once(
    cluster, worker_stores, pairs, tmp_path
):
    model = make_stack(BandsEncoder(), None).fit(pairs, pairs["score"])
    model.set_params(features__bands__cache="auto")
    scores = score_partitions(model, cut(pairs)).compute()
    assert sorted(path.name for path in worker_stores.iterdir()) == ["0", "1"]
    reports = merge_worker_stores(worker_stores, tmp_path / "merged")
    assert list(reports) == ["0", "1"]
    merged = EmbeddingStore(tmp_path / "merged")
    assert len(merged) == 2 * len(pairs)
    merged.close()
    assert sum(r.n_added for r in reports.values()) == 2 * len(pairs)
    again = merge_worker_stores(worker_stores, tmp_path / "merged")
    assert not any(report.n_added for report in again.values())
    model.set_params(features__bands__cache=str(tmp_path / "merged"))
    assert_array_equal(scores["score"], model.predict(pairs))


def test_workers_that_are_threads_are_refused(tmp_path):
    plugin = WorkerStore(str(tmp_path))
    with pytest.raises(RuntimeError, match="Start the cluster with processes=True"):
        plugin.setup(SimpleNamespace(name="0"))


def test_a_folder_without_stores_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no worker store in"):
        merge_worker_stores(tmp_path, tmp_path / "merged")
