"""``clapstack rank``."""

from __future__ import annotations

import math
import os
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from clapstack._output import check_output, is_stream, replaced
from clapstack.cli import _options as options
from clapstack.cli._errors import errors_as_messages
from clapstack.cli._terminal import data_stream
from clapstack.exceptions import BadRowsError

__all__ = ["rank"]

EPILOG = """\
\b
Examples:
  clapstack rank scores.csv --best 1 --out chosen.csv
  clapstack rank scores.csv --best 1 --copy-to chosen/
  clapstack rank scores.csv --prompt-column id --worst 3
  clapstack rank scores.csv --json

The table has one row per candidate: its clip (audio), its prompt (text) and its score,
as clapstack score writes them. The result has the columns prompt, rank, n, margin, row,
audio and score, sorted by prompt, best first. rank counts from 1, and ties keep the
order of the table. n is the number of candidates with a score; margin is the lead of
the best over the second.

The last line reports how much the best of n gains over a random candidate, in units of
the score, with a 95 % interval over prompts.

The exit code is 0, or 1 if a prompt has no candidate with a score.
"""


def rank(
    table: Annotated[
        str,
        typer.Argument(
            metavar="TABLE",
            help="CSV, JSON Lines or Parquet table of scored clips; - for standard "
            "input.",
            show_default=False,
        ),
    ],
    best: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar=options.NUMBER,
            help="Keep the best N candidates per prompt. Default: all.",
        ),
    ] = None,
    worst: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar=options.NUMBER,
            help="Keep the worst N candidates per prompt instead.",
        ),
    ] = None,
    out: options.Out = None,
    copy_to: Annotated[
        Path | None,
        typer.Option(
            metavar=options.FOLDER,
            help="New or empty folder to copy the kept clips to. Their names begin "
            "with the prompt number and the rank.",
        ),
    ] = None,
    prompt_column: options.PromptColumn = None,
    score_column: options.ScoreColumn = None,
    audio_column: options.AudioColumn = None,
    audio_folder: options.AudioFolder = None,
    keep: options.Keep = None,
    input_format: options.InputFormat = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Choose the best of several clips for each prompt."""
    options.checked_input(input_format)
    if best and worst:
        msg = "it cannot be combined with --best."
        raise typer.BadParameter(msg, param_hint="--worst")
    with errors_as_messages("clapstack rank"):
        from clapstack.scoring import candidates_by_prompt
        from clapstack.scoring.tables import PairTable, result_format

        fmt = "csv" if out is None or is_stream(out) else result_format(out)
        pairs = PairTable(
            table,
            fmt=input_format,
            audio_folder=audio_folder,
            names={"audio": audio_column, "text": prompt_column, "score": score_column},
            roles=("audio", "text", "score"),
            others=keep or (),
            remedy="Name the column with --{role}-column (--prompt-column for texts)",
        )
        if out is not None:
            check_output(out, table)
        if copy_to is not None and copy_to.exists() and any(copy_to.iterdir()):
            msg = f"{copy_to} is not empty. Choose a new or empty folder."
            raise ValueError(msg)
        rows = list(pairs.rows())
        scores = [
            options.finite_or_empty(row.cells["score"], "score", f"row {row.number}")
            for row in rows
        ]
        found = candidates_by_prompt([row.text for row in rows], scores)
        kept = [
            (number, rank, candidates)
            for number, candidates in enumerate(found)
            for rank in _kept_ranks(len(candidates.rows), best, worst)
        ]
        if copy_to is not None:
            _copy(kept, rows, copy_to)
        if out is not None or not json:
            _write([_record(rank, c, rows) for _, rank, c in kept], keep, out, fmt)
        summary = _summary(found)
        if json:
            options.print_json({"out": None if out is None else str(out), **summary})
        if not quiet:
            typer.echo(f"clapstack rank: {_words(summary)}", err=True)
    if summary["without_score"]:
        raise typer.Exit(1)


def _kept_ranks(n: int, best: int | None, worst: int | None) -> range:
    """Return the ranks to keep of n candidates, from zero."""
    return range(max(0, n - worst), n) if worst else range(min(n, best or n))


def _record(rank: int, candidates: Any, rows: Sequence[Any]) -> dict[str, Any]:
    row = rows[candidates.rows[rank]]
    return {
        **row.cells,
        "prompt": candidates.prompt,
        "rank": rank + 1,
        "n": len(candidates.rows),
        "margin": candidates.margin,
        "row": row.number,
        "audio": row.audio,
        "score": float(candidates.scores[rank]),
    }


def _copy(
    kept: Sequence[tuple[int, int, Any]], rows: Sequence[Any], folder: Path
) -> None:
    """Copy clips; prompt number and rank make their names unique."""
    width = len(str(max((number for number, _, _ in kept), default=0)))
    copies = []
    # All are checked before the first is copied. A device may be endless.
    for number, rank, candidates in kept:
        row = rows[candidates.rows[rank]]
        is_path = isinstance(row.path, str) and row.path.strip()
        if not (is_path and stat.S_ISREG(os.stat(row.path).st_mode)):
            msg = (
                f"row {row.number}: the audio must be the path of a file to copy; got "
                f"{row.audio!r}. Correct it or drop the row."
            )
            raise BadRowsError(msg)
        source = Path(row.path)
        copies.append((source, f"{number:0{width}}-{rank + 1}-{source.name}"))
    folder.mkdir(parents=True, exist_ok=True)
    for source, name in copies:
        with replaced(folder / name) as new:
            shutil.copyfile(source, new)


def _write(
    records: Sequence[dict[str, Any]],
    keep: Sequence[str] | None,
    out: Path | None,
    fmt: str,
) -> None:
    from clapstack.scoring.tables import ERRORS, write_lines, write_table

    columns: dict[str, type] = {"prompt": str, "rank": int, "n": int, "margin": float}
    columns |= {"row": int, "audio": str, "score": float}
    if clash := [name for name in keep or () if name in columns]:
        msg = (
            f"--keep {clash[0]}: the result has a column {clash[0]!r} itself. Rename "
            "the column of the table."
        )
        raise ValueError(msg)
    columns |= dict.fromkeys(keep or (), str)
    if out is None:
        write_lines(data_stream(ERRORS[fmt]), fmt, columns, records)
    else:
        write_table(out, fmt, columns, records)


def _summary(found: Sequence[Any]) -> dict[str, Any]:
    from clapstack.scoring.tables import GroupedMean

    gain = GroupedMean()
    scored = [candidates for candidates in found if len(candidates.rows)]
    for candidates in scored:
        gain.add(candidates.prompt, candidates.gain)
    mean, low, high, *_ = gain.result()
    return {
        "prompts": len(found),
        "candidates": sum(len(c.rows) for c in found),
        "unscored": sum(c.n_unscored for c in found),
        "without_score": len(found) - len(scored),
        "ties": sum(c.n_tied > 1 for c in scored),
        "gain": mean,
        "gain_low": low,
        "gain_high": high,
    }


def _words(summary: dict[str, Any]) -> str:
    parts = [f"{summary['prompts']:,} prompts, {summary['candidates']:,} candidates"]
    if summary["without_score"]:
        plural = "s" if summary["without_score"] > 1 else ""
        parts.append(
            f"{summary['without_score']:,} prompt{plural} without any score (exit code "
            "1)"
        )
    if summary["ties"]:
        parts.append(f"{summary['ties']:,} with a tie for the best")
    scored = summary["prompts"] - summary["without_score"]
    if summary["candidates"] == scored:
        parts.append("one candidate per prompt, so there is nothing to choose")
    elif math.isfinite(summary["gain"]):
        gain = (
            f"the best candidate of a prompt scores {summary['gain']:.3f} more than a "
            "random one on average"
        )
        if math.isfinite(summary["gain_low"]):
            low, high = summary["gain_low"], summary["gain_high"]
            gain += f" (95 % interval {low:.3f} to {high:.3f})"
        parts.append(gain)
    return "; ".join(parts)
