"""Tables in files: CSV, JSON, Parquet and Arrow, no types of cells guessed."""

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
# What a reader of text would take for a damaged table, by its first bytes.
_NOT_TEXT = {
    b"PAR1": "is a Parquet file. Give it a name that ends in .parquet",
    b"PK\x03\x04": "is an Excel workbook or a zip archive. Save the sheet as CSV UTF-8",
    b"\xd0\xcf\x11\xe0": "is an Excel workbook. Save the sheet as CSV UTF-8",
    b"BZh": "is compressed with bzip2. Decompress it, or compress it with gzip",
    b"\xfd7zXZ": "is compressed with xz. Decompress it, or compress it with gzip",
    b"(\xb5/\xfd": "is compressed with zstd. Decompress it, or compress it with gzip",
}
# UTF-32 before UTF-16, whose mark its own begins with.
_MARKS = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_PARQUET_ROWS = 1024
_ARROW_ROWS = 64  # clips may lie in cells, a megabyte each
# Of rows at once, if the cells of all are as long as the longest may be.
_HELD_BYTES = 1 << 28
# What a Dataset of Hugging Face writes beside its files, and a DatasetDict.
_STATE, _SPLITS = "state.json", "dataset_dict.json"
_LARGEST = 1 << 28  # characters of a file of JSON, which is read at once
# A line or a cell beyond 16 million characters is no pair but a stray quote, or a file
# without line ends: an error there keeps memory flat.
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
        From zero; the header and blank lines are not counted.
    line : int or None
        Line of the file where the row starts, from one; None in Parquet.
    cells : dict of str to object
        Cells by the names that were chosen. Texts in CSV; what JSON and Parquet hold.
    """

    number: int
    line: int | None
    cells: dict[str, Any]


def read_rows(
    source: str | Path, fmt: str | None, choose: Choose
) -> Generator[TableRow, None, None]:
    """Yield the rows of a table one by one, in memory that does not grow with it.

    CSV is UTF-8, or UTF-16 and UTF-32 with a byte order mark, separated by commas,
    semicolons or tabs, and its cells stay texts, such as ``007``, ``NA`` and ``1e5``.
    CSV and JSON Lines may be compressed with gzip. JSON is one object, such as
    ``{"dog.wav": "a dog barks"}``, a table of the columns ``audio`` and ``text``; it
    alone is read at once.

    Parameters
    ----------
    source : str or Path
        A file, a folder that a Dataset was saved to, or ``"-"`` for standard input.
    fmt : {"csv", "jsonl", "json", "parquet", "arrow"} or None
        None goes by the suffix; standard input is CSV then.
    choose : callable
        Takes the names of the columns and returns, for every name that the caller
        wants, the column that it stands for; it raises what is wrong with them.

    Yields
    ------
    row : TableRow

    Raises
    ------
    OSError
        If the file is missing or cannot be read.
    TableError
        If the file is no such table, a column occurs twice, there is no row, or a line
        cannot be read; file, line and remedy are named.
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
        msg = f"{name} has no rows. Add at least one below the names of the columns."
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
        For each name in the frame, the names that the column may have in the file.
    optional : sequence of str, default=()
        Names in the frame whose columns may be missing.

    Returns
    -------
    frame : DataFrame of object
        One row per row of the table; the index, named ``line``, holds the lines of the
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
                    f"{str(path)!r} must have one column {usual}{or_else}; it has "
                    f"{list(header)}. Rename the one that is meant; the first line "
                    "must name the columns."
                )
                raise TableError(msg)
        return {name: places[0] for name, places in found.items() if places}

    rows = list(read_rows(path, None, choose))
    index = pd.Index([row.line or row.number + 1 for row in rows], name="line")
    return pd.DataFrame([row.cells for row in rows], index=index, dtype=object)


def find_column(header: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return which columns of a header have one of the names.

    Parameters
    ----------
    header : sequence of str
        Names of columns.
    names : sequence of str
        Names to look for. Other case and stray blanks count as the same, unless a
        column has the very name.

    Returns
    -------
    found : list of str
        Of `header`; one column if there is no doubt.
    """
    exact = [name for name in dict.fromkeys(names) if name in header]
    wanted = {_folded(name) for name in names}
    return exact or [name for name in header if _folded(name) in wanted]


def refuse_rows(
    bad: Iterable[bool], table: pd.DataFrame, key: str, source: str, what: str
) -> None:
    """Raise an error that names the bad rows of a frame of `read_frame`.

    Parameters
    ----------
    bad : array-like of bool of shape (n_rows,)
        Which rows.
    table : DataFrame
        The table; its index holds lines.
    key : str
        Column that names a row.
    source : str
        Path of the file.
    what : str
        What is wrong, and after ``|`` what to do about it.

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
    """Return the finite number that a cell stands for, or NaN.

    Parameters
    ----------
    cell : object
        A number, or a text such as ``7``, ``-0.5``, ``.5`` or ``1e-3`` with blanks
        around it at most. ``7_5``, ``7,5``, ``٣``, ``0x7``, ``nan``, ``inf`` and
        ``1e400`` stand for none: other programs read them otherwise or not at all.

    Returns
    -------
    number : float
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
    """Return the format of a table by the suffix of its name.

    Parameters
    ----------
    path : Path
        A name of a file, of which ``.gz`` at its end is passed over, or a folder that
        a Dataset was saved to.

    Returns
    -------
    fmt : {"csv", "jsonl", "json", "parquet", "arrow"}

    Raises
    ------
    TableError
        If the suffix is none of `SUFFIXES`.
    """
    if is_saved_dataset(path):
        return "arrow"
    plain = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    fmt = SUFFIXES.get(plain.suffix.lower())
    if fmt is None:
        msg = (
            f"{str(path)!r} must end in {', '.join(SUFFIXES)}, or its format be given "
            "by an option."
        )
        raise TableError(msg)
    return fmt


def is_table(path: Path) -> bool:
    """Return whether the name of a file ends as that of a table does.

    Parameters
    ----------
    path : Path
        A name of a file.

    Returns
    -------
    is_table : bool
    """
    try:
        format_of(path)
    except TableError:
        return False
    return True


def is_saved_dataset(path: Path) -> bool:
    """Return whether a folder is one that a Dataset of Hugging Face was saved to."""
    return (path / _STATE).is_file() or (path / _SPLITS).is_file()


def read_lines(source: str | Path) -> Generator[tuple[int, str], None, None]:
    """Yield the lines of a text file that are not blank, with their numbers from one.

    It may be compressed, and standard input (``"-"``). Bytes that are no UTF-8 are
    surrogates. A TableError says if a line is too long or has a NUL, or if the file is
    of another kind.
    """
    name = "standard input" if str(source) == "-" else str(source)
    with _open_text(source, name) as file:
        lines = _Lines(file, name)
        for line in lines:
            if line.strip():
                yield lines.number, line


def parse_json(text: str, where: str, form: str) -> dict[str, Any]:
    """Return an object of JSON; a TableError names what is none, or has a name twice.

    `where` it stands and the `form` that it should have are for the message.
    """

    def once(members: list[tuple[str, Any]]) -> dict[str, Any]:
        record = dict(members)
        if len(record) < len(members):
            names = [each for each, _ in members]
            twice = next(each for each in names if names.count(each) > 1)
            msg = f"{where}: {twice!r} occurs twice in an object. Remove one."
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
    return str(name).strip().strip("\ufeff").casefold()  # a mark of byte order within


def _check_header(header: Sequence[str], name: str) -> None:
    names = [each for each in header if each.strip()]
    twice = sorted({each for each in names if names.count(each) > 1})
    if twice:
        msg = f"{name} has more than one column {twice[0]!r}. Rename one."
        raise TableError(msg)


def _csv(source: str | Path, name: str, choose: Choose) -> Records:
    csv.field_size_limit(_LONGEST)
    with _open_text(source, name) as file:
        lines = _Lines(file, name)
        first = next((line for line in lines if line.strip()), None)
        if first is None:
            msg = f"{name} is empty; a header and rows are needed."
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
                f"{name}, line {line}: {error}. Look for a quote there that is not "
                'closed, or not doubled inside a quoted cell ("").'
            )
            raise TableError(msg) from error


def _separator(first: str) -> tuple[str, bool]:
    """Return what separates cells, and whether this line is the header.

    Commas do unless they leave the header in one piece and either semicolons or tabs
    do not. Excel may say ``sep=;`` in a line before the header.
    """
    if (said := first.strip().lower()).startswith("sep=") and len(said) <= 5:
        return said[4:] or "\t", False
    widths = {}
    for separator in ",;\t":
        try:
            (cells,) = csv.reader([first], delimiter=separator, strict=True)
        except csv.Error:  # a quote in it is closed with another separator, or later
            cells = []
        widths[separator] = len(cells)
    others = [separator for separator in ";\t" if widths[separator] > 1]
    return others[0] if widths[","] < 2 and len(others) == 1 else ",", True


def _check_row(row: Sequence[str], header: Sequence[str], where: str) -> None:
    if len(row) != len(header):
        msg = (
            f"{where}: {len(row)} cells, and the header has {len(header)}. A cell that "
            "has the separator in it needs quotes."
        )
        raise TableError(msg)
    # The first column may lack a name, as the index does that pandas writes. A cell in
    # another is the rest of a text that was cut at a comma.
    lost = [
        cell for name, cell in zip(header[1:], row[1:], strict=True) if not name.strip()
    ]
    if any(cell.strip() for cell in lost):
        msg = (
            f"{where}: there is {next(filter(str.strip, lost))!r} in a column without "
            "a name. A cell that has the separator in it needs quotes; or name the "
            "column."
        )
        raise TableError(msg)
    if list(map(_folded, row)) == list(map(_folded, header)):
        msg = f"{where}: this repeats the header. Remove the line."
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
            f"{name} has more than {_LARGEST:,} characters, too many to be read at "
            "once. Write CSV or JSON Lines."
        )
        raise TableError(msg)
    texts = parse_json(content, name, 'one object, such as {"dog.wav": "a dog barks"}')
    chosen = choose(["audio", "text"])
    for audio, text in texts.items():
        record = {"audio": audio, "text": text}
        yield None, {wanted: record[each] for wanted, each in chosen.items()}


def _parquet(source: str | Path, name: str, choose: Choose) -> Records:
    if str(source) == "-":
        msg = "Parquet cannot be read from standard input. Give the file's name."
        raise TableError(msg)
    parquet = import_optional(
        "pyarrow.parquet", extra="parquet", caller=f"Reading {name}"
    )
    if not os.path.getsize(source):
        msg = f"{name} is empty; a table with rows is needed."
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
            # One by one, since pyarrow keeps in memory what it has read of several.
            at_once = _rows_at_once(file.metadata.row_group(group), columns, n_rows)
            for batch in file.iter_batches(at_once, [group], columns=columns):
                for record in batch.to_pylist():
                    yield None, {wanted: record[c] for wanted, c in chosen.items()}


def _rows_at_once(group: Any, columns: Sequence[str], most: int) -> int:
    """Return how many rows of a row group of Parquet to hold at once, `most` at most.

    A dictionary has each distinct cell once, so that a kilobyte of a file may stand for
    a thousand rows of megabytes.
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
    """Return how many rows to hold whose cells may be as large as some columns."""
    return max(1, min(most, _HELD_BYTES // max([1, *sizes])))


def _arrow(source: str | Path, name: str, choose: Choose) -> Records:
    pa = import_optional("pyarrow", extra="parquet", caller=f"Reading {name}")
    chosen: Mapping[str, str] | None = None
    for path in _arrow_files(Path(source)):
        with _arrow_faults(name, "Arrow"), pa.memory_map(str(path)) as file:
            for batch in _arrow_batches(file):
                # Offsets in a file from a stranger may lead out of it.
                batch.validate(full=True)
                if chosen is None:
                    _check_header(batch.schema.names, name)
                    chosen = choose(batch.schema.names)
                batch = batch.select(list(dict.fromkeys(chosen.values())))
                # A dictionary, or a run, has a cell of many rows once.
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
            raise  # of the file system, and not of what is in the file
        msg = f"{name} cannot be read as {form} ({error}). Save it again."
        raise TableError(msg) from error


def _arrow_files(path: Path) -> list[Path]:
    """Return the files of a table: itself, or those of a saved Dataset, in order."""
    if not path.is_dir():
        return [path]
    if not (path / _STATE).is_file():
        splits = parse_json(_text_of(path / _SPLITS), str(path / _SPLITS), "it again")
        msg = (
            f"{path} holds the splits {splits.get('splits')}, a Dataset each. Give the "
            "folder of one of them."
        )
        raise TableError(msg)
    state = parse_json(_text_of(path / _STATE), str(path / _STATE), "it again")
    try:
        names = [str(each["filename"]) for each in state["_data_files"]]
    except (KeyError, TypeError) as error:
        msg = f"{path / _STATE} does not name the files of its Dataset. Save it again."
        raise TableError(msg) from error
    files = [path / each for each in names]
    for file in files:
        if file.parent != path:
            msg = f"{path / _STATE} names {file}, which lies elsewhere. Save it again."
            raise TableError(msg)
    return files


def _text_of(path: Path) -> str:
    """Return the content of a file of JSON; a TableError names what is no UTF-8."""
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
    """Open a table of text, decompressed and decoded; name what is wrong with it."""
    with ExitStack() as opened:
        try:
            if str(source) != "-":
                raw = opened.enter_context(open(source, "rb"))
            elif sys.stdin is None:
                msg = "standard input is closed. Give the name of a file."
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
            # Bytes that are no UTF-8 stay what they are: they may name a file, and a
            # text that has them is a fault of its own row, not of the table.
            errors = "strict" if codec else "surrogateescape"
            encoding = codec or "utf-8-sig"
            text = io.TextIOWrapper(raw, encoding=encoding, errors=errors, newline="")
            yield opened.enter_context(text)
        except UnicodeDecodeError as error:
            msg = f"{name} is no whole {error.encoding} text. Save it as UTF-8."
            raise TableError(msg) from error
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            msg = f"{name} cannot be decompressed ({error}). Compress it again."
            raise TableError(msg) from error


class _Lines:
    """Lines of a text file, counted and of bounded length."""

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
                f"{self._name}, line {self.number}: there is a NUL byte, so this is "
                "no table, a damaged one, or UTF-16 without its mark. Save it as UTF-8."
            )
            raise TableError(msg)
        if len(line) == _LONGEST and line[-1] not in "\r\n":
            msg = (
                f"{self._name}, line {self.number} has more than {_LONGEST:,} "
                "characters. Check that this is a table with one row a line."
            )
            raise TableError(msg)
        return line
