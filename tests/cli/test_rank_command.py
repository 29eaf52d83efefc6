import json
import os

import pytest


@pytest.fixture
def scores(write_csv, pairs):
    """Return scored candidates: six clips for each of four texts, one unscored."""
    rows = [dict(pair) for pair in pairs]
    rows[3]["score"] = ""
    return write_csv(rows, "candidates.csv")


def test_the_best_of_each_prompt_is_written(run, scores, pairs, tmp_path, read_csv):
    out = tmp_path / "best.csv"
    done = run("rank", scores, "--best", 1, "--out", out, "--keep", "id")
    assert done.exit_code == 0
    rows = read_csv(out)
    assert list(rows[0]) == [
        "prompt",
        "rank",
        "n",
        "margin",
        "row",
        "audio",
        "score",
        "id",
    ]
    for number, row in enumerate(rows):
        group = [p for p in pairs[6 * number : 6 * number + 6] if p["id"] != "pair 3"]
        best = max(group, key=lambda pair: pair["score"])
        assert (row["prompt"], row["id"]) == (best["text"], best["id"])
        assert (float(row["score"]), row["rank"]) == (best["score"], "1")
    assert [row["n"] for row in rows] == ["5", "6", "6", "6"]
    last = done.stderr.splitlines()[-1]
    assert "4 prompts, 23 candidates; the best candidate of a prompt scores" in last
    assert "95 % interval" in last


def test_without_a_number_all_are_printed_in_order(run, scores):
    done = run("rank", scores, "--quiet")
    lines = done.stdout.splitlines()
    assert len(lines) == 24
    ranks = [line.split(",")[1] for line in lines[1:]]
    assert ranks == [*"12345", *("123456" * 3)]
    worst = run("rank", scores, "--worst", 1, "--quiet").stdout.splitlines()
    assert [line.split(",")[1] for line in worst[1:]] == ["5", "6", "6", "6"]


def test_chosen_clips_are_copied_under_names_that_differ(run, scores, clips, tmp_path):
    folder = tmp_path / "chosen"
    done = run("rank", scores, "--best", 2, "--copy-to", folder, "--quiet")
    assert done.exit_code == 0
    copies = sorted(folder.iterdir())
    assert len(copies) == 8
    assert copies[0].name.startswith("0-1-")
    for copy in copies:
        original = clips / copy.name.split("-")[2]
        assert copy.read_bytes() == original.read_bytes()
    again = run("rank", scores, "--best", 2, "--copy-to", folder)
    assert again.exit_code == 1
    assert "is not empty" in again.stderr


def test_a_summary_for_programs(run, scores):
    done = run("rank", scores, "--json", "--quiet")
    report = json.loads(done.stdout)
    assert (report["prompts"], report["candidates"], report["unscored"]) == (4, 23, 1)
    assert report["gain_low"] < report["gain"] < report["gain_high"]
    assert report["ties"] == 0


def test_a_prompt_without_scores_is_code_1(run, write_csv, pairs):
    rows = [{**pair, "score": ""} for pair in pairs[:6]] + pairs[6:]
    done = run("rank", write_csv(rows, "candidates.csv"), "--best", 1)
    assert done.exit_code == 1
    assert "1 prompt without any score (exit code 1)" in done.stderr


def test_a_score_that_is_no_number_is_named(run, write_csv, pairs):
    rows = [dict(pair) for pair in pairs]
    rows[2]["score"] = "7,5"
    done = run("rank", write_csv(rows, "candidates.csv"))
    assert done.exit_code == 1
    assert "row 2: the score '7,5' is not a finite number" in done.stderr


def test_a_clip_that_cannot_be_copied_is_named(run, write_csv, pairs, tmp_path):
    rows = [{**pair, "audio": ""} for pair in pairs]
    table = write_csv(rows, "candidates.csv")
    done = run("rank", table, "--best", 1, "--copy-to", tmp_path / "chosen")
    assert done.exit_code == 1
    assert "the audio must be the path of a file to copy" in done.stderr
    table = write_csv([{**rows[0], "audio": "none.wav"}], "other.csv")
    done = run("rank", table, "--copy-to", tmp_path / "other")
    assert done.exit_code == 3
    assert "none.wav" in done.stderr


def test_nothing_is_copied_where_a_clip_is_no_file(run, write_csv, pairs, tmp_path):
    # A device may have no end.
    for number, audio in enumerate(["none.wav", os.devnull, "."]):
        rows = [pairs[0], {**pairs[6], "audio": audio}]
        table = write_csv(rows, f"odd{number}.csv")
        done = run("rank", table, "--copy-to", tmp_path / "chosen")
        assert done.exit_code == (1 if number else 3)
        if number:
            assert f"got {audio!r}" in done.stderr
        assert not (tmp_path / "chosen").exists()


def test_wrong_commands(run, scores):
    assert run("rank", scores, "--best", 1, "--worst", 1).exit_code == 2
    done = run("rank", scores, "--keep", "score")
    assert done.exit_code == 1
    assert "--keep score: the result has a column" in done.stderr
    assert run("rank", "no_such.csv").exit_code == 3
    assert "clapstack rank scores.csv --best 1" in run("rank", "--help").stdout
