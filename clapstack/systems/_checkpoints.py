"""Which checkpoint each family of a system takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from clapstack.systems._families import FAMILIES

__all__ = ["bundled_checkpoints", "choose_checkpoints"]


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
