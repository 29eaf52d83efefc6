"""Keeping what runs in a thread from starting others."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any

from threadpoolctl import ThreadpoolController


def one_thread() -> AbstractContextManager[Any]:
    """Limit OpenMP, and with it scikit-learn's trees, to the thread that calls.

    Others keep their number, since OpenMP counts for each thread. The limit of a BLAS
    holds for a whole process, so that it would change the sums of other threads: it is
    left alone.
    """
    # A library that came with another module has a pool of its own.
    return _controller(len(sys.modules)).limit(limits=1, user_api="openmp")


@lru_cache(maxsize=1)
def _controller(_: int) -> ThreadpoolController:
    """Return what sets the limits; looking for the libraries takes milliseconds."""
    return ThreadpoolController()
