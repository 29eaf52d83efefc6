"""Transformers over frozen encoders, by name of family."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sklearn.pipeline import FeatureUnion

from clapstack.systems import FAMILIES
from clapstack.systems._checkpoints import choose_checkpoints

__all__ = ["make_union"]


def make_union(
    checkpoints: Any, families: Sequence[str], blocks: Sequence[str], **settings: Any
) -> FeatureUnion:
    """Return a union of one transformer per family, not fitted.

    Parameters
    ----------
    checkpoints : {"published", "bundled"} or mapping
        As for ``make_clap_stack``.
    families : sequence of str
        Of :data:`clapstack.systems.FAMILIES`.
    blocks : sequence of str
        Parts of equation 1, for families that have them.
    **settings
        Further parameters of the transformers.

    Returns
    -------
    union : FeatureUnion
    """
    unknown = [name for name in families if name not in FAMILIES]
    if unknown:
        msg = f"unknown families {unknown}; there are {list(FAMILIES)}."
        raise ValueError(msg)
    transformers = []
    for name, checkpoint in choose_checkpoints(checkpoints, families).items():
        transformer = FAMILIES[name].make(checkpoint, **settings)
        if "blocks" in transformer.get_params(deep=False):
            transformer.set_params(blocks=tuple(blocks))
        transformers.append((name, transformer))
    return FeatureUnion(transformers)
