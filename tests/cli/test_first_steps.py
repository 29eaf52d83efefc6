"""Messages about the mistakes of a first session on the command line."""

import os
import shutil
import sys

import numpy as np
import pytest
import soundfile as sf

BUNDLED = ["--checkpoints", "bundled"]


@pytest.fixture
def folder(clips, tmp_path):
    """Return a folder with two clips and nothing else."""
    for name in ("0.wav", "1.wav"):
        shutil.copy(clips / name, tmp_path)
    return tmp_path


def test_a_clip_in_place_of_a_table_is_named(run, clips):
    clip = clips / "0.wav"
    done = run("score", "--unsupervised", clip, *BUNDLED)
    assert done.exit_code == 3
    assert f"{clip} is a clip, but a table of pairs is needed" in done.stderr


def test_a_folder_without_texts_is_one_error(run, folder):
    done = run("score", "--unsupervised", folder, *BUNDLED)
    assert done.exit_code == 3
    assert done.stderr == (
        f"clapstack score: {folder}: its 2 clips have no texts. Put a .txt or .json "
        "file with the text next to each clip, or name a file of prompts (--prompts "
        "FILE).\n"
    )
    assert done.stdout == ""


def test_one_text_is_enough_to_score_a_folder(run, folder, model_file):
    (folder / "1.txt").write_text("a dog barks")
    done = run("score", model_file, folder)
    assert done.exit_code == 1
    assert "1 of 2 rows scored" in done.stderr
    assert "1 row has no score (exit code 1)" in done.stderr


def test_scores_that_do_not_exist_are_not_explained(run, write_csv, pairs):
    rows = [{**pair, "audio": "none.wav"} for pair in pairs[:2]]
    done = run("score", "--unsupervised", write_csv(rows), *BUNDLED)
    assert "0 of 2 rows scored" in done.stderr
    assert "no scale" not in done.stderr


def test_a_single_unusable_clip_is_not_a_row(run, model_file, tmp_path):
    clip = tmp_path / "silent.wav"
    sf.write(clip, np.zeros(8000), 16_000)
    done = run("score", model_file, clip, "a dog barks")
    assert done.exit_code == 1
    assert done.stderr.startswith(f"clapstack score: {clip}: the clip is silent")
    assert "row" not in done.stderr
    gone = run("score", model_file, tmp_path / "gone.wav", "a dog barks")
    assert gone.exit_code == 3
    assert "gone.wav: no such file" in gone.stderr


def test_few_pairs_and_the_scale_of_the_ratings_are_shown(
    run, write_csv, pairs, tmp_path
):
    rows = [{**pair, "score": 10 * pair["score"]} for pair in pairs]
    out = tmp_path / "m.clapstack"
    family = ["--family", "msclap", *BUNDLED, "--resamples", 0]
    done = run("fit", write_csv(rows), "--out", out, *family)
    assert done.exit_code == 0, done.stderr
    assert "warning: 24 pairs are few. Models of fewer than 50" in done.stderr
    ratings = [row["score"] for row in rows]
    assert (
        "SRCC 1 is the perfect order and 0 is chance. The ratings range from "
        f"{min(ratings):g} to {max(ratings):g}."
    ) in done.stdout


def test_constant_ratings_are_refused_in_the_words_of_the_table(
    run, write_csv, pairs, tmp_path
):
    table = write_csv([{**pair, "score": 5} for pair in pairs])
    done = run("fit", table, "--out", tmp_path / "m.clapstack", *BUNDLED)
    assert done.exit_code == 1
    assert f"{table}: all ratings are 5, so there is nothing to learn" in done.stderr


def test_a_decimal_comma_has_its_remedy(run, write_csv, pairs, tmp_path):
    table = write_csv([{**pair, "score": "3,8"} for pair in pairs[:2]])
    done = run("fit", table, "--out", tmp_path / "m.clapstack", *BUNDLED)
    assert done.exit_code == 1
    assert done.stderr.endswith(
        "Correct the table in line 2, 3. Use a decimal point.\n"
    )
    assert "Use a decimal point." in run("rank", table).stderr


def test_all_missing_columns_are_named_with_options(run, write_csv, pairs, tmp_path):
    rows = [{"clip": p["audio"], "words": p["text"], "MOS": 1} for p in pairs[:2]]
    done = run("fit", write_csv(rows), "--out", tmp_path / "m.clapstack", *BUNDLED)
    assert done.exit_code == 3
    assert "no audio column ('audio', " in done.stderr
    assert " and no text column ('text'" in done.stderr
    assert (
        "Name the column with --audio-column clip. Name the column with --text-column "
        "words. Name the column with --score-column MOS."
    ) in done.stderr


def test_one_candidate_per_prompt_leaves_nothing_to_choose(run, write_csv, pairs):
    done = run("rank", write_csv([pairs[0], pairs[6]]))
    assert "one candidate per prompt, so there is nothing to choose" in done.stderr
    assert "random" not in done.stderr


def test_the_columns_of_a_comparison_are_apart_and_explained(run, write_csv, pairs):
    rows = [{**p, "system": "ab"[i % 2]} for i, p in enumerate(pairs)]
    done = run("compare", write_csv(rows), "--by", "system")
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert any(line.endswith("  p better  p value  p adjusted") for line in lines)
    assert any(line.startswith("p better: probability that") for line in lines)


def test_a_report_of_several_tables_names_the_way(run):
    done = run("report", "v1.csv", "v2.csv")
    assert done.exit_code == 2
    assert "give that column with --by" in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("command", "caller"),
    [
        (["report", "m"], "clapstack report"),
        (["compare", "a.csv", "b.csv", "--picture", "p.svg"], "clapstack compare"),
        (["probe", "m", "a.csv", "--picture", "p.svg"], "clapstack probe"),
    ],
)
def test_a_missing_matplotlib_is_named_before_any_work(
    run, monkeypatch, command, caller
):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = run(*command)
    assert done.exit_code == 3
    assert caller in done.stderr
    assert 'pip install "clapstack[plot]"' in done.stderr


def test_a_backslash_is_named_where_it_separates_no_folders(
    run, write_csv, pairs, model_file
):
    rows = [{**pairs[0], "audio": "sub\\0.wav"}]
    done = run("score", model_file, write_csv(rows))
    if os.sep == "/":
        assert "Folders are separated by /, not \\" in done.stdout
