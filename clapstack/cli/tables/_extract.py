"""Extraction of embeddings into the store, and into a file for other programs."""

from __future__ import annotations

import re
import shutil
import tempfile
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.pipeline import FeatureUnion

from clapstack._optional import import_optional, progress
from clapstack._output import replaced
from clapstack.exceptions import BadPair
from clapstack.scoring.tables import PairTable, in_chunks, on_usable_files, pairs_of

__all__ = ["extract"]

Arrays = dict[str, np.ndarray]


def extract(
    table: PairTable,
    union: FeatureUnion,
    out: Path | None,
    *,
    chunk_size: int,
    verbose: bool,
) -> tuple[int, list[BadPair], dict[str, int]]:
    """Encode a table, and write the output of the transformers of a union.

    Parameters
    ----------
    union : FeatureUnion
        Transformers with frozen encoders, not fitted.
    out : Path or None
        A ``.npz`` or ``.parquet`` file, which appears only when complete. Its ``row``
        has the numbers of the usable rows. None writes to the store only.

    Returns
    -------
    n_rows : int
        Number of rows of the table.
    bad : list of BadPair
        Unusable rows; positions are row numbers.
    widths : dict of str to int
        Number of columns of each array.
    """
    bad: list[BadPair] = []
    widths: dict[str, int] = {}
    n_rows = 0

    def chunks() -> Iterator[Arrays]:
        nonlocal n_rows
        total = table.count() if verbose else None
        with progress(
            total=total, desc="extracting", unit="pair", verbose=verbose
        ) as bar:
            for rows in in_chunks(table.rows(), chunk_size, lambda row: row):
                pairs = pairs_of(rows)
                if not n_rows:
                    union.fit(pairs)
                usable = on_usable_files(union.transform, pairs)
                numbers = np.array(pairs.index, dtype=np.int64)
                bad.extend(b._replace(position=int(b.index)) for b in usable.bad)
                n_rows += len(rows)
                if len(usable.positions):
                    arrays = _arrays(union, usable.values)
                    widths.update({name: a.shape[1] for name, a in arrays.items()})
                    yield {"row": numbers[usable.positions], **arrays}
                bar.update(len(rows))

    if out is None:
        for _ in chunks():
            pass
    else:
        with replaced(out) as new, closing(_writer(new, out)) as writer:
            for arrays in chunks():
                writer.add(arrays)
            writer.finish()
    return n_rows, bad, widths


def _arrays(union: FeatureUnion, values: Any) -> Arrays:
    """Split the columns of a union into arrays: blocks of a family, or the family."""
    values = np.asarray(values, dtype=np.float32)
    arrays, start = {}, 0
    for family, transformer in union.transformer_list:
        names = transformer.get_feature_names_out()
        blocks: dict[str, int] = {}
        for name in names:
            # Blocks such as "audio0" exist in pair features; others stay together.
            block = re.sub(r"\d+$", "", name) if hasattr(transformer, "blocks") else ""
            blocks[block] = blocks.get(block, 0) + 1
        for block, width in blocks.items():
            title = f"{family}__{block}" if block else family
            arrays[title] = values[:, start : start + width]
            start += width
    return arrays


class _Writer(ABC):
    @abstractmethod
    def add(self, arrays: Arrays) -> None:
        """Add the next rows of every array."""

    @abstractmethod
    def finish(self) -> None:
        """Complete the file."""

    @abstractmethod
    def close(self) -> None:
        """Release all resources."""


def _writer(new: Path, out: Path) -> _Writer:
    if out.suffix.lower() == ".npz":
        return _NpzWriter(new)
    return _ParquetWriter(new, out)


class _NpzWriter(_Writer):
    """Writes each array to a temporary file and joins them at the end."""

    def __init__(self, path: Path):
        self._path = path
        self._folder = tempfile.TemporaryDirectory(dir=path.parent, prefix=path.name)
        self._files: dict[str, Any] = {}
        self._kinds: dict[str, tuple[np.dtype, tuple[int, ...]]] = {}
        self._n_rows = 0

    def add(self, arrays: Arrays) -> None:
        for name, rows in arrays.items():
            if name not in self._files:
                place = Path(self._folder.name) / name
                self._files[name] = open(place, "w+b")  # noqa: SIM115 - see close()
                self._kinds[name] = (rows.dtype, rows.shape[1:])
            self._files[name].write(np.ascontiguousarray(rows).tobytes())
        self._n_rows += len(arrays["row"])

    def finish(self) -> None:
        with zipfile.ZipFile(self._path, "w") as archive:
            for name, file in self._files.items():
                dtype, shape = self._kinds[name]
                header = {
                    "descr": np.lib.format.dtype_to_descr(dtype),
                    "fortran_order": False,
                    "shape": (self._n_rows, *shape),
                }
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array_header_1_0(member, header)
                    file.seek(0)
                    shutil.copyfileobj(file, member)

    def close(self) -> None:
        for file in self._files.values():
            file.close()
        self._folder.cleanup()


class _ParquetWriter(_Writer):
    """Writes one column per array: fixed-size lists, or numbers for a width of 1."""

    def __init__(self, path: Path, out: Path):
        self._path = path
        self._parquet = import_optional(
            "pyarrow.parquet", extra="parquet", caller=f"Writing {out}"
        )
        self._writer: Any = None

    def add(self, arrays: Arrays) -> None:
        import pyarrow as pa

        columns = {}
        for name, rows in arrays.items():
            flat = pa.array(np.ascontiguousarray(rows).ravel())
            width = rows.shape[1] if rows.ndim == 2 else 1
            columns[name] = (
                flat if width == 1 else pa.FixedSizeListArray.from_arrays(flat, width)
            )
        batch = pa.table(columns)
        if self._writer is None:
            self._writer = self._parquet.ParquetWriter(self._path, batch.schema)
        self._writer.write_table(batch)

    def finish(self) -> None:
        if self._writer is None:
            import pyarrow as pa

            self._parquet.write_table(
                pa.table({"row": pa.array([], "int64")}), self._path
            )
        self.close()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
