"""``clapstack score``."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from clapstack._optional import import_optional
from clapstack._output import check_output, is_stream, named
from clapstack.cli import _options as options
from clapstack.cli._errors import BELOW, errors_as_messages
from clapstack.cli._scorers import (
    check_model_and_table,
    check_unsupervised,
    is_clip,
    load,
    load_encoders,
    unsupervised_scorer,
)
from clapstack.cli._terminal import data_stream
from clapstack.exceptions import BadPair, BadPairsError

__all__ = ["score"]

EPILOG = """\
\b
Examples:
  clapstack score model.clapstack dog.wav "a dog barks"
  clapstack score model.clapstack dog.wav "a dog barks, then rain" --explain
  clapstack score model.clapstack clips.csv --out scores.csv
  clapstack score model.clapstack clips.jsonl --out scores.parquet --keep id
  clapstack score model.clapstack clips/ --out scores.csv
  clapstack score model.clapstack clips/ --prompts prompts.json -o scores.csv
  clapstack score model.clapstack data/eval/wav.scp --out scores.csv
  cut -d, -f1,2 all.csv | clapstack score model.clapstack - | head
  clapstack score model.clapstack clips.csv --checkpoint msclap=weights/here
  clapstack score model.clapstack clips.csv -o scores.csv --fail-under 6.5
  clapstack score --unsupervised clips.csv --out order.csv
  clapstack score --unsupervised --events clips.csv --out order.csv

The table has a column of clips (audio) and a column of texts (text). It can be a CSV,
TSV, JSON Lines, Parquet or Arrow file (text files may be compressed with gzip); a
folder of clips, each with a .txt or .json file beside it, or with --prompts; a Kaldi
wav.scp, or its folder, with the texts in a file named text; or a folder saved by
Dataset.save_to_disk.

The result has one row per table row and the columns row, audio, text, score, low, high
and error. audio and text keep their names from the table, and error explains a missing
score. A model of several axes, such as relevance, writes relevance, relevance_low and
relevance_high instead of score, low and high. A model with the preset best adds the
column in_domain: whether the pair resembles the training pairs.

Rerun the same command to resume an interrupted run. Unfinished results are kept beside
the output file, in a file whose name ends in .part.

The last line reports the mean score and its 95 % interval, in which pairs with the same
text count as related; --json has them as mean, mean_low and mean_high.

The exit code is 4 if the mean is below --fail-under; otherwise 0 if every row has a
score and 1 if not. It is 2 for a wrong command and 3 for a missing or unreadable file.
"""


def score(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL] (TABLE | AUDIO TEXT)",
            help="A model file from clapstack fit or save_model, followed by a table "
            "(- for standard input), or by one clip and its text. With --unsupervised, "
            "only the table.",
            show_default=False,
        ),
    ] = None,
    out: options.Out = None,
    fmt: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="Output format: csv, jsonl or parquet. Default: by the file "
            "extension; csv for standard output.",
        ),
    ] = None,
    coverage: options.Coverage = 0.9,
    unsupervised: options.Unsupervised = False,
    family: options.Family = None,
    events: options.Events = False,
    checkpoints: options.Checkpoints = "published",
    checkpoint: options.Checkpoint = None,
    prompts: options.Prompts = None,
    audio_folder: options.AudioFolder = None,
    audio_column: options.AudioColumn = None,
    text_column: options.TextColumn = None,
    keep: options.Keep = None,
    input_format: options.InputFormat = None,
    device: options.Device = None,
    batch_size: options.BatchSize = None,
    chunk_size: Annotated[
        int,
        typer.Option(
            min=1,
            metavar=options.NUMBER,
            help="Rows scored at a time: the most that an interruption can lose.",
        ),
    ] = 1024,
    fail_under: Annotated[
        float | None,
        typer.Option(
            metavar="SCORE",
            help="Exit with code 4 if the mean score (of any axis) is below this.",
        ),
    ] = None,
    trust: options.Trust = False,
    trust_encoder: options.TrustEncoder = None,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="For one pair: also show which sounds of the text are detected, when, "
            "and whether their order is right.",
        ),
    ] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Score pairs with a fitted model, or without any ratings."""
    model, table, pair = _arguments(what or [], unsupervised)
    options.checked_input(input_format, device)
    if fail_under is not None and math.isnan(fail_under):
        msg = "nan is not a threshold. Give a number."
        raise typer.BadParameter(msg, param_hint="--fail-under")
    if fail_under is not None and unsupervised:
        msg = (
            "it needs a fitted model: unsupervised scores have no scale, and their "
            "mean is always zero."
        )
        raise typer.BadParameter(msg, param_hint="--fail-under")
    chosen = options.chosen_checkpoints(
        checkpoints, checkpoint, are_own=not unsupervised
    )
    families = options.chosen_families(family)
    check_unsupervised(
        unsupervised, events=events, family=family, checkpoints=checkpoints
    )
    moved = options.by_name(checkpoint, "--checkpoint", "FAMILY=PATH")
    encoding: dict[str, Any] = {"device": device, "batch_size": batch_size}
    trusting = {"trust": trust, "trust_encoders": trust_encoder}
    if pair is not None:
        if out is not None or fmt is not None or keep or prompts is not None:
            msg = (
                "the score of one pair is printed; --out, --format, --keep and "
                "--prompts need a table."
            )
            raise typer.BadParameter(msg)
        with errors_as_messages("clapstack score"):
            loaded = load(model, trusting, checkpoints=moved, **encoding)
            load_encoders(loaded, "score", quiet=quiet)
            try:
                scores = _score_pair(loaded, pair, coverage, json, explain)
            except BadPairsError as error:
                raise _unusable(error.rows[0], pair[0]) from error
        _exit(scores, fail_under, 0)
        return
    if explain:
        msg = "only the score of one pair can be explained: give MODEL AUDIO TEXT."
        raise typer.BadParameter(msg, param_hint="--explain")
    fmt = _result_format(out, fmt, json)
    encoding["verbose"] = not quiet
    with errors_as_messages("clapstack score"):
        from clapstack._compat import file_digest
        from clapstack.scoring.tables import ModelScorer, PairTable, keep_keys

        pairs = PairTable(
            table,
            prompts,
            fmt=input_format,
            audio_folder=audio_folder,
            names={"audio": audio_column, "text": text_column},
            others=keep or (),
        )
        pairs.check()
        if out is not None:
            check_output(out, *pairs.files, model)
            if fmt == "parquet":
                import_optional(
                    "pyarrow.parquet", extra="parquet", caller=f"Writing {out}"
                )
        if unsupervised:
            scorer = unsupervised_scorer(
                chosen, families, encoding, events, "score", quiet=quiet
            )
        else:
            loaded = load(model, trusting, checkpoints=moved, **encoding)
            load_encoders(loaded, "score", quiet=quiet)
            keep_keys(pairs, loaded, audio_folder)
            scorer = ModelScorer(loaded, file_digest(model), coverage)
        result = _score_table(pairs, scorer, out, fmt, chunk_size, json, quiet)
    means = {name: mean.mean for name, mean in result.means.items()}
    if result.n_failed:
        rows = "row has" if result.n_failed == 1 else "rows have"
        code = "" if _below(means, fail_under) else " (exit code 1)"
        words = f"{result.n_failed:,} {rows} no score{code}; see the column error"
        typer.echo(f"clapstack score: {words}", err=True)
    if result.means and not quiet:
        typer.echo(f"clapstack score: {_means(result.means)}", err=True)
    _exit(means, fail_under, result.n_failed)


def _means(means: Mapping[str, Any]) -> str:
    """Describe the mean of each score column."""
    lines = []
    for name, (mean, low, high, n_pairs, n_texts) in means.items():
        if not n_pairs:
            continue
        ends = f", 95 % interval {low:.3f} to {high:.3f}" if n_texts > 1 else ""
        many = f"{n_pairs:,} pairs, {n_texts:,} texts"
        lines.append(f"mean {name} {mean:.3f}{ends} ({many})")
    return "; ".join(lines) or "no mean, since no row has a score"


def _mean_as_json(mean: Any) -> dict[str, Any]:
    ends = {"mean": mean.mean, "mean_low": mean.low, "mean_high": mean.high}
    return {**ends, "texts": mean.n_texts}


def _below(means: Mapping[str, float], fail_under: float | None) -> list[str]:
    """Return the axes whose mean is below ``--fail-under``."""
    least = -math.inf if fail_under is None else fail_under
    return [name for name, mean in means.items() if mean < least]


def _exit(means: Mapping[str, float], fail_under: float | None, n_failed: int) -> None:
    """Exit with 4 if a mean is too low, else with 1 if rows have no score."""
    for name in _below(means, fail_under):
        words = f"the mean {name} {means[name]:.3f} is below {fail_under:g}"
        typer.echo(f"clapstack score: {words}", err=True)
        raise typer.Exit(BELOW)
    if n_failed:
        raise typer.Exit(1)


def _score_table(
    pairs: Any,
    scorer: Any,
    out: Path | None,
    fmt: str,
    chunk_size: int,
    json: bool,
    quiet: bool,
) -> Any:
    """Score a table, report the outcome and return it."""
    from clapstack.scoring.tables import ERRORS, score_to_file, score_to_stream

    def remark(words: str) -> None:
        if not quiet:
            typer.echo(f"clapstack score: {words}", err=True)

    running: dict[str, Any] = {"chunk_size": chunk_size, "verbose": not quiet}
    if out is None:
        stream = data_stream(ERRORS[fmt])
        result = score_to_stream(pairs, scorer, stream, fmt, **running)
    elif is_stream(out):
        settings: Any = {"encoding": "utf-8", "errors": ERRORS[fmt], "newline": ""}
        with named(out), open(out, "a", **settings) as file:
            result = score_to_stream(pairs, scorer, file, fmt, **running)
    else:
        result = score_to_file(pairs, scorer, out, fmt, remark=remark, **running)
    n_scored = result.n_rows - result.n_failed
    if json:
        counts = {"rows": result.n_rows, "scored": n_scored, "failed": result.n_failed}
        scale = None if scorer.waits else "ratings"
        more = {"resumed": result.n_resumed, "scale": scale}
        means = {name: _mean_as_json(mean) for name, mean in result.means.items()}
        shown = means["score"] if list(means) == ["score"] else {"axes": means}
        options.print_json({"out": str(out), **counts, **more, **(means and shown)})
    where = "" if out is None else f", in {out}"
    remark(f"{n_scored:,} of {result.n_rows:,} rows scored{where}")
    if scorer.waits and n_scored:
        remark(
            "unsupervised scores have no scale: they rank the pairs of this table and "
            "cannot be compared with those of another"
        )
    return result


def _arguments(
    what: list[str], unsupervised: bool
) -> tuple[Path, str, tuple[str, str] | None]:
    """Return the model, and either the table or the pair."""
    if unsupervised:
        if len(what) == 1:
            return Path(), what[0], None
        msg = (
            "with --unsupervised, give one table and no model; "
            f"got {len(what)} arguments."
        )
        if len(what) == 2 and is_clip(what[0]):
            msg += (
                " Unsupervised scores compare the pairs of a table. For a single pair, "
                "use Scorer.unsupervised in Python."
            )
        raise typer.BadParameter(msg)
    if len(what) == 3:
        return Path(what[0]), "", (what[1], what[2])
    check_model_and_table(what, "score")
    if len(what) == 2 and is_clip(what[1]):
        msg = (
            f"{what[1]} is a clip, so its text must follow: clapstack score {what[0]} "
            f'{what[1]} "TEXT".'
        )
        raise typer.BadParameter(msg)
    if len(what) == 2:
        return Path(what[0]), what[1], None
    msg = (
        f"give MODEL TABLE or MODEL AUDIO TEXT; got {len(what)} arguments. Put quotes "
        "around a text of several words."
    )
    raise typer.BadParameter(msg)


def _result_format(out: Path | None, fmt: str | None, json: bool) -> str:
    if out is None:
        if json:
            msg = (
                "--json prints a summary to standard output in place of the table. "
                "Write the table to a file with --out, or use --format jsonl."
            )
            raise typer.BadParameter(msg)
        return options.checked(fmt, "--format", ("csv", "jsonl")) or "csv"
    from clapstack.scoring.tables import result_format

    given = options.checked(fmt, "--format", options.TABLE_FORMATS)
    if is_stream(out):
        if given == "parquet":
            msg = f"{out} is a device or a pipe. Use csv or jsonl for it."
            raise typer.BadParameter(msg, param_hint="--format")
        return given or "csv"
    try:
        return given or result_format(out)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--out") from error


def _unusable(row: BadPair, audio: str) -> Exception:
    """Return the error of a single pair, which is not a row of a table."""
    place = row.source or "the pair"
    msg = f"{place}: {row.reason}"
    return ValueError(msg) if os.path.exists(audio) else FileNotFoundError(msg)


def _score_pair(
    model: Any, pair: tuple[str, str], coverage: float, json: bool, explain: bool
) -> dict[str, float]:
    """Print the scores of a pair; return them by axis."""
    import pandas as pd

    from clapstack._fitted import axes_of, predict_with_interval

    audio, text = pair
    # As objects, since Arrow strings cannot store a file name that is not UTF-8.
    pairs = pd.DataFrame({"audio": [audio], "text": [text]}, dtype=object)
    axes = axes_of(model)
    scores = predict_with_interval(model, pairs, coverage).reshape(-1, 3).tolist()
    by_name = {
        axis: score
        for axis, (score, _, _) in zip(axes or ["score"], scores, strict=True)
    }
    events = None
    if explain:
        from clapstack.inspection import explain_events

        events = explain_events(audio, text, model)
    if not json:
        for axis, (score, _, _) in zip(axes or [""], scores, strict=True):
            typer.echo(f"{axis}\t{score:.3f}" if axis else f"{score:.3f}")
        if events is not None:
            typer.echo(str(events))
        return by_name
    results = []
    for score, low, high in scores:
        ends = {"low": low, "high": high, "coverage": coverage}
        known = low == low  # NaN where the model gives no intervals
        results.append({"score": score, **(ends if known else {})})
    by_axis = {"axes": dict(zip(axes, results, strict=True))} if axes else results[0]
    said = {} if events is None else {"events": asdict(events)}
    options.print_json({"audio": audio, "text": text, **by_axis, **said})
    return by_name
