"""The ``clapstack xacle`` commands on a simulated folder and mini checkpoints."""

import dataclasses
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import joblib
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from typer.testing import CliRunner

import clapstack
from clapstack import make_system, save_model
from clapstack.cli import app
from clapstack.cli.challenge import _run
from clapstack.cli.challenge._run import settings_of
from clapstack.datasets import load_xacle
from clapstack.metrics import compare_report, score_report
from clapstack.systems import describe_system


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, cache):
    monkeypatch.setenv("CLAPSTACK_CACHE", cache)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def folder(challenge_folder, tmp_path):
    """Return a copy of the simulated challenge that a test may change."""
    return shutil.copytree(challenge_folder, tmp_path / "XACLE_dataset")


@pytest.fixture(scope="module")
def finished(challenge_folder, cache, tmp_path_factory):
    """Return (folder of results, printed text) of a run of one system."""
    out = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLAPSTACK_CACHE", cache)
        result = run_msclap(challenge_folder, out)
    assert result.exit_code == 0
    return out, result.stdout


def xacle(*arguments):
    return CliRunner().invoke(app, ["xacle", *map(str, arguments)])


def run_msclap(folder, out, *more):
    where = ("--data", folder, "--out", out, "--device", "cpu", "--quiet")
    return xacle("run", "--system", "msclap", "--checkpoints", "bundled", *where, *more)


def line_of(text, *start):
    (line,) = [line for line in text.splitlines() if line.split()[:2] == [*start]]
    return line


def record_of(out, name="msclap"):
    return json.loads((out / name / "record.json").read_text())


def test_run_predicts_every_held_out_pair_with_every_digit(finished, challenge_folder):
    out, _ = finished
    train = load_xacle(challenge_folder, "train")
    pipeline = make_system("msclap", checkpoints="bundled").fit(train.X, train.y)
    for split in ("validation", "test"):
        data = load_xacle(challenge_folder, split)
        table = pd.read_csv(out / "msclap" / f"{split}.csv", dtype=str)
        assert list(table["wav_file_name"]) == list(data.ids)
        scores = [float(score) for score in table["pred_score"]]
        assert_array_equal(scores, pipeline.predict(data.X))


def test_run_reports_metrics_with_intervals_beside_the_published_ones(finished):
    out, text = finished
    results = pd.read_csv(out / "results.csv").set_index("split")
    assert list(results.index) == ["validation", "test"]
    for metric in ("srcc", "lcc", "ktau", "mse"):
        low, high = results[f"{metric}_low"], results[f"{metric}_high"]
        assert ((low <= results[metric]) & (results[metric] <= high)).all()
    assert results.loc["test", "published_srcc"] == 0.5521
    assert results.loc["validation", "published_mse"] == 3.5347
    assert "0.5521" in line_of(text, "msclap", "test")


def test_all_metrics_are_printed_with_their_intervals(finished):
    out, text = finished
    row = pd.read_csv(out / "results.csv").set_index("split").loc["test"]
    lines = text.splitlines()
    below = lines[lines.index(line_of(text, "msclap", "test")) + 1]
    for metric in ("srcc", "lcc", "ktau", "mse"):
        assert f"{row[metric]:.4f}" in line_of(text, "msclap", "test")
        assert f"[{row[f'{metric}_low']:.3f}, {row[f'{metric}_high']:.3f}]" in below


def test_systems_are_compared_with_the_best_on_the_same_pairs(
    finished, challenge_folder, tmp_path
):
    assert len(pd.read_csv(finished[0] / "differences.csv")) == 0
    out = shutil.copytree(finished[0], tmp_path / "out")
    where = ("--data", challenge_folder, "--out", out, "--device", "cpu", "--quiet")
    result = xacle(
        "run", "--system", "laion-unfused", "--checkpoints", "bundled", *where
    )
    found = pd.read_csv(out / "differences.csv").set_index("split")
    assert list(found.index) == ["validation", "test"]
    for split, row in found.iterrows():
        data = load_xacle(challenge_folder, split)
        best, other = (
            pd.read_csv(out / row[name] / f"{split}.csv")["pred_score"]
            for name in ("best", "system")
        )
        assert {row["best"], row["system"]} == {"msclap", "laion-unfused"}
        expected = compare_report(data.y, best, other)
        assert row["srcc"] > 0
        assert row["srcc"] == pytest.approx(expected["srcc"].difference)
        assert row[["mse_low", "mse_high"]].tolist() == pytest.approx(
            expected["mse"][1:]
        )
    assert "The best system by SRCC minus each other system" in result.stdout
    assert (
        f"{row['srcc']:.4f} [{row['srcc_low']:.3f}, "
        in (out / "results.md").read_text().split("## Differences")[1]
    )


def test_results_say_that_they_are_simulated_and_of_mini_checkpoints(finished):
    out, text = finished
    page = (out / "results.md").read_text()
    assert "**SIMULATED**" in page
    assert "**TEST CHECKPOINTS**" in page
    assert "SIMULATED: no human rated these pairs" in text
    assert line_of(text, "msclap", "test").endswith("simulated, bundled")


def test_simulated_results_have_no_place_in_the_official_ranking(finished):
    result = xacle("table", "--out", finished[0])
    assert "Sun_NPU_01" in result.stdout
    assert "this run" not in result.stdout
    assert "simulated listeners are not ranked" in result.stdout


def test_table_of_a_folder_without_results_says_so(tmp_path):
    result = xacle("table", "--out", tmp_path / "nowhere")
    assert "Sun_NPU_01" in result.stdout
    assert "nowhere has no results. clapstack xacle run writes them" in result.stdout


def test_result_on_rated_data_is_placed_in_the_ranking(finished, tmp_path):
    out = shutil.copytree(finished[0], tmp_path / "out")
    record = record_of(out) | {"simulated": False}
    record["splits"]["test"]["report"]["srcc"] = 0.59
    (out / "msclap" / "record.json").write_text(json.dumps(record))
    lines = xacle("table", "--out", out).stdout.splitlines()
    place = next(i for i, line in enumerate(lines) if "**msclap**" in line)
    assert "would rank 7, test checkpoints" in lines[place]
    assert "3-CLAP stack (paper)" in lines[place - 1]
    assert "2-CLAP stack (paper)" in lines[place + 1]


def test_finished_system_is_kept(finished, challenge_folder):
    out, _ = finished
    before = (out / "msclap" / "record.json").stat()
    result = run_msclap(challenge_folder, out)
    assert "msclap: already finished" in result.stdout
    assert (out / "msclap" / "record.json").stat() == before


@pytest.mark.parametrize("change", ["score", "clip", "predictions"])
def test_what_changed_is_computed_again(finished, folder, tmp_path, change):
    out = shutil.copytree(finished[0], tmp_path / "out")
    if change == "score":
        table = folder / "meta_data" / "train_average.csv"
        pairs = pd.read_csv(table)
        pairs["average_score"] = pairs["average_score"].to_numpy()[::-1]
        pairs.to_csv(table, index=False)
    elif change == "clip":
        shutil.copy(*(folder / "wav" / k for k in ("test/00000.wav", "test/00001.wav")))
    else:
        with (out / "msclap" / "test.csv").open("a") as file:
            file.write("00099.wav,1.0\n")
    assert "msclap: done in" in run_msclap(folder, out).stdout
    same = (out / "msclap" / "test.csv").read_bytes() == (
        finished[0] / "msclap" / "test.csv"
    ).read_bytes()
    assert same == (change == "predictions")


def test_same_weights_in_another_place_are_the_same(
    finished, challenge_folder, tmp_path
):
    out = shutil.copytree(finished[0], tmp_path / "out")
    bundled = Path(clapstack.__file__).parent / "bundled" / "msclap"
    weights = shutil.copytree(bundled, tmp_path / "weights")
    result = run_msclap(challenge_folder, out, "--checkpoint", f"msclap={weights}")
    assert "msclap: already finished" in result.stdout


def test_settings_are_distinguished_and_how_a_system_is_run_is_not():
    def settings(**keywords):
        return settings_of(make_system("3-clap-stack", beats=False, **keywords))

    assert settings(n_components=16) != settings()
    assert settings(cv=5) != settings()
    run = {"device": "cpu", "batch_size": 3, "cache": None, "verbose": True}
    assert settings(checkpoints="bundled", **run) == settings()


def test_settings_do_not_hold_addresses_in_memory():
    settings = settings_of(make_system("rank-2-like", checkpoints="bundled"))
    assert settings["svrs__first__func"] == "to_unit"
    assert not [value for value in settings.values() if " at 0x" in value]


def test_probe_fits_on_few_pairs_and_stands_beside_the_full_run(
    finished, challenge_folder, tmp_path, monkeypatch
):
    out = shutil.copytree(finished[0], tmp_path / "out")
    small = dataclasses.replace(describe_system("msclap"), probe=(24, 6))
    monkeypatch.setattr(_run, "describe_system", lambda name: small)
    result = run_msclap(challenge_folder, out, "--probe")
    assert result.exit_code == 0
    results = pd.read_csv(out / "results.csv").set_index("split")
    assert list(results.index) == ["validation", "test", "probe"]
    assert results.loc["probe", ["n_train", "n_pairs"]].to_list() == [24, 6]
    assert results.loc["probe", "published_srcc"] == 0.5712


def test_probe_of_too_few_pairs_is_refused(challenge_folder, tmp_path):
    result = run_msclap(challenge_folder, tmp_path / "out", "--probe")
    assert result.exit_code == 1
    assert "needs 512 pairs for train" in result.stderr


def test_killed_run_goes_on_where_it_was(challenge_folder, tmp_path, monkeypatch):
    # A cold store, so that the second system takes its time; the same for all runs,
    # since the last bits of an embedding may depend on what was encoded with it.
    monkeypatch.setenv("CLAPSTACK_CACHE", str(tmp_path / "cold"))
    out = tmp_path / "out"
    arguments = [
        "--data",
        challenge_folder,
        "--out",
        out,
        "--checkpoints",
        "bundled",
        "--quiet",
    ]
    arguments += ["--system", "msclap", "--system", "3-clap-stack", "--device", "cpu"]
    command = [sys.executable, "-m", "clapstack", "xacle", "run", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not (out / "msclap" / "record.json").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "3-clap-stack" / "record.json").exists()
    before = (out / "msclap" / "record.json").stat()

    result = xacle("run", *arguments)
    assert "msclap: already finished" in result.stdout
    assert "3-clap-stack: done" in result.stdout
    assert (out / "msclap" / "record.json").stat() == before
    whole = tmp_path / "whole"
    xacle("run", *arguments[:2], "--out", whole, *arguments[4:])
    for name in ("msclap/test.csv", "3-clap-stack/test.csv", "results.csv"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()


def test_missing_weights_are_listed_with_files_and_places(challenge_folder, tmp_path):
    where = ("--data", challenge_folder, "--out", tmp_path / "out", "--quiet")
    systems = ("--system", "2-clap-stack", "--system", "msclap")
    result = xacle("run", *systems, "--without", "beats", *where)
    assert result.exit_code == 1
    assert "laion_unfused: laion/clap-htsat-unfused" in result.stderr
    assert "CLAP_weights_2023.pth, and the gpt2 tokenizer.json" in result.stderr
    assert "used by    2-clap-stack, msclap" in result.stderr
    assert "--checkpoint msclap=PATH" in result.stderr
    assert "no other weights replace these" in result.stderr
    assert not (tmp_path / "out").exists()


def test_pairs_to_judge_on_must_not_be_fitted_on(folder, tmp_path):
    source, copy = (folder / "wav" / s / "00003.wav" for s in ("train", "test"))
    shutil.copy(source, copy)
    text = load_xacle(folder, "train").X["text"][3]
    for name in ("test_average.csv", "test.csv"):
        table = pd.read_csv(folder / "meta_data" / name)
        table.loc[table["wav_file_name"] == "00003.wav", "text"] = text
        table.to_csv(folder / "meta_data" / name, index=False)
    result = run_msclap(folder, tmp_path / "out")
    assert result.exit_code == 1
    assert "test 00003.wav is train 00003.wav, with the same text" in result.stderr
    assert xacle("check", "--data", folder).exit_code == 1
    assert run_msclap(folder, tmp_path / "out", "--allow-overlap").exit_code == 0


def test_check_shows_what_a_sound_folder_holds(challenge_folder):
    result = xacle("check", "--data", challenge_folder)
    assert result.exit_code == 0
    assert "train: 48 pairs" in result.stdout
    assert "192 ratings" in result.stdout
    assert "SIMULATED" in result.stdout


def test_unrated_test_split_is_predicted_but_not_judged(folder, tmp_path):
    (folder / "meta_data" / "test_average.csv").unlink()
    table = pd.read_csv(folder / "meta_data" / "test.csv")
    pairs = table.drop_duplicates("wav_file_name")[["wav_file_name", "text"]]
    pairs.to_csv(folder / "meta_data" / "test.csv", index=False)
    result = run_msclap(folder, tmp_path / "out")
    assert "validation" in result.stdout
    results = pd.read_csv(tmp_path / "out" / "results.csv")
    assert list(results["split"]) == ["validation"]
    assert (tmp_path / "out" / "msclap" / "test.csv").exists()


def test_evaluate_gives_the_metrics_and_refuses_missing_rows(
    finished, challenge_folder, tmp_path
):
    predictions = finished[0] / "msclap" / "test.csv"
    truth = challenge_folder / "meta_data" / "test_average.csv"
    lines = xacle("evaluate", predictions, truth).stdout.splitlines()
    y_score = pd.read_csv(predictions)["pred_score"]
    report = score_report(load_xacle(challenge_folder, "test").y, y_score)
    assert lines[0].startswith(f"SRCC {report['srcc']:.4f}  [")
    assert lines[-1] == "N    16"
    printed = xacle("evaluate", predictions, truth, "--json", "--resamples", 0).stdout
    assert json.loads(printed) == pytest.approx({"n_pairs": 16, **report})
    short = tmp_path / "short.csv"
    short.write_text("\n".join(predictions.read_text().splitlines()[:-1]) + "\n")
    result = xacle("evaluate", short, truth)
    assert result.exit_code == 1
    assert "short.csv has no prediction for 00015.wav (1 of 16)" in result.stderr


def test_submission_from_a_model_is_that_from_its_predictions(
    finished, challenge_folder, tmp_path
):
    train = load_xacle(challenge_folder, "train")
    pipeline = make_system("msclap", checkpoints="bundled").fit(train.X, train.y)
    joblib.dump(pipeline, tmp_path / "model.joblib")
    save_model(pipeline, tmp_path / "model.clapstack")
    shuffled = pd.read_csv(finished[0] / "msclap" / "test.csv", dtype=str)[::-1]
    shuffled.to_csv(tmp_path / "shuffled.csv", index=False)
    for source, trust in (
        ("model.clapstack", []),
        ("model.joblib", ["--trust"]),
        ("shuffled.csv", []),
    ):
        out = tmp_path / f"{source}.out"
        where = ["--data", challenge_folder, "--out", out, *trust]
        result = xacle("submit", tmp_path / source, *where)
        assert "16 pairs, 16 different scores" in result.stdout
        assert out.read_bytes() == (finished[0] / "msclap" / "test.csv").read_bytes()


def test_submission_of_another_split_is_refused(finished, challenge_folder, tmp_path):
    table = pd.read_csv(finished[0] / "msclap" / "test.csv", dtype=str)[:13]
    table.to_csv(tmp_path / "few.csv", index=False)
    where = ("--data", challenge_folder, "--out", tmp_path / "out.csv")
    result = xacle("submit", tmp_path / "few.csv", *where)
    assert result.exit_code == 1
    assert "no prediction for 00013.wav, 00014.wav, 00015.wav (3 of" in result.stderr
    assert not (tmp_path / "out.csv").exists()


def test_a_stack_and_a_model_of_ones_own_stand_in_the_table(challenge_folder, tmp_path):
    train = load_xacle(challenge_folder, "train")
    pipeline = make_system("laion-unfused", checkpoints="bundled")
    save_model(pipeline.fit(train.X, train.y), tmp_path / "mine.clapstack")
    where = ["--data", challenge_folder, "--out", tmp_path / "out", "--device", "cpu"]
    own = ["--model", tmp_path / "mine.clapstack", "--family", "a=bundled:msclap"]
    run = [
        "run",
        *where,
        *own,
        "--system",
        "msclap",
        "--checkpoints",
        "bundled",
        "--quiet",
    ]
    done = xacle(*run)
    assert done.exit_code == 0, done.output
    results = pd.read_csv(tmp_path / "out" / "results.csv")
    assert list(results["system"].unique()) == ["msclap", "mine", "stack-of-a"]
    assert results.query("system == 'mine'")["published_srcc"].isna().all()
    expected = make_system("laion-unfused", checkpoints="bundled")
    scores = expected.fit(train.X, train.y).predict(
        load_xacle(challenge_folder, "test").X
    )
    table = pd.read_csv(tmp_path / "out" / "mine" / "test.csv")
    assert_array_equal(table["pred_score"], scores)
    assert "mine: already finished" in xacle(*run).stdout
    for record in (tmp_path / "out").glob("*/record.json"):
        record.write_text(
            record.read_text().replace('"simulated": true', '"simulated": false')
        )
    assert "**stack-of-a**" in xacle("table", "--out", tmp_path / "out").stdout


def test_a_model_may_not_bear_the_name_of_a_system(challenge_folder, tmp_path):
    train = load_xacle(challenge_folder, "train")
    pipeline = make_system("msclap", checkpoints="bundled").fit(train.X, train.y)
    save_model(pipeline, tmp_path / "msclap.clapstack")
    where = ("--data", challenge_folder, "--out", tmp_path / "out")
    done = xacle("run", *where, "--model", tmp_path / "msclap.clapstack")
    assert done.exit_code == 1
    assert "'msclap' is already the name of a system" in done.stderr


def test_nothing_to_run_is_said(challenge_folder, tmp_path):
    done = xacle("run", "--data", challenge_folder, "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert "--system, --family or --model" in done.stderr


def test_weights_that_have_seen_other_ratings_are_named(challenge_folder, tmp_path):
    human = tmp_path / "human-clap-wsce-mae"
    bundled = Path(clapstack.__file__).parent / "bundled" / "laion-unfused"
    shutil.copytree(bundled, human)
    check = ["check", "--data", challenge_folder]
    assert xacle(*check, "--system", "3-clap-stack").exit_code == 0
    done = xacle(*check, "--system", "msclap", "--family", f"mine={human}")
    assert done.exit_code == 1
    assert f"stack-of-mine: mine = {human} was trained on human ratings" in done.stdout
    done = xacle(*check, "--family", "human_clap_mse")
    assert "human_clap_mse = sarulab-speech/human-clap-mse was trained" in done.stdout


def test_systems_are_listed_and_described(challenge_folder):
    assert "msclap+whisper+ctc" in xacle("systems").stdout
    assert (
        "Choices where the publication gives no details"
        in xacle("systems", "msclap").stdout
    )
    done = xacle("systems", "msclop")
    assert (done.exit_code, "Did you mean 'msclap'" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--checkpoint", "beats"], 2, "must have the form FAMILY=PATH; got 'beats'"),
        (["--checkpoint", "clap=x.pt"], 2, "there is no encoder family 'clap'"),
        (["--without", "beat"], 2, "Did you mean 'beats' or"),
        (
            ["--without", "msclap"],
            1,
            r"The system needs ['msclap'], for which there is no checkpoint",
        ),
    ],
)
def test_wrong_checkpoints_are_named(
    challenge_folder, tmp_path, arguments, code, message
):
    result = run_msclap(challenge_folder, tmp_path / "out", *arguments)
    assert result.exit_code == code
    assert message in result.stderr
    assert not list(tmp_path.iterdir())
