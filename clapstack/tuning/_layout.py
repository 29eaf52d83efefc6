"""Places of each family's pair features in a table."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from clapstack.families import NAMELESS, contrastive_families
from clapstack.features import PAIR_BLOCKS, pair_feature_names

__all__ = ["FamilyLayout", "check_unit", "column_names", "find_layouts"]

# Embeddings are normalised in float32 at the latest; this is far off a scaled column.
_UNIT = 1e-3


class FamilyLayout(NamedTuple):
    """Columns of one family.

    Attributes
    ----------
    audio, text : ndarray of int of shape (projection_dim,)
        Columns of the two embeddings.
    blocks : list of str
        Blocks of equation 1 that are there.
    columns : ndarray of int
        Columns of all those blocks, in the order of equation 1.
    names : list of str
        Their names, without the family.
    """

    audio: np.ndarray
    text: np.ndarray
    blocks: list
    columns: np.ndarray
    names: list


def column_names(X, names) -> list[str]:
    """Return the column names of a table, also where it has none.

    Parameters
    ----------
    X : ndarray of shape (n_pairs, n_features)
        Features.
    names : sequence of str or None
        Column names. Without them, the columns must begin with a full pair feature of
        one family, whose width is found by the unit norm of its embeddings.

    Returns
    -------
    names : list of str
        The same, or names for the pair feature; columns that follow it are nameless.

    Raises
    ------
    ValueError
        If there are no names, and no pair feature is found.
    """
    if names is not None:
        return [str(name) for name in names]
    found = pair_feature_names(_find_dim(X))
    rest = X.shape[1] - len(found)
    return [f"{NAMELESS}__{name}" for name in found] + [""] * rest


def find_layouts(names) -> dict[str, FamilyLayout]:
    """Find the pair features among column names.

    Parameters
    ----------
    names : sequence of str
        Column names.

    Returns
    -------
    layouts : dict of str to FamilyLayout
        By contrastive family, in column order.

    Raises
    ------
    ValueError
        If there is no contrastive family, or if embeddings of one are missing.
    """
    families = contrastive_families(names)
    if not families:
        msg = (
            "X passed to ProjectionTuning has no '<family>__cosine' column, so no "
            "contrastive family. Keep names through the pipeline with "
            ".set_output(transform=\"pandas\"), and keep the block 'cosine'."
        )
        raise ValueError(msg)
    where = {name: number for number, name in enumerate(names)}
    return {family: _find_family(family, where) for family in families}


def check_unit(X, layouts, *, tolerance=_UNIT):
    """Refuse embeddings whose norm is not 1, or is 0, naming the first row."""
    for family, layout in layouts.items():
        for side in (layout.audio, layout.text):
            norms = np.linalg.norm(X[:, side], axis=1)
            rows = np.flatnonzero((np.abs(norms - 1.0) > tolerance) | (norms == 0))
            if rows.size:
                msg = (
                    f"Embeddings of family {family!r} are not of unit norm in "
                    f"{rows.size} of {len(norms)} rows (row {rows[0]} has norm "
                    f"{norms[rows[0]]:.3g}). Put ProjectionTuning before anything that "
                    "scales columns."
                )
                raise ValueError(msg)


def _find_family(family, where):
    blocks: list[str] = []
    columns: dict[str, list[int]] = {}
    found: list[str] = []
    for block in PAIR_BLOCKS:
        listed = [block] if block == "cosine" else _numbered(family, block, where)
        if listed and all(f"{family}__{name}" in where for name in listed):
            blocks.append(block)
            columns[block] = [where[f"{family}__{name}"] for name in listed]
            found += listed
    sizes = {len(columns.get(block, ())) for block in blocks if block != "cosine"}
    if not {"audio", "text"} <= set(blocks) or len(sizes) > 1:
        counts = {block: len(columns.get(block, ())) for block in PAIR_BLOCKS}
        msg = (
            f"ProjectionTuning needs both embeddings of family {family!r}, and blocks "
            f"of one width; X has columns {counts}. Keep the blocks 'audio' and 'text'."
        )
        raise ValueError(msg)
    return FamilyLayout(
        np.array(columns["audio"]),
        np.array(columns["text"]),
        blocks,
        np.concatenate([columns[block] for block in blocks]),
        found,
    )


def _numbered(family, block, where):
    """Return ``<block>0``, ``<block>1``, … as far as they go."""
    names: list[str] = []
    while f"{family}__{block}{len(names)}" in where:
        names.append(f"{block}{len(names)}")
    return names


def _find_dim(X):
    """Return the width of the embeddings with which a nameless table begins."""
    squares = np.cumsum(np.square(X[0], dtype=np.float64))
    for dim in range(1, (X.shape[1] - 1) // 5 + 1):
        near = abs(squares[dim - 1] - 1.0) + abs(squares[2 * dim - 1] - 2.0)
        if near < 4 * _UNIT and _is_pair_feature(X, dim):
            return dim
    msg = (
        "X passed to ProjectionTuning has no column names and does not begin with pair "
        "features of all blocks and unit embeddings, so families cannot be told. Keep "
        'names through the pipeline with .set_output(transform="pandas").'
    )
    raise ValueError(msg)


def _is_pair_feature(X, dim):
    a, b = X[:, :dim], X[:, dim : 2 * dim]
    unit = all(
        np.all(np.abs(np.linalg.norm(side, axis=1) - 1.0) < _UNIT) for side in (a, b)
    )
    return unit and np.allclose(np.einsum("ij,ij->i", a, b), X[:, 5 * dim], atol=_UNIT)
