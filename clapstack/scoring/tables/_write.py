"""Writing of result tables: to a file in one step, or to a stream line by line."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TextIO

from clapstack._compat import batched
from clapstack._optional import import_optional
from clapstack._output import replaced

__all__ = ["ERRORS", "write_lines", "write_table"]

_ROWS = 4096
# Texts may contain bytes that are not UTF-8. CSV keeps them; JSON escapes them.
ERRORS = {"csv": "surrogateescape", "jsonl": "backslashreplace"}
Columns = Mapping[str, type]
Records = Iterable[Mapping[str, Any]]


def write_table(path: Path, fmt: str, columns: Columns, records: Records) -> None:
    """Write a table to a file, which appears only when complete.

    `columns` maps names, in order, to int, float, str or bool; `records` are rows by
    name. None and NaN become an empty cell in CSV and null in other formats. Infinities
    become null in JSON, which cannot represent them.
    """
    with replaced(path) as new:
        if fmt == "parquet":
            _write_parquet(new, columns, records)
            return
        with open(new, "w", encoding="utf-8", errors=ERRORS[fmt], newline="") as file:
            write_lines(file, fmt, columns, records)


def write_lines(file: TextIO, fmt: str, columns: Columns, records: Records) -> None:
    """Write CSV with a header, or JSON Lines, to a file that the caller opened."""
    line = _csv_line if fmt == "csv" else _json_line
    if fmt == "csv":
        line(file, columns, {name: name for name in columns})
    for record in records:
        line(file, columns, record)


def _csv_line(file: TextIO, columns: Columns, record: Mapping[str, Any]) -> None:
    cells = [record.get(name) for name in columns]
    csv.writer(file, lineterminator="\n").writerow(
        ["" if _is_nan(cell) else cell for cell in cells]
    )


def _json_line(file: TextIO, columns: Columns, record: Mapping[str, Any]) -> None:
    cells = {name: _finite(record.get(name)) for name in columns}
    file.write(json.dumps(cells, ensure_ascii=False, allow_nan=False) + "\n")


def _write_parquet(path: Path, columns: Columns, records: Records) -> None:
    parquet = import_optional(
        "pyarrow.parquet", extra="parquet", caller=f"Writing {path.name!r}"
    )
    import pyarrow as pa

    kinds = {
        int: pa.int64(),
        float: pa.float64(),
        str: pa.string(),
        bool: pa.bool_(),
    }
    schema = pa.schema([(name, kinds[kind]) for name, kind in columns.items()])
    convert: dict[type, Callable[[Any], Any]] = {
        **dict.fromkeys(kinds, lambda cell: cell),
        str: _utf8,
        float: _number,
    }
    with parquet.ParquetWriter(path, schema) as writer:
        for batch in batched(records, _ROWS):
            cells = {
                name: [
                    None if (cell := row.get(name)) is None else convert[kind](cell)
                    for row in batch
                ]
                for name, kind in columns.items()
            }
            writer.write_table(pa.table(cells, schema=schema))


def _utf8(cell: Any) -> str:
    return str(cell).encode("utf-8", "backslashreplace").decode()


def _number(cell: float) -> float | None:
    return None if math.isnan(cell) else cell


def _is_nan(cell: Any) -> bool:
    return isinstance(cell, float) and math.isnan(cell)


def _finite(cell: Any) -> Any:
    return None if isinstance(cell, float) and not math.isfinite(cell) else cell
