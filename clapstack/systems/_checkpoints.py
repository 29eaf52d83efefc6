"""Published checkpoints, and which of them each family of a system takes."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from huggingface_hub import try_to_load_from_cache

from clapstack.systems._families import CHECKPOINTS, FAMILIES

__all__ = [
    "bundled_checkpoints",
    "choose_checkpoints",
    "has_seen_ratings",
    "list_checkpoints",
]

_NUMBERS = ["sample_rate", "window", "width", "parameters"]
# One of these is in the hub's cache if a checkpoint is, index files for large ones.
_WEIGHTS = [
    f"{name}{ending}"
    for name in ("model.safetensors", "pytorch_model.bin")
    for ending in ("", ".index.json")
]


def list_checkpoints() -> pd.DataFrame:
    """Return the published checkpoints that clapstack knows.

    Nothing is fetched.

    Returns
    -------
    checkpoints : DataFrame
        A row each: ``name``, as systems and ``families`` take it; ``transformer``, of
        ``clapstack.features``, missing where an encoder of one's own is needed;
        ``checkpoint``, a hub id or a file; ``bundled``, the mini checkpoint in its
        place; ``licence`` of the weights, where it is known; ``sample_rate`` (Hz);
        ``window`` (s); ``width`` of an embedding; ``parameters`` (millions);
        ``languages``; ``seen_ratings``, whether people's ratings of audio and text
        were used to train it; ``files``; ``notes``; and ``present``, whether it is
        on this machine: in the working directory or the hub's cache.

    Examples
    --------
    >>> from clapstack.systems import list_checkpoints
    >>> checkpoints = list_checkpoints().set_index("name")
    >>> int(checkpoints.loc["msclap", "sample_rate"])
    44100
    """
    table = pd.DataFrame(CHECKPOINTS).replace("", None)
    table[_NUMBERS] = table[_NUMBERS].astype(float)
    table["sample_rate"] = table["sample_rate"].astype(int)
    table["seen_ratings"] = table["seen_ratings"] == "yes"
    table["present"] = [_is_present(place) for place in table["checkpoint"]]
    return table


def has_seen_ratings(checkpoint: str | os.PathLike[str]) -> bool:
    """Return whether a checkpoint, by its name, was trained on people's ratings.

    Parameters
    ----------
    checkpoint : str or path-like
        A hub id, or a file or folder that bears the name of one.

    Returns
    -------
    has_seen : bool
        Whether it has. A copy under another name is not recognised.
    """
    parts = re.split(r"[/\\]|--", str(checkpoint).lower())  # the hub's cache has --
    return any(
        row["checkpoint"].lower().split("/")[-1] in parts
        for row in CHECKPOINTS
        if row["seen_ratings"] == "yes"
    )


def _is_present(checkpoint: str) -> bool:
    if Path(checkpoint).exists():
        return True
    parts = checkpoint.split("/")
    if len(parts) not in (2, 3) or " " in checkpoint:
        return False
    files = [*parts[2:]] or [*_WEIGHTS, "CLAP_weights_2023.pth"]
    found = [try_to_load_from_cache("/".join(parts[:2]), file) for file in files]
    return any(isinstance(path, str) for path in found)


def bundled_checkpoints(
    others: Mapping[str, str | None] | None = None,
) -> dict[str, str | None]:
    """Return the bundled checkpoint of every family, None where there is none.

    Parameters
    ----------
    others : mapping of str to str, default=None
        Checkpoints to take instead, by family.

    Returns
    -------
    checkpoints : dict of str to str or None
        For :func:`~clapstack.make_system`.

    Examples
    --------
    >>> from clapstack.systems import bundled_checkpoints
    >>> checkpoints = bundled_checkpoints({"beats": "my_beats.pt"})
    >>> checkpoints["msclap"], checkpoints["beats"], checkpoints["wavlm"]
    ('bundled:msclap', 'my_beats.pt', None)
    """
    bundled = {name: family.bundled for name, family in FAMILIES.items()}
    return {**bundled, **(others or {})}


def choose_checkpoints(
    checkpoints: str | Mapping[str, str | None],
    families: Sequence[str],
    optional: Sequence[str] = (),
) -> dict[str, str]:
    """Return the checkpoint of every family that a system gets.

    Parameters
    ----------
    checkpoints : {"published", "bundled"} or mapping of str to str or None
        A mapping says what to take instead of the published checkpoint, and None that
        there is none.
    families : sequence of str
        Families that the system needs.
    optional : sequence of str
        Families that it goes without where there is no checkpoint.

    Returns
    -------
    chosen : dict of str to str
        In the order of `families` and `optional`.

    Raises
    ------
    ValueError
        If `checkpoints` is none of these, names an unknown family, or leaves a needed
        one without a checkpoint.
    """
    given: Mapping[str, str | None]
    if isinstance(checkpoints, Mapping):
        given = checkpoints
    elif checkpoints in ("published", "bundled"):
        given = {} if checkpoints == "published" else bundled_checkpoints()
    else:
        msg = (
            "checkpoints must be 'published', 'bundled' or a mapping of families to "
            f"checkpoints; got {checkpoints!r}."
        )
        raise ValueError(msg)
    unknown = [name for name in given if name not in FAMILIES]
    if unknown:
        msg = (
            f"checkpoints names unknown families {unknown}; there are {list(FAMILIES)}."
        )
        raise ValueError(msg)
    chosen, without = {}, []
    for name in (*families, *optional):
        checkpoint = given.get(name, FAMILIES[name].published)
        if checkpoint is not None:
            chosen[name] = str(checkpoint)
        elif name in families:
            without.append(name)
    if without:
        msg = (
            f"There is no checkpoint for {without}, which the system needs (no bundled "
            "one exists, or None was given). Pass checkpoints={"
            f"{without[0]!r}: ...}}, or 'published'."
        )
        raise ValueError(msg)
    return chosen
