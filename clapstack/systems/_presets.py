"""Recipes of the stack, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from clapstack._compat import asking_for_weights
from clapstack.stacking import BlendRidge, RbfSvr

#: Penalties per column that each family of "best" chooses from.
ALPHAS = (0.5, 1.5, 5.0, 15.0, 50.0, 150.0)


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
    """Return what the ablation in ``tests/bench/ablation.py`` speaks for.

    Parameters
    ----------
    random_state : int
        Seed of whatever draws.

    Returns
    -------
    keywords : dict
        Of :class:`ClapStackingRegressor`.
    """
    return {
        "alphas": ALPHAS,
        "base_estimators": [
            "ridge",
            asking_for_weights(RbfSvr(random_state=random_state)),
        ],
        "final_estimator": asking_for_weights(BlendRidge()),
    }


PRESETS: dict[str, Callable[[int], dict[str, Any]]] = {
    "paper": paper_stack,
    "best": best_stack,
}
