import json

import pytest

from clapstack.scoring import EDITS, probe


@pytest.fixture
def table(write_csv, pairs):
    """Return the file of six pairs of two texts, one of which claims an order."""
    few = pairs[:3] + pairs[18:21]
    text = {"a bell": "a bell rings, then a dog barks"}
    return write_csv([{**p, "text": text.get(p["text"], p["text"])} for p in few])


def test_a_model_is_probed_as_in_python(run, model_file, table):
    done = run("probe", model_file, table, "--json", "--quiet")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["left_out"] == 0
    assert [line["edit"] for line in found["edits"]] == list(EDITS)
    expected = probe(model_file, table)
    for line, one in zip(found["edits"], expected.to_dict("records"), strict=True):
        assert (line["edit"], line["n_pairs"]) == (one["edit"], one["n_pairs"])
        if line["n_pairs"]:
            assert line["change"] == pytest.approx(one["change"], abs=1e-5)


def test_a_table_to_read_is_printed(run, model_file, table):
    done = run("probe", model_file, table, "--edit", "swap", "--edit", "level")
    assert done.exit_code == 0
    head, swap, level = done.stdout.splitlines()
    assert head.split()[:2] == ["pairs", "change"]
    assert swap.split()[:2] == ["swap", "3"]
    assert "– to       –" in swap  # one text
    assert level.split()[:2] == ["level", "6"]
    assert done.stderr == ""


def test_without_ratings_and_with_a_picture(run, table, tmp_path):
    picture = tmp_path / "new" / "probe.svg"
    wanted = ["--unsupervised", "--family", "msclap=bundled:msclap", "--edit", "negate"]
    done = run("probe", table, *wanted, "--events", "--picture", picture, "--quiet")
    assert done.exit_code == 0, done.stderr
    assert picture.read_bytes().startswith(b"<?xml")
    assert done.stdout.splitlines()[1].split()[:2] == ["negate", "6"]


def test_a_folder_takes_its_texts_from_prompts(run, model_file, clips, tmp_path):
    prompts = tmp_path / "prompts.json"
    prompts.write_text(json.dumps({"0": "a bell", "1": "a dog barks"}))
    wanted = ["--prompts", prompts, "--edit", "negate", "--json", "--quiet"]
    done = run("probe", model_file, clips, *wanted)
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["edits"][0]["n_pairs"] == 2


def test_bad_rows_are_named_or_left_out(run, model_file, table, write_csv, read_csv):
    rows = read_csv(table)
    rows[2]["audio"] = "no_such.wav"
    bad = write_csv(rows, "bad.csv")
    done = run("probe", model_file, bad, "--edit", "case")
    assert done.exit_code == 1
    assert "1 of 6 pairs cannot be used:" in done.stderr
    assert "row 2" in done.stderr
    done = run("probe", model_file, bad, "--edit", "case", "--skip-bad", "--json")
    assert done.exit_code == 0
    assert "clapstack probe: row 2, " in done.stderr
    found = json.loads(done.stdout)
    assert (found["left_out"], found["edits"][0]["n_pairs"]) == (1, 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--edit", "swop"], "'swop' is not one of swap, drop, add"),
        (
            ["--edit", "add", "--edit", "add"],
            "each edit can be given once; got add, add",
        ),
        (["--picture", "probe.pdf"], "the name must end in .svg; got 'probe.pdf'"),
        (["--events"], "--events: it needs --unsupervised"),
        (["--unsupervised"], "give one table and no model; got 2 arguments"),
        (["--random-state", "-1"], "Invalid value for '--random-state'"),
    ],
)
def test_a_wrong_command_is_code_2(run, model_file, table, options, message):
    done = run("probe", model_file, table, *options)
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.replace("│", " ").split())


def test_a_missing_table_is_code_3(run, model_file):
    done = run("probe", model_file, "no_such.csv")
    assert done.exit_code == 3
    assert done.stderr == ("clapstack probe: No such file or directory: no_such.csv\n")
