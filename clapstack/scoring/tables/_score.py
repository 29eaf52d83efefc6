"""Scoring of a table of pairs in chunks, resumable after an interruption."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import pandas as pd

from clapstack._optional import progress
from clapstack.audio import audio_key, file_state
from clapstack.exceptions import AudioError
from clapstack.pairs import Fault
from clapstack.scoring.tables._journal import Journal
from clapstack.scoring.tables._mean import GroupedMean, Mean
from clapstack.scoring.tables._read import (
    FrameTable,
    PairTable,
    Row,
    in_chunks,
    pairs_of,
)
from clapstack.scoring.tables._scorers import Finish, TableScorer
from clapstack.scoring.tables._write import write_lines, write_table

__all__ = ["Scored", "part_file", "score_to_file", "score_to_frame", "score_to_stream"]

Record = dict[str, Any]
_LOGGER = logging.getLogger("clapstack")


class Scored(NamedTuple):
    """Summary of a scored table.

    Attributes
    ----------
    n_rows : int
        Number of rows.
    n_failed : int
        Number of rows without a score; the column ``error`` gives the reason.
    n_resumed : int
        Number of rows whose score was taken from an interrupted run.
    means : dict of str to Mean
        Mean of each column of scores, if the scores have a scale.
    """

    n_rows: int
    n_failed: int
    n_resumed: int
    means: dict[str, Mean]


def part_file(out: Path) -> Path:
    """Return the file with the results of an unfinished run."""
    return out.with_name(f"{out.name}.part")


def score_to_file(
    table: PairTable | FrameTable,
    scorer: TableScorer,
    out: Path,
    fmt: str,
    *,
    chunk_size: int,
    verbose: bool,
    remark: Callable[[str], None] = _LOGGER.info,
) -> Scored:
    """Score a table into a file, which appears or is replaced only when complete.

    Until then, results are kept beside it chunk by chunk (see `part_file`). The same
    call resumes an interrupted run: rows with a score keep it, unless their text, path
    or audio file changed, and failed rows are tried again. Results of another model or
    other settings are discarded. `remark` is called with a message about the results of
    an earlier run.
    """
    columns = _columns(table, scorer)
    out.parent.mkdir(parents=True, exist_ok=True)
    identity = {**scorer.identity, "keep": table.others}
    with Journal(part_file(out), identity) as journal:
        n_rows = n_resumed = 0
        if journal.is_other:
            remark(
                f"{journal.path} belongs to another model or other settings; starting "
                "again"
            )
        elif journal.n_found:
            remark(f"resuming: {journal.path} has {journal.n_found:,} scored rows")

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
            for chunk in _chunks(rows_left(), chunk_size):
                journal.add(_records(table, chunk, scorer))
                bar.update(len(chunk))
        good = (r["values"] for r in journal.records(n_rows) if not r["error"])
        tally = _Tally(table, scorer, scorer.finish(good))
        write_table(out, fmt, columns, map(tally.result, journal.records(n_rows)))
        journal.delete()
    return tally.scored(n_resumed)


def score_to_stream(
    table: PairTable | FrameTable,
    scorer: TableScorer,
    stream: TextIO,
    fmt: str,
    *,
    chunk_size: int,
    verbose: bool,
) -> Scored:
    """Score a table into an open file, chunk by chunk, without a journal.

    Rows are written as they are scored, or all at the end if scores depend on the whole
    table.
    """
    columns = _columns(table, scorer)
    tally, records = _scored(table, scorer, chunk_size, verbose, stream.flush)
    write_lines(stream, fmt, columns, map(tally.result, records))
    stream.flush()
    return tally.scored()


def score_to_frame(
    table: PairTable | FrameTable,
    scorer: TableScorer,
    *,
    chunk_size: int,
    verbose: bool,
) -> pd.DataFrame:
    """Return the result as a frame; see `score_to_stream`."""
    columns = _columns(table, scorer)
    tally, records = _scored(table, scorer, chunk_size, verbose)
    rows = list(map(tally.result, records))
    results = pd.DataFrame(rows, columns=list(columns))
    results["error"] = pd.Series([row["error"] for row in rows], dtype=object)
    kinds = dict.fromkeys(scorer.names, float) | dict.fromkeys(scorer.flags, "boolean")
    return results.astype(kinds)


def _scored(
    table: PairTable | FrameTable,
    scorer: TableScorer,
    chunk_size: int,
    verbose: bool,
    chunk_is_through: Callable[[], Any] = lambda: None,
) -> tuple[_Tally, Iterator[Record]]:
    """Return the tally of a table, and its records chunk by chunk."""

    def records() -> Iterator[Record]:
        keyed = ((row, 0) for row in table.rows())
        with _bar(table, verbose) as bar:
            for chunk in _chunks(keyed, chunk_size):
                yield from _records(table, chunk, scorer)
                chunk_is_through()
                bar.update(len(chunk))

    if not scorer.waits:
        return _Tally(table, scorer, scorer.finish(iter(()))), records()
    held = list(records())
    good = (record["values"] for record in held if not record["error"])
    return _Tally(table, scorer, scorer.finish(good)), iter(held)


def _records(
    table: PairTable | FrameTable,
    chunk: Sequence[tuple[Row, int]],
    scorer: TableScorer,
) -> list[Record]:
    """Return the record of every row: its values, or its error."""
    usable = table.on_usable(scorer.values, pairs_of([row for row, _ in chunk]))
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


class _Tally:
    """Builds result rows, counts them and averages their scores."""

    def __init__(
        self, table: PairTable | FrameTable, scorer: TableScorer, finish: Finish
    ):
        self._pair_columns = table.pair_columns
        self._names = scorer.names
        self._finish = finish
        self._n_rows = self._n_failed = 0
        self._means = {name: GroupedMean() for name in scorer.axes}

    def result(self, record: Record) -> Record:
        """Return the result row of a record, by column."""
        audio, text = self._pair_columns
        result = {"row": record["row"], "error": record["error"]}
        result |= {audio: record["audio"], text: record["text"]}
        self._n_rows += 1
        if record["error"]:
            self._n_failed += 1
        else:
            values = self._finish(record["values"])
            result.update(zip(self._names, values, strict=True))
            for name, mean in self._means.items():
                mean.add(record["text"], result[name])
        return {**record["kept"], **result}

    def scored(self, n_resumed: int = 0) -> Scored:
        """Return the summary, after all rows are processed."""
        means = {name: mean.result() for name, mean in self._means.items()}
        return Scored(self._n_rows, self._n_failed, n_resumed, means)


def _plain(cell: Any) -> Any:
    """Return a cell in a form that JSON can represent."""
    if isinstance(cell, Fault):
        return None
    return cell if isinstance(cell, (str, int, float, type(None))) else str(cell)


def _columns(table: PairTable | FrameTable, scorer: TableScorer) -> dict[str, type]:
    ours = {"row", *scorer.names, "error"}
    clash = sorted(ours.intersection(table.others))
    if clash := clash or sorted(ours.intersection(table.pair_columns)):
        msg = (
            f"the column {clash[0]!r} of the table cannot be kept, because a result "
            "column has the same name. Rename it."
        )
        raise ValueError(msg)
    audio, text = table.pair_columns
    return {
        "row": int,
        audio: str,
        text: str,
        **dict.fromkeys(table.others, str),
        **dict.fromkeys(scorer.names, float),
        **dict.fromkeys(scorer.flags, bool),
        "error": str,
    }


def _chunks(
    keyed: Iterator[tuple[Row, int]], size: int
) -> Iterator[list[tuple[Row, int]]]:
    return in_chunks(keyed, size, lambda item: item[0])


def _key(row: Row) -> int:
    """Return 64 bits that change with the row's cells or the content of its clip."""
    state: Any = file_state(row.path)
    if state is None:  # it changed just now, or it is not a file
        try:
            state = audio_key(row.path)
        except AudioError:  # reading it later reports the error
            state = ""
    path = row.path if isinstance(row.path, str) else None  # other clips are in state
    content = json.dumps(
        [row.audio, path, row.text, row.cells, state], default=repr
    ).encode()
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "big") or 1


def _bar(table: PairTable | FrameTable, verbose: bool) -> Any:
    total = table.count() if verbose else None
    return progress(total=total, desc="scoring", unit="pair", verbose=verbose)
