"""Options that several commands share, and checks of their values."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from clapstack._numerics.suggestions import did_you_mean
from clapstack._optional import import_optional
from clapstack.cli._terminal import one_line
from clapstack.exceptions import BadPair, BadRowsError

# One word for each kind of value.
FILE, FOLDER, COLUMN, NUMBER = "FILE", "FOLDER", "COLUMN", "N"
TABLE_FORMATS = ("csv", "jsonl", "parquet")

AudioFolder = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        file_okay=False,
        metavar=FOLDER,
        help="Folder that relative audio paths start from. Default: the folder of the "
        "table; the current folder for standard input.",
    ),
]
Prompts = Annotated[
    Path | None,
    typer.Option(
        metavar=FILE,
        help="Texts for a folder of clips, by clip name: JSON such as "
        '{"dog": "a dog barks"}, or a table with the columns id and text.',
    ),
]
AudioColumn = Annotated[
    str | None,
    typer.Option(
        metavar=COLUMN, help="Column of audio paths. Default: audio, or wav_file_name."
    ),
]
TextColumn = Annotated[
    str | None,
    typer.Option(metavar=COLUMN, help="Column of texts. Default: text, or caption."),
]
PromptColumn = Annotated[
    str | None,
    typer.Option(
        metavar=COLUMN,
        help="Column with the prompt that several clips share. Default: text.",
    ),
]
RatingColumn = Annotated[
    list[str] | None,
    typer.Option(
        "--score-column",
        "--rating",
        metavar=COLUMN,
        help="Column of ratings. Default: score, or average_score. Repeat it for "
        "several rating axes; each gets its own prediction, and cells may then be "
        "empty.",
    ),
]
ScoreColumn = Annotated[
    str | None,
    typer.Option(metavar=COLUMN, help="Column of scores. Default: score."),
]
InputFormat = Annotated[
    str | None,
    typer.Option(
        metavar="FORMAT",
        help="Input format (csv, jsonl or parquet); overrides the file extension.",
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        metavar="DEVICE",
        help="Device for the encoders, such as cpu or cuda:0. Default: the device "
        "saved in the model, if any; otherwise a GPU if available, else the CPU.",
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(min=1, metavar=NUMBER, help="Clips or texts per forward pass."),
]
Checkpoints = Annotated[
    str,
    typer.Option(
        metavar="SET",
        help="published (weights from the Hugging Face hub or its cache) or bundled "
        "(small test checkpoints; offline, but they know only the bundled sounds).",
    ),
]
Checkpoint = Annotated[
    list[str] | None,
    typer.Option(
        "--checkpoint",
        metavar="FAMILY=PATH",
        help="Weights of one encoder family: a path or a hub id. Repeatable.",
    ),
]
# The former spelling of --checkpoints bundled.
Bundled = Annotated[bool, typer.Option("--bundled", hidden=True)]


def _family(default: str) -> Any:
    return typer.Option(
        "--family",
        metavar="NAME[=CHECKPOINT]",
        help="Encoder to use: a name that clapstack checkpoints lists, or a new name "
        "with any checkpoint (path or hub id), whose type is detected from its files. "
        f"Repeatable. Default: {default}.",
    )


Family = Annotated[list[str] | None, _family("the three CLAP models of the paper")]
StackFamily = Annotated[
    list[str] | None, _family("none; those given form one custom stack")
]
EncoderFamily = Annotated[
    list[str] | None, _family("every published encoder found on this machine")
]
AllowOverlap = Annotated[
    bool,
    typer.Option(
        "--allow-overlap", help="Accept held-out pairs that are also training pairs."
    ),
]
Picture = Annotated[
    Path | None,
    typer.Option(dir_okay=False, metavar=FILE, help="Also draw the result as SVG."),
]
Unsupervised = Annotated[
    bool,
    typer.Option(
        "--unsupervised",
        help="Score without a model or ratings: the mean of the encoders' cosine "
        "similarities, each standardised over the table. Such scores only rank the "
        "pairs of one table; they have no scale.",
    ),
]
Events = Annotated[
    bool,
    typer.Option(
        "--events",
        help="With --unsupervised: also score how clearly the weakest part of each "
        "text is detected, and whether a stated order is wrong.",
    ),
]
Keep = Annotated[
    list[str] | None,
    typer.Option(
        metavar=COLUMN, help="Input column to copy to the output. Repeatable."
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out", "-o", metavar=FILE, help="Output file. Default: standard output."
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print the result as one JSON object.")
]
Quiet = Annotated[
    bool, typer.Option("--quiet", help="Show errors only: no progress bars or remarks.")
]
RandomState = Annotated[int, typer.Option(min=0, metavar=NUMBER, help="Random seed.")]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust",
        help="Also load a model from a joblib file. Loading such a file runs the code "
        "in it, so use this only for files you trust.",
    ),
]
TrustEncoder = Annotated[
    list[str] | None,
    typer.Option(
        "--trust-encoder",
        metavar="MODULE:CLASS",
        help="Custom class that the model contains, such as your own encoder: its "
        "module is imported and its code runs. The module must be installed or on "
        "PYTHONPATH. Repeatable.",
    ),
]
Coverage = Annotated[
    float,
    typer.Option(
        min=0.01,
        max=0.999,
        metavar="SHARE",
        help="Nominal coverage of the prediction intervals.",
    ),
]

Resamples = Annotated[
    int,
    typer.Option(
        min=0,
        metavar=NUMBER,
        help="Bootstrap resamples for the metrics' intervals; 0 for no intervals.",
    ),
]
SkipBad = Annotated[
    bool,
    typer.Option(
        "--skip-bad",
        help="Leave out unusable rows and name each of them, instead of stopping.",
    ),
]

# Types of torch devices; torch itself takes seconds to import.
_DEVICES = ("cpu", "cuda", "mps", "xpu", "hpu", "npu", "mtia", "xla")


def checked(value: str | None, option: str, known: Sequence[str]) -> str | None:
    """Return a value of a closed list, or None; refuse any other."""
    if value is not None and value not in known:
        guess = did_you_mean(value, known)
        msg = f"{value!r} is not one of {', '.join(known)}.{guess}"
        raise typer.BadParameter(msg, param_hint=option)
    return value


def checked_input(fmt: str | None, device: str | None = None) -> None:
    """Refuse an unknown ``--input-format`` or ``--device``."""
    checked(fmt, "--input-format", TABLE_FORMATS)
    if device is not None and device.partition(":")[0] not in _DEVICES:
        guess = did_you_mean(device, _DEVICES)
        msg = f"{device!r} is not a device. Use cpu, cuda, cuda:1 or mps, for example."
        raise typer.BadParameter(msg + guess, param_hint="--device")


def chosen_checkpoints(
    checkpoints: str,
    checkpoint: list[str] | None,
    without: Sequence[str] = (),
    *,
    are_own: bool = False,
) -> str | dict[str, str | None]:
    """Return the checkpoints for a system, from the options of the command.

    Families of a fitted model have names of their own (`are_own`); others are
    checked. `without` names families to leave out.
    """
    checked(checkpoints, "--checkpoints", ("published", "bundled"))
    given = by_name(checkpoint, "--checkpoint", "FAMILY=PATH")
    if not are_own:
        _check_families(given, "--checkpoint")
    _check_families(without, "--without")
    given |= dict.fromkeys(without)
    if not given:
        return checkpoints
    from clapstack.systems import bundled_checkpoints

    return bundled_checkpoints(given) if checkpoints == "bundled" else given


def checked_systems(names: Sequence[str] | None, option: str = "--system") -> None:
    """Refuse names of systems that do not exist."""
    from clapstack.systems import list_systems

    for name in names or ():
        if name not in list_systems():
            guess = did_you_mean(name, list_systems())
            msg = f"there is no system {name!r}.{guess} clapstack xacle systems "
            msg += "lists all of them."
            raise typer.BadParameter(msg, param_hint=option)


def _check_families(names: Iterable[str], option: str) -> None:
    from clapstack.systems import FAMILIES

    for name in names:
        if name not in FAMILIES:
            guess = did_you_mean(name, FAMILIES)
            msg = f"there is no encoder family {name!r}.{guess} clapstack checkpoints "
            msg += "lists all names."
            if option == "--family":
                msg += " To use another encoder, give NAME=CHECKPOINT."
            raise typer.BadParameter(msg, param_hint=option)


def by_name(
    given: Iterable[str] | None, option: str, form: str = "NAME or NAME=CHECKPOINT"
) -> dict[str, str | None]:
    """Return the values of such an option by name; None for a name alone."""
    places: dict[str, str | None] = {}
    for each in given or ():
        name, equals, place = each.partition("=")
        is_whole = place or (not equals and "NAME or" in form)
        if not (name and is_whole) or "/" in name:  # a checkpoint without its name
            msg = f"it must have the form {form}; got {each!r}."
            if each in ("bundled", "published"):
                msg += f" Did you mean --checkpoints {each}?"
            raise typer.BadParameter(msg, param_hint=option)
        if name in places:
            msg = f"each name can be given once; got {name} again with {each!r}."
            raise typer.BadParameter(msg, param_hint=option)
        # Known at once, where loading a checkpoint first imports torch.
        local = place.startswith(("/", "./", "../", "~"))
        if local and not os.path.exists(os.path.expanduser(place)):
            msg = f"there is no file or folder {place!r} for {name}. Check the path."
            raise typer.BadParameter(msg, param_hint=option)
        places[name] = place or None
    return places


def several_axes(columns: Sequence[str] | None) -> tuple[str, ...]:
    """Return the columns of ``--score-column`` if there are several, else none."""
    axes = tuple(columns or ())
    if len(set(axes)) < len(axes):
        msg = f"each column can be given once; got {', '.join(axes)}."
        raise typer.BadParameter(msg, param_hint="--score-column")
    return axes if len(axes) > 1 else ()


def axes_to_judge(
    columns: Sequence[str] | None, predicted: Sequence[str]
) -> tuple[str, ...]:
    """Return the axes to evaluate: those of ``--score-column``, or all `predicted`.

    Empty for a model of a single, unnamed score.
    """
    several = several_axes(columns)
    if not predicted:
        if several:
            msg = (
                f"the model predicts a single score; give one column, not "
                f"{len(several)}."
            )
            raise typer.BadParameter(msg, param_hint="--score-column")
        return ()
    unknown = [name for name in columns or () if name not in predicted]
    if unknown:
        msg = (
            f"the model predicts {', '.join(predicted)}, not {', '.join(unknown)}."
            f"{did_you_mean(unknown[0], predicted)} The rating columns of the table "
            "must have the names of the predicted axes."
        )
        raise typer.BadParameter(msg, param_hint="--score-column")
    return tuple(columns or predicted)


def chosen_families(family: list[str] | None) -> dict[str, str | None]:
    """Return ``--family`` as `make_clap_stack` accepts it: checkpoints by name."""
    from clapstack.systems import CLAP_FAMILIES

    return checked_families(family) or dict.fromkeys(CLAP_FAMILIES)


def checked_families(family: list[str] | None) -> dict[str, str | None]:
    """Return the checkpoints of ``--family`` by name; refuse unknown names alone."""
    chosen = by_name(family, "--family")
    _check_families([name for name, at in chosen.items() if at is None], "--family")
    return chosen


def check_picture(picture: Path | None, command: str) -> None:
    """Refuse a picture in a format other than SVG, or without matplotlib."""
    if picture is not None and picture.suffix.lower() != ".svg":
        msg = f"the name must end in .svg; got {str(picture)!r}."
        raise typer.BadParameter(msg, param_hint="--picture")
    if picture is not None:
        caller = f"clapstack {command} --picture"
        import_optional("matplotlib", extra="plot", caller=caller)


def name_bad(bad: Iterable[BadPair], command: str) -> None:
    """Name rows that were left out on standard error, one per line."""
    for row in bad:
        typer.echo(
            f"clapstack {command}: "
            + one_line(
                f"row {row.index}{row.source and f', {row.source}'}: {row.reason}"
            ),
            err=True,
        )


def finite_or_empty(cell: Any, role: str, where: str) -> float:
    """Return the finite number in a cell, or NaN for an empty cell."""
    from clapstack.tables import to_number

    number = to_number(cell)
    if math.isnan(number) and cell is not None and str(cell).strip():
        msg = (
            f"{where}: the {role} {cell!r} is not a finite number. Correct it, or "
            "leave the cell empty."
        )
        if re.fullmatch(r"\s*-?\d+,\d+\s*", str(cell)):
            msg += " Use a decimal point."
        raise BadRowsError(msg)
    return number


def print_json(result: Any) -> None:
    """Print a result as JSON; NaN and infinities become null."""
    typer.echo(json.dumps(_finite_json(result), allow_nan=False))


def _finite_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite_json(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite_json(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
