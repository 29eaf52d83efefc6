"""Scoring a table of pairs, in chunks, resumable."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from clapstack._compat import batched
from clapstack._optional import progress
from clapstack.audio import audio_key, file_state
from clapstack.cli.tables._journal import Journal
from clapstack.cli.tables._read import PairTable, Row, on_usable_files, pairs_of
from clapstack.cli.tables._scorers import Scorer
from clapstack.cli.tables._write import write_lines, write_table
from clapstack.exceptions import AudioError

__all__ = ["Scored", "part_file", "score_to_file", "score_to_stream"]

Record = dict[str, Any]


class Scored(NamedTuple):
    """How a table went.

    Attributes
    ----------
    n_rows : int
        Rows of the table.
    n_failed : int
        Rows without a score; the column ``error`` says why.
    n_resumed : int
        Rows whose score an interrupted run had left.
    """

    n_rows: int
    n_failed: int
    n_resumed: int


def part_file(out: Path) -> Path:
    """Return where the results of an unfinished run are kept."""
    return out.with_name(f"{out.name}.part")


def score_to_file(
    table: PairTable,
    scorer: Scorer,
    out: Path,
    fmt: str,
    *,
    chunk_size: int,
    verbose: bool,
    remark: Callable[[str], None],
) -> Scored:
    """Score a table into a file, which appears, or replaces one, when it is whole.

    Until then results are kept beside it, chunk by chunk (see `part_file`). After a
    kill the same call goes on from there: rows that have a score keep it, unless their
    text, their path or the file there changed; rows that failed are tried again. What
    another model or other settings left there is not used. `remark` is called with
    words about what an earlier run left.
    """
    columns = _columns(table, scorer)
    out.parent.mkdir(parents=True, exist_ok=True)
    identity = {**scorer.identity, "keep": table.others}
    with Journal(part_file(out), identity) as journal:
        n_rows = n_resumed = failed = 0
        if journal.is_other:
            remark(f"{journal.path} is of another model or setting; it is begun anew")
        elif journal.n_found:
            remark(f"going on: {journal.path} has {journal.n_found:,} scored rows")

        def rows_left() -> Iterator[tuple[Row, int]]:
            nonlocal n_rows, n_resumed
            for row in table.rows():
                n_rows += 1
                key = _key(row)
                if journal.has(row.number, key):
                    n_resumed += 1
                    bar.update()
                else:
                    yield row, key

        with _bar(table, verbose) as bar:
            for chunk in batched(rows_left(), chunk_size):
                journal.add(_records(chunk, scorer))
                bar.update(len(chunk))
        good = (r["values"] for r in journal.records(n_rows) if not r["error"])
        finish = scorer.finish(good)

        def results() -> Iterator[Record]:
            nonlocal failed
            for record in journal.records(n_rows):
                failed += bool(record["error"])
                yield _result(record, scorer, finish)

        write_table(out, fmt, columns, results())
        journal.delete()
    return Scored(n_rows, failed, n_resumed)


def score_to_stream(
    table: PairTable,
    scorer: Scorer,
    stream: TextIO,
    fmt: str,
    *,
    chunk_size: int,
    verbose: bool,
) -> Scored:
    """Score a table into an open file, chunk by chunk; nothing is kept for a restart.

    The stream gets the rows as they are scored, or all at the end if scores depend on
    the whole table.
    """
    columns = _columns(table, scorer)
    n_rows = failed = 0

    def records() -> Iterator[Record]:
        nonlocal n_rows, failed
        keyed = ((row, 0) for row in table.rows())
        with _bar(table, verbose) as bar:
            for chunk in batched(keyed, chunk_size):
                for record in _records(chunk, scorer):
                    n_rows += 1
                    failed += bool(record["error"])
                    yield record
                stream.flush()
                bar.update(len(chunk))

    source = records()
    if scorer.waits:
        held = list(source)
        source = iter(held)
        finish = scorer.finish(r["values"] for r in held if not r["error"])
    else:
        finish = scorer.finish(iter(()))
    results = (_result(record, scorer, finish) for record in source)
    write_lines(stream, fmt, columns, results)
    stream.flush()
    return Scored(n_rows, failed, 0)


def _records(chunk: Sequence[tuple[Row, int]], scorer: Scorer) -> list[Record]:
    """Return the record of every row: numbers, or what is wrong."""
    usable = on_usable_files(scorer.values, pairs_of([row for row, _ in chunk]))
    values: dict[int, list[float]] = {}
    if len(usable.positions):
        values = dict(
            zip(usable.positions.tolist(), usable.values.tolist(), strict=True)
        )
    errors = {bad.position: bad.reason for bad in usable.bad}
    return [
        {
            "row": row.number,
            "key": key,
            "audio": _plain(row.audio),
            "text": _plain(row.text),
            "kept": {name: _plain(cell) for name, cell in row.cells.items()},
            "values": values.get(position),
            "error": errors.get(position),
        }
        for position, (row, key) in enumerate(chunk)
    ]


def _result(record: Record, scorer: Scorer, finish: Any) -> Record:
    """Return a row of the result, by column."""
    result = {name: record[name] for name in ("row", "audio", "text", "error")}
    if not record["error"]:
        result.update(zip(scorer.names, finish(record["values"]), strict=True))
    return {**record["kept"], **result}


def _plain(cell: Any) -> Any:
    """Return a cell as JSON can hold it."""
    return cell if isinstance(cell, (str, int, float, type(None))) else str(cell)


def _columns(table: PairTable, scorer: Scorer) -> dict[str, type]:
    ours = {"row", "audio", "text", *scorer.names, "error"}
    clash = sorted(ours.intersection(table.others))
    if clash:
        msg = (
            f"the column {clash[0]!r} of the table cannot be kept: one of the results "
            "has that name. Rename it."
        )
        raise ValueError(msg)
    return {
        "row": int,
        "audio": str,
        "text": str,
        **dict.fromkeys(table.others, str),
        **dict.fromkeys(scorer.names, float),
        "error": str,
    }


def _key(row: Row) -> int:
    """Return 64 bits that change with what the table has, or with the file there."""
    state: Any = file_state(row.path)
    if state is None:  # it changed just now, or it is no file
        try:
            state = audio_key(row.path)
        except AudioError:  # reading it will say what is wrong
            state = ""
    content = json.dumps([*row[1:5], state], default=repr).encode()
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "big") or 1


def _bar(table: PairTable, verbose: bool) -> Any:
    total = table.count() if verbose else None
    return progress(total=total, desc="scoring", unit="pair", verbose=verbose)
