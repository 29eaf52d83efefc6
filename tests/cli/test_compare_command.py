import json
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from clapstack.metrics import compare_systems


@pytest.fixture
def clips():
    """Return a row per clip of three systems, the third the best."""
    rng = np.random.default_rng(0)
    rows = [
        {
            "audio": f"{system}{prompt}{take}.wav",
            "text": f"prompt {prompt}",
            "score": 5 + gain + effect + rng.normal(scale=0.3),
            "model": system,
            "mos": round(5 + gain + rng.normal(), 1),
        }
        for prompt, effect in enumerate(rng.normal(size=20))
        for system, gain in (("v1", 0), ("v2", 0.05), ("v3", 1))
        for take in range(rng.integers(1, 4))
    ]
    return pd.DataFrame(rows)


@pytest.fixture
def tables(clips, tmp_path):
    """Return a table of each system."""
    paths = []
    for name, part in clips.groupby("model"):
        paths.append(tmp_path / f"{name}.csv")
        part.drop(columns="model").to_csv(paths[-1], index=False)
    return paths


def test_a_table_per_system_is_compared_by_prompt(run, tables, clips):
    done = run("compare", *tables, "--json")
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    expected = compare_systems(clips, system="model")
    for name in ("means", "differences"):
        table = getattr(expected, name).reset_index()
        pd.testing.assert_frame_equal(
            pd.DataFrame(found[name]), table, check_dtype=False
        )
    assert found["verdict"] == "v3 is better than v1, v2."
    assert found["unscored"] == 0
    assert "agreement" not in found


def test_scores_without_ratings_are_compared_within_one_table(run, tables, clips):
    for path in tables:
        pd.read_csv(path).assign(msclap_cosine=0.5).to_csv(path, index=False)
    done = run("compare", *tables)
    assert done.exit_code == 1
    assert f"{tables[0]} was scored without ratings" in done.stderr
    assert "in one table" in done.stderr
    whole = tables[0].with_name("whole.csv")
    clips.assign(msclap_cosine=0.5).to_csv(whole, index=False)
    assert run("compare", whole, "--by", "model").exit_code == 0


def test_the_tables_are_read_from_the_best_down_and_end_in_a_verdict(run, tables):
    lines = run("compare", *tables[:2]).stdout.splitlines()
    assert lines[0].split()[:4] == ["system", "prompts", "clips", "mean"]
    assert [line.split()[0] for line in lines[1:3]] == ["v2", "v1"]
    assert " to " in lines[1]
    assert lines[5].split()[:3] == ["v1", "v2", "20"]
    assert lines[-1] == "v2 has the highest mean; no significant difference from v1."


def test_one_table_by_a_column_with_ratings_and_a_picture(run, clips, tmp_path):
    table, picture = tmp_path / "all.jsonl", tmp_path / "systems.svg"
    clips.loc[3, "mos"] = None
    renamed = clips.rename(columns={"text": "id", "score": "pred", "mos": "score"})
    renamed.to_json(table, orient="records", lines=True)
    done = run(
        *("compare", table, "--by", "model", "--prompt-column", "id"),
        *("--score-column", "pred", "--rating", "score", "--picture", picture),
    )
    assert done.exit_code == 0
    expected = compare_systems(clips, system="model", ratings="mos")
    assert f"{expected.means.loc['v3', 'rating']:.3f}" in done.stdout.split("\n\n")[0]
    (line,) = [line for line in done.stdout.splitlines() if line.split()[:1] == ["lcc"]]
    assert line.split() == ["lcc", f"{expected.agreement.loc['lcc', 'value']:.3f}", "3"]
    assert picture.read_bytes().startswith(b"<?xml")


def test_prompts_that_differ_in_white_space_are_one(run, clips, tmp_path):
    clips.loc[clips["model"] == "v2", "text"] += " "
    table = tmp_path / "all.csv"
    clips.to_csv(table, index=False)
    found = json.loads(run("compare", table, "--by", "model", "--json").stdout)
    assert {row["n_prompts"] for row in found["differences"]} == {20}


def test_clips_without_a_score_are_counted_and_left_out(run, clips, tmp_path):
    scored = clips.copy()
    scored.loc[[0, 5], "score"] = np.nan
    table = tmp_path / "all.csv"
    scored.to_csv(table, index=False)
    done = run("compare", table, "--by", "model", "--json")
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert found["unscored"] == 2
    expected = compare_systems(scored.dropna(), system="model").means["mean"]
    assert [row["mean"] for row in found["means"]] == pytest.approx(list(expected))
    assert f"left out 2 of {len(clips)} clips without a score" in done.stderr
    lost = scored.loc[scored["score"].isna(), "model"]
    assert f"{lost.iloc[0]}: {(lost == lost.iloc[0]).sum()}" in done.stderr
    assert "do not count against a system" in done.stderr


def test_names_of_systems_are_those_of_files(run, clips, tmp_path):
    paths = []
    for name in ("model.v1.csv", "model.v2.csv.gz", "old/take.csv", "new/take.csv"):
        paths.append(tmp_path / name)
        paths[-1].parent.mkdir(exist_ok=True)
        clips.to_csv(paths[-1], index=False)
    names = json.loads(run("compare", *paths[:2], "--json").stdout)["means"]
    assert [row["system"] for row in names] == ["model.v1", "model.v2"]
    names = json.loads(run("compare", *paths[2:], "--json").stdout)["means"]
    assert [row["system"] for row in names] == [str(path) for path in paths[2:]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="score"), "no score column ('score',"),
        (lambda t: t.assign(score=None), "no clip of v2 has a score. Run clapstack"),
        (
            lambda t: t.assign(score="7,5"),
            "v2.csv, row 0: the score '7,5' is not a finite number",
        ),
        (lambda t: t.assign(text=""), "v2.csv, row 0: the prompt is empty"),
        (lambda t: t.assign(text=range(len(t))), "no two systems share two prompts"),
    ],
)
def test_what_cannot_be_compared_is_one_line_that_names_it(
    run, tables, change, message
):
    change(pd.read_csv(tables[1])).to_csv(tables[1], index=False)
    done = run("compare", *tables[:2])
    assert done.exit_code in (1, 3)
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_wrong_commands(run, tables):
    assert "--by" in run("compare", tables[0]).stderr
    assert run("compare", tables[0]).exit_code == 2
    assert run("compare", tables[0], tables[0]).exit_code == 2
    again = tables[0].parent / "." / ".." / tables[0].parent.name / tables[0].name
    assert run("compare", tables[0], again).exit_code == 2
    assert run("compare", *tables[:2], "--by", "model").exit_code == 3
    assert run("compare", "no_such.csv", "none.csv").exit_code == 3
    done = run("compare", *tables[:2], "--picture", tables[0])
    assert (done.exit_code, "would overwrite the input" in done.stderr) == (1, True)
    done = run("compare", *tables[:2], "--picture", tables[0].parent / "p.png")
    assert (done.exit_code, "must end in .svg" in done.stderr) == (2, True)
    assert "clapstack compare v1.csv v2.csv" in run("compare", "--help").stdout


def test_numbers_that_json_does_not_have_are_null(run, tmp_path):
    rows = {"text": ["a", "b", "c"] * 2, "score": [1e308, -1e308, 1e308, 1, 2, 3]}
    table = tmp_path / "far.csv"
    pd.DataFrame(rows | {"system": list("xxxyyy")}).to_csv(table, index=False)
    done = run("compare", table, "--by", "system", "--json")
    found = json.loads(done.stdout, parse_constant=pytest.fail)
    assert found["means"][0]["low"] is None


@pytest.mark.parametrize("name", [r"$\bad$", "a$b$c", "red\x1b[31m"])
def test_names_of_systems_are_drawn_as_they_are(run, tmp_path, name):
    rows = {"text": ["a", "b", "c"] * 2, "score": [1, 2, 4, 2, 4, 5]}
    table, picture = tmp_path / "named.csv", tmp_path / "named.svg"
    pd.DataFrame(rows | {"system": [name] * 3 + ["z"] * 3}).to_csv(table, index=False)
    assert run("compare", table, "--by", "system", "--picture", picture).exit_code == 0
    assert name.replace("\x1b", "") in picture.read_text()
    assert ElementTree.parse(picture).getroot().tag.endswith("svg")
