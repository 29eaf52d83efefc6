"""``clapstack bench human`` on simulated pairs, RELATE's format, mini checkpoints."""

import shutil

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from clapstack.cli import app
from clapstack.cli.challenge import _human
from clapstack.datasets import load_xacle
from clapstack.metrics import srcc
from clapstack.systems import make_union


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, cache, tmp_path):
    monkeypatch.setenv("CLAPSTACK_CACHE", cache)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def bench(*arguments):
    command = ["bench", "human", *map(str, arguments), "--device", "cpu"]
    return CliRunner().invoke(app, command)


@pytest.fixture(scope="module")
def finished(challenge_folder, cache, tmp_path_factory):
    out = tmp_path_factory.mktemp("human")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLAPSTACK_CACHE", cache)
        result = bench(
            "--data", challenge_folder, "--out", out, "--checkpoints", "bundled"
        )
    assert result.exit_code == 0, result.output
    return out, result.stdout


def test_every_encoder_has_its_cosine_and_its_ridge_on_every_rated_split(finished):
    results = pd.read_csv(finished[0] / "human.csv")
    assert set(results["encoder"]) == {"laion_unfused", "laion_fused", "msclap"}
    assert sorted(results["split"]) == ["test"] * 3 + ["validation"] * 3
    assert results["simulated"].all()
    assert results["bundled"].all()
    for name in ("cosine_srcc", "ridge_srcc", "ridge_lcc", "ridge_ktau", "ridge_mse"):
        assert (results[f"{name}_low"] <= results[name]).all()
        assert (results[name] <= results[f"{name}_high"]).all()
    assert "cosine_mse" not in results  # a cosine is on no scale of scores
    for _, rows in results.groupby("split"):
        assert rows["ridge_srcc"].is_monotonic_decreasing


def test_the_cosine_is_the_bare_one(finished, challenge_folder, cache):
    test = load_xacle(challenge_folder, "test")
    union = make_union("bundled", ["msclap"], ["cosine"], device="cpu", cache=cache)
    cosine = np.ravel(union.fit_transform(test.X))
    results = pd.read_csv(finished[0] / "human.csv").set_index(["encoder", "split"])
    found = results.loc[("msclap", "test"), "cosine_srcc"]
    assert found == pytest.approx(srcc(test.y, cosine), abs=1e-6)


def test_the_page_says_that_nobody_rated_these_pairs(finished):
    page = (finished[0] / "human.md").read_text(encoding="utf-8")
    assert "**SIMULATED**: no human rated these pairs" in page
    assert page.count("(simulated)") == 6
    assert page in finished[1]


def test_what_is_finished_is_kept_and_others_are_added(
    finished, challenge_folder, tmp_path, monkeypatch
):
    out = shutil.copytree(finished[0], tmp_path / "out")
    next(out.glob("msclap-*.json")).unlink()
    (out / "notes.json").write_text("[]")  # of the user
    judged = []
    judge = _human._judge
    monkeypatch.setattr(
        _human, "_judge", lambda *parts: judged.append(parts) or judge(*parts)
    )
    before = (out / "human.md").read_text(encoding="utf-8")
    result = bench("--data", challenge_folder, "--out", out, "--checkpoints", "bundled")
    assert result.exit_code == 0, result.output
    assert "laion_fused (bundled:laion-fused): already finished" in result.stdout
    assert len(judged) == 1
    assert (out / "human.md").read_text(encoding="utf-8") == before


def test_a_record_that_is_cut_short_is_named(finished, challenge_folder, tmp_path):
    out = shutil.copytree(finished[0], tmp_path / "out")
    record = next(out.glob("msclap-*.json"))
    record.write_text(record.read_text()[:40])
    result = bench("--data", challenge_folder, "--out", out, "--checkpoints", "bundled")
    assert result.exit_code == 1
    assert f"{record} is damaged (" in result.stderr
    assert "Delete it" in result.stderr


def test_other_ratings_make_a_table_of_their_own(finished, challenge_folder, tmp_path):
    out = shutil.copytree(finished[0], tmp_path / "out")
    data = shutil.copytree(challenge_folder, tmp_path / "XACLE_dataset")
    table = data / "meta_data" / "validation_average.csv"
    frame = pd.read_csv(table)
    frame.loc[0, "average_score"] = 10 - frame.loc[0, "average_score"]
    frame.to_csv(table, index=False)
    chosen = ("--family", "msclap=bundled:msclap")
    result = bench("--data", data, "--out", out, *chosen)
    assert result.exit_code == 0, result.output
    assert set(pd.read_csv(out / "human.csv")["encoder"]) == {"msclap"}


def test_all_encoders_that_cannot_be_loaded_are_named_at_once(
    challenge_folder, tmp_path
):
    out = tmp_path / "out"
    wrong = ("--family", "mga_clap=nowhere.pt", "--family", "laion_fused=no/such")
    result = bench(
        "--data", challenge_folder, "--out", out, *wrong, "--checkpoints", "bundled"
    )
    assert result.exit_code == 1
    assert "Nothing was computed" in result.stderr
    assert (
        "mga_clap = nowhere.pt: Checkpoint 'nowhere.pt' is not a file, not"
        in result.stderr
    )
    assert "laion_fused = no/such" in result.stderr
    assert not out.exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("whisper", "whisper: it does not embed texts, so it has no cosine"),
        ("clap", "there is no encoder family 'clap'"),
        ("msclap=", "the form NAME or NAME=CHECKPOINT; got 'msclap='"),
        ("my/folder", "the form NAME or NAME=CHECKPOINT; got 'my/folder'"),
    ],
)
def test_what_cannot_be_judged_is_named(challenge_folder, tmp_path, given, said):
    out = tmp_path / "out"
    result = bench("--data", challenge_folder, "--out", out, "--family", given)
    assert result.exit_code in (1, 2)
    assert said in result.stderr


def test_without_any_encoder_nothing_is_fetched(
    challenge_folder, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    result = bench("--data", challenge_folder, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "no published encoder is on this machine" in result.stderr


def test_encoders_in_the_folder_and_in_the_cache_of_the_hub_are_found(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "MGA-CLAP").mkdir()
    (tmp_path / "MGA-CLAP" / "model.pt").touch()
    snapshot = tmp_path / "hub" / "models--laion--clap-htsat-fused"
    (snapshot / "refs").mkdir(parents=True)
    (snapshot / "refs" / "main").write_text("abc")
    (snapshot / "snapshots" / "abc").mkdir(parents=True)
    (snapshot / "snapshots" / "abc" / "model.safetensors").touch()
    found = _human.present_encoders(bundled=False)
    assert list(found) == ["laion_fused", "mga_clap"]


def test_relate_is_judged_split_by_split(challenge_folder, tmp_path):
    audio, scores = tmp_path / "wave", tmp_path / "scores"
    scores.mkdir()
    rows = []
    for split in ("train", "validation", "test"):
        data = load_xacle(challenge_folder, split)
        pairs = zip(data.X["audio"], data.X["text"], data.y, data.ids, strict=True)
        for path, text, score, name in pairs:
            place = audio / "audiocaps" / split / name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place)
            rows.append(
                {
                    "wavname": f"audiocaps/{split}/{name}",
                    "text": text,
                    "score": score,
                    "listener_id": "a",
                    "anchor label": False,
                    "in RELATE dataset": split,
                }
            )
    pd.DataFrame(rows).to_csv(scores / "REL.csv", index=False)
    where = ("--data", audio, "--relate", scores, "--out", tmp_path / "out")
    result = bench(*where, "--family", "msclap=bundled:msclap", "--quiet")
    assert result.exit_code == 0, result.output
    results = pd.read_csv(tmp_path / "out" / "human.csv")
    assert list(results["split"]) == ["validation", "test"]
    assert not results["simulated"].any()
