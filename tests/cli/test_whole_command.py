import pytest

import clapstack

COMMANDS = ["demo", "fit", "score", "rank", "compare", "evaluate", "probe", "extract"]
COMMANDS += ["report"]
COMMANDS += ["checkpoints", "cache", "bench", "xacle"]


def test_help_names_every_command_in_the_order_of_use(run):
    lines = run("--help").stdout.splitlines()
    listed = lines[lines.index("Commands:") + 1 :]
    names = [line.split()[0] for line in listed if line[2:3].strip()]
    assert names[: len(COMMANDS)] == COMMANDS  # the epilog follows


@pytest.mark.parametrize(
    "command",
    ["fit", "score", "rank", "compare", "evaluate", "probe", "extract", "report"],
)
def test_help_of_a_command_teaches_by_example(run, command):
    text = run(command, "--help").stdout
    examples = text[text.index("Examples:") :].splitlines()[1:4]
    assert all(f"clapstack {command} " in line for line in examples)


def test_shells_can_complete(run):
    assert "--install-completion" in run("--help").stdout
    words = {"_TYPER_COMPLETE_ARGS": "clapstack ev", "COMP_WORDS": "clapstack ev"}
    asked = {"_CLAPSTACK_COMPLETE": "complete_bash", "COMP_CWORD": "1", **words}
    assert run(env=asked).stdout.split() == ["evaluate"]


def test_errors_of_other_commands_show_their_traceback_too(run, tmp_path):
    command = ["cache", "merge", tmp_path / "none", "--folder", tmp_path / "store"]
    done = run(*command)
    assert done.exit_code == 3
    assert done.stderr.startswith("clapstack cache merge: ")
    done = run("--debug", *command)
    assert isinstance(done.exception, (OSError, ValueError))


def test_help_lists_the_exit_codes(run):
    text = " ".join(run("--help").stdout.split())
    assert "Exit codes: 0 success; 1 unusable rows" in text
    assert (
        "3 a missing or unreadable file or package; 4 a mean below --fail-under; 70 an"
        in text
    )


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        (None, 3, "No such file or directory: "),
        ("", 3, "is empty. Add a header and rows"),
        ("audio,text,score\na.wav,x\n", 3, "line 2 has 2 cells, but the header has 3"),
        ("audio,text,score\na.wav,x,7_5\n", 1, "not a finite number in row 0 ('7_5')"),
    ],
)
@pytest.mark.parametrize("command", ["evaluate", "fit", "report"])
def test_a_table_that_cannot_be_read_and_a_bad_row_have_codes_of_their_own(
    run, model_file, tmp_path, command, content, code, message
):
    table = tmp_path / "t.csv"
    if content is not None:
        table.write_text(content)
    arguments = {
        "evaluate": [model_file, table],
        "fit": [table, "--out", tmp_path / "m.clapstack"],
        "report": [model_file, "--data", table],
    }
    done = run(command, *arguments[command])
    assert done.exit_code == code
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        ("evaluate", 3, "no score column"),
        ("fit", 3, "no score column"),
        # It scores the pairs, of which there is no clip.
        ("report", 1, "has no row with a score: row 0: no such file"),
    ],
)
def test_a_table_without_ratings_is_for_the_report_alone(
    run, model_file, tmp_path, command, code, message
):
    table = tmp_path / "t.csv"
    table.write_text("audio,text\na.wav,x\n")
    arguments = {
        "evaluate": [model_file, table],
        "fit": [table, "--out", tmp_path / "m.clapstack"],
        "report": [model_file, "--data", table],
    }
    done = run(command, *arguments[command])
    assert done.exit_code == code
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_error_inside_clapstack_has_its_own_code(run, model_file, monkeypatch):
    def fail(*arguments):
        raise KeyError("score")  # noqa: EM101

    monkeypatch.setattr("clapstack.scoring.tables.PairTable.check", fail)
    done = run("score", model_file, "-")
    assert done.exit_code == 70
    assert "KeyError: 'score' (rerun with clapstack --debug …" in done.stderr


def test_the_version_is_printed(run):
    done = run("--version")
    assert (done.exit_code, done.stdout) == (0, f"clapstack {clapstack.__version__}\n")
