"""Limiting OpenMP to one thread."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any

from threadpoolctl import ThreadpoolController


def one_thread() -> AbstractContextManager[Any]:
    """Limit OpenMP, and therefore scikit-learn's trees, to the calling thread.

    The OpenMP limit applies to the calling thread only. A BLAS limit would apply to the
    whole process and change the sums of other threads, so it is not set.
    """
    # Detected again after new imports: a library may bring its own OpenMP.
    return _controller(len(sys.modules)).limit(limits=1, user_api="openmp")


@lru_cache(maxsize=1)
def _controller(_: int) -> ThreadpoolController:
    """Return the cached controller; detecting the libraries takes milliseconds."""
    return ThreadpoolController()
