import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from clapstack.cli import app
from clapstack.cli._demo import run_demo, simulate_challenge


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """Return (table, text, folder) of a small demo."""
    folder = tmp_path_factory.mktemp("demo")
    lines = []
    table = run_demo(
        folder,
        n_train=60,
        n_test=30,
        cache=str(folder / "store"),
        verbose=False,
        echo=lines.append,
    )
    return table, "\n".join(lines), folder


def test_demo_says_first_that_listeners_are_simulated(shown):
    _, text, _ = shown
    first = text[: text.index("1. Simulating")]
    assert "SIMULATED" in first
    assert "about two minutes" in first
    assert "import" not in first


def test_demo_shows_every_system_with_intervals(shown):
    table, text, _ = shown
    expected = ["laion_unfused alone", "laion_fused alone", "msclap alone"]
    expected += ["CLAP rank ensemble", "2-CLAP stack", "3-CLAP stack"]
    expected += ["control: caption only", "control: audio only", "noise ceiling"]
    assert list(table.index) == expected
    assert all(name in text for name in expected)
    scored = table.drop("noise ceiling")
    for metric in ("srcc", "lcc", "ktau", "mse"):
        assert (
            scored[metric]
            .between(scored[f"{metric}_low"], scored[f"{metric}_high"])
            .all()
        )


def test_demo_scores_a_new_pair_with_the_same_bits_in_a_fresh_process(shown):
    _, text, _ = shown
    assert len(re.findall("same score as in this process", text)) == 2
    assert "NOT THE SAME" not in text


def test_demo_ends_with_the_size_of_its_folder_and_what_to_try_next(shown):
    _, text, folder = shown
    last = text.partition("\nDone in ")[2]
    assert re.search(rf"{re.escape(str(folder))} takes \d+ MB; you can delete it", last)
    assert f"clapstack report {folder / 'clap_stack.clapstack'}" in last
    assert "--checkpoints bundled" in last
    assert 'make_clap_stack("published")' in last


def test_demo_names_what_it_works_on(shown):
    _, text, _ = shown
    step = text.partition("2. Encoding")[2].partition("3. Fitting")[0]
    assert step.split()[-3:] == ["laion_unfused", "laion_fused", "msclap"]
    step = text.partition("3. Fitting")[2].partition("SRCC")[0]
    assert "\n   2-CLAP stack\n   3-CLAP stack\n" in step


def test_demo_uses_a_simulated_challenge_again(shown):
    _, _, folder = shown
    lines = []
    data = simulate_challenge(folder, 60, 30, 0, verbose=False, echo=lines.append)
    assert lines == [f"1. Using the simulated challenge in {data}."]


def test_score_names_what_is_wrong_without_a_traceback(shown):
    _, _, folder = shown
    model = str(folder / "clap_stack.clapstack")
    result = CliRunner().invoke(app, ["score", model, "no/such.wav", "rain"])
    assert result.exit_code == 3
    assert "no/such.wav" in result.stderr
    assert "Traceback" not in result.stderr


def test_command_is_a_module_too():
    done = subprocess.run(
        [sys.executable, "-m", "clapstack", "--help"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert "demo" in done.stdout
    assert "score" in done.stdout
