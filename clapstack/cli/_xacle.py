"""The ``clapstack xacle`` command: a challenge, from the folder to the ranking."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from clapstack._output import check_output
from clapstack.cli import _options as options
from clapstack.cli._errors import SafeGroup, errors_as_messages
from clapstack.cli._evaluate import print_metrics

__all__ = ["xacle_app"]

xacle_app = typer.Typer(
    cls=SafeGroup,
    no_args_is_help=True,
    help="Take part in the XACLE challenge: check its folder, run systems by name, "
    "evaluate, submit, and see where a result stands.",
)

Data = Annotated[
    Path, typer.Option("--data", help="The challenge folder, or its parent.")
]
Out = Annotated[
    Path, typer.Option("--out", help="Folder of predictions, records and tables.")
]
Systems = Annotated[
    list[str] | None,
    typer.Option("--system", help="A system; may be given repeatedly."),
]
Models = Annotated[
    list[Path] | None,
    typer.Option(
        "--model",
        help="A pipeline of your own, from clapstack.save_model, fitted anew on the "
        "training split; its name is that of the file. May be given repeatedly.",
    ),
]
OwnFamilies = Annotated[
    list[str] | None,
    typer.Option(
        "--family",
        metavar="NAME[=CHECKPOINT]",
        help="An encoder of a stack of your own, as for clapstack fit; repeatedly.",
    ),
]


@xacle_app.command()
def systems(
    name: Annotated[str | None, typer.Argument(help="One system, in detail.")] = None,
) -> None:
    """List the systems, or describe one: required files, published results."""
    from clapstack.systems import describe_system, list_systems

    with errors_as_messages("clapstack xacle systems"):
        if name is not None:
            typer.echo(describe_system(name))
            return
        for each in list_systems():
            typer.echo(f"{each:<22}{describe_system(each).title}")


@xacle_app.command()
def check(
    data: Data,
    system: Systems = None,
    model: Models = None,
    family: OwnFamilies = None,
    checkpoint: options.Checkpoint = None,
    trust: options.Trust = False,
    trust_encoder: options.TrustEncoder = None,
) -> None:
    """Check the folder, and whether the challenge allows the weights of systems.

    Of the folder: clips, scores, and clips that stand in two splits. Weights that were
    trained on other ratings than the training split's are named. The exit code is 1 if
    anything is wrong.
    """
    from clapstack.cli import challenge as _challenge

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


@xacle_app.command()
def run(
    data: Data,
    system: Systems = None,
    model: Models = None,
    family: OwnFamilies = None,
    checkpoint: options.Checkpoint = None,
    without: Annotated[
        list[str] | None,
        typer.Option(
            "--without", help="A family that systems go without, such as beats."
        ),
    ] = None,
    bundled: options.Bundled = False,
    probe: Annotated[
        bool,
        typer.Option(
            "--probe", help="Fit on 512 and judge on 128 pairs (EAT: 256/64)."
        ),
    ] = False,
    out: Out = Path("xacle-results"),
    allow_overlap: options.AllowOverlap = False,
    random_state: Annotated[int, typer.Option(help="Seed.")] = 0,
    device: options.Device = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Clips in a pass.")] = 32,
    trust: options.Trust = False,
    trust_encoder: options.TrustEncoder = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bars.")] = False,
) -> None:
    """Fit systems on the training split; predict and judge validation and test.

    What is finished stays in the folder of results. Rerun the same command to resume an
    interrupted run.
    """
    from clapstack.cli import challenge as _challenge
    from clapstack.systems import bundled_checkpoints

    given = options.by_name(checkpoint, "--checkpoint", "FAMILY=PATH")
    chosen = {**given, **dict.fromkeys(without or [])}
    with errors_as_messages("clapstack xacle run"):
        pipelines = _pipelines(
            system,
            model,
            family,
            bundled_checkpoints(chosen) if bundled else chosen,
            trusting={"trust": trust, "trust_encoders": trust_encoder},
            random_state=random_state,
            device=device,
            batch_size=batch_size,
            verbose=not quiet,
        )
        if not pipelines:
            msg = "name what to run: --system, --family or --model."
            raise typer.BadParameter(msg)
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
        typer.echo(f"Predictions, and tables with every interval, are in {out}.")


@xacle_app.command()
def evaluate(
    predictions: Annotated[Path, typer.Argument(help="CSV of predictions.")],
    truth: Annotated[Path, typer.Argument(help="CSV of mean scores.")],
    resamples: options.Resamples = 1000,
    as_json: options.Json = False,
) -> None:
    """Evaluate predictions as the challenge does; refuse what it would drop."""
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


@xacle_app.command()
def submit(
    source: Annotated[
        Path,
        typer.Argument(
            help="A pipeline from clapstack.save_model, or a CSV of predictions.",
        ),
    ],
    data: Data,
    out: Annotated[Path, typer.Option("--out", help="The file to write.")],
    split: Annotated[str, typer.Option(help="Which split.")] = "test",
    trust: options.Trust = False,
    trust_encoder: options.TrustEncoder = None,
) -> None:
    """Write a submission: every pair of the split once, every digit."""
    from clapstack._fitted import refuse_axes
    from clapstack.cli import challenge as _challenge
    from clapstack.cli.tables import open_model
    from clapstack.datasets import load_xacle
    from clapstack.tables import is_table

    with errors_as_messages("clapstack xacle submit"):
        check_output(out, source, *data.glob("**/*.csv"))
        loaded = load_xacle(data, split)
        if is_table(source):
            y_score = _challenge.read_predictions(source, list(loaded.ids))
        else:
            model = open_model(source, trust=trust, trust_encoders=trust_encoder)
            refuse_axes(model, "A submission")
            y_score = model.predict(loaded.X)
        _challenge.write_predictions(out, loaded.ids, y_score)
        typer.echo(
            f"{out}: {len(y_score):,} pairs, {len(set(y_score)):,} different scores "
            f"from {min(y_score):.2f} to {max(y_score):.2f}"
        )


@xacle_app.command()
def table(out: Out = Path("xacle-results")) -> None:
    """Show the official ranking of 2026 with the test results of a folder in it."""
    from clapstack.cli import challenge as _challenge

    with errors_as_messages("clapstack xacle table"):
        results = _challenge.read_results(out)
        typer.echo(_challenge.place_in_ranking(results))
        if results["simulated"].any():
            typer.echo("\nResults on simulated listeners have no place in it.")
        if results.empty:
            typer.echo(f"\n{out} has no results; clapstack xacle run writes them.")


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
    """Return systems, models of one's own and a stack of families by their names."""
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
            msg = f"{name!r} is no name for a system of your own; rename the file."
            raise ValueError(msg)
        made[name] = pipeline
    return made
