"""Find the code in the documents, and adapt it as declared so that it runs offline."""

import re
import textwrap
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.rst")]
    if not {"_build", "_templates", "gallery", "generated"} & set(path.parts)
)

# Published weights are not available offline: bundled ones replace them.
INSTEAD = {
    '"published"': '"bundled"',
    '"laion/clap-htsat-unfused"': '"bundled:laion-unfused"',
    '"microsoft/msclap"': '"bundled:msclap"',
    'make_system("msclap")': 'make_system("msclap", checkpoints="bundled")',
    'make_system("3-clap-stack")': 'make_system("3-clap-stack", checkpoints="bundled")',
    'checkpoints={"beats"': 'checkpoints={**BUNDLED, "beats"',
    'device="cuda"': 'device="cpu"',
    "xacle run": "xacle run --checkpoints bundled --quiet",
    "bench human": "bench human --checkpoints bundled --quiet",
    "clapstack fit": "clapstack fit --checkpoints bundled --folds 2 --resamples 9",
    "clapstack extract": "clapstack extract --checkpoints bundled",
    "score --unsupervised": "score --unsupervised --checkpoints bundled",
    "mine=my/folder": "mine=bundled:laion-fused",
    "n_workers=2": "n_workers=1",
    "n_train=600, n_validation=150, n_test=300": "n_train=4, n_validation=2, n_test=2",
    "n_train=300, n_validation=0, n_test=12": "n_train=24, n_validation=0, n_test=12",
}

# Code that is compiled or parsed but not run: a part of the block, and the reason.
NOT_RUN = {
    "load_relate(": "RELATE is not bundled; tests/datasets/test_relate.py reads it",
    "--relate": "RELATE is not bundled; tests/cli/test_bench_command.py has its form",
    "--family human_clap_mse": "its weights are not available offline",
    '"pe-audio"': "its weights are not available offline",
    "embeddinggemma": "an extra; tests/encoders/clap/test_sentence_transformer.py",
    "clapstack demo": "takes minutes; tests/integration/test_demo.py runs a small one",
    "python tests/bench/": "benchmarks take minutes",
    "bin/activate": "for an interactive shell",
    " -m venv": "creates an environment; .ci/run does",
    "pip install": "installs; .ci/run does",
    "pip download": "needs a network",
    "hf download": "needs a network",
    "dask worker": "serves until stopped",
    ".ci/matrix": "creates environments, which takes minutes",
    "--trust-encoder": "needs a module; tests/cli/test_own_encoders.py has one",
    "from mypackage": "the reader's own package",
    "from diffusers": "its weights are not available offline",
    "from versa": "not installed for tests; tests/integrations/test_versa.py runs it",
    "pytest": "runs these very tests",
    "ruff": "a step of .ci/run",
    "mypy": "a step of .ci/run",
    "codespell": "a step of .ci/run",
    "python -m sphinx": "a step of .ci/run, or needs a network",
}


class Block(NamedTuple):
    """A piece of code: its page, first line, language, and text."""

    page: str
    line: int
    language: str
    text: str


def blocks_of(page):
    """Return the blocks of code of a page, in order."""
    content = (ROOT / page).read_text()
    read = _markdown if page.endswith(".md") else _restructured
    return [
        Block(page, content[:start].count("\n") + 1, language, textwrap.dedent(text))
        for start, language, text in read(content)
    ]


def _markdown(content):
    for found in re.finditer(r"^```(\w*)\n(.*?)^```", content, re.M | re.S):
        yield found.start(), found[1], found[2]
    for row in re.finditer(r"^\|.*", content, re.M):  # of a table
        for command in re.findall(r"`(clapstack [^`]*)`", row[0]):
            yield row.start(), "console", f"$ {command}\n"


def _restructured(content):
    body = r"\n(?:[ ]+:\w+:.*\n)*((?:\n|[ ]+.*\n)*)"
    directive = re.compile(r"^\.\. code-block:: (\w+)" + body, re.M)
    for found in directive.finditer(content):
        yield found.start(), found[1], found[2]
    for found in re.finditer(r"^(?!\.\. ).*::" + body, content, re.M):
        yield found.start(), "literal", found[1]


def reason_not_to_run(code):
    """Return why a piece of code is not run, or None if it is."""
    return next((reason for part, reason in NOT_RUN.items() if part in code), None)


def offline(code):
    """Return a piece of code with bundled weights in place of published ones."""
    for written, taken in INSTEAD.items():
        code = code.replace(written, taken)
    return code


def commands_of(block):
    """Return the commands of a console block: lines after ``$``, continuations joined.

    A ``bash`` block contains only commands, without ``$`` and without output.
    """
    joined = block.text.replace("\\\n", " ")
    if block.language == "bash":
        return [part for line in joined.splitlines() for part in line.split(" && ")]
    return re.findall(r"^\$ (.*)", joined, re.M)
