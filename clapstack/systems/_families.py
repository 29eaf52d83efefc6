"""Feature families with their transformers, published checkpoints and files."""

from __future__ import annotations

import csv
import importlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["CHECKPOINTS", "CLAP_FAMILIES", "FAMILIES", "Family", "hub_downloads"]


@dataclass(frozen=True)
class Family:
    """One source of features.

    Attributes
    ----------
    name : str
        Prefix of its columns, before the first ``__``.
    transformer : str
        Name of its transformer in :mod:`clapstack.features`.
    published : str
        The published checkpoint: a hub id, or the name of a file to obtain.
    files : str
        Files of the checkpoint.
    bundled : str or None
        The small bundled test checkpoint, if there is one.
    """

    name: str
    transformer: str
    published: str
    files: str
    bundled: str | None = None

    def make(self, checkpoint: str, **settings: Any) -> Any:
        """Build the transformer of the family with a checkpoint.

        Parameters
        ----------
        checkpoint : str
            The `checkpoint` of the transformer.
        **settings
            Other parameters of the transformer.

        Returns
        -------
        transformer : estimator
            Not fitted; weights are loaded only by ``fit``.
        """
        features = importlib.import_module("clapstack.features")
        return getattr(features, self.transformer)(checkpoint, **settings)


#: Published checkpoints, one row each. Those without a transformer need a custom
#: encoder.
CHECKPOINTS: list[dict[str, str]] = list(
    csv.DictReader(
        (Path(__file__).parent / "checkpoints.csv").read_text("utf-8").splitlines()
    )
)

#: All families that a system can have, by name.
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


def hub_downloads(checkpoint: str) -> list[str]:
    """Return what ``hf download`` needs to fetch a checkpoint, a command for each item.

    Parameters
    ----------
    checkpoint : str
        As published, or any hub id.

    Returns
    -------
    downloads : list of str
        A repository, maybe with a file: the weights, and the tokenizer if it is from
        another repository. Empty if the checkpoint is not on the hub.

    Examples
    --------
    >>> from clapstack.systems import hub_downloads
    >>> hub_downloads("microsoft/msclap")
    ['microsoft/msclap CLAP_weights_2023.pth', 'openai-community/gpt2 tokenizer.json']
    """
    for row in CHECKPOINTS:
        if row["checkpoint"] == checkpoint:
            return row["hub"].split("; ") if row["hub"] else []
    return [checkpoint] if re.fullmatch(r"[\w.-]+/[\w.-]+", checkpoint) else []
