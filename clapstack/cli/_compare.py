"""``clapstack compare``."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from clapstack._output import check_output, write_bytes
from clapstack.cli import _options as options
from clapstack.cli._errors import errors_as_messages
from clapstack.cli._terminal import one_line
from clapstack.exceptions import BadRowsError

__all__ = ["compare"]

EPILOG = """\
\b
Examples:
  clapstack compare v1.csv v2.csv
  clapstack compare scores.csv --by system
  clapstack compare scores.csv --by system --rating mos --picture systems.svg
  clapstack compare v1.csv v2.csv --prompt-column id --json

Tables have one row per clip with its prompt (text) and its score, as clapstack score
writes them. Each table is one system, or --by names the column of systems. Clips are
compared for the same prompt, and every prompt counts once, however many clips it has.

A difference is the mean of the first system minus the mean of the second, over the
prompts that both have. "p better" is the probability that a clip of the first scores
higher than a clip of the second for the same prompt. "p adjusted" is corrected for the
number of comparisons (Holm). The last line states the conclusion at the 5 % level.

Clips without a score are left out and counted. The exit code is 0 whichever system is
better.
"""


_LEGEND = """\
difference: mean of the first system minus mean of the second, over shared prompts
p better: probability that a clip of the first scores higher for the same prompt
p adjusted: p value corrected for the number of comparisons (Holm)"""


def compare(
    tables: Annotated[
        list[str],
        typer.Argument(
            metavar="TABLES...",
            help="CSV, JSON Lines or Parquet tables of scored clips (- for standard "
            "input).",
        ),
    ],
    by: Annotated[
        str | None,
        typer.Option(
            metavar=options.COLUMN, help="Column with the system that made each clip."
        ),
    ] = None,
    prompt_column: options.PromptColumn = None,
    score_column: options.ScoreColumn = None,
    rating: Annotated[
        str | None,
        typer.Option(
            metavar=options.COLUMN,
            help="Column of human ratings, empty where a clip has none: also report "
            "how well the systems' mean scores agree with them.",
        ),
    ] = None,
    picture: options.Picture = None,
    input_format: options.InputFormat = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Compare systems by their clips' scores for the same prompts."""
    options.checked_input(input_format)
    if by is None and len(tables) < 2:
        msg = "give two or more tables, one per system, or --by with one table."
        raise typer.BadParameter(msg, param_hint="TABLES")
    if len({os.path.realpath(table) for table in tables}) < len(tables):
        msg = "each table can be given once."
        raise typer.BadParameter(msg, param_hint="TABLES")
    with errors_as_messages("clapstack compare"):
        from clapstack._numerics.checks import first_few
        from clapstack.metrics import compare_systems

        if picture is not None:
            check_output(picture, *tables)
            options.check_picture(picture, "compare")
        columns = {"text": prompt_column, "score": score_column, "rating": rating}
        clips = _read(tables, {**columns, "system": by}, input_format)
        scored = [clip for clip in clips if not math.isnan(clip["score"])]
        unscored = {c["system"] for c in clips} - {c["system"] for c in scored}
        if unscored:
            names = first_few(sorted(unscored))
            msg = f"no clip of {names} has a score. Run clapstack score on them first."
            raise BadRowsError(msg)
        of = {name: [clip[name] for clip in scored] for name in scored[0]}
        result = compare_systems(
            of["score"],
            system=of["system"],
            prompt=of["text"],
            ratings=of.get("rating"),
        )
        n_unscored = len(clips) - len(scored)
        if json:
            options.print_json(_record(result, n_unscored))
        else:
            parts = [*_tables(result), one_line(result.verdict())]
            parts[-1:-1] = [_LEGEND] * (len(result.differences) > 0)
            typer.echo("\n\n".join(parts))
        if picture is not None:
            # Last, so that the numbers are printed even if it fails.
            from clapstack.inspection import SystemsDisplay

            write_bytes(picture, SystemsDisplay(result=result).to_svg())
        if n_unscored and not quiet:
            lost = Counter(c["system"] for c in clips if math.isnan(c["score"]))
            counts = [f"{name}: {n:,}" for name, n in lost.most_common()]
            words = (
                f"left out {n_unscored:,} of {len(clips):,} clips without a score "
                f"({first_few(counts)}); "
                "they do not count against a system"
            )
            typer.echo(f"clapstack compare: {one_line(words)}", err=True)


def _read(
    tables: Sequence[str], columns: dict[str, str | None], fmt: str | None
) -> list[dict[str, Any]]:
    """Return the system, text, score and optional rating of every clip."""
    from clapstack.pairs import group_identity
    from clapstack.scoring.tables import PairTable

    roles = ["text", "score", *(r for r in ("system", "rating") if columns[r])]
    names = _system_names(tables)
    clips = []
    for source in tables:
        table = PairTable(
            source,
            fmt=fmt,
            names=columns,
            roles=roles,
            remedy="Name it with --prompt-column, --score-column, --by or --rating; "
            "clapstack score writes a table with scores, and copies other columns, "
            "such as the system, with --keep",
        )
        if len(tables) > 1:
            _check_scale(table, columns["score"])
        for row in table.rows():
            where = f"{table.name}, row {row.number}"
            clip: dict[str, Any] = {"system": names[source]}
            for role, cell in {"text": row.text, **row.cells}.items():
                if role in ("score", "rating"):
                    clip[role] = options.finite_or_empty(cell, role, where)
                elif (identity := group_identity(cell)) is not None:
                    clip[role] = identity
                else:
                    what = "prompt" if role == "text" else role
                    msg = f"{where}: the {what} is empty. Fill it in or drop the row."
                    raise BadRowsError(msg)
            clips.append(clip)
    return clips


def _check_scale(table: Any, score: str | None) -> None:
    """Refuse scores without ratings, whose mean is zero in every table."""
    cosines = [name for name in table.header if name.endswith("_cosine")]
    if cosines and score in (None, "score"):
        msg = (
            f"{table.name} was scored without ratings (it has the column "
            f"{cosines[0]!r}). Such scores are standardised within their own table and "
            "cannot be compared with those of another. Score the clips of all systems "
            "in one table, with a column of systems, and pass that column with --by."
        )
        raise BadRowsError(msg)


def _system_names(tables: Sequence[str]) -> dict[str, str]:
    """Return file names without suffix, or whole paths if two would be the same."""
    stems = {source: Path(source.removesuffix(".gz")).stem for source in tables}
    return stems if len(set(stems.values())) == len(stems) else {t: t for t in tables}


def _record(result: Any, n_unscored: int) -> dict[str, Any]:
    """Return the result as a JSON object."""
    record: dict[str, Any] = {"verdict": result.verdict(), "unscored": n_unscored}
    for name, table in result._asdict().items():
        if table is not None:
            rows = table.astype(object).where(table.notna(), None).reset_index()
            record[name] = rows.to_dict("records")
    return record


def _tables(result: Any) -> list[str]:
    """Return the tables of a result as text, the best system first."""
    means, differences, agreement = result
    shown = [means.sort_values("mean", ascending=False, kind="stable"), differences]
    if agreement is not None:
        shown.append(agreement)
    texts = []
    for table in shown:
        ends = zip(table["low"], table["high"], strict=True)
        words = ["" if math.isnan(a) else f"{a:.3f} to {b:.3f}" for a, b in ends]
        table = table.assign(low=words).drop(columns="high")
        names = {name: name.removeprefix("n_").replace("_", " ") for name in table}
        table = table.rename(columns={**names, "low": "95 % interval"})
        cells = table.reset_index().apply(lambda column: column.map(_cell))
        texts.append(_aligned([list(cells), *cells.to_numpy().tolist()]))
    return texts


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as text, with two blanks between columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))
        for row in rows
    )
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        small = 0 < abs(value) < 0.001
        return "" if math.isnan(value) else f"{value:.1e}" if small else f"{value:.3f}"
    return one_line(value)
