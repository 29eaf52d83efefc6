"""``clapstack probe``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from clapstack._output import check_output, write_bytes
from clapstack.cli import _options as options
from clapstack.cli._errors import errors_as_messages
from clapstack.cli._scorers import (
    check_model_and_table,
    check_unsupervised,
    load,
    load_encoders,
    unsupervised_scorer,
)

__all__ = ["probe"]

EPILOG = """\
\b
Examples:
  clapstack probe model.clapstack clips.csv
  clapstack probe model.clapstack clips.csv --edit swap --edit drop --json
  clapstack probe --unsupervised --events clips.csv --picture probe.svg
  clapstack probe model.clapstack clips/ --prompts prompts.json
  clapstack probe --unsupervised --checkpoints bundled clips.csv

The command edits the captions and clips of the table and prints how the scores respond.
A good score falls when an edit changes the meaning, and stays when it changes only the
wording.

\b
meaning  swap        reverses the stated order
         drop        removes a clause
         add         adds a clause of another caption
         replace     replaces a clause by one of another caption
         negate      negates a clause with "no"
wording  reword      joins the clauses by "and" and "then"; the baseline of
                     the five edits above
         case        upper case
         whitespace  doubled blanks
clip     noise       adds white noise 10 dB below the clip
         level       20 dB quieter
         truncation  keeps the first half

pairs is the number of pairs that an edit applies to. change is the mean change of the
score; in SD is the same in standard deviations of the table's scores. falls is the
share of pairs whose score falls. The 95 % intervals treat pairs of the same text or
clip as related.
"""


def probe(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL] TABLE",
            help="A model file from clapstack fit or save_model, and a CSV, JSON Lines "
            "or Parquet table (- for standard input), ideally with correct captions. "
            "With --unsupervised, only the table.",
            show_default=False,
        ),
    ] = None,
    edit: Annotated[
        list[str] | None,
        typer.Option(
            "--edit",
            metavar="NAME",
            help="Edit to apply (listed below). Repeatable. Default: all.",
        ),
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
    random_state: options.RandomState = 0,
    picture: options.Picture = None,
    skip_bad: options.SkipBad = False,
    device: options.Device = None,
    batch_size: options.BatchSize = None,
    trust: options.Trust = False,
    trust_encoder: options.TrustEncoder = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Test how scores respond to edited captions and clips."""
    what = what or []
    if not unsupervised:
        check_model_and_table(what, "probe")
    if len(what) != (1 if unsupervised else 2):
        wanted = (
            "with --unsupervised, give one table and no model"
            if unsupervised
            else "give MODEL TABLE"
        )
        msg = f"{wanted}; got {len(what)} arguments."
        raise typer.BadParameter(msg)
    options.checked_input(input_format, device)
    chosen = options.chosen_checkpoints(
        checkpoints, checkpoint, are_own=not unsupervised
    )
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

        options.check_picture(picture, "probe")
        for name in edit or ():
            options.checked(name, "--edit", list(EDITS))
        if len(set(edit or ())) < len(edit or ()):
            msg = f"each edit can be given once; got {', '.join(edit or ())}."
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
            scorer = unsupervised_scorer(
                chosen, families, encoding, events, "probe", quiet=quiet
            )
        else:
            trusting = {"trust": trust, "trust_encoders": trust_encoder}
            model = load(Path(what[0]), trusting, checkpoints=moved, **encoding)
            load_encoders(model, "probe", quiet=quiet)
            scorer = ModelScorer(model, "", None)
        if picture is not None and len(scorer.axes) > 1:
            msg = (
                f"only one axis can be drawn, and the model predicts "
                f"{', '.join(scorer.axes)}."
            )
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
        if (
            picture is not None
        ):  # last, so that the numbers are printed even if it fails
            from clapstack.inspection import ProbeDisplay

            write_bytes(picture, ProbeDisplay(probed=probed).to_svg())


def _lines(lines: list[dict[Any, Any]]) -> list[str]:
    """Return a table as text, with dashes for missing numbers."""
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
