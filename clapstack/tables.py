"""Reading of tables in CSV, JSON, Parquet and Arrow files, without guessing types."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
import math
import os
import re
import sys
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from clapstack._numerics.checks import first_few
from clapstack._optional import import_optional
from clapstack.exceptions import BadRowsError, TableError

__all__ = [
    "SUFFIXES",
    "Choose",
    "Records",
    "TableRow",
    "find_column",
    "format_of",
    "is_saved_dataset",
    "is_table",
    "parse_json",
    "read_frame",
    "read_lines",
    "read_rows",
    "refuse_rows",
    "to_number",
]

SUFFIXES = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".arrow": "arrow",
}
# Files that are not text, by their first bytes, with the message.
_NOT_TEXT = {
    b"PAR1": "is a Parquet file. Give it a name that ends in .parquet",
    b"PK\x03\x04": "is an Excel workbook or a zip archive. Save the sheet as CSV UTF-8",
    b"\xd0\xcf\x11\xe0": "is an Excel workbook. Save the sheet as CSV UTF-8",
    b"BZh": "is compressed with bzip2. Decompress it, or compress it with gzip",
    b"\xfd7zXZ": "is compressed with xz. Decompress it, or compress it with gzip",
    b"(\xb5/\xfd": "is compressed with zstd. Decompress it, or compress it with gzip",
}
# UTF-32 before UTF-16, because its byte order mark starts with that of UTF-16.
_MARKS = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_PARQUET_ROWS = 1024
_ARROW_ROWS = 64  # cells may contain clips of a megabyte each
# Limit for rows read at once, assuming that all their cells have the largest size.
_HELD_BYTES = 1 << 28
# Files that a saved Dataset of Hugging Face has, and a saved DatasetDict.
_STATE, _SPLITS = "state.json", "dataset_dict.json"
_LARGEST = 1 << 28  # characters of a JSON file, which is read at once
# A line or cell of more than 16 million characters comes from a stray quote or from
# missing line ends. An error there bounds the memory.
_LONGEST = 1 << 24
_SHARED_CELLS = re.compile("dictionary|run_end_encoded")  # in types of Arrow
_NUMBER = re.compile(r"[ \t]*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?[ \t]*", re.ASCII)

Choose = Callable[[Sequence[str]], Mapping[str, str]]
Records = Generator[tuple[int | None, dict[str, Any]], None, None]


class TableRow(NamedTuple):
    """One row of a table.

    Attributes
    ----------
    number : int
        Row number from zero, not counting the header and blank lines.
    line : int or None
        Line of the file where the row starts, from one; None in Parquet.
    cells : dict of str to object
        Cells by the chosen names: texts in CSV, and the stored types in JSON and
        Parquet.
    """

    number: int
    line: int | None
    cells: dict[str, Any]


def read_rows(
    source: str | Path, fmt: str | None, choose: Choose
) -> Generator[TableRow, None, None]:
    """Yield the rows of a table one by one, in constant memory.

    CSV may be UTF-8, or UTF-16 or UTF-32 with a byte order mark, separated by commas,
    semicolons or tabs. Its cells remain texts, such as ``007``, ``NA`` and ``1e5``. CSV
    and JSON Lines may be compressed with gzip. JSON is a single object, such as
    ``{"dog.wav": "a dog barks"}``, read as a table with the columns ``audio`` and
    ``text``. Only JSON is read at once.

    Parameters
    ----------
    source : str or Path
        A file, the folder of a saved Dataset, or ``"-"`` for standard input.
    fmt : {"csv", "jsonl", "json", "parquet", "arrow"} or None
        Format of the table. None chooses it by the suffix, and CSV for standard input.
    choose : callable
        Function of the column names that returns a mapping from the names of cells to
        columns, or raises an error about the columns.

    Yields
    ------
    row : TableRow
        One row, in the order of the file.

    Raises
    ------
    OSError
        If the file is missing or cannot be read.
    TableError
        If the file is not such a table, a column is repeated, there are no rows, or a
        line cannot be read; the message names file, line and remedy.
    """
    name = "standard input" if str(source) == "-" else str(source)
    fmt = fmt or ("csv" if str(source) == "-" else format_of(Path(source)))
    readers = {
        "csv": _csv,
        "jsonl": _jsonl,
        "json": _json,
        "parquet": _parquet,
        "arrow": _arrow,
    }
    number = -1
    with closing(readers[fmt](source, name, choose)) as records:
        for number, (line, cells) in enumerate(records):
            yield TableRow(number, line, cells)
    if number < 0:
        msg = f"{name} has no rows. Add at least one below the column names."
        raise TableError(msg)


def read_frame(
    path: Path, columns: Mapping[str, Sequence[str]], optional: Sequence[str] = ()
) -> pd.DataFrame:
    """Read some columns of a table at once.

    Parameters
    ----------
    path : Path
        The file.
    columns : mapping of str to sequence of str
        For each column of the frame, its possible names in the file.
    optional : sequence of str, default=()
        Columns of the frame that may be missing in the file.

    Returns
    -------
    frame : DataFrame of object
        One row per row of the table. The index, named ``line``, is the line in the
        file.

    Raises
    ------
    OSError, TableError
        As for `read_rows`.
    """

    def choose(header: Sequence[str]) -> dict[str, str]:
        found = {name: find_column(header, names) for name, names in columns.items()}
        for name, places in found.items():
            if len(places) > 1 or not (places or name in optional):
                usual, *others = map(repr, columns[name])
                or_else = f" (or {' or '.join(others)})" if others else ""
                msg = (
                    f"{str(path)!r} must have exactly one column {usual}{or_else}; it "
                    f"has {list(header)}. Rename the intended column. The first line "
                    "must name the columns."
                )
                raise TableError(msg)
        return {name: places[0] for name, places in found.items() if places}

    rows = list(read_rows(path, None, choose))
    index = pd.Index([row.line or row.number + 1 for row in rows], name="line")
    return pd.DataFrame([row.cells for row in rows], index=index, dtype=object)


def find_column(header: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return the columns of a header that match one of the names.

    Parameters
    ----------
    header : sequence of str
        Column names.
    names : sequence of str
        Names to look for. Case and surrounding blanks are ignored, unless a column
        matches a name exactly.

    Returns
    -------
    found : list of str
        Matching columns of `header`; one column if the match is unambiguous.
    """
    exact = [name for name in dict.fromkeys(names) if name in header]
    wanted = {_folded(name) for name in names}
    return exact or [name for name in header if _folded(name) in wanted]


def refuse_rows(
    bad: Iterable[bool], table: pd.DataFrame, key: str, source: str, what: str
) -> None:
    """Raise an error that names the bad rows of a frame from `read_frame`.

    Parameters
    ----------
    bad : array-like of bool of shape (n_rows,)
        Mask of the bad rows.
    table : DataFrame
        The table, indexed by line.
    key : str
        Column whose cells identify the rows.
    source : str
        Path of the file.
    what : str
        The fault and its remedy, separated by ``|``.

    Raises
    ------
    BadRowsError
        If any row is bad.
    """
    marked = pd.Series(list(bad), dtype=bool).to_numpy().nonzero()[0]
    if marked.size:
        lines, names = table.index[marked], table[key].iloc[marked]
        rows = [f"line {n} ({name})" for n, name in zip(lines, names, strict=True)]
        fault, _, remedy = what.partition("|")
        msg = f"{source!r}: {fault} in {first_few(rows)}. {remedy}"
        raise BadRowsError(msg)


def to_number(cell: Any) -> float:
    """Return the finite number in a cell, or NaN.

    Parameters
    ----------
    cell : object
        A number, or a text such as ``7``, ``-0.5``, ``.5`` or ``1e-3``, possibly
        surrounded by blanks. ``7_5``, ``7,5``, ``٣``, ``0x7``, ``nan``, ``inf`` and
        ``1e400`` give NaN, because other programs read them differently or not at all.

    Returns
    -------
    number : float
        The number, or NaN.
    """
    if isinstance(cell, str):
        value = float(cell) if _NUMBER.fullmatch(cell) else math.nan
    elif isinstance(cell, (int, float, Decimal)) and not isinstance(cell, bool):
        try:
            value = float(cell)
        except OverflowError:
            return math.nan
    else:
        return math.nan
    return value if math.isfinite(value) else math.nan


def format_of(path: Path) -> str:
    """Return the format of a table, from the suffix of its name.

    Parameters
    ----------
    path : Path
        Name of a file, in which a final ``.gz`` is ignored, or the folder of a saved
        Dataset.

    Returns
    -------
    fmt : {"csv", "jsonl", "json", "parquet", "arrow"}
        The format.

    Raises
    ------
    TableError
        If the suffix is not in `SUFFIXES`.
    """
    if is_saved_dataset(path):
        return "arrow"
    plain = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    fmt = SUFFIXES.get(plain.suffix.lower())
    if fmt is None:
        msg = (
            f"{str(path)!r} must end in {', '.join(SUFFIXES)}. Rename it, or specify "
            "the format."
        )
        raise TableError(msg)
    return fmt


def is_table(path: Path) -> bool:
    """Return whether the name of a file has the suffix of a table.

    Parameters
    ----------
    path : Path
        Name of a file.

    Returns
    -------
    is_table : bool
        Whether `format_of` knows the suffix.
    """
    try:
        format_of(path)
    except TableError:
        return False
    return True


def is_saved_dataset(path: Path) -> bool:
    """Return whether a folder contains a saved Hugging Face Dataset."""
    return (path / _STATE).is_file() or (path / _SPLITS).is_file()


def read_lines(source: str | Path) -> Generator[tuple[int, str], None, None]:
    """Yield the non-blank lines of a text file, with their numbers from one.

    The file may be compressed, or standard input (``"-"``). Bytes that are not UTF-8
    become surrogates. A line that is too long or contains NUL, and a file that is not
    text, raise a TableError.
    """
    name = "standard input" if str(source) == "-" else str(source)
    with _open_text(source, name) as file:
        lines = _Lines(file, name)
        for line in lines:
            if line.strip():
                yield lines.number, line


def parse_json(text: str, where: str, form: str) -> dict[str, Any]:
    """Return a JSON object, or raise a TableError if it is invalid or repeats a name.

    `where` (its place) and `form` (its expected form) are parts of the message.
    """

    def once(members: list[tuple[str, Any]]) -> dict[str, Any]:
        record = dict(members)
        if len(record) < len(members):
            names = [each for each, _ in members]
            twice = next(each for each in names if names.count(each) > 1)
            msg = f"{where}: {twice!r} occurs twice in an object. Remove one of them."
            raise TableError(msg)
        return record

    try:
        content = json.loads(text, object_pairs_hook=once)
    except TableError:
        raise
    except (ValueError, RecursionError) as error:
        msg = f"{where} is not JSON: {error}. Write {form}."
        raise TableError(msg) from error
    if not isinstance(content, dict):
        msg = f"{where} must be an object; write {form}."
        raise TableError(msg)
    return content


def _folded(name: str) -> str:
    return str(name).strip().strip("\ufeff").casefold()  # without a byte order mark


def _check_header(header: Sequence[str], name: str) -> None:
    names = [each for each in header if each.strip()]
    twice = sorted({each for each in names if names.count(each) > 1})
    if twice:
        msg = f"{name} has more than one column {twice[0]!r}. Rename one of them."
        raise TableError(msg)


def _csv(source: str | Path, name: str, choose: Choose) -> Records:
    csv.field_size_limit(_LONGEST)
    with _open_text(source, name) as file:
        lines = _Lines(file, name)
        first = next((line for line in lines if line.strip()), None)
        if first is None:
            msg = f"{name} is empty. Add a header and rows."
            raise TableError(msg)
        separator, is_header = _separator(first)
        start = lines.number - 1 if is_header else lines.number
        given = itertools.chain([first], lines) if is_header else lines
        cells = csv.reader(given, delimiter=separator, strict=True)
        line = start + 1
        try:
            header = next(cells, [])
            _check_header(header, name)
            chosen = choose([each for each in header if each.strip()])
            places = {wanted: header.index(each) for wanted, each in chosen.items()}
            line = start + cells.line_num + 1
            for row in cells:
                if row:  # not a blank line
                    _check_row(row, header, f"{name}, line {line}")
                    yield line, {wanted: row[i] for wanted, i in places.items()}
                line = start + cells.line_num + 1
        except csv.Error as error:
            msg = (
                f"{name}, line {line}: {error}. Look there for a quote that is not "
                'closed, or not doubled ("") inside a quoted cell.'
            )
            raise TableError(msg) from error


def _separator(first: str) -> tuple[str, bool]:
    """Return the separator of cells, and whether this line is the header.

    The separator is the comma, unless only semicolons or only tabs split the header.
    Excel may write ``sep=;`` in a line before the header.
    """
    if (said := first.strip().lower()).startswith("sep=") and len(said) <= 5:
        return said[4:] or "\t", False
    widths = {}
    for separator in ",;\t":
        try:
            (cells,) = csv.reader([first], delimiter=separator, strict=True)
        except csv.Error:  # a quote ends only with another separator, or later
            cells = []
        widths[separator] = len(cells)
    others = [separator for separator in ";\t" if widths[separator] > 1]
    return others[0] if widths[","] < 2 and len(others) == 1 else ",", True


def _check_row(row: Sequence[str], header: Sequence[str], where: str) -> None:
    if len(row) != len(header):
        msg = (
            f"{where} has {len(row)} cells, but the header has {len(header)}. Put "
            "quotes around cells that contain the separator."
        )
        raise TableError(msg)
    # The first column may have no name, like an index written by pandas. Cells in other
    # columns without a name are the rest of a text that was split at a comma.
    lost = [
        cell for name, cell in zip(header[1:], row[1:], strict=True) if not name.strip()
    ]
    if any(cell.strip() for cell in lost):
        msg = (
            f"{where} has {next(filter(str.strip, lost))!r} in a column without a "
            "name. Put quotes around cells that contain the separator, or name the "
            "column."
        )
        raise TableError(msg)
    if list(map(_folded, row)) == list(map(_folded, header)):
        msg = f"{where} repeats the header. Remove the line."
        raise TableError(msg)


def _jsonl(source: str | Path, name: str, choose: Choose) -> Records:
    chosen: Mapping[str, str] | None = None
    with closing(read_lines(source)) as lines:
        for number, line in lines:
            form = 'one object per line, such as {"audio": "dog.wav", "text": "a dog"}'
            record = parse_json(line, f"{name}, line {number}", form)
            if chosen is None:
                chosen = choose(list(record))
            yield (
                number,
                {wanted: record.get(each) for wanted, each in chosen.items()},
            )


def _json(source: str | Path, name: str, choose: Choose) -> Records:
    with _open_text(source, name) as file:
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        msg = (
            f"{name} has more than {_LARGEST:,} characters, too many for a JSON table, "
            "which is read at once. Convert it to CSV or JSON Lines."
        )
        raise TableError(msg)
    texts = parse_json(content, name, 'one object, such as {"dog.wav": "a dog barks"}')
    chosen = choose(["audio", "text"])
    for audio, text in texts.items():
        record = {"audio": audio, "text": text}
        yield None, {wanted: record[each] for wanted, each in chosen.items()}


def _parquet(source: str | Path, name: str, choose: Choose) -> Records:
    if str(source) == "-":
        msg = "Parquet cannot be read from standard input. Pass the name of a file."
        raise TableError(msg)
    parquet = import_optional(
        "pyarrow.parquet", extra="parquet", caller=f"Reading {name}"
    )
    if not os.path.getsize(source):
        msg = f"{name} is empty. Write a table with rows."
        raise TableError(msg)
    with _arrow_faults(name, "Parquet"), parquet.ParquetFile(source) as file:
        header = file.schema_arrow.names
        _check_header(header, name)
        chosen = choose(header)
        columns = list(dict.fromkeys(chosen.values()))
        kinds = [file.schema_arrow.field(each).type for each in columns]
        has_clips = any(kind.num_fields for kind in kinds)
        n_rows = _ARROW_ROWS if has_clips else _PARQUET_ROWS
        for group in range(file.num_row_groups):
            # One by one, because pyarrow keeps all groups of a read in memory.
            at_once = _rows_at_once(file.metadata.row_group(group), columns, n_rows)
            for batch in file.iter_batches(at_once, [group], columns=columns):
                for record in batch.to_pylist():
                    yield None, {wanted: record[c] for wanted, c in chosen.items()}


def _rows_at_once(group: Any, columns: Sequence[str], most: int) -> int:
    """Return how many rows of a Parquet row group to read at once, at most `most`.

    A dictionary stores each distinct cell once, so a kilobyte of a file may expand to a
    thousand rows of megabytes.
    """
    chunks = (group.column(number) for number in range(group.num_columns))
    sizes = (
        chunk.total_uncompressed_size
        for chunk in chunks
        if chunk.path_in_schema.partition(".")[0] in columns
        and any("DICTIONARY" in encoding for encoding in chunk.encodings)
    )
    return _that_fit(sizes, most)


def _that_fit(sizes: Iterable[int], most: int) -> int:
    """Return how many rows to read at once if cells may be as large as some columns."""
    return max(1, min(most, _HELD_BYTES // max([1, *sizes])))


def _arrow(source: str | Path, name: str, choose: Choose) -> Records:
    pa = import_optional("pyarrow", extra="parquet", caller=f"Reading {name}")
    chosen: Mapping[str, str] | None = None
    for path in _arrow_files(Path(source)):
        with _arrow_faults(name, "Arrow"), pa.memory_map(str(path)) as file:
            for batch in _arrow_batches(file):
                # Offsets in an untrusted file may point outside it.
                batch.validate(full=True)
                if chosen is None:
                    _check_header(batch.schema.names, name)
                    chosen = choose(batch.schema.names)
                batch = batch.select(list(dict.fromkeys(chosen.values())))
                # A dictionary or run stores the cell of many rows once.
                at_once = _that_fit(
                    (
                        column.nbytes
                        for column in batch.columns
                        if _SHARED_CELLS.search(str(column.type))
                    ),
                    _ARROW_ROWS,
                )
                for start in range(0, len(batch), at_once):
                    for record in batch.slice(start, at_once).to_pylist():
                        yield None, {k: record[c] for k, c in chosen.items()}


@contextmanager
def _arrow_faults(name: str, form: str) -> Iterator[None]:
    """Name a file that Arrow cannot read."""
    from pyarrow import ArrowException

    try:
        yield
    except (ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # from the file system, not from the content of the file
        msg = f"{name} cannot be read as {form}: {error}. Save it again."
        raise TableError(msg) from error


def _arrow_files(path: Path) -> list[Path]:
    """Return the files of a table: the file itself, or those of a saved Dataset."""
    if not path.is_dir():
        return [path]
    if not (path / _STATE).is_file():
        splits = parse_json(_text_of(path / _SPLITS), str(path / _SPLITS), "it again")
        msg = (
            f"{path} contains the splits {splits.get('splits')}, each of which is a "
            "Dataset. Pass the folder of one of them."
        )
        raise TableError(msg)
    state = parse_json(_text_of(path / _STATE), str(path / _STATE), "it again")
    try:
        names = [str(each["filename"]) for each in state["_data_files"]]
    except (KeyError, TypeError) as error:
        msg = (
            f"{path / _STATE} does not name the files of its Dataset. Save the Dataset "
            "again."
        )
        raise TableError(msg) from error
    files = [path / each for each in names]
    for file in files:
        if file.parent != path:
            msg = (
                f"{path / _STATE} names {file}, which is outside the folder. Save the "
                "Dataset again."
            )
            raise TableError(msg)
    return files


def _text_of(path: Path) -> str:
    """Return the content of a JSON file, or raise a TableError if it is not UTF-8."""
    with _open_text(path, str(path)) as file:
        return file.read(_LONGEST)


def _arrow_batches(file: Any) -> Iterator[Any]:
    """Yield the batches of a file in either of Arrow's two formats."""
    from pyarrow import ipc

    if file.read(6) == b"ARROW1":
        reader = ipc.open_file(file)
        yield from map(reader.get_batch, range(reader.num_record_batches))
    else:
        file.seek(0)
        yield from ipc.open_stream(file)


@contextmanager
def _open_text(source: str | Path, name: str) -> Iterator[io.TextIOBase]:
    """Open a text file, decompress and decode it; raise a TableError for its faults."""
    with ExitStack() as opened:
        try:
            if str(source) != "-":
                raw = opened.enter_context(open(source, "rb"))
            elif sys.stdin is None:
                msg = "standard input is closed. Pass the name of a file."
                raise TableError(msg)
            else:
                raw = opened.enter_context(io.BufferedReader(sys.stdin.buffer))  # type: ignore[arg-type]
            head = raw.peek(8)[:8]
            if head.startswith(b"\x1f\x8b"):
                unzipped = opened.enter_context(gzip.GzipFile(fileobj=raw))
                raw = opened.enter_context(io.BufferedReader(unzipped))  # type: ignore[arg-type]
                head = raw.peek(8)[:8]
            for magic, words in _NOT_TEXT.items():
                if head.startswith(magic):
                    msg = f"{name} {words}."
                    raise TableError(msg)
            codec = next((c for mark, c in _MARKS if head.startswith(mark)), None)
            # Bytes that are not UTF-8 are kept: they may be part of a file name, and in
            # a text they make only its row unusable, not the table.
            errors = "strict" if codec else "surrogateescape"
            encoding = codec or "utf-8-sig"
            text = io.TextIOWrapper(raw, encoding=encoding, errors=errors, newline="")
            yield opened.enter_context(text)
        except UnicodeDecodeError as error:
            msg = f"{name} is not valid {error.encoding} text. Save it as UTF-8."
            raise TableError(msg) from error
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            msg = f"{name} cannot be decompressed: {error}. Compress it again."
            raise TableError(msg) from error


class _Lines:
    """Lines of a text file, numbered, with a limit on their length."""

    def __init__(self, file: io.TextIOBase, name: str):
        self._file = file
        self._name = name
        self.number = 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._file.readline(_LONGEST)
        if not line:
            raise StopIteration
        self.number += 1
        if "\0" in line:
            msg = (
                f"{self._name}, line {self.number} has a NUL byte, so the file is not "
                "a table, is damaged, or is UTF-16 without a byte order mark. Save it "
                "as UTF-8."
            )
            raise TableError(msg)
        if len(line) == _LONGEST and line[-1] not in "\r\n":
            msg = (
                f"{self._name}, line {self.number} has more than {_LONGEST:,} "
                "characters. Check that the file is a table with one row per line."
            )
            raise TableError(msg)
        return line
