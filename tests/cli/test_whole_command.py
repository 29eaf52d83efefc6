import pytest

COMMANDS = ["demo", "fit", "score", "evaluate", "extract", "report", "cache", "xacle"]


def test_help_names_every_command_in_the_order_of_use(run):
    lines = run("--help").stdout.splitlines()
    listed = lines[lines.index("Commands:") + 1 :]
    names = [line.split()[0] for line in listed if line[2:3].strip()]
    assert names[: len(COMMANDS)] == COMMANDS  # the epilog follows


@pytest.mark.parametrize("command", ["fit", "score", "evaluate", "extract", "report"])
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
    assert done.exit_code == 1
    assert done.stderr.startswith("clapstack cache merge: ")
    done = run("--debug", *command)
    assert isinstance(done.exception, (OSError, ValueError))
