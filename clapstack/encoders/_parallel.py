"""Parallel forward passes on a CPU, one thread each, several side by side.

A pass that is split over threads waits for the slowest of them at every layer, and
where another process has a core, each wait can take a time slice of the system: one
window then took 3.5 times as long as with one thread (measured, two cores). A product
split over threads may also round in another way. So no pass is split, and passes run
next to each other instead, which keeps as many cores busy.
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
    """Apply a forward pass to batches, in inference mode; return what it makes of each.

    As many run at a time as ``torch.get_num_threads()`` says, with one thread each. So
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
    # After an error nobody waits for the others; those that run go to their end.
    finally:
        for future in waiting:
            future.cancel()


def _in_inference_mode(function: Callable[[Batch], Result], batch: Batch) -> Result:
    with torch.inference_mode():  # which holds for a thread
        return function(batch)


@lru_cache
def _workers(n_threads: int) -> ThreadPoolExecutor:
    """Return workers that stay: a thread's first pass takes memory and time."""
    return ThreadPoolExecutor(n_threads, "clapstack", initializer=_take_one_thread)


if hasattr(os, "register_at_fork"):
    # A forked process has none of the threads.
    os.register_at_fork(after_in_child=_workers.cache_clear)


def _take_one_thread() -> None:
    """Let PyTorch use one thread in this thread, and as many as before in others."""
    with _START:
        # Asking comes first: PyTorch sets up a thread that it does not know yet.
        before: Any = torch.get_num_threads()
        torch.set_num_threads(1)
        # The number of this thread is now 1, but so is that of threads to come.
        others = threading.Thread(target=torch.set_num_threads, args=(before,))
        others.start()
        others.join()
