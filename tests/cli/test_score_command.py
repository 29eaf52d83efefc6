import json
import os
import shutil
import sys

import numpy as np
import pandas as pd
import pytest
import soundfile as sf

from clapstack import load_model
from clapstack.scoring.tables import CosineScorer, ModelScorer


@pytest.fixture
def table(write_csv, pairs):
    """Return a table whose rows 3 and 5 cannot be used."""
    rows = [dict(pair) for pair in pairs]
    rows[3]["audio"] = "no_such.wav"
    rows[5]["text"] = " "
    return write_csv(rows)


@pytest.fixture(scope="session")
def expected(model_file, clips, pairs):
    """Return scores and intervals of all pairs, from Python."""
    X = pd.DataFrame(pairs)[["audio", "text"]]
    X["audio"] = [str(clips / name) for name in X["audio"]]
    model = load_model(model_file)
    interval = model[-1].predict_interval(model[:-1].transform(X), coverage=0.8)
    return np.column_stack([model.predict(X), interval])


def test_a_table_is_scored_with_intervals_and_reasons(
    run, model_file, table, tmp_path, read_csv, expected
):
    out = tmp_path / "scores.csv"
    done = run(
        "score",
        model_file,
        table,
        "--out",
        out,
        "--keep",
        "id",
        "--chunk-size",
        10,
        "--coverage",
        0.8,
    )
    assert done.exit_code == 1
    assert "22 of 24 rows scored" in done.stderr
    assert "2 rows have no score (exit code 1); see the column error" in done.stderr
    rows = read_csv(out)
    assert [row["id"] for row in rows] == [f"pair {i}" for i in range(24)]
    assert "no such file" in rows[3]["error"]
    assert "the text is empty or blank" in rows[5]["error"]
    good = [i for i in range(24) if i not in (3, 5)]
    scores = [[float(rows[i][name]) for name in ("score", "low", "high")] for i in good]
    np.testing.assert_allclose(scores, expected[good], atol=1e-5)


def test_standard_input_goes_to_standard_output(
    run, model_file, table, monkeypatch, expected
):
    monkeypatch.chdir(table.parent)
    done = run(
        "score",
        model_file,
        "-",
        "--format",
        "jsonl",
        "--quiet",
        input=table.read_bytes(),
    )
    assert done.exit_code == 1
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert rows[0]["score"] == pytest.approx(expected[0, 0], abs=1e-5)
    assert rows[3]["score"] is None
    assert done.stderr.count("\n") == 1


def test_bytes_that_are_no_utf8_come_out_as_they_went_in(run, model_file):
    table = b"audio,text\nrain\xe9.wav,rain\na.wav,rain\xe9\n"
    done = run("score", model_file, "-", "--quiet", input=table)
    lines = done.stdout_bytes.splitlines()
    assert lines[1].startswith(b"0,rain\xe9.wav,rain,,,,")
    assert b"the text is not valid UTF-8" in lines[2]


def test_an_interrupted_run_says_so(run, model_file, pairs, write_csv, monkeypatch):
    def interrupt(self, pairs):
        raise KeyboardInterrupt

    monkeypatch.setattr(ModelScorer, "values", interrupt)
    done = run("score", model_file, write_csv(pairs), "--quiet")
    assert (done.exit_code, done.stderr) == (130, "clapstack score: interrupted\n")


def test_a_summary_for_programs_is_the_only_output(
    run, model_file, pairs, write_csv, tmp_path, read_lines
):
    out = tmp_path / "scores.jsonl"
    done = run(
        "score", model_file, write_csv(pairs[:4]), "--out", out, "--json", "--quiet"
    )
    assert done.exit_code == 0
    report = json.loads(done.stdout)
    assert report["mean_low"] is None  # one text: nothing to draw from
    mean = np.mean([row["score"] for row in read_lines(out)])
    assert report.pop("mean") == pytest.approx(mean)
    assert report == {
        "out": str(out),
        "rows": 4,
        "scored": 4,
        "failed": 0,
        "resumed": 0,
        "scale": "ratings",
        "mean_low": None,
        "mean_high": None,
        "texts": 1,
    }
    assert done.stderr == ""


def test_the_last_line_has_the_mean_and_its_interval(
    run, model_file, table, tmp_path, expected
):
    done = run("score", model_file, table, "--out", tmp_path / "s.csv")
    last = done.stderr.splitlines()[-1]
    good = [row for row in range(24) if row not in (3, 5)]
    assert f"mean score {expected[good, 0].mean():.3f}, 95 % interval" in last
    assert last.endswith("(22 pairs, 4 texts)")


def test_a_mean_below_the_bound_is_code_4(
    run, model_file, write_csv, pairs, table, clips
):
    good = ["score", model_file, write_csv(pairs, "good.csv"), "--fail-under"]
    assert run(*good, 0.5).exit_code == 0
    done = run(*good, 9.9, "--quiet")
    assert done.exit_code == 4
    assert done.stderr.startswith("clapstack score: the mean score ")
    assert done.stderr.endswith("is below 9.9\n")
    # Rows without a score are code 1, unless the others fall short already.
    done = run("score", model_file, table, "--fail-under", 0.5, "--quiet")
    assert done.exit_code == 1
    last = done.stderr.splitlines()[-1]
    assert last.endswith(" no score (exit code 1); see the column error")
    done = run("score", model_file, table, "--fail-under", 9.9)
    assert done.exit_code == 4
    assert "exit code 1" not in done.stderr
    pair = ["score", model_file, clips / "0.wav", "rain", "--fail-under"]
    assert run(*pair, -99).exit_code == 0
    assert run(*pair, 9.9).exit_code == 4
    done = run(*good, "nan")
    assert (done.exit_code, "nan is not a threshold" in done.stderr) == (2, True)
    done = run("score", "--unsupervised", table, "--fail-under", 1)
    assert done.exit_code == 2
    assert "have no scale" in " ".join(done.stderr.split())


def test_bars_are_shown_on_a_terminal_alone(run, model_file, write_csv, pairs):
    done = run("score", model_file, write_csv(pairs))
    assert "scoring" not in done.stderr
    assert "\r" not in done.stderr


def test_a_pair_is_scored(run, model_file, clips, pairs, expected):
    pair = [clips / pairs[0]["audio"], pairs[0]["text"]]
    done = run("score", model_file, *pair)
    assert done.stdout == f"{expected[0, 0]:.3f}\n"
    report = json.loads(
        run("score", model_file, *pair, "--json", "--coverage", 0.8).stdout
    )
    found = [report[name] for name in ("score", "low", "high")]
    np.testing.assert_allclose(found, expected[0], atol=1e-5)
    assert report["coverage"] == 0.8


@pytest.mark.skipif(sys.platform != "linux", reason="names are Unicode there")
@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_a_clip_whose_name_is_not_utf8_is_scored(
    run, model_file, clips, tmp_path, as_json
):
    name = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav")
    shutil.copy(clips / "0.wav", name)
    done = run("score", model_file, name, "a bell", *as_json)
    same = run("score", model_file, clips / "0.wav", "a bell", *as_json)
    assert done.exit_code == 0
    if as_json:
        assert json.loads(done.stdout)["score"] == json.loads(same.stdout)["score"]
    else:
        assert done.stdout == same.stdout


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX files")
def test_links_stay_and_devices_are_written_to(run, model_file, write_csv, pairs):
    table = write_csv(pairs[:2])
    link = table.with_name("link.csv")
    link.symlink_to("real.csv")
    assert run("score", model_file, table, "--out", link, "--quiet").exit_code == 0
    assert link.is_symlink()
    assert link.resolve().read_text().startswith("row,audio,text,score")
    link.resolve().unlink()
    link.unlink()
    done = run("score", model_file, table, "--out", os.devnull, "--quiet")
    assert (done.exit_code, done.output) == (0, "")
    assert not os.path.isfile(os.devnull)
    assert not os.path.exists(f"{os.devnull}.part")
    done = run("score", model_file, table, "--out", os.devnull, "--format", "parquet")
    assert done.exit_code == 2
    assert "Use csv or jsonl for it" in done.output


def test_without_ratings_cosines_are_standardised_over_the_table(
    run, table, tmp_path, read_csv
):
    out = tmp_path / "order.csv"
    done = run(
        "score",
        "--unsupervised",
        "--checkpoints",
        "bundled",
        table,
        "--out",
        out,
        "--chunk-size",
        7,
    )
    assert done.exit_code == 1
    assert "have no scale" in done.stderr
    rows = read_csv(out)
    assert "no such file" in rows[3]["error"]
    good = pd.DataFrame([row for row in rows if not row["error"]])
    names = [f"{name}_cosine" for name in ("laion_unfused", "laion_fused", "msclap")]
    cosines = good[names].astype(float)
    standardised = (cosines - cosines.mean()) / cosines.std(ddof=0)
    np.testing.assert_allclose(good["score"].astype(float), standardised.mean(axis=1))


def test_without_ratings_events_count_beside_the_cosines(
    run, write_csv, pairs, tmp_path, read_csv
):
    rows = [{**pair, "text": f"{pair['text']}, then wind"} for pair in pairs]
    out = tmp_path / "order.csv"
    command = ["score", "--unsupervised", "--events", "--checkpoints", "bundled"]
    done = run(*command, write_csv(rows), "--out", out)
    assert done.exit_code == 0, done.output
    table = pd.DataFrame(read_csv(out)).drop(columns=["audio", "text", "error"])
    table = table.astype(float)
    of_cosines = table.filter(like="_cosine")
    assert len(of_cosines.columns) == 3
    apart = (table - table.mean()) / table.std(ddof=0).replace(0, 1)
    expected = apart[of_cosines.columns].mean(axis=1)
    expected += 0.5 * apart["weakest"] + 0.25 * apart["inversion"]
    np.testing.assert_allclose(table["score"], expected, atol=1e-6)


def test_a_pair_is_explained(run, model_file, tmp_path):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 3 * 16000)
    sf.write(tmp_path / "long.wav", noise, 16000)
    command = ["score", model_file, tmp_path / "long.wav", "a dog barks, then rain"]
    done = run(*command, "--explain")
    assert done.exit_code == 0, done.output
    number, title, *lines = done.stdout.splitlines()
    assert float(number) == float(run(*command).stdout)
    assert title == "“a dog barks, then rain” in 3.0 s of sound"
    assert lines[0].startswith("  a dog barks ")
    assert "in the order of the text" in lines[-1]
    result = json.loads(run(*command, "--explain", "--json").stdout)
    assert [one["text"] for one in result["events"]["clauses"]] == [
        "a dog barks",
        "rain",
    ]


def test_without_ratings_an_interrupted_run_ends_in_the_same_scores(
    run, table, tmp_path, monkeypatch
):
    command = [
        "score",
        "--unsupervised",
        "--checkpoints",
        "bundled",
        table,
        "--chunk-size",
        7,
        "--quiet",
        "--out",
    ]
    run(*command, tmp_path / "whole.csv")
    ask = CosineScorer.values

    def fail(self, pairs):
        if 14 in pairs.index:
            raise MemoryError("out of memory")  # noqa: EM101
        return ask(self, pairs)

    with monkeypatch.context() as patch:
        patch.setattr(CosineScorer, "values", fail)
        done = run(*command, tmp_path / "out.csv")
        assert done.exit_code == 70
        assert "MemoryError: out of memory" in done.stderr
    done = run(*command, tmp_path / "out.csv", "--json")
    assert json.loads(done.stdout)["resumed"] == 12
    whole, again = (pd.read_csv(tmp_path / f"{n}.csv") for n in ("whole", "out"))
    pd.testing.assert_frame_equal(again, whole, rtol=1e-5, atol=1e-5)


def test_one_pair_alone_has_no_score_without_ratings(run, write_csv, pairs):
    done = run(
        "score", "--unsupervised", "--checkpoints", "bundled", write_csv(pairs[:1])
    )
    assert done.exit_code == 1
    assert "the table has only one usable pair" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give a model and a table: clapstack score MODEL TABLE"),
        (["t.csv"], "there is no model before t.csv. Use clapstack score MODEL TABLE"),
        (["t.csv"], "without a model, clapstack score --unsupervised t.csv"),
        (["a.wav", "a dog"], "there is no model before a.wav. A single pair needs"),
        (["m.clapstack"], "there is no table after the model m.clapstack"),
        (["t.csv", "m.clapstack"], "Use clapstack score m.clapstack t.csv."),
        (["m.clapstack", "a.wav"], "a.wav is a clip, so its text must follow"),
        (["m", "a.wav", "a", "dog"], "got 4 arguments. Put quotes around a text"),
        (["--unsupervised"], "give one table and no model; got 0 arguments"),
        (["--unsupervised", "model", "table.csv"], "give one table and no model"),
        (["--unsupervised", "a.wav", "a dog"], "use Scorer.unsupervised in Python"),
        (["m", "t.csv", "--explain"], "only the score of one pair can be explained"),
        (["m", "t.csv", "--events"], "--events: it needs --unsupervised"),
        (["m", "a.wav", "rain", "--out", "x.csv"], "the score of one pair is printed"),
        (["m", "t.csv", "--out", "x.txt"], "must end in .csv, .jsonl"),
        (["m", "t.csv", "--format", "parquet"], "'parquet' is not one of csv, jsonl"),
        (["m", "t.csv", "--json"], "in place of the table"),
        (
            ["m", "t.csv", "--checkpoints", "best"],
            "'best' is not one of published, bundled",
        ),
        (["m", "t.csv", "--checkpoint", "best"], "FAMILY=PATH; got 'best'"),
        (
            ["--unsupervised", "t.csv", "--checkpoint", "bundled"],
            "Did you mean --checkpoints bundled?",
        ),
        (["m", "t.csv", "--coverage", "1.5"], "--coverage"),
    ],
)
def test_a_wrong_command_is_code_2(run, arguments, message):
    done = run("score", *arguments)
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())


def test_a_missing_model_or_table_is_one_line(
    run, model_file, tmp_path, write_csv, pairs
):
    done = run("score", tmp_path / "m.clapstack", write_csv(pairs))
    assert done.exit_code == 3
    assert done.stderr.startswith("clapstack score: No such file or directory: ")
    assert done.stderr.count("\n") == 1
    done = run("score", model_file, tmp_path / "t.csv")
    assert done.exit_code == 3
    assert f"No such file or directory: {tmp_path / 't.csv'}" in done.stderr


def test_debug_shows_the_traceback(run, tmp_path):
    done = run("--debug", "score", tmp_path / "m.clapstack", tmp_path / "a.wav", "rain")
    assert isinstance(done.exception, FileNotFoundError)


def test_what_is_read_is_not_written_over(run, model_file, table):
    before = table.read_bytes()
    done = run("score", model_file, table, "--out", table)
    assert done.exit_code == 1
    assert "would overwrite the input" in done.stderr
    assert table.read_bytes() == before


def test_help_teaches_by_example(run):
    done = run("score", "--help")
    assert "clapstack score model.clapstack clips.csv --out scores.csv" in done.stdout
