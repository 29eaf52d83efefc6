import copy
import socket

import numpy as np
import pytest
import torch

torchmetrics = pytest.importorskip("torchmetrics")

from clapstack import Scorer  # noqa: E402 - the module needs torchmetrics
from clapstack.integrations.torch import AlignmentScore  # noqa: E402

RATE = 16_000
TEXTS = ["rain", "a dog barks", "a bell", "rain"]


def clips_of(seed, n=4):
    generator = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(n, 1, RATE, generator=generator)


@pytest.fixture(scope="module")
def scorer(model_file):
    return Scorer(model_file)


@pytest.fixture
def metric(scorer):
    return AlignmentScore(scorer, sampling_rate=RATE)


def test_the_mean_is_that_of_the_scores(metric, scorer):
    scores = [
        scorer.score(clips_of(seed), TEXTS, sampling_rate=RATE) for seed in (0, 1)
    ]
    metric.update(clips_of(0), TEXTS)
    metric.update(clips_of(1), TEXTS)
    assert metric.n_scored == 8
    np.testing.assert_allclose(float(metric.compute()), np.mean(scores), atol=1e-6)


def test_forward_gives_the_mean_of_a_batch(metric, scorer):
    metric.update(clips_of(0), TEXTS)
    of_batch = metric(clips_of(1), TEXTS)
    expected = scorer.score(clips_of(1), TEXTS, sampling_rate=RATE).mean()
    assert float(of_batch) == pytest.approx(expected)
    assert metric.n_scored == 8


def test_reset_forgets(metric):
    metric.update(clips_of(0), TEXTS)
    metric.reset()
    assert metric.n_scored == 0
    with pytest.warns(UserWarning, match="before the ``update`` method"):
        assert torch.isnan(metric.compute())


def test_merged_states_are_those_of_one_metric(metric, scorer):
    other, whole = copy.deepcopy(metric), copy.deepcopy(metric)
    metric.update(clips_of(0), TEXTS)
    other.update(clips_of(1, 2), TEXTS[:2])
    whole.update(clips_of(0), TEXTS)
    whole.update(clips_of(1, 2), TEXTS[:2])
    metric.merge_state(other)
    assert metric.n_scored == 6
    assert float(metric.compute()) == pytest.approx(float(whole.compute()))


def test_it_goes_into_a_collection(metric):
    collection = torchmetrics.MetricCollection({"alignment": metric})
    collection.update(clips_of(0), TEXTS)
    found = collection.clone(prefix="val_").compute()
    assert list(found) == ["val_alignment"]


def test_pairs_that_cannot_be_used_are_named_or_left_out(metric, scorer):
    clips = clips_of(0)
    clips[2] = 0
    with pytest.raises(ValueError, match="row 2"):
        metric.update(clips, TEXTS)
    lenient = AlignmentScore(scorer, sampling_rate=RATE, errors="nan")
    lenient.update(clips, TEXTS)
    rest = [0, 1, 3]
    expected = scorer.score(
        clips[rest], [TEXTS[i] for i in rest], sampling_rate=RATE
    ).mean()
    assert float(lenient.compute()) == pytest.approx(expected)
    assert (lenient.n_scored, lenient.n_unusable) == (3, 1)


def mean_of_process(rank, model_file, port, results):
    torch.distributed.init_process_group(
        "gloo", f"tcp://localhost:{port}", rank=rank, world_size=2
    )
    metric = AlignmentScore(model_file, sampling_rate=RATE)
    metric.update(clips_of(rank, 4 - 2 * rank), TEXTS[: 4 - 2 * rank])
    results[rank] = float(metric.compute())
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_the_mean_is_over_all_processes(metric, model_file):
    metric.update(clips_of(0), TEXTS)
    metric.update(clips_of(1, 2), TEXTS[:2])
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    context = torch.multiprocessing.get_context("spawn")
    with context.Manager() as manager:
        results = manager.dict()
        torch.multiprocessing.spawn(
            mean_of_process, (model_file, port, results), nprocs=2
        )
        assert list(results.values()) == pytest.approx([float(metric.compute())] * 2)
