"""Help pages at 80 columns, and suggestions for misspelt names."""

import re

import pytest
import typer.main

from clapstack.cli import app


def commands(command, words=()):
    yield words, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*words, name))


COMMANDS = dict(commands(typer.main.get_command(app)))


@pytest.fixture
def help_of(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")

    def help_of(words):
        done = run(*words, "--help")
        assert done.exit_code == 0
        return done.stdout

    return help_of


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_fits_into_80_columns_and_nothing_is_cut_off(help_of, words):
    lines = help_of(words).splitlines()
    assert max(map(len, lines)) <= 80
    assert not [line for line in lines if line.endswith("...") and "Usage" not in line]
    assert not re.search(r"--[\w-]+-$", "\n".join(lines), re.M)
    assert not re.search("<[a-z]", "".join(lines))  # types that typer adds


def test_one_option_has_one_help_text():
    texts = {}
    for words, command in COMMANDS.items():
        for option in command.params:
            if option.param_type_name == "option" and not option.hidden:
                for name in option.opts:
                    said = (option.metavar, option.help)
                    texts.setdefault(name, {}).setdefault(said, []).append(words)
    # These differ by what the command reads or writes, or which encoders it uses.
    differ = {"--out", "-o", "--data", "--by", "--family", "--rating", "--folder"}
    differ |= {"--score-column", "--chunk-size", "--events", "--system"}
    assert {name for name, said in texts.items() if len(said) > 1} <= differ


@pytest.mark.parametrize(
    ("words", "suggestion"),
    [
        (["scor"], "'score'"),
        (["xacle", "submi"], "'submit'"),
        (["fit", "t.csv", "--famly", "x"], "--family"),
        (["fit", "t.csv", "-o", "m", "--family", "mscalp"], "'msclap'"),
        (["fit", "t.csv", "-o", "m", "--family", "LAION-unfused"], "'laion_unfused'"),
        (["fit", "t.csv", "-o", "m", "--system", "3_clap_stack"], "'3-clap-stack'"),
        (["fit", "t.csv", "-o", "m", "--preset", "pape"], "'paper'"),
        (["fit", "t.csv", "-o", "m", "--checkpoints", "bundeld"], "'bundled'"),
        (["fit", "t.csv", "-o", "m", "--input-format", "josnl"], "'jsonl'"),
        (
            ["xacle", "submit", "s", "--data", ".", "-o", "m", "--split", "tst"],
            "'test'",
        ),
    ],
)
def test_a_misspelt_name_has_a_suggestion(run, words, suggestion):
    done = run(*words)
    assert done.exit_code == 2
    assert suggestion in done.stderr.partition("Error: ")[2]


def test_a_misspelt_column_has_a_suggestion(run, model_file, pairs, write_csv):
    table = write_csv(pairs)
    for option, name in (("--keep", "idd"), ("--text-column", "txt")):
        done = run("score", model_file, table, option, name)
        assert done.exit_code == 3
        wanted = {"idd": "Did you mean 'id'?", "txt": "--text-column text"}[name]
        assert wanted in done.stderr
