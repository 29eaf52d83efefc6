"""Commands on ratings of several axes."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from clapstack import load_model
from clapstack.metrics import score_report

AXES = ("relevance", "order")
OPTIONS = [word for axis in AXES for word in ("--rating", axis)]


@pytest.fixture(scope="module")
def rows(pairs):
    """Return pairs with two ratings, some of which are missing."""
    rng = np.random.default_rng(3)
    rows = []
    for number, pair in enumerate(pairs):
        row = {"audio": pair["audio"], "text": pair["text"]}
        row["relevance"] = round(float(rng.uniform(0, 10)), 2)
        row["order"] = "" if number % 5 == 0 else round(float(rng.uniform(0, 10)), 2)
        rows.append(row)
    return rows


@pytest.fixture(scope="module")
def model_file(run, rows, tmp_path_factory, clips):
    """Return a model of two axes, and what its fit printed."""
    folder = tmp_path_factory.mktemp("axes")
    table = folder / "rated.csv"
    pd.DataFrame(rows).to_csv(table, index=False)
    out = folder / "axes.clapstack"
    done = run(
        *("fit", table, "--out", out, "--audio-folder", clips, *OPTIONS),
        *("--checkpoints", "bundled", "--folds", 2, "--resamples", 20),
    )
    assert done.exit_code == 0, done.output
    return out, table, done


def test_fit_prints_a_line_per_axis(model_file):
    out, _, done = model_file
    lines = done.stdout.splitlines()
    assert lines[1].split()[:3] == ["N", "SRCC", "LCC"]
    assert lines[2].split()[:2] == ["relevance", "24"]
    assert lines[3].split()[:2] == ["order", "19"]
    assert "relevance: the held-out SRCC of" in done.stderr
    assert load_model(out)[-1].axes_ == list(AXES)


def test_score_has_three_columns_per_axis(model_file, run, clips, tmp_path):
    out, table, _ = model_file
    scores = tmp_path / "scores.csv"
    done = run("score", out, table, "--out", scores, "--audio-folder", clips)
    assert done.exit_code == 0, done.output
    found = pd.read_csv(scores)
    names = [f"{axis}{end}" for axis in AXES for end in ("", "_low", "_high")]
    ends = ["in_domain", "error"]
    assert list(found.columns) == ["row", "audio", "text", *names, *ends]
    X = found[["audio", "text"]].assign(audio=[str(clips / c) for c in found["audio"]])
    assert_allclose(found[list(AXES)], load_model(out).predict(X), rtol=1e-6)
    one = run("score", out, clips / found["audio"][0], found["text"][0])
    scores = found.loc[0, list(AXES)].astype(float)
    assert one.stdout.splitlines() == [f"{a}\t{scores[a]:.3f}" for a in AXES]
    both = json.loads(run("score", out, clips / "0.wav", "a bell", "--json").stdout)[
        "axes"
    ]
    assert both["order"].keys() == {"score", "low", "high", "coverage"}


def test_evaluate_judges_each_axis_on_its_rated_pairs(model_file, run, clips, tmp_path):
    out, table, _ = model_file
    place = ("--audio-folder", clips)
    done = run("evaluate", out, table, "--json", "--resamples", 0, *place)
    report = json.loads(done.stdout)["report"]
    assert "these are the training ratings of the model" in done.stderr
    rated = pd.read_csv(table)
    X = rated[["audio", "text"]].assign(audio=[str(clips / c) for c in rated["audio"]])
    expected = score_report(rated[list(AXES)], load_model(out).predict(X))
    for axis in AXES:
        assert report[axis]["n_pairs"] == expected.loc[axis, "n_pairs"]
        assert report[axis]["srcc"] == pytest.approx(expected.loc[axis, "srcc"])
    scores = tmp_path / "scores.csv"
    run("score", out, table, "--out", scores, *place)
    judged = run(
        *("evaluate", scores, table, *OPTIONS, "--json", "--resamples", 0, *place)
    )
    again = json.loads(judged.stdout)["report"]
    for axis in AXES:
        assert again[axis]["mse"] == pytest.approx(report[axis]["mse"])
    one = run("evaluate", out, table, "--rating", "order", "--resamples", 0, *place)
    assert one.exit_code == 0, one.output
    assert [line.split()[:1] for line in one.stdout.splitlines()][1:] == [["order"]]


def test_each_axis_is_probed_and_one_picture_of_both_refused(
    model_file, run, clips, tmp_path
):
    out, table, _ = model_file
    command = ["probe", out, table, "--audio-folder", clips, "--edit", "case"]
    done = run(*command)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()[1:]
    assert [line.split()[:3] for line in lines] == [
        [f"{axis}:", "case", "24"] for axis in AXES
    ]
    done = run(*command, "--picture", tmp_path / "probe.svg")
    assert done.exit_code == 2
    assert "one axis can be drawn" in " ".join(done.stderr.split())


def test_the_report_has_sections_per_axis(model_file, run, tmp_path):
    out, _, _ = model_file
    page = tmp_path / "report.html"
    done = run("report", out, "--out", page, "--resamples", 20)
    assert done.exit_code == 0, done.output
    text = page.read_text()
    for axis in AXES:
        assert f"<h2>{axis}: held-out training pairs</h2>" in text
        assert f"{axis}: Held-out training pairs</th>" in text
        assert f"{axis}: From the model card</th>" in text
    assert "The model predicts 2 axes: relevance, order." in text


def test_the_report_of_new_pairs_shows_the_worst_of_each_axis(
    model_file, run, rows, write_csv, clips, tmp_path
):
    out, _, _ = model_file
    others = [{**row, "relevance": row["relevance"] / 2} for row in rows[:-1]]
    others[3]["order"] = ""
    page = tmp_path / "report.html"
    command = ("report", out, "--data", write_csv(others), "--out", page)
    done = run(*command, "--resamples", 0, "--pairs", 1)
    assert done.exit_code == 0, done.output
    text = page.read_text()
    assert re.findall("<h2>(.*): new pairs</h2>", text) == list(AXES)
    assert re.findall("<h2>(.*): worst predictions</h2>", text) == list(AXES)


def test_a_row_without_any_rating_is_named(run, rows, write_csv, tmp_path):
    spoilt = [*rows, {**rows[0], "text": "x", "relevance": "", "order": ""}]
    command = ["fit", write_csv(spoilt), "--out", tmp_path / "m", *OPTIONS]
    done = run(*command, "--checkpoints", "bundled")
    assert done.exit_code == 1
    assert "the columns 'relevance', 'order' are all empty in row 24" in done.stderr
    spoilt[-1]["order"] = "NA"
    done = run(*command[:1], write_csv(spoilt, "other.csv"), *command[2:])
    assert "the rating is not a finite number in row 24 ('NA')" in done.stderr


def test_ratings_of_one_pair_are_averaged_by_axis(rows, write_csv):
    from clapstack.cli.tables import read_rated
    from clapstack.scoring.tables import PairTable

    twice = [*rows, {**rows[0], "relevance": "", "order": 4}]
    table = PairTable(write_csv(twice), others=AXES)
    rated = read_rated(table, axes=AXES)
    assert rated.y.loc[0].tolist() == [rows[0]["relevance"], 4]
    assert (rated.y.shape, rated.n_ratings) == ((24, 2), 25)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rating", "order", "--rating", "order"], "each column can be given once"),
        (["--rating", "price"], "the model predicts relevance, order, not price"),
        (["--rating", "order", "--audio-column", "no"], "no audio column"),
    ],
)
def test_wrong_axes_are_refused(model_file, run, words, message):
    out, table, _ = model_file
    done = run("evaluate", out, table, *words)
    assert done.exit_code in (1, 2, 3)
    assert message in " ".join(done.stderr.replace("│", " ").split())


def test_a_system_predicts_one_axis(run, rows, write_csv, tmp_path):
    command = ("fit", write_csv(rows), "--out", tmp_path / "m", *OPTIONS)
    done = run(*command, "--system", "msclap")
    assert done.exit_code == 2
    assert "a system predicts one score" in " ".join(done.stderr.split())
