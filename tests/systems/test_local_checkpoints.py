"""Systems on files of the users' own, beside bundled checkpoints.

The files are tiny and their weights random. That every system runs on them, and that
the commands do, proves the code, and says nothing of how well a system predicts.
"""

from __future__ import annotations

import pandas as pd
import pytest
from sklearn.pipeline import Pipeline
from typer.testing import CliRunner

from clapstack import list_systems, make_system
from clapstack.cli import app
from clapstack.systems import bundled_checkpoints, describe_system


@pytest.fixture(scope="module")
def run_all(challenge_folder, cache, tiny_checkpoints, tmp_path_factory):
    """Return the folder of results, and how to run all systems into it."""
    out = tmp_path_factory.mktemp("results")
    where = ["--data", challenge_folder, "--out", out, "--device", "cpu", "--quiet"]
    systems = [part for name in list_systems() for part in ("--system", name)]
    paths = bundled_checkpoints(tiny_checkpoints).items()
    # Families of no system have neither.
    paths = [pair for pair in paths if None not in pair]
    given = [part for pair in paths for part in ("--checkpoint", "=".join(pair))]

    def run():
        arguments = ["xacle", "run", *map(str, where), *systems, *given]
        environment = {"CLAPSTACK_CACHE": cache, "HF_HUB_OFFLINE": "1"}
        return CliRunner().invoke(app, arguments, env=environment)

    return out, run


def test_one_command_runs_every_system_and_computes_nothing_twice(run_all, monkeypatch):
    out, run = run_all
    first = run()
    assert first.exit_code == 0, first.output
    results = pd.read_csv(out / "results.csv")
    rows = [
        (name, split) for name in list_systems() for split in ("validation", "test")
    ]
    assert list(zip(results["system"], results["split"], strict=True)) == rows
    assert results["srcc"].between(-1, 1).all()
    page = (out / "results.md").read_text(encoding="utf-8")
    tables, _, differences = page.partition("## Differences")
    assert differences
    for name in list_systems():
        assert f"{name}: done in" in first.stdout
        assert tables.count(f"| {name} ") == 2

    def refuse(self, *arguments):
        raise AssertionError

    monkeypatch.setattr(Pipeline, "fit", refuse)
    monkeypatch.setattr(Pipeline, "predict", refuse)
    files = ["results.csv", "results.md", *(f"{n}/test.csv" for n in list_systems())]
    before = [(out / file).read_bytes() for file in files]
    second = run()
    assert second.exit_code == 0, second.output
    for name in list_systems():
        assert f"{name}: already finished" in second.stdout
    assert [(out / file).read_bytes() for file in files] == before


def test_optional_family_joins_where_a_checkpoint_is_given(
    challenge, cache, tiny_checkpoints
):
    train, test = challenge
    checkpoints = bundled_checkpoints({"whisper": tiny_checkpoints["whisper"]})
    settings = {"cache": cache, "device": "cpu"}
    pipeline = make_system("rank-2-like", checkpoints=checkpoints, **settings)
    families = [name for name, _ in pipeline["features"].transformer_list]
    assert families == [*describe_system("rank-2-like").families, "whisper"]
    scores = pipeline.fit(train.X, train.y).predict(test.X)
    without = make_system("rank-2-like", checkpoints="bundled", **settings)
    assert (without.fit(train.X, train.y).predict(test.X) != scores).all()
