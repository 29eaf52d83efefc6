"""The ``clapstack`` command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clapstack import __version__
from clapstack.cli import (
    _compare,
    _evaluate,
    _extract,
    _fit,
    _probe,
    _rank,
    _report,
    _score,
)
from clapstack.cli import _options as options
from clapstack.cli._bench import bench_app
from clapstack.cli._cache import cache_app
from clapstack.cli._errors import (
    SafeCommand,
    SafeGroup,
    errors_as_messages,
    show_tracebacks,
)
from clapstack.cli._terminal import open_closed_streams
from clapstack.cli._xacle import xacle_app

app = typer.Typer(
    name="clapstack",
    cls=SafeGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Predict how well an audio clip satisfies a text prompt (0-10).",
    epilog="clapstack COMMAND --help shows the options of a command and examples. "
    "Exit codes: 0 success; 1 unusable rows, or data that do not allow what was asked; "
    "2 a wrong command; 3 a missing or unreadable file or package; 4 a mean below "
    "--fail-under; 70 an error inside clapstack; 130 interrupted; 141 the reader of "
    "standard output closed the pipe.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"clapstack {__version__}")
        raise typer.Exit


@app.callback()
def set_up(
    debug: Annotated[
        bool,
        typer.Option(
            "--debug",
            help="Show the traceback of an error. Put it before the command: "
            "clapstack --debug score …",
        ),
    ] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Print the version and exit.",
        ),
    ] = False,
) -> None:
    """Predict how well an audio clip satisfies a text prompt (0-10)."""
    show_tracebacks(debug)


@app.command(cls=SafeCommand)
def demo(
    folder: Annotated[
        Path,
        typer.Option(
            metavar=options.FOLDER,
            help="Folder for the simulated challenge and the fitted model.",
        ),
    ] = Path("clapstack-demo"),
    n_train: Annotated[
        int, typer.Option(min=60, metavar=options.NUMBER, help="Training pairs.")
    ] = 800,
    n_test: Annotated[
        int, typer.Option(min=30, metavar=options.NUMBER, help="Test pairs.")
    ] = 500,
    random_state: options.RandomState = 0,
    quiet: options.Quiet = False,
) -> None:
    """Try everything offline: real sounds, simulated listeners."""
    from clapstack.cli._demo import run_demo

    with errors_as_messages("clapstack demo"):
        folder.mkdir(parents=True, exist_ok=True)
        run_demo(
            folder,
            n_train=n_train,
            n_test=n_test,
            random_state=random_state,
            verbose=not quiet,
            echo=typer.echo,
        )


def checkpoints(
    csv: Annotated[
        bool, typer.Option("--csv", help="Print the whole table as CSV.")
    ] = False,
) -> None:
    """List published checkpoints and which are on this machine."""
    from clapstack.systems import list_checkpoints

    with errors_as_messages("clapstack checkpoints"):
        table = list_checkpoints()
        if csv:
            typer.echo(table.to_csv(index=False), nl=False)
            return
        rows = [("name", "here", "licence", "checkpoint")]
        for row in table.fillna({"licence": "unknown"}).to_dict("records"):
            note = " (saw ratings)" * row["seen_ratings"]
            here = "yes" if row["present"] else "no"
            rows.append((row["name"], here, row["licence"], row["checkpoint"] + note))
        *widths, _ = (max(map(len, column)) for column in zip(*rows, strict=True))
        for name, here, licence, checkpoint in rows:
            cells = zip((name, here, licence), widths, strict=True)
            typer.echo("  ".join([*(f"{c:{w}}" for c, w in cells), checkpoint]))
        typer.echo(
            "\n"
            "here: the weights are in the hub's cache or the current folder\n"
            "(saw ratings): trained on human ratings, perhaps those of a benchmark\n"
            "clapstack checkpoints --csv prints more columns."
        )


# In the order of --help.
app.command(cls=SafeCommand, epilog=_fit.EPILOG)(_fit.fit)
app.command(cls=SafeCommand, epilog=_score.EPILOG)(_score.score)
app.command(cls=SafeCommand, epilog=_rank.EPILOG)(_rank.rank)
app.command(cls=SafeCommand, epilog=_compare.EPILOG)(_compare.compare)
app.command(cls=SafeCommand, epilog=_evaluate.EPILOG)(_evaluate.evaluate)
app.command(cls=SafeCommand, epilog=_probe.EPILOG)(_probe.probe)
app.command(cls=SafeCommand, epilog=_extract.EPILOG)(_extract.extract)
app.command(cls=SafeCommand, epilog=_report.EPILOG)(_report.report)
app.command(cls=SafeCommand)(checkpoints)
app.add_typer(cache_app, name="cache")
app.add_typer(bench_app, name="bench")
app.add_typer(xacle_app, name="xacle")


def main() -> None:
    """Run the command line."""
    open_closed_streams()
    app(prog_name="clapstack")
