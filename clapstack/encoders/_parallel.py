"""Parallel forward passes on a CPU, with one thread each.

A pass split over threads waits for the slowest thread at every layer. If another
process occupies a core, each wait can take a time slice of the scheduler: one window
then took 3.5 times as long as with one thread (measured, two cores). A product split
over threads may also round differently. Therefore no pass is split; several run side by
side instead, which keeps as many cores busy.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, TypeVar

import torch

Batch = TypeVar("Batch")
Result = TypeVar("Result")

_START = threading.Lock()


def side_by_side(
    function: Callable[[Batch], Result], batches: Iterable[Batch]
) -> list[Result]:
    """Apply a forward pass to batches, in inference mode; return the results.

    Up to ``torch.get_num_threads()`` passes run at a time, with one thread each, so
    `function` is called from several threads.
    """
    batches = list(batches)
    n_threads = torch.get_num_threads()
    if n_threads == 1:
        return [_in_inference_mode(function, batch) for batch in batches]
    waiting = [
        _workers(n_threads).submit(_in_inference_mode, function, batch)
        for batch in batches
    ]
    try:
        return [future.result() for future in waiting]
    # After an error, passes that have not started are cancelled.
    finally:
        for future in waiting:
            future.cancel()


def _in_inference_mode(function: Callable[[Batch], Result], batch: Batch) -> Result:
    with torch.inference_mode():  # set per thread
        return function(batch)


@lru_cache
def _workers(n_threads: int) -> ThreadPoolExecutor:
    """Return persistent workers: a thread's first pass takes memory and time."""
    return ThreadPoolExecutor(n_threads, "clapstack", initializer=_take_one_thread)


if hasattr(os, "register_at_fork"):
    # A forked process does not inherit the threads.
    os.register_at_fork(after_in_child=_workers.cache_clear)


def _take_one_thread() -> None:
    """Limit PyTorch to one thread in this thread, without changing others."""
    with _START:
        # Query first, because PyTorch then initialises a thread that is new to it.
        before: Any = torch.get_num_threads()
        torch.set_num_threads(1)
        # The number is now 1 in this thread, but also in threads yet to start.
        others = threading.Thread(target=torch.set_num_threads, args=(before,))
        others.start()
        others.join()
