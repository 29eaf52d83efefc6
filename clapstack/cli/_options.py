"""Options that several commands have."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from clapstack.cli._terminal import one_line
from clapstack.exceptions import BadPair, BadRowsError

AudioFolder = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        file_okay=False,
        help="What relative paths of clips are relative to. Without it: the folder of "
        "the table, or the current folder for standard input.",
    ),
]
Prompts = Annotated[
    Path | None,
    typer.Option(
        help="Texts of a folder of clips, by the names of the clips: JSON such as "
        '{"dog": "a dog barks"}, or a table with the columns id and text.',
    ),
]
AudioColumn = Annotated[
    str | None,
    typer.Option(help="Column of clips. Usually: audio, wav_file_name."),
]
TextColumn = Annotated[
    str | None, typer.Option(help="Column of texts. Usually: text, caption.")
]
ScoreColumn = Annotated[
    list[str] | None,
    typer.Option(
        "--score-column",
        "--rating",
        help="Column of ratings. Usually: score, average_score. Given repeatedly, each "
        "is an axis that is predicted by itself; a cell may be empty then.",
    ),
]
InputFormat = Annotated[
    str | None,
    typer.Option(help="Input format (csv, jsonl or parquet); overrides the suffix."),
]
Device = Annotated[
    str | None,
    typer.Option(
        help="Where encoders run, such as cpu or cuda:0. Without it: what a model "
        "says, or else a GPU where there is one."
    ),
]
BatchSize = Annotated[
    int | None, typer.Option(min=1, help="Clips or texts in one forward pass.")
]
Checkpoints = Annotated[
    str,
    typer.Option(
        help="published (from the hub or its cache) or bundled (mini ones, offline; "
        "they know the bundled sounds only)."
    ),
]
Checkpoint = Annotated[
    list[str] | None,
    typer.Option(
        "--checkpoint",
        metavar="FAMILY=PATH",
        help="Weights of one family: a path, or a hub id. May be given repeatedly.",
    ),
]
Family = Annotated[
    list[str] | None,
    typer.Option(
        "--family",
        metavar="NAME[=CHECKPOINT]",
        help="An encoder: one of clapstack checkpoints by its name, or any checkpoint "
        "(path or hub id) under a name of your own; its kind is found in its files. "
        "May be given repeatedly. Without it: the three CLAP models of the stack.",
    ),
]
Bundled = Annotated[
    bool, typer.Option("--bundled", help="Mini checkpoints; they know few sounds.")
]
AllowOverlap = Annotated[
    bool,
    typer.Option("--allow-overlap", help="Go on if training pairs are held out."),
]
Picture = Annotated[
    Path | None, typer.Option(dir_okay=False, help="Picture to draw, an SVG file.")
]
Unsupervised = Annotated[
    bool,
    typer.Option(
        "--unsupervised",
        help="Without a model or any ratings: the mean of the encoders' cosines, each "
        "standardised over the table. Such a score ranks the pairs of one table and "
        "has no scale.",
    ),
]
Events = Annotated[
    bool,
    typer.Option(
        "--events",
        help="With --unsupervised: also how surely the weakest part of a text is "
        "heard, and whether a claimed order is another.",
    ),
]
Keep = Annotated[
    list[str] | None,
    typer.Option(
        help="A column of the table that the result is to have too. May be given "
        "repeatedly."
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print the result as one JSON object.")
]
Quiet = Annotated[
    bool, typer.Option("--quiet", help="No progress bars, no remarks; errors only.")
]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust",
        help="MODEL may be a file of joblib, which runs what is in it when it is "
        "loaded, and you trust it.",
    ),
]
TrustEncoder = Annotated[
    list[str] | None,
    typer.Option(
        "--trust-encoder",
        metavar="MODULE:CLASS",
        help="A class of your own that the model holds, such as an encoder: its code "
        "is imported and run. The module must be installed, or on PYTHONPATH. May be "
        "given repeatedly.",
    ),
]
Coverage = Annotated[
    float,
    typer.Option(
        min=0.01, max=0.999, help="Nominal coverage of the prediction intervals."
    ),
]

Resamples = Annotated[
    int,
    typer.Option(min=0, help="Bootstrap resamples of the metrics; 0 for no intervals."),
]
SkipBad = Annotated[
    bool,
    typer.Option(
        "--skip-bad",
        help="Leave out rows that cannot be used, and name them, rather than stop.",
    ),
]


def chosen_checkpoints(
    checkpoints: str, checkpoint: list[str] | None
) -> str | dict[str, str | None]:
    """Return what systems take, from ``--checkpoints`` and ``--checkpoint``."""
    if checkpoints not in ("published", "bundled"):
        msg = (
            f"it is published or bundled; got {checkpoints!r}. Give weights of your "
            "own with --checkpoint FAMILY=PATH."
        )
        raise typer.BadParameter(msg, param_hint="--checkpoints")
    if not checkpoint:
        return checkpoints
    from clapstack.systems import bundled_checkpoints

    given = by_name(checkpoint, "--checkpoint", "FAMILY=PATH")
    return bundled_checkpoints(given) if checkpoints == "bundled" else given


def by_name(
    given: Iterable[str] | None, option: str, form: str = "NAME or NAME=CHECKPOINT"
) -> dict[str, str | None]:
    """Return what an option of this form has, in order; None where a name is alone."""
    places: dict[str, str | None] = {}
    for each in given or ():
        name, equals, place = each.partition("=")
        is_whole = place or (not equals and "NAME or" in form)
        if not (name and is_whole) or "/" in name:  # no name, but what belongs behind =
            msg = f"it is {form}; got {each!r}."
            raise typer.BadParameter(msg, param_hint=option)
        if name in places:
            msg = f"each name once; got {name} again with {each!r}."
            raise typer.BadParameter(msg, param_hint=option)
        places[name] = place or None
    return places


def several_axes(columns: Sequence[str] | None) -> tuple[str, ...]:
    """Return the columns of ``--score-column`` if they are several, else none."""
    axes = tuple(columns or ())
    if len(set(axes)) < len(axes):
        msg = f"each column once; got {', '.join(axes)}."
        raise typer.BadParameter(msg, param_hint="--score-column")
    return axes if len(axes) > 1 else ()


def axes_to_judge(
    columns: Sequence[str] | None, predicted: Sequence[str]
) -> tuple[str, ...]:
    """Return which axes of a model are judged: those of ``--score-column``, or all.

    None where the model, whose axes are `predicted`, has one without a name.
    """
    several = several_axes(columns)
    if not predicted:
        if several:
            msg = f"the model predicts one score; give one column, not {len(several)}."
            raise typer.BadParameter(msg, param_hint="--score-column")
        return ()
    unknown = [name for name in columns or () if name not in predicted]
    if unknown:
        msg = (
            f"the model predicts {', '.join(predicted)}, not {', '.join(unknown)}. "
            "Name the columns of the table after what is predicted."
        )
        raise typer.BadParameter(msg, param_hint="--score-column")
    return tuple(columns or predicted)


def chosen_families(family: list[str] | None) -> dict[str, str | None]:
    """Return checkpoints by name, or None, as ``make_clap_stack`` takes them."""
    from clapstack.systems import CLAP_FAMILIES

    return by_name(family or CLAP_FAMILIES, "--family")


def check_picture(picture: Path | None) -> None:
    """Refuse a picture of another format than the one that is drawn."""
    if picture is not None and picture.suffix.lower() != ".svg":
        msg = f"its name must end in .svg; got {str(picture)!r}."
        raise typer.BadParameter(msg, param_hint="--picture")


def checked_format(fmt: str | None, option: str, *known: str) -> str | None:
    """Return a format that was given, if it is one."""
    if fmt is not None and fmt not in known:
        msg = f"it is {' or '.join(known)}; got {fmt!r}."
        raise typer.BadParameter(msg, param_hint=option)
    return fmt


def name_bad(bad: Iterable[BadPair], command: str) -> None:
    """Name rows that were left out, one a line, on standard error."""
    for row in bad:
        typer.echo(
            f"clapstack {command}: "
            + one_line(
                f"row {row.index}{row.source and f', {row.source}'}: {row.reason}"
            ),
            err=True,
        )


def finite_or_empty(cell: Any, role: str, where: str) -> float:
    """Return the number in a cell, NaN if it is empty; refuse any other."""
    from clapstack.tables import to_number

    number = to_number(cell)
    if math.isnan(number) and cell is not None and str(cell).strip():
        msg = (
            f"{where}: the {role} {cell!r} is no finite number. Correct it, or leave "
            "the cell empty."
        )
        raise BadRowsError(msg)
    return number


def print_json(result: Any) -> None:
    """Print a result for programs; numbers that JSON does not have are null."""
    typer.echo(json.dumps(_finite_json(result), allow_nan=False))


def _finite_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite_json(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite_json(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
