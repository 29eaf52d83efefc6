"""Published checkpoints, and the choice of one for each family of a system."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from huggingface_hub import try_to_load_from_cache

from clapstack._numerics.suggestions import did_you_mean
from clapstack.systems._families import CHECKPOINTS, FAMILIES

__all__ = [
    "bundled_checkpoints",
    "choose_checkpoints",
    "has_seen_ratings",
    "list_checkpoints",
]

_NUMBERS = ["sample_rate", "window", "width", "parameters"]
# One of these files marks a checkpoint in the hub's cache; large ones have an index.
_WEIGHTS = [
    f"{name}{ending}"
    for name in ("model.safetensors", "pytorch_model.bin")
    for ending in ("", ".index.json")
]


def list_checkpoints() -> pd.DataFrame:
    """List the published checkpoints that clapstack supports.

    Nothing is downloaded.

    Returns
    -------
    checkpoints : DataFrame
        One row per checkpoint: ``name``, for systems and ``families``; ``transformer``,
        its class in ``clapstack.features``, missing if it needs a custom encoder;
        ``checkpoint``, a hub id or a file; ``bundled``, the small bundled test
        checkpoint of the family; ``licence`` of the weights, if known; ``sample_rate``
        (Hz); ``window`` (s); ``width`` of an embedding; ``parameters`` (millions);
        ``languages``; ``seen_ratings``, whether it was trained on human ratings of
        audio and text; ``files``; ``hub``, see :func:`hub_downloads`; ``notes``; and
        ``present``, whether it is on this machine, in the working directory or the
        hub's cache.

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
    """Return whether a checkpoint, by its name, was trained on human ratings.

    Parameters
    ----------
    checkpoint : str or path-like
        A hub id, or a file or folder with the same name.

    Returns
    -------
    has_seen : bool
        Whether it was. A copy under another name is not recognised.
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
    """Return the bundled checkpoint of every family, or None if there is none.

    Parameters
    ----------
    others : mapping of str to str, default=None
        Checkpoints to use instead, by family.

    Returns
    -------
    checkpoints : dict of str to str or None
        The `checkpoints` of :func:`~clapstack.make_system`.

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
    """Return the checkpoint of every family of a system.

    Parameters
    ----------
    checkpoints : {"published", "bundled"} or mapping of str to str or None
        A mapping replaces published checkpoints; None in it means no checkpoint.
    families : sequence of str
        Required families.
    optional : sequence of str
        Families that are left out if they have no checkpoint.

    Returns
    -------
    chosen : dict of str to str
        In the order of `families` and `optional`.

    Raises
    ------
    ValueError
        If `checkpoints` is anything else or names an unknown family, or if a required
        family has no checkpoint.
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
            f"{did_you_mean(unknown[0], FAMILIES)}"
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
            f"The system needs {without}, for which there is no checkpoint (none is "
            "bundled, or None was given). Pass checkpoints={"
            f"{without[0]!r}: ...}}, or 'published'."
        )
        raise ValueError(msg)
    return chosen
