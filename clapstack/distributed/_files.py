"""Features of a partitioned table: written to files, and read as one table."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import Bunch
from sklearn.utils.validation import check_is_fitted

from clapstack._optional import import_optional
from clapstack._output import replaced
from clapstack.distributed._mapped import MappedRows
from clapstack.distributed._partitions import check_table
from clapstack.distributed._rows import ERROR, try_rows
from clapstack.families import families_of
from clapstack.features import pair_feature_names
from clapstack.streaming import StreamedFeatures

__all__ = ["read_features", "write_features"]

_MANIFEST = "features.json"
_FORMAT = 1  # raise it when files change
_EMBEDDINGS = ("audio", "text")
_ROWS = "rows"
_CALLER = "write_features"


def write_features(
    transformer: Any,
    table: Any,
    folder: str | os.PathLike[str],
    *,
    keep: Sequence[str] = (),
    compute_kwargs: Mapping[str, Any] | None = None,
) -> None:
    """Compute the features of a partitioned table and write them to a folder.

    Each worker writes the partitions that it computes; no table passes through this
    process. Read more in the :ref:`User Guide <partitioned>`.

    Parameters
    ----------
    transformer : transformer
        A fitted FeatureUnion of encoders' features, one per family. For pair features,
        use ``blocks=("audio", "text")``: only the embeddings are then written, a fifth
        of the size, and :func:`read_features` computes the features on reading.
    table : dask DataFrame
        As for :func:`score_partitions`.
    folder : path-like
        Output folder, with the same path for all workers and this process. Earlier
        output of `write_features` is replaced.
    keep : sequence of str, default=()
        Columns of `table` to copy to the output, such as ids and ratings.
    compute_kwargs : mapping, default=None
        Options for ``dask.compute``; with distributed, for example ``{"retries": 2}``
        retries a failed partition twice.

    Raises
    ------
    ImportError
        If Dask is not installed.
    NotFittedError
        If `transformer` is not fitted.
    TypeError
        If `table` is not a dask DataFrame.
    ValueError
        If `table` lacks a column, or a feature has no family in its name.

    Notes
    -----
    Files get their names once they are complete, and the list of files is written last,
    so `read_features` detects an interrupted run.
    """
    check_is_fitted(transformer)
    names = [str(name) for name in transformer.get_feature_names_out()]
    keep = list(keep)
    table = check_table(_CALLER, table, keep, [ERROR])
    families = _families(names)
    folder = Path(folder).absolute()  # workers may run elsewhere
    for part in [_ROWS, *_widths(families)]:
        _file(folder, part, 0).parent.mkdir(parents=True, exist_ok=True)
    (folder / _MANIFEST).unlink(missing_ok=True)
    dask = import_optional("dask", extra="dask", caller=_CALLER)
    shared = dask.delayed(transformer, pure=False, traverse=False)
    write = dask.delayed(_write_partition, pure=False)
    written = [
        write(part, number, shared, str(folder), families, keep)
        for number, part in enumerate(table.to_delayed())
    ]
    counts = dask.compute(*written, **(compute_kwargs or {}))
    manifest = {"format": _FORMAT, "families": families, "n_rows": counts}
    _write_whole(folder / _MANIFEST, lambda file: file.write(_to_json(manifest)))


def read_features(folder: str | os.PathLike[str]) -> Bunch:
    """Read the output of :func:`~clapstack.distributed.write_features` as one table.

    Parameters
    ----------
    folder : path-like
        Folder passed to `write_features`.

    Returns
    -------
    features : Bunch
        ``X``, a :class:`~clapstack.streaming.StreamedFeatures` of the usable pairs, in
        the order of the partitioned table; the files are read when its rows are, in any
        process. ``rows``, a DataFrame with index and kept columns of the same pairs.
        ``bad``, a DataFrame with index, kept columns and ``error`` of all other pairs.

    Raises
    ------
    FileNotFoundError
        If the folder has no features, or they are incomplete.
    ValueError
        If the features have another format version, or no pair is usable.
    """
    folder = Path(folder).absolute()
    try:
        manifest = json.loads((folder / _MANIFEST).read_text())
    except FileNotFoundError as error:
        msg = (
            f"{folder} has no complete features: {_MANIFEST} is missing. Run "
            "write_features again; stored embeddings are reused."
        )
        raise FileNotFoundError(msg) from error
    if manifest["format"] != _FORMAT:
        msg = (
            f"{folder} has features of format {manifest['format']}, but this version "
            f"reads format {_FORMAT}. Run write_features again."
        )
        raise ValueError(msg)
    families, n_rows = manifest["families"], manifest["n_rows"]
    rows = pd.concat(
        [pd.read_parquet(_file(folder, _ROWS, i)) for i in range(len(n_rows))]
    )
    good = rows[ERROR].isna()
    bad = rows[~good]
    if not any(n_rows):
        msg = (
            f"none of the {len(rows)} pairs in {folder} are usable; first error: "
            f"{bad[ERROR].iloc[0]}"
        )
        raise ValueError(msg)
    parts: dict[str, Any] = {}
    for part, width in _widths(families).items():
        paths = [_file(folder, part, i) for i in range(len(n_rows))]
        parts[part] = MappedRows(paths, n_rows, width)
    pairs = {
        family: (parts[f"{family}__audio"], parts[f"{family}__text"])
        for family, features in families.items()
        if _is_pair(features)
    }
    numeric = {family: parts[family] for family in families if family not in pairs}
    X = StreamedFeatures(pairs, numeric, names={f: families[f] for f in numeric})
    return Bunch(X=X, rows=rows[good].drop(columns=ERROR), bad=bad)


def _families(names: list[str]) -> dict[str, list[str]]:
    """Return the feature names of each family, without the family name."""
    homeless = [name for name in names if "__" not in name]
    if homeless:
        msg = (
            f"transformer passed to {_CALLER} has features without a family, such as "
            f"{homeless[0]!r}. Wrap it: FeatureUnion([('family', transformer)])."
        )
        raise ValueError(msg)
    return {
        family: [names[i].partition("__")[2] for i in columns]
        for family, columns in families_of(names).items()
    }


def _is_pair(features: list[str]) -> bool:
    """Return whether features are embeddings, from which pair features are computed."""
    dim = len(features) // 2
    return features == pair_feature_names(dim, _EMBEDDINGS)


def _widths(families: Mapping[str, list[str]]) -> dict[str, int]:
    """Return the parts written to separate files, and their numbers of columns."""
    widths = {}
    for family, features in families.items():
        if _is_pair(features):
            for side in _EMBEDDINGS:
                widths[f"{family}__{side}"] = len(features) // 2
        else:
            widths[family] = len(features)
    return widths


def _write_partition(pairs, number, transformer, folder, families, keep):
    """Write one partition; return its number of usable pairs."""
    good, features, errors = try_rows(
        pairs, lambda rows: np.asarray(transformer.transform(rows), np.float32)
    )
    first = 0
    for part, width in _widths(families).items():
        block = np.empty((0, width), np.float32)
        if len(good):
            block = features[:, first : first + width]
        first += width
        _save(_file(folder, part, number), block)
    rows = pairs[keep].assign(**{ERROR: pd.array(errors, dtype="string")})
    _write_whole(_file(folder, _ROWS, number), rows.to_parquet)
    return len(good)


def _save(path, block):
    block = np.ascontiguousarray(block)
    _write_whole(path, lambda file: np.save(file, block, allow_pickle=False))


def _file(folder: str | os.PathLike[str], part: str, number: int) -> Path:
    if part == _ROWS:
        return Path(folder) / part / f"{number:06d}.parquet"
    return Path(folder) / "features" / part / f"{number:06d}.npy"


def _write_whole(path: Path, write: Callable[[Any], Any]) -> None:
    """Write a file that gets its name only once it is complete."""
    with replaced(path) as new, new.open("wb") as file:
        write(file)


def _to_json(manifest: Mapping[str, Any]) -> bytes:
    return json.dumps(manifest).encode()
