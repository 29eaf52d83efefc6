"""``clapstack probe``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from clapstack._output import check_output, write_bytes
from clapstack.cli import _options as options
from clapstack.cli._errors import errors_as_messages
from clapstack.cli._scorers import check_unsupervised, load, unsupervised_scorer

__all__ = ["probe"]

EPILOG = """\
\b
Examples:
  clapstack probe model.clapstack clips.csv
  clapstack probe model.clapstack clips.csv --edit swap --edit drop --json
  clapstack probe --unsupervised --events clips.csv --picture probe.svg
  clapstack probe model.clapstack clips/ --prompts prompts.json
  clapstack probe --unsupervised --family laion_unfused=bundled:laion-unfused clips.csv

Captions and clips of the table are edited; printed is how their scores respond. A good
scorer falls where the meaning is another, and stays where only the wording is.

\b
meaning  swap        the claimed order reversed
         drop        a clause left out
         add         a clause of another caption beside the others
         replace     a clause of another caption in place of one
         negate      a clause with "no"
wording  reword      the clauses joined by "and" and "then"; what the five above are
                     compared with
         case        upper case
         whitespace  doubled
clip     noise       white, 10 dB below the clip
         level       20 dB quieter
         truncation  the first half

pairs is to how many pairs the edit applies; change is the mean change of the score, and
in SD that in standard deviations of the table's scores; falls is the share of pairs
whose score falls. Intervals of 95 % take pairs of one text, or of one clip, for one
draw.
"""


def probe(
    what: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL TABLE",
            help="A model of clapstack fit (or save_model), and a CSV, JSON Lines or "
            "Parquet table, - for standard input; best one whose captions are right. "
            "With --unsupervised: the table alone.",
            show_default=False,
        ),
    ],
    edit: Annotated[
        list[str] | None,
        typer.Option("--edit", help="An edit, repeatedly. Without it: all."),
    ] = None,
    unsupervised: options.Unsupervised = False,
    family: options.Family = None,
    events: options.Events = False,
    checkpoints: options.Checkpoints = "published",
    checkpoint: options.Checkpoint = None,
    audio_folder: options.AudioFolder = None,
    prompts: options.Prompts = None,
    audio_column: options.AudioColumn = None,
    text_column: options.TextColumn = None,
    input_format: options.InputFormat = None,
    random_state: Annotated[
        int, typer.Option(min=0, help="Seed of the clauses and the noise.")
    ] = 0,
    picture: options.Picture = None,
    skip_bad: options.SkipBad = False,
    device: options.Device = None,
    batch_size: options.BatchSize = None,
    trust: options.Trust = False,
    trust_encoder: options.TrustEncoder = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """See what a scorer responds to: order, missing sounds, wording, noise."""
    if len(what) != (1 if unsupervised else 2):
        given = "one table" if unsupervised else "MODEL TABLE"
        msg = f"give {given}; got {len(what)} arguments."
        raise typer.BadParameter(msg)
    options.checked_format(input_format, "--input-format", "csv", "jsonl", "parquet")
    options.check_picture(picture)
    chosen = options.chosen_checkpoints(checkpoints, checkpoint)
    families = options.chosen_families(family)
    check_unsupervised(
        unsupervised, events=events, family=family, checkpoints=checkpoints
    )
    moved = options.by_name(checkpoint, "--checkpoint", "FAMILY=PATH")
    encoding: dict[str, Any] = {"device": device, "batch_size": batch_size}
    with errors_as_messages("clapstack probe"):
        from clapstack.scoring.tables import (
            EDITS,
            ModelScorer,
            PairTable,
            probe_table,
        )

        unknown = [name for name in edit or () if name not in EDITS]
        if unknown or len(set(edit or ())) < len(edit or ()):
            msg = f"each once, of {', '.join(EDITS)}; got {', '.join(edit or ())}."
            raise typer.BadParameter(msg, param_hint="--edit")
        pairs = PairTable(
            what[-1],
            prompts,
            fmt=input_format,
            audio_folder=audio_folder,
            names={"audio": audio_column, "text": text_column},
        )
        pairs.check()
        if picture is not None:
            check_output(picture, *what, *filter(None, [prompts]))
        if unsupervised:
            scorer = unsupervised_scorer(chosen, families, encoding, events)
        else:
            trusting = {"trust": trust, "trust_encoders": trust_encoder}
            model = load(Path(what[0]), trusting, checkpoints=moved, **encoding)
            scorer = ModelScorer(model, "", None)
        if picture is not None and len(scorer.axes) > 1:
            msg = f"the model predicts {', '.join(scorer.axes)}; one axis can be drawn."
            raise typer.BadParameter(msg, param_hint="--picture")
        probed, bad = probe_table(
            pairs,
            scorer,
            edit or EDITS,
            random_state=random_state,
            skip_bad=skip_bad,
            verbose=not quiet,
        )
        options.name_bad(bad, "probe")
        if json:
            lines = probed.to_dict("records")
            options.print_json({"left_out": len(bad), "edits": lines})
        else:
            typer.echo("\n".join(_lines(probed.to_dict("records"))))
        if picture is not None:  # last, so that the numbers are out if it fails
            from clapstack.inspection import ProbeDisplay

            write_bytes(picture, ProbeDisplay(probed=probed).to_svg())


def _lines(lines: list[dict[Any, Any]]) -> list[str]:
    """Return a table to read; numbers that there are none of are dashes."""
    names = [": ".join([*filter(None, [o.get("axis")]), o["edit"]]) for o in lines]
    width = max(map(len, names))
    titles = ("pairs", "change", "95 % interval", "in SD", "falls", "95 % interval")
    shown = ["{:{}} {:>6} {:>8}  {:^18} {:>6} {:>6}  {}".format("", width, *titles)]
    for name, line in zip(names, lines, strict=True):
        change, low, high = (_cell(line[k], "+.3f") for k in ("change", "low", "high"))
        shares = ("falls", "falls_low", "falls_high")
        share, least, most = (_cell(100 * line[k], ".0f", " %") for k in shares)
        shown.append(
            f"{name:{width}} {line['n_pairs']:6} {change:>8}  {low:>7} to {high:>7} "
            f"{_cell(line['change_sd'], '+.2f'):>6} {share:>6}  {least} to {most}"
        )
    return shown


def _cell(value: float, form: str, unit: str = "") -> str:
    return "–" if math.isnan(value) else f"{value:{form}}{unit}"
