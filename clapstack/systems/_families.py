"""Feature families: the transformer, the published checkpoint and its files."""

from __future__ import annotations

import csv
import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["CHECKPOINTS", "CLAP_FAMILIES", "FAMILIES", "Family"]


@dataclass(frozen=True)
class Family:
    """One source of features.

    Attributes
    ----------
    name : str
        What stands before the first ``__`` of its columns.
    transformer : str
        Name of its transformer in :mod:`clapstack.features`.
    published : str
        The published checkpoint: a hub id, or the name of a file to bring.
    files : str
        What the checkpoint consists of.
    bundled : str or None
        The bundled mini checkpoint, where there is one.
    """

    name: str
    transformer: str
    published: str
    files: str
    bundled: str | None = None

    def make(self, checkpoint: str, **settings: Any) -> Any:
        """Return its transformer with a checkpoint.

        Parameters
        ----------
        checkpoint : str
            As the transformer takes it.
        **settings
            Further parameters of the transformer.

        Returns
        -------
        transformer : estimator
            Unfitted; it loads nothing until it is fitted.
        """
        features = importlib.import_module("clapstack.features")
        return getattr(features, self.transformer)(checkpoint, **settings)


#: Published checkpoints, a row each. Those without a transformer need an encoder of
#: one's own.
CHECKPOINTS: list[dict[str, str]] = list(
    csv.DictReader(
        (Path(__file__).parent / "checkpoints.csv").read_text("utf-8").splitlines()
    )
)

#: Every family that a system may have, by name.
FAMILIES: dict[str, Family] = {
    row["name"]: Family(
        row["name"],
        row["transformer"],
        row["checkpoint"],
        row["files"],
        row["bundled"] or None,
    )
    for row in CHECKPOINTS
    if row["transformer"]
}

#: The CLAP models of the paper's 3-CLAP stack.
CLAP_FAMILIES = ("laion_unfused", "laion_fused", "msclap")
