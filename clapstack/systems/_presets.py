"""Recipes of the stack, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from clapstack._compat import asking_for_weights
from clapstack.stacking import KernelRegressor


def paper_stack(random_state: int) -> dict[str, Any]:
    """Return what the paper's stack sets: nothing, for it is the default.

    Parameters
    ----------
    random_state : int
        Seed of whatever draws.

    Returns
    -------
    keywords : dict
        Of :class:`ClapStackingRegressor`.
    """
    return {}


def best_stack(random_state: int) -> dict[str, Any]:
    """Return what did best on human scores: the kernel model beside the ridges.

    Parameters
    ----------
    random_state : int
        Seed of whatever draws.

    Returns
    -------
    keywords : dict
        Of :class:`ClapStackingRegressor`.
    """
    kernel = asking_for_weights(KernelRegressor(random_state=random_state))
    return {"boosting": False, "kernel": kernel}


PRESETS: dict[str, Callable[[int], dict[str, Any]]] = {
    "paper": paper_stack,
    "best": best_stack,
}
