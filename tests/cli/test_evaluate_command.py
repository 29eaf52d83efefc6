import json

import pytest

from clapstack import load_model
from clapstack.metrics import score_report


@pytest.fixture
def table(write_csv, pairs):
    return write_csv(pairs)


@pytest.fixture
def predictions(run, model_file, table, tmp_path):
    out = tmp_path / "scores.csv"
    done = run("score", model_file, table, "--out", out, "--keep", "id", "--quiet")
    assert done.exit_code == 0, done.output
    return out


def report_of(done):
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)["report"]


def test_a_model_is_judged_as_in_python(run, model_file, table, clips, pairs):
    import pandas as pd

    done = run("evaluate", model_file, table, "--json", "--quiet", "--resamples", 0)
    report = report_of(done)
    X = pd.DataFrame(pairs)
    X["audio"] = [str(clips / name) for name in X["audio"]]
    scores = load_model(model_file).predict(X)
    expected = score_report(X["score"], scores)
    assert {name: report[name] for name in expected} == pytest.approx(expected)
    assert report["coverage"] == 0.9


@pytest.mark.parametrize("key", [[], ["--key", "id"]], ids=["pair", "id"])
def test_predictions_are_judged_as_the_model_is(
    run, model_file, table, predictions, key
):
    options = ["--json", "--quiet", "--resamples", 20]
    of_model = report_of(run("evaluate", model_file, table, *options))
    report = report_of(run("evaluate", predictions, table, *key, *options))
    assert report == pytest.approx({name: of_model[name] for name in report})


def test_rows_without_a_score_are_not_left_out_in_silence(
    run, table, predictions, write_csv, pairs
):
    lines = predictions.read_text().splitlines()
    cells = lines[1].split(",")
    cells[4:7] = ["", "", ""]
    predictions.write_text("\n".join([lines[0], ",".join(cells), *lines[2:]]) + "\n")
    done = run("evaluate", predictions, table)
    assert done.exit_code == 1
    assert "has 1 rows without a score" in done.stderr
    done = run("evaluate", predictions, table, "--skip-bad", "--resamples", 0)
    assert done.stdout.splitlines()[-1] == "N    23, 1 left out"


def test_a_model_is_not_judged_without_rows_that_it_cannot_use(
    run, model_file, write_csv, pairs
):
    table = write_csv([*pairs, {**pairs[0], "audio": "no_such.wav"}])
    options = ["--quiet", "--resamples", 0]
    done = run("evaluate", model_file, table, *options)
    assert done.exit_code == 1
    assert "1 of 25 pairs cannot be used" in done.stderr
    done = run("evaluate", model_file, table, *options, "--skip-bad")
    assert done.stdout.splitlines()[-1] == "N    24, 1 left out"
    assert "row 24, " in done.stderr


def test_the_training_pairs_cause_a_warning_and_no_others(
    run, model_file, pairs, write_csv
):
    for rows, is_warned in ((pairs, True), (pairs[1:], False)):
        done = run("evaluate", model_file, write_csv(rows, f"{is_warned}.csv"))
        assert done.exit_code == 0, done.output
        assert (
            "training ratings of the model, so the metrics are too optimistic"
            in done.stderr
        ) == is_warned


def test_predictions_may_name_the_clips_otherwise(
    run, table, predictions, clips, read_csv, tmp_path
):
    expected = report_of(run("evaluate", predictions, table, "--json"))
    rows = read_csv(predictions)
    spell = ["{}", "./{}", f"{clips}/{{}}", f"../{clips.name}/{{}}"]
    other = tmp_path / "elsewhere" / "other.csv"
    other.parent.mkdir()
    lines = [
        f"{spell[i % 4].format(row['audio'])};{row['text']} ;{row['score']}"
        for i, row in enumerate(rows)
    ]
    other.write_text("\n".join(["Audio; Text;Score", *lines]))
    assert report_of(run("evaluate", other, table, "--json")) == expected


def test_a_table_judged_by_itself_is_remarked_on(run, table, predictions):
    for arguments, is_odd in (([table, table], True), ([predictions, table], False)):
        done = run("evaluate", *arguments, "--resamples", 0)
        assert done.exit_code == 0, done.output
        assert ("every prediction equals its rating" in done.stderr) == is_odd


def test_a_table_without_any_score_is_refused(run, table, tmp_path):
    empty = tmp_path / "empty.csv"
    empty.write_text("id,score\n" + "".join(f"pair {i},\n" for i in range(24)))
    done = run("evaluate", empty, table, "--key", "id", "--skip-bad")
    assert done.exit_code == 1
    assert "has no scores. Score its pairs first." in done.stderr
