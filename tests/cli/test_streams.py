"""What is printed, and where it cannot be printed."""

import io
import os
import shutil
import subprocess
import sys
import warnings

import pytest
import typer
from typer.testing import CliRunner

from clapstack._optional import progress
from clapstack.cli import app
from clapstack.cli._errors import SafeGroup, errors_as_messages
from clapstack.exceptions import BadPair, BadPairsError

HOSTILE = "\x1b[31m\x1b]0;title\x07\x9b2J\r\u202ename"


def shell(command, **variables):
    """Run a command line, with ``clapstack`` in it, in a shell."""
    words = f"{sys.executable} -m clapstack"
    return subprocess.run(
        ["sh", "-c", command.replace("clapstack", words)],
        capture_output=True,
        text=True,
        env={**os.environ, **variables},
    )


posix = pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")


@posix
@pytest.mark.parametrize(
    ("end", "words"),
    [
        (">&-", "Bad file descriptor"),
        pytest.param(
            "> /dev/full",
            "No space left on device",
            marks=pytest.mark.skipif(
                not os.path.exists("/dev/full"), reason="no full device"
            ),
        ),
    ],
)
@pytest.mark.parametrize("command", ["cache path", "--help"])
def test_a_result_that_cannot_be_printed_is_an_error(command, end, words):
    done = shell(f"clapstack {command} {end}")
    assert done.returncode == 3
    assert f"{words}: standard output" in done.stderr
    assert "Traceback" not in done.stderr


@posix
@pytest.mark.parametrize("end", ["2>&-", "2>/dev/full"])
def test_a_message_that_cannot_be_printed_leaves_the_exit_code(end):
    assert shell(f"clapstack cache prune {end}").returncode == 2


@posix
def test_a_reader_that_leaves_is_no_traceback():
    done = shell("(clapstack --help; echo $? >&2) | true")
    assert done.stderr in ("141\n", "0\n")  # whichever is faster


@posix
def test_a_table_for_a_reader_that_leaves_is_code_141(
    model_file, pairs, write_csv, tmp_path
):
    model = shutil.copy(model_file, tmp_path / "model")  # a name that shell() keeps
    score = f"clapstack score {model} {write_csv(pairs)} --quiet"
    done = shell(f"({score}; echo $? >&2) | true")
    assert done.stderr == "141\n"


@posix
def test_a_locale_without_unicode_prints_escapes(tmp_path):
    done = shell(
        f"clapstack cache path --folder '{tmp_path}/犬'",
        PYTHONIOENCODING="ascii",
        PYTHONUTF8="0",
    )
    assert done.returncode == 0
    assert done.stdout in (f"{tmp_path}/\\u72ac\n", f"{tmp_path}/犬\n")


def assert_clean(text):
    assert text
    assert not set("\x1b\x07\x9b\r\u202e") & set(text)


def test_names_cannot_steer_the_terminal(tmp_path):
    model = tmp_path / "model.clapstack"
    model.touch()
    for arguments in (
        ["score", str(model), HOSTILE + ".csv"],
        ["report", str(tmp_path / HOSTILE)],
        ["cache", "merge", str(tmp_path / HOSTILE)],
        ["cache", "path", "--folder", str(tmp_path / HOSTILE)],
        ["cache", "prune", "--max-size", HOSTILE],
        ["xacle", "systems", HOSTILE],
    ):
        done = CliRunner().invoke(app, arguments)
        assert_clean(done.output)


@pytest.fixture
def printing():
    """Return a function that runs a command which does some work."""

    def run(work):
        group = typer.Typer(cls=SafeGroup, rich_markup_mode=None)

        @group.callback()
        def callback():
            pass

        @group.command()
        def go():
            with errors_as_messages("go"):
                work()

        return CliRunner().invoke(group, ["go"])

    return run


def test_errors_and_warnings_are_escaped(printing):
    def work():
        warnings.warn(HOSTILE, stacklevel=1)
        raise ValueError(HOSTILE)

    done = printing(work)
    assert done.exit_code == 1
    assert_clean(done.stderr)
    assert done.stderr.count("\\u202ename") == 2


@pytest.mark.parametrize(("n_bad", "end"), [(3, "row 2, 2.wav: gone"), (25, "5 more")])
def test_rows_that_cannot_be_used_are_named_without_words_of_python(
    printing, n_bad, end
):
    def work():
        rows = [BadPair(n, n, f"{n}.wav", "gone") for n in range(n_bad)]
        raise BadPairsError(rows, 30)

    done = printing(work)
    assert done.exit_code == 1
    assert f"{n_bad} of 30 pairs cannot be used" in done.stderr
    assert done.stderr.rstrip().endswith(end)
    assert "attribute" not in done.stderr


def test_a_name_on_a_line_of_its_own_stays_on_it(printing):
    def work():
        raise FileNotFoundError(2, "No such file", "a\nclapstack: all is well")

    assert printing(work).stderr.count("\n") == 1


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


def test_a_progress_bar_moves_the_cursor_of_a_terminal_alone(monkeypatch):
    from clapstack.cli._terminal import safe_streams

    for stream, is_shown in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stderr", stream)
        with safe_streams():
            assert list(progress(range(3), desc="rows")) == [0, 1, 2]
        assert ("\rrows" in stream.getvalue()) is is_shown
        assert "\\u000d" not in stream.getvalue()


def test_a_progress_bar_is_shown_on_a_terminal_without_a_size(monkeypatch):
    stream = Terminal()
    stream.fileno = lambda: 2
    monkeypatch.setattr(os, "get_terminal_size", lambda *_: os.terminal_size((0, 0)))
    monkeypatch.setattr(sys, "stderr", stream)
    assert list(progress(range(3), desc="rows")) == [0, 1, 2]
    assert "rows" in stream.getvalue()


def test_a_progress_bar_needs_no_standard_error(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    assert list(progress(range(3))) == [0, 1, 2]


def test_a_table_is_escaped_on_a_terminal_alone(monkeypatch):
    from clapstack.cli._terminal import data_stream, safe_streams
    from clapstack.scoring.tables import write_lines

    row = {"text": HOSTILE}
    for stream, is_raw in ((Terminal(), False), (io.StringIO(), True)):
        monkeypatch.setattr(sys, "stdout", stream)
        with safe_streams():
            write_lines(data_stream("surrogateescape"), "csv", {"text": str}, [row])
        assert (HOSTILE in stream.getvalue()) is is_raw
        assert ("\x1b" in stream.getvalue()) is is_raw
