"""``clapstack xacle``: the XACLE challenge, from the data folder to the ranking."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from clapstack._output import check_output
from clapstack.cli import _options as options
from clapstack.cli._errors import SafeCommand, SafeGroup, errors_as_messages
from clapstack.cli._evaluate import print_metrics
from clapstack.cli._scorers import load_encoders

__all__ = ["xacle_app"]

xacle_app = typer.Typer(
    cls=SafeGroup,
    no_args_is_help=True,
    help="Take part in the XACLE challenge. Check its data folder, run systems by "
    "name, evaluate and submit predictions, and place results in the ranking.",
)

Data = Annotated[
    Path,
    typer.Option(
        "--data", metavar=options.FOLDER, help="The challenge folder, or its parent."
    ),
]
Out = Annotated[
    Path,
    typer.Option(
        "--out",
        "-o",
        metavar=options.FOLDER,
        help="Folder of predictions, records and tables.",
    ),
]
Systems = Annotated[
    list[str] | None,
    typer.Option(
        "--system",
        metavar="NAME",
        help="System by name; clapstack xacle systems lists them. Repeatable.",
    ),
]
Models = Annotated[
    list[Path] | None,
    typer.Option(
        "--model",
        metavar=options.FILE,
        help="Your own pipeline, saved by clapstack.save_model. It is named after its "
        "file, and refitted on the training split. Repeatable.",
    ),
]


@xacle_app.command(cls=SafeCommand)
def systems(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="System to describe.")
    ] = None,
) -> None:
    """List the systems by name, or describe one of them.

    The description has the required files, the published results, and our choices where
    the publication gives no details.
    """
    from clapstack.systems import describe_system, list_systems

    options.checked_systems([name] if name is not None else None, "NAME")

    with errors_as_messages("clapstack xacle systems"):
        if name is not None:
            typer.echo(describe_system(name))
            return
        for each in list_systems():
            typer.echo(f"{each:<22}{describe_system(each).title}")


@xacle_app.command(cls=SafeCommand)
def check(
    data: Data,
    system: Systems = None,
    model: Models = None,
    family: options.StackFamily = None,
    checkpoint: options.Checkpoint = None,
    trust: options.Trust = False,
    trust_encoder: options.TrustEncoder = None,
) -> None:
    """Check the data folder, and the rules for systems' weights.

    The command checks clips and scores, and reports clips that are in two splits. It
    also names weights that the challenge forbids, because they were trained on ratings
    outside its training split. The exit code is 1 if anything is wrong.
    """
    from clapstack.cli import challenge as _challenge

    options.checked_systems(system)
    chosen = options.chosen_checkpoints("published", checkpoint)
    with errors_as_messages("clapstack xacle check"):
        trusting = {"trust": trust, "trust_encoders": trust_encoder}
        pipelines = _pipelines(system, model, family, chosen, trusting=trusting)
        broken = _challenge.broken_rules(pipelines)
        sound = _challenge.check_challenge(data, typer.echo)
        for line in broken:
            typer.echo(line)
    if broken or not sound:
        raise typer.Exit(1)


@xacle_app.command(cls=SafeCommand)
def run(
    data: Data,
    system: Systems = None,
    model: Models = None,
    family: options.StackFamily = None,
    checkpoint: options.Checkpoint = None,
    without: Annotated[
        list[str] | None,
        typer.Option(
            "--without",
            metavar="FAMILY",
            help="Optional family to leave out of all systems, such as beats. "
            "Repeatable.",
        ),
    ] = None,
    checkpoints: options.Checkpoints = "published",
    bundled: options.Bundled = False,
    probe: Annotated[
        bool,
        typer.Option(
            "--probe",
            help="Fit on 512 and evaluate on 128 pairs (256 and 64 for EAT), as the "
            "probes of the paper.",
        ),
    ] = False,
    out: Out = Path("xacle-results"),
    allow_overlap: options.AllowOverlap = False,
    random_state: options.RandomState = 0,
    device: options.Device = None,
    batch_size: options.BatchSize = 32,
    trust: options.Trust = False,
    trust_encoder: options.TrustEncoder = None,
    quiet: options.Quiet = False,
) -> None:
    """Fit systems, then predict and evaluate held-out splits.

    Systems are fitted on the training split and evaluated on validation and test.
    Finished results are kept in the output folder. Rerun the same command to resume an
    interrupted run.
    """
    from clapstack.cli import challenge as _challenge

    if not (system or model or family):
        msg = "nothing to run. Give --system, --family or --model."
        raise typer.BadParameter(msg)
    options.checked_input(None, device)
    options.checked_systems(system)
    chosen = options.chosen_checkpoints(
        "bundled" if bundled else checkpoints, checkpoint, without or ()
    )
    with errors_as_messages("clapstack xacle run"):
        check_output(out / "results.csv")
        pipelines = _pipelines(
            system,
            model,
            family,
            chosen,
            trusting={"trust": trust, "trust_encoders": trust_encoder},
            random_state=random_state,
            device=device,
            batch_size=batch_size,
            verbose=not quiet,
        )
        tables = _challenge.run_systems(
            data,
            pipelines,
            out=out,
            probe=probe,
            allow_overlap=allow_overlap,
            random_state=random_state,
            verbose=not quiet,
            echo=typer.echo,
        )
        typer.echo(f"\n{_challenge.results_text(*tables)}\n")
        typer.echo(f"Predictions and tables with all intervals are in {out}.")


@xacle_app.command(cls=SafeCommand)
def evaluate(
    predictions: Annotated[
        Path, typer.Argument(metavar="PREDICTIONS", help="CSV file of predictions.")
    ],
    truth: Annotated[
        Path, typer.Argument(metavar="TRUTH", help="CSV file of mean scores.")
    ],
    resamples: options.Resamples = 1000,
    as_json: options.Json = False,
) -> None:
    """Evaluate predictions with the official metrics.

    Rows without a partner or a number, which the official script drops, are errors.
    """
    from clapstack.cli.challenge import prediction_table
    from clapstack.cli.tables import evaluate_predictions

    with errors_as_messages("clapstack xacle evaluate"):
        evaluation, _ = evaluate_predictions(
            prediction_table(predictions),
            prediction_table(truth, "score"),
            ("audio",),
            n_resamples=resamples,
            once=True,
        )
        if as_json:
            options.print_json(evaluation.report)
        else:
            print_metrics(evaluation.report)


@xacle_app.command(cls=SafeCommand)
def submit(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL|PREDICTIONS",
            help="A model file from clapstack.save_model, or a CSV file of "
            "predictions.",
        ),
    ],
    data: Data,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar=options.FILE, help="CSV file to write."),
    ],
    split: Annotated[
        str,
        typer.Option(metavar="SPLIT", help="Split: train, validation or test."),
    ] = "test",
    trust: options.Trust = False,
    trust_encoder: options.TrustEncoder = None,
) -> None:
    """Write a submission file with one prediction per pair.

    Predictions keep all their digits: rounding would create ties and cost rank
    correlation.
    """
    from clapstack._fitted import refuse_axes
    from clapstack.cli import challenge as _challenge
    from clapstack.cli.tables import open_model
    from clapstack.datasets import load_xacle
    from clapstack.tables import is_table

    options.checked(split, "--split", ("train", "validation", "test"))
    with errors_as_messages("clapstack xacle submit"):
        check_output(out, source, *data.glob("**/*.csv"))
        loaded = load_xacle(data, split)
        if is_table(source):
            y_score = _challenge.read_predictions(source, list(loaded.ids))
        else:
            model = open_model(source, trust=trust, trust_encoders=trust_encoder)
            refuse_axes(model, "A submission")
            load_encoders(model, "xacle")
            y_score = model.predict(loaded.X)
        _challenge.write_predictions(out, loaded.ids, y_score)
        typer.echo(
            f"{out}: {len(y_score):,} pairs, {len(set(y_score)):,} different scores "
            f"from {min(y_score):.2f} to {max(y_score):.2f}"
        )


@xacle_app.command(cls=SafeCommand)
def table(out: Out = Path("xacle-results")) -> None:
    """Show your test results in the official ranking of 2026."""
    from clapstack.cli import challenge as _challenge

    with errors_as_messages("clapstack xacle table"):
        results = _challenge.read_results(out)
        typer.echo(_challenge.place_in_ranking(results))
        if results["simulated"].any():
            typer.echo("\nResults on simulated listeners are not ranked.")
        if results.empty:
            typer.echo(f"\n{out} has no results. clapstack xacle run writes them.")


def _pipelines(
    names: list[str] | None,
    models: list[Path] | None,
    family: list[str] | None,
    checkpoints: Any,
    *,
    trusting: dict[str, Any] | None = None,
    random_state: int = 0,
    **settings: Any,
) -> dict[str, Any]:
    """Return published systems, custom models and the stack of `family`, by name."""
    from sklearn.base import clone

    from clapstack._fitted import set_up
    from clapstack.cli.tables import open_model
    from clapstack.systems import list_systems, make_clap_stack, make_system

    known = {"checkpoints": checkpoints, "random_state": random_state, **settings}
    made = {name: make_system(name, **known) for name in dict.fromkeys(names or [])}
    own: list[tuple[str, Any]] = []
    if family:
        families = options.chosen_families(family)
        stack = make_clap_stack(families=families, **known)
        own.append((f"stack-of-{'+'.join(families)}", stack))
    for path in models or []:
        model = clone(open_model(path, **(trusting or {})))
        own.append((path.stem, set_up(model, **settings)))
    for name, pipeline in own:
        if name in made or name in list_systems() or "/" in name:
            msg = f"{name!r} is already the name of a system. Rename your model file."
            raise ValueError(msg)
        made[name] = pipeline
    return made
