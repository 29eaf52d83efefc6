"""Tables of results beside the published figures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from clapstack.datasets import load_xacle_ranking
from clapstack.systems import describe_system, list_systems

METRICS = ("srcc", "lcc", "ktau", "mse")

# Warnings about results, by the column that marks them.
WARNINGS = {
    "simulated": (
        "SIMULATED",
        "no human rated these pairs. The figures show that the system works and cannot "
        "be compared with published ones.",
    ),
    "bundled": (
        "TEST CHECKPOINTS",
        "the small bundled checkpoints know only the bundled sounds. Their results do "
        "not carry over to the published checkpoints.",
    ),
}

_DIFFERENCES = (
    "The best system by SRCC minus each other system on the same pairs; in brackets: "
    "95 % intervals of a paired bootstrap."
)


def read_record(path: Path) -> dict[str, Any]:
    """Read the record of a finished run; raise a ValueError if it is damaged."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        _ = record["identity"], record["splits"]
    except (KeyError, TypeError, ValueError) as error:
        msg = f"{path} is damaged ({error}). Delete it to compute its results again."
        raise ValueError(msg) from error
    return record


def read_results(out: Path) -> pd.DataFrame:
    """Return one row per finished system and rated split in a folder of results.

    Columns are ``system``, ``split``, ``n_train``, ``n_pairs``, each metric with
    ``_low`` and ``_high``, ``published_<metric>``, ``simulated`` and ``bundled``.
    """
    names = list_systems()
    rows = []
    for path in sorted(out.glob("*/record.json")):
        record = read_record(path)
        rows += [
            _row(record, split, outcome)
            for split, outcome in record["splits"].items()
            if outcome["report"] is not None
        ]
    names += [row["system"] for row in rows if row["system"] not in names]
    rows.sort(key=lambda row: (row["split"] == "probe", names.index(row["system"])))
    reports = [f"{metric}{end}" for metric in METRICS for end in ("", "_low", "_high")]
    columns = ["system", "split", "n_train", "n_pairs", *reports]
    columns += [f"published_{metric}" for metric in METRICS]
    return pd.DataFrame(rows, columns=[*columns, "simulated", "bundled"])


def format_results(
    results: pd.DataFrame, differences: pd.DataFrame | None = None
) -> str:
    """Return the results, and any differences, as a Markdown page."""
    lines = ["# Results\n", *warnings_of(results, "**{}**: {}\n")]
    lines.append(_results_table(results))
    lines.append(
        "\nIn brackets: 95 % bootstrap intervals. After the slash: the published "
        "figure, if there is one.\n"
    )
    if differences is not None and len(differences):
        names = ["best", "system", "split"]
        rows = [
            [*row[names], *(f"{row[m]:.4f} {interval_of(row, m)}" for m in METRICS)]
            for _, row in differences.iterrows()
        ]
        lines.append(f"## Differences\n\n{_DIFFERENCES}\n")
        lines.append(markdown([*names, *map(str.upper, METRICS)], rows) + "\n")
    return "\n".join(lines)


def results_text(results: pd.DataFrame, differences: pd.DataFrame) -> str:
    """Return results and differences as text, about 120 characters wide.

    Simulated rows and test checkpoints are marked.
    """
    published = results["published_srcc"]
    shown = results.assign(
        pairs=results["n_pairs"].map("{:,}".format),
        published=published.map("{:.4f}".format).where(published.notna(), ""),
        note=[
            ", ".join(mark for mark in WARNINGS if row[mark])
            for _, row in results.iterrows()
        ],
    )
    lines = warnings_of(results, "{}: {}")
    lines += [""] * bool(lines)
    lines += _text(shown, ["system", "split", "pairs"], ["published", "note"])
    lines.append("\nIn brackets: 95 % bootstrap intervals. Published: published SRCC.")
    if len(differences):
        lines += ["", _DIFFERENCES, *_text(differences, ["best", "system", "split"])]
    return "\n".join(lines)


def _text(
    table: pd.DataFrame, before: Sequence[str], after: Sequence[str] = ()
) -> list[str]:
    """Return the lines of a table, the intervals of its metrics below the figures."""
    rows = []
    for _, row in table.iterrows():
        figures = [f"{row[metric]:.4f}" for metric in METRICS]
        rows.append([*row[list(before)], *figures, *row[list(after)]])
        ends = [interval_of(row, metric) for metric in METRICS]
        rows.append([""] * len(before) + ends + [""] * len(after))
    header = [*before, *map(str.upper, METRICS), *after]
    left = ("best", "system", "split", "note")
    return ["  ".join(cells).rstrip() for cells in _aligned(header, rows, left)]


def warnings_of(results: pd.DataFrame, form: str) -> list[str]:
    """Return what to know of results before reading them, title and warning in form."""
    return [
        form.format(*words) for mark, words in WARNINGS.items() if results[mark].any()
    ]


def _results_table(results: pd.DataFrame) -> str:
    """Return the results as a Markdown table with all intervals."""
    header = ["system", "split", "pairs", *map(str.upper, METRICS)]
    rows = []
    for _, row in results.iterrows():
        marks = [name for name in ("simulated", "bundled") if row[name]]
        split = " ".join([row["split"], *(f"({mark})" for mark in marks)])
        cells = [row["system"], split, f"{row['n_train']:,} / {row['n_pairs']:,}"]
        rows.append([*cells, *(_cell(row, metric) for metric in METRICS)])
    return markdown(header, rows)


def place_in_ranking(results: pd.DataFrame) -> str:
    """Return the official ranking of 2026 with the rated test results in it.

    Simulated results are left out.
    """
    ranking = load_xacle_ranking()
    official = ranking.loc[ranking["kind"] == "official", "srcc"]
    rows = [
        (
            row["srcc"],
            [
                "" if pd.isna(row["rank"]) else str(row["rank"]),
                row["system"],
                *(f"{row[metric]:.4f}" for metric in METRICS),
                row["kind"],
            ],
        )
        for _, row in ranking.iterrows()
    ]
    ours = results[(results["split"] == "test") & ~results["simulated"].astype(bool)]
    for _, row in ours.iterrows():
        would = 1 + int((official > row["srcc"]).sum())
        cells = [f"{row[metric]:.4f}" for metric in METRICS]
        note = f"this run, would rank {would}" + ", test checkpoints" * row["bundled"]
        rows.append((row["srcc"], ["", f"**{row['system']}**", *cells, note]))
    rows.sort(key=lambda pair: -pair[0])
    header = ["rank", "system", *map(str.upper, METRICS), ""]
    return markdown(header, [cells for _, cells in rows])


def _row(record: Mapping[str, Any], split: str, outcome: Mapping[str, Any]) -> dict:
    name = record["identity"]["system"]
    known = name in list_systems()  # and not a custom system
    published = describe_system(name).published.get(split) if known else None
    figures = {} if published is None else published._asdict()
    return {
        "system": name,
        "split": split,
        "n_train": record["n_train"],
        "n_pairs": outcome["n_pairs"],
        **outcome["report"],
        **{f"published_{metric}": value for metric, value in figures.items()},
        "simulated": record["simulated"],
        "bundled": any(
            checkpoint.startswith("bundled:")
            for checkpoint in record["checkpoints"].values()
        ),
    }


def _cell(row: pd.Series, metric: str) -> str:
    cell = f"{row[metric]:.4f} {interval_of(row, metric)}"
    published = row[f"published_{metric}"]
    return cell if pd.isna(published) else f"{cell} / {published:.4f}"


def interval_of(row: pd.Series, metric: str) -> str:
    return f"[{row[f'{metric}_low']:.3f}, {row[f'{metric}_high']:.3f}]"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    names, *cells = _aligned(header, rows, left=header)
    lines = [names, ["-" * len(name) for name in names], *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _aligned(
    header: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[str]
) -> list[list[str]]:
    """Return header and rows padded to equal width; only `left` is left-aligned."""
    columns = []
    for name, *cells in zip(header, *rows, strict=True):
        width = max(map(len, (name, *cells)))
        align = str.ljust if name in left else str.rjust
        columns.append([align(cell, width) for cell in (name, *cells)])
    return [list(line) for line in zip(*columns, strict=True)]
