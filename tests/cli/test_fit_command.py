import json

import pandas as pd
import pytest

from clapstack import load_model
from clapstack.store import EmbeddingStore, default_cache_dir


@pytest.fixture(scope="module")
def rows(pairs):
    """Return rated pairs, those of one clip in one group, one pair rated twice."""
    rows = [{**pair, "clip": pair["audio"][0]} for pair in pairs]
    return [*rows, {**rows[0], "score": 4}]


@pytest.fixture
def command(write_csv, rows, tmp_path):
    """Return a command that fits a quick system."""
    out = tmp_path / "models" / "m.clapstack"
    table = write_csv(rows)
    command = ["fit", table, "--out", out, "--checkpoints", "bundled"]
    return [*command, "--system", "msclap", "--resamples", 50]


def test_a_model_is_fitted_judged_and_saved(run, command, clips, tmp_path):
    done = run(*command, "--groups", "clip", "--folds", 3)
    assert done.exit_code == 0, done.output
    assert "24 pairs, 3 folds, grouped by 'clip'" in done.stdout
    assert "SRCC" in done.stdout
    assert "25 rows with 24 distinct pairs: the ratings of" in done.stderr
    model = load_model(command[3])
    X = pd.DataFrame({"audio": [str(clips / "0.wav")], "text": ["a bell"]})
    assert 0 < model.predict(X)[0] < 10
    ((name, features),) = model[0].transformer_list
    assert (name, features.verbose) == ("msclap", False)


def test_the_report_is_in_the_card_and_in_the_json(run, command, unzip):
    done = run(*command, "--json", "--quiet", "--folds", 2)
    result = json.loads(done.stdout)
    assert done.stderr == ""
    assert (result["pairs"], result["left_out"], result["folds"]) == (24, 0, 2)
    card = unzip(command[3], "README.md")
    assert "25 ratings of 24 pairs in table.csv." in card
    assert f"| mse | {result['report']['mse']:.4f} |" in card


def test_a_stack_with_events_is_fitted_and_saved(run, write_csv, rows, clips, tmp_path):
    out = tmp_path / "m.clapstack"
    command = ["fit", write_csv(rows), "--out", out, "--checkpoints", "bundled"]
    done = run(*command, "--events", "--folds", 0)
    assert done.exit_code == 0, done.output
    model = load_model(out)
    assert "events" in model[-1].families_
    X = pd.DataFrame({"audio": [str(clips / "0.wav")], "text": ["a bell, then rain"]})
    assert 0 < model.predict(X)[0] < 10


def test_a_published_system_has_no_events(run, command):
    done = run(*command, "--events")
    assert done.exit_code == 2
    assert "no published system has events" in done.stderr


@pytest.fixture
def unzip():
    import zipfile

    def read(path, name):
        with zipfile.ZipFile(path) as archive:
            return archive.read(name).decode()

    return read


def test_rows_that_cannot_be_used_are_named_and_may_be_left_out(
    run, rows, write_csv, tmp_path
):
    table = write_csv([*rows, {**rows[1], "audio": "no_such.wav"}])
    out = tmp_path / "m.clapstack"
    command = ["fit", table, "-o", out, "--checkpoints", "bundled", "--folds", 0]
    command += ["--system", "msclap", "--quiet"]
    done = run(*command)
    assert done.exit_code == 1
    assert "no_such.wav: no such file" in done.stderr
    assert not out.exists()
    done = run(*command, "--skip-bad")
    assert done.exit_code == 0
    assert done.stdout == f"{out}: fitted on 24 pairs of {table}\n"
    assert "row 25, " in done.stderr


def test_a_wrong_number_of_folds_is_code_2(run, command):
    done = run(*command, "--folds", 1)
    assert done.exit_code == 2
    assert "give 2 or more folds, or 0 for no report" in done.stderr


def test_an_unknown_system_is_one_line(run, command):
    done = run(*command, "--system", "best")
    assert done.exit_code == 2
    assert "there is no system 'best'" in done.stderr


def test_a_system_takes_no_preset(run, command):
    done = run(*command, "--preset", "best")
    assert done.exit_code == 2
    assert "a system has no presets" in done.stderr


def test_an_unknown_preset_is_refused(run, command):
    done = run(*command[:-4], "--preset", "fast")
    assert done.exit_code == 2
    assert "'fast' is not one of paper, best" in done.stderr


def test_the_preset_reaches_the_stack(run, command):
    done = run(*command[:-4], "--preset", "best", "--folds", 0)
    assert done.exit_code == 0, done.output
    assert load_model(command[3])[-1].kernel


def test_too_few_pairs_are_warned_of(run, command):
    done = run(*command, "--folds", 2)
    words = "is not clearly above zero: with 24 pairs, chance alone reaches 0.41"
    assert "clapstack fit: warning: the held-out SRCC of " in done.stderr
    assert words in done.stderr
    assert "there are too few pairs" in done.stderr


def test_more_folds_than_groups_are_refused(run, command):
    done = run(*command, "--groups", "text", "--folds", 5)
    assert done.exit_code == 1
    assert (
        "5 folds need 5 groups or more, and there are 4. Use --folds 4" in done.stderr
    )


def test_missing_weights_stop_the_fit_before_anything_is_encoded(
    run, rows, write_csv, tmp_path, monkeypatch
):
    monkeypatch.setenv("CLAPSTACK_CACHE", str(tmp_path / "store"))
    there = ("--checkpoint", "laion_unfused=bundled:laion-unfused")
    done = run("fit", write_csv(rows), "--out", tmp_path / "m.clapstack", *there)
    assert done.exit_code == 3
    assert "'laion/clap-htsat-fused' could not be downloaded" in done.stderr
    assert "  --checkpoint laion_fused=models/clap-htsat-fused\n" in done.stderr
    assert "Or run hf download laion/clap-htsat-fused, hf download" in done.stderr
    assert (
        "copy models--laion--clap-htsat-fused, models--microsoft--msclap" in done.stderr
    )
    assert "add --checkpoints bundled" in done.stderr
    assert EmbeddingStore(default_cache_dir()).stats().n_entries == 0


def test_too_many_folds_are_refused_before_anything_is_encoded(
    run, command, tmp_path, monkeypatch
):
    monkeypatch.setenv("CLAPSTACK_CACHE", str(tmp_path / "store"))
    done = run(*command, "--folds", 25)
    assert "25 folds need 25 pairs or more, and there are 24" in done.stderr
    assert EmbeddingStore(default_cache_dir()).stats().n_entries == 0
