"""Parallel forward passes on a CPU, with one thread each."""

import threading

import pytest
import torch

from clapstack.encoders._parallel import side_by_side


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_a_pass_has_one_thread(two_threads):
    assert side_by_side(lambda _: torch.get_num_threads(), range(4)) == [1] * 4


def test_results_keep_the_order_of_the_batches(two_threads):
    assert side_by_side(lambda x: -x, iter(range(20))) == [-x for x in range(20)]


def test_passes_run_next_to_each_other(two_threads):
    both = threading.Barrier(2, timeout=30)
    assert sorted(side_by_side(lambda _: both.wait(), range(2))) == [0, 1]


@pytest.mark.parametrize("n_threads", [1, 2])
def test_a_pass_is_in_inference_mode(n_threads, two_threads):
    torch.set_num_threads(n_threads)
    assert side_by_side(lambda _: torch.is_inference_mode_enabled(), [0]) == [True]


def test_other_threads_keep_their_number(two_threads):
    side_by_side(lambda x: x, range(4))
    seen = []
    other = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    other.start()
    other.join()
    assert [torch.get_num_threads(), *seen] == [2, 2]


def test_what_a_pass_raises_is_raised(two_threads):
    with pytest.raises(ZeroDivisionError):
        side_by_side(lambda x: 1 / x, [1, 0, 1])
