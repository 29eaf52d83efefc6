"""Tables of pairs in files: CSV, JSON Lines, Parquet, or standard input."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from clapstack._optional import import_optional

__all__ = ["FORMATS", "SPELLINGS", "PairTable", "Row", "format_of"]

FORMATS = ("csv", "jsonl", "parquet")
# What a column may be called where no option says so; the challenge's names too.
SPELLINGS: dict[str, tuple[str, ...]] = {
    "audio": ("audio", "wav_file_name", "wave_file_name"),
    "text": ("text",),
    "score": ("score", "average_score", "average_semantic_alignement_score"),
    "prediction": ("score", "pred_score", "prediction_score"),
}
_SUFFIXES = {
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
_Records = Generator[dict[str, Any], None, None]

_PARQUET_ROWS = 1024
_LONGEST_CELL = 1 << 24  # a stray quote swallows the file: told at 16 MB


class Row(NamedTuple):
    """One row of a table.

    Attributes
    ----------
    number : int
        From zero, the line of the header not counted.
    audio : object
        As it stands in the table.
    path : object
        The same, with the folder of the clips before it if it is relative.
    text : object
        The text.
    cells : dict of str to object
        Other columns that were asked for, by role or name.
    """

    number: int
    audio: Any
    path: Any
    text: Any
    cells: dict[str, Any]


class PairTable:
    """A table of pairs, read row by row.

    Parameters
    ----------
    source : str or Path
        A file, or ``"-"`` for standard input, which is read once.
    fmt : {"csv", "jsonl", "parquet"}, default=None
        None tells by the suffix; standard input is CSV then.
    audio_folder : Path, default=None
        What relative paths of clips are relative to. None is the folder of the table,
        or the current one for standard input.
    names : mapping of str to str or None, default=None
        Names of columns by role: ``audio``, ``text``, ``score``, ``prediction``. A
        role without a name takes whichever of its usual names the table has.
    roles : sequence of str, default=("audio", "text")
        What the table must have.
    others : sequence of str, default=()
        Names of further columns.

    Attributes
    ----------
    name : str
        For messages.
    """

    def __init__(
        self,
        source: str | Path,
        *,
        fmt: str | None = None,
        audio_folder: Path | None = None,
        names: Mapping[str, str | None] | None = None,
        roles: Sequence[str] = ("audio", "text"),
        others: Sequence[str] = (),
    ):
        self.is_stdin = str(source) == "-"
        self.path = Path(source)
        self.name = "standard input" if self.is_stdin else str(source)
        self.fmt = fmt or ("csv" if self.is_stdin else format_of(self.path))
        here = Path() if self.is_stdin else self.path.parent
        folder = str(here if audio_folder is None else audio_folder)
        self.folder = "" if folder == "." else folder  # "a.wav", not "./a.wav"
        self.names = dict(names or {})
        self.roles = tuple(roles)
        self.others = tuple(others)

    def count(self) -> int | None:
        """Return the number of rows, None for standard input; check the columns."""
        if self.is_stdin:
            return None
        return sum(1 for _ in self.rows())

    def check(self) -> None:
        """Read the first row of a file, so that what is wrong is told at once."""
        if not self.is_stdin:
            with closing(self.rows()) as rows:
                next(rows, None)

    def rows(self) -> Generator[Row, None, None]:
        """Yield the rows in order.

        Yields
        ------
        row : Row

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If a column is missing, is named twice or could be either of two, or if a
            line cannot be read; it is named.
        """
        columns: dict[str, str] = {}
        with closing(self._records()) as records:
            for number, record in enumerate(records):
                if not number:
                    columns = self._columns(list(record))
                cells = {role: record.get(name) for role, name in columns.items()}
                audio, text = cells.pop("audio", None), cells.pop("text", None)
                yield Row(number, audio, self._resolved(audio), text, cells)

    def _resolved(self, audio: Any) -> Any:
        if isinstance(audio, str) and audio:
            return os.path.join(self.folder, audio)
        return audio

    def _columns(self, header: Sequence[str]) -> dict[str, str]:
        """Return the name of every wanted column by role, or by name."""
        twice = sorted({name for name in header if header.count(name) > 1})
        if twice:
            msg = f"{self.name} has more than one column {twice[0]!r}. Rename one."
            raise ValueError(msg)
        found = {role: self._column(role, header) for role in self.roles}
        lacking = [name for name in self.others if name not in header]
        if lacking:
            msg = f"{self.name} has no column {lacking[0]!r}; it has {list(header)}."
            raise ValueError(msg)
        return {**found, **{name: name for name in self.others}}

    def _column(self, role: str, header: Sequence[str]) -> str:
        name = self.names.get(role)
        usual = SPELLINGS[role] if name is None else (name,)
        found = [each for each in usual if each in header]
        if len(found) == 1:
            return found[0]
        what = "more than one" if found else "no"
        msg = (
            f"{self.name} has {what} column of {role} "
            f"({', '.join(map(repr, usual))}); it has {list(header)}. Say which with "
            f"--{role}-column."
        )
        raise ValueError(msg)

    def _records(self) -> _Records:
        if self.fmt == "parquet":
            return self._parquet()
        return self._csv() if self.fmt == "csv" else self._jsonl()

    def _text(self) -> io.TextIOBase:
        # Bytes that are no UTF-8 stay what they are: they may name a file, and a text
        # that has them is a fault of its own row, not of the table.
        settings: dict[str, Any] = {
            "encoding": "utf-8-sig",
            "errors": "surrogateescape",
            "newline": "",
        }
        if self.is_stdin:
            return io.TextIOWrapper(sys.stdin.buffer, **settings)
        return open(self.path, **settings)

    def _csv(self) -> _Records:
        csv.field_size_limit(_LONGEST_CELL)
        with self._text() as file:
            lines = csv.reader(file, strict=True)
            try:
                header = next(lines, None)
                if header is None:
                    msg = f"{self.name} is empty; a header and rows are needed."
                    raise ValueError(msg)
                self._columns(header)
                for cells in lines:
                    if not cells:  # a blank line
                        continue
                    if len(cells) != len(header):
                        msg = (
                            f"{self.name}, line {lines.line_num}: {len(cells)} cells, "
                            f"and the header has {len(header)}. A cell that has a "
                            "comma in it needs quotes."
                        )
                        raise ValueError(msg)
                    yield dict(zip(header, cells, strict=True))
            except csv.Error as error:
                msg = f"{self.name}, line {lines.line_num}: {error}. Correct the line."
                raise ValueError(msg) from error

    def _jsonl(self) -> _Records:
        with self._text() as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    record = json.loads(line)
                except json.JSONDecodeError as error:
                    msg = f"{self.name}, line {number} is not JSON: {error}."
                    raise ValueError(msg) from error
                if not isinstance(record, dict):
                    msg = (
                        f"{self.name}, line {number} must be an object such as "
                        '{"audio": "dog.wav", "text": "a dog"}.'
                    )
                    raise ValueError(msg)
                yield record

    def _parquet(self) -> _Records:
        if self.is_stdin:
            msg = "Parquet cannot be read from standard input. Give the file's name."
            raise ValueError(msg)
        parquet = import_optional(
            "pyarrow.parquet", extra="parquet", caller=f"Reading {self.name}"
        )
        with parquet.ParquetFile(self.path) as file:
            columns = self._columns(file.schema_arrow.names)
            wanted = list(dict.fromkeys(columns.values()))
            for batch in file.iter_batches(_PARQUET_ROWS, columns=wanted):
                yield from batch.to_pylist()


def format_of(path: Path) -> str:
    """Return the format of a table by the suffix of its name.

    Parameters
    ----------
    path : Path
        A name of a file.

    Returns
    -------
    fmt : {"csv", "jsonl", "parquet"}

    Raises
    ------
    ValueError
        If the suffix is none of ``.csv``, ``.jsonl``, ``.ndjson`` and ``.parquet``.
    """
    fmt = _SUFFIXES.get(path.suffix.lower())
    if fmt is None:
        msg = (
            f"{str(path)!r} must end in {', '.join(_SUFFIXES)}, or its format be given "
            "by an option."
        )
        raise ValueError(msg)
    return fmt
