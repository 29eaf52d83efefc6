"""Run the code in the documents, except what is declared in NOT_RUN."""

import re
import shlex
import warnings
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from clapstack.cli import app
from tests.docs.blocks import (
    INSTEAD,
    NOT_RUN,
    PAGES,
    ROOT,
    Block,
    blocks_of,
    commands_of,
    offline,
    reason_not_to_run,
)

BLOCKS = [block for page in PAGES for block in blocks_of(page)]
CONSOLE = ("bash", "console")


def pages_with(*languages):
    return sorted({block.page for block in BLOCKS if block.language in languages})


@pytest.mark.slow
@pytest.mark.parametrize("page", pages_with("python", *CONSOLE))
def test_code_of_a_page_runs(page, folder, names):
    try:
        for block in blocks_of(page):
            if block.language == "python":
                check_python(block, names)
            elif block.language in CONSOLE:
                for command in commands_of(block):
                    check_command(command)
    finally:
        for name in ("client", "cluster"):
            if name in names:
                names[name].close()


def check_python(block, names):
    """Run a block in the namespace of its page, so that tracebacks show its lines."""
    code = compile("\n" * block.line + offline(block.text), block.page, "exec")
    if reason_not_to_run(block.text) is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tables are tiny
            exec(code, names)


def check_command(command):
    words = shlex.split(offline(command), comments=True)
    while words and "=" in words[0]:  # a variable of the environment
        words.pop(0)
    program = Path(words[0]).name if words else ""
    if program == "clapstack":
        check_clapstack(words[1:], run=reason_not_to_run(command) is None)
        return
    assert reason_not_to_run(command), f"$ {command}: run it, or say in NOT_RUN why not"
    if "install" in words:
        check_extras(words)
    for word in words[1:]:
        if word.endswith(".py"):
            assert (ROOT / word).exists(), word


def check_clapstack(arguments, *, run):
    if run:
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, f"{arguments}: {result.output}{result.exception}"
    else:
        parse(typer.main.get_command(app), arguments)


def parse(command, arguments, parent=None):
    """Parse arguments as the command would, without running it."""
    context = command.make_context(command.name, list(arguments), parent=parent)
    if hasattr(command, "commands"):
        rest = [*context._protected_args, *context.args]
        _, inner, rest = command.resolve_command(context, rest)
        parse(inner, rest, context)


def check_extras(words):
    project = (ROOT / "pyproject.toml").read_text()
    section = project.split("[project.optional-dependencies]")[1].split("\n[")[0]
    known = re.findall(r"^([\w-]+) = ", section, re.M)
    for word in words:
        for extras in re.findall(r"\[(.*)\]", word):
            assert set(extras.split(",")) <= set(known)


def test_code_says_its_language():
    """Literal blocks are not run, so they must not contain code."""
    code = re.compile(r"^(\$|>>>|from|import|pip|clapstack) ", re.M)
    literal = [block for block in BLOCKS if block.language == "literal"]
    assert not [block for block in literal if code.search(block.text)]


def test_code_is_found():
    assert len([block for block in BLOCKS if block.language == "python"]) > 20
    assert len([block for block in BLOCKS if block.language in CONSOLE]) > 8
    assert "README.md" in pages_with("python")


def test_languages_are_those_that_are_checked():
    known = {"python", "literal", "text", *CONSOLE}
    assert {block.language for block in BLOCKS} <= known


def test_what_is_declared_is_needed():
    texts = [block.text for block in BLOCKS]
    declared = [*INSTEAD, *NOT_RUN]
    assert not [part for part in declared if not any(part in t for t in texts)]


def test_unknown_options_and_extras_are_found():
    with pytest.raises(Exception, match="No such option"):
        parse(typer.main.get_command(app), ["xacle", "check", "--dtaa", "data"])
    with pytest.raises(AssertionError):
        check_extras(["install", ".[tset]"])
    block = Block("page", 1, "console", "$ one \\\n    two\nprinted\n$ three\n")
    assert commands_of(block) == ["one      two", "three"]
