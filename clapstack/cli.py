"""The ``clapstack`` command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clapstack._cache_command import cache_app
from clapstack._report_command import EPILOG as REPORT_EPILOG
from clapstack._report_command import report
from clapstack._xacle_command import xacle_app

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Predict how well an audio clip satisfies a text prompt (0-10).",
)
app.add_typer(cache_app, name="cache")
app.add_typer(xacle_app, name="xacle")
app.command(epilog=REPORT_EPILOG)(report)


@app.command()
def demo(
    folder: Annotated[
        Path, typer.Option(help="Where the simulated challenge and the model go.")
    ] = Path("clapstack-demo"),
    n_train: Annotated[int, typer.Option(min=60, help="Pairs to fit on.")] = 800,
    n_test: Annotated[int, typer.Option(min=30, help="Pairs to score.")] = 500,
    random_state: Annotated[int, typer.Option(help="Seed of the simulation.")] = 0,
    quiet: Annotated[bool, typer.Option(help="No progress bars.")] = False,
) -> None:
    """Run the whole system offline on real sounds and simulated listeners."""
    from clapstack._demo import run_demo

    folder.mkdir(parents=True, exist_ok=True)
    run_demo(
        folder,
        n_train=n_train,
        n_test=n_test,
        random_state=random_state,
        verbose=not quiet,
        echo=typer.echo,
    )


@app.command()
def score(
    model: Annotated[
        Path,
        typer.Argument(
            exists=True,
            dir_okay=False,
            help="A fitted pipeline, from clapstack.save_model.",
        ),
    ],
    audio: Annotated[str, typer.Argument(help="Audio file.")],
    text: Annotated[str, typer.Argument(help="Text prompt.")],
    trust: Annotated[
        bool,
        typer.Option(
            "--trust",
            help="MODEL is a file of joblib, which runs what is in it when it is "
            "loaded, and you trust it.",
        ),
    ] = False,
) -> None:
    """Score one (audio, text) pair with a fitted pipeline."""
    import joblib
    import pandas as pd

    from clapstack.sharing import load_model

    try:
        pipeline = joblib.load(model) if trust else load_model(model)
        scores = pipeline.predict(pd.DataFrame({"audio": [audio], "text": [text]}))
    except (ValueError, OSError) as error:
        typer.echo(f"clapstack score: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(repr(float(scores[0])))


def main() -> None:
    """Run the command line."""
    app()
