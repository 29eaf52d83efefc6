"""Presets of the stack: parameters of ClapStackingRegressor by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from clapstack._compat import asking_for_weights
from clapstack.stacking import KernelRegressor


def _best(random_state: int) -> dict[str, Any]:
    """Return the best settings on human scores: a kernel model beside the ridges."""
    kernel = asking_for_weights(KernelRegressor(random_state=random_state))
    return {"boosting": False, "kernel": kernel}


PRESETS: dict[str, Callable[[int], dict[str, Any]]] = {
    "paper": lambda random_state: {},  # the defaults are the paper's
    "best": _best,
}
