"""Encoders by name or by checkpoint, on the command line."""

import csv
import io
import shutil
from pathlib import Path

import numpy as np
import pytest

import clapstack
from clapstack import load_model
from clapstack.encoders import clear_encoders
from clapstack.systems import list_checkpoints

BUNDLED = ["--checkpoints", "bundled"]
MINE = ["--family", "msclap", "--family", "mine=bundled:laion-unfused"]


@pytest.fixture
def table(write_csv, pairs):
    return write_csv(pairs)


def test_a_stack_of_ones_own_encoders_is_fitted(run, table, tmp_path):
    out = tmp_path / "m.clapstack"
    done = run("fit", table, "--out", out, *BUNDLED, *MINE, "--folds", 0, "--quiet")
    assert done.exit_code == 0, done.output
    families = [name for name, _ in load_model(out)["features"].transformer_list]
    assert families == ["msclap", "mine"]


def test_a_checkpoint_is_extracted_under_a_name_of_ones_own(run, table, tmp_path):
    out = tmp_path / "e.npz"
    done = run("extract", table, "--out", out, *BUNDLED, *MINE, "--quiet")
    assert done.exit_code == 0, done.output
    with np.load(out) as arrays:
        assert {name.partition("__")[0] for name in arrays} == {"row", "msclap", "mine"}


def test_cosines_of_ones_own_encoders_rank_a_table(run, table):
    done = run("score", "--unsupervised", table, *BUNDLED, *MINE, "--quiet")
    assert done.exit_code == 0, done.output
    row = next(csv.DictReader(io.StringIO(done.stdout)))
    assert {"msclap_cosine", "mine_cosine"} <= set(row)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--family", "=x"], "must have the form NAME or NAME=CHECKPOINT; got '=x'"),
        (["--family", "a="], "the form NAME or NAME=CHECKPOINT; got 'a='"),
        (["--family", "laion/clap"], "the form NAME or NAME=CHECKPOINT; got 'laion"),
        (
            ["--family", "a=b/c", "--family", "a"],
            "each name can be given once; got a again with 'a'",
        ),
        (
            ["--family", "mscalp"],
            "there is no encoder family 'mscalp'. Did you mean 'msclap'? clapstack "
            "checkpoints lists all names. To use another encoder, give NAME=CHECKPOINT",
        ),
        (["--family", "a=/no/where"], "there is no file or folder '/no/where' for a"),
        (["--checkpoint", "beat=x"], "family 'beat'. Did you mean 'beats' or"),
        (["--device", "cud"], "'cud' is not a device."),
    ],
)
def test_families_that_are_none_are_named(run, table, arguments, message):
    done = run("extract", table, *BUNDLED, *arguments)
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.replace("│", " ").split())


def test_what_has_families_of_its_own_takes_no_others(run, table, tmp_path):
    out = tmp_path / "m.clapstack"
    done = run("fit", table, "--out", out, "--system", "msclap", *MINE)
    assert (done.exit_code, "a system has its own families" in done.stderr) == (2, True)
    done = run("score", out, table, *MINE)
    assert (done.exit_code, "fitted model has its own families" in done.stderr) == (
        2,
        True,
    )
    done = run("score", out, table, *BUNDLED)
    assert (done.exit_code, "has its own checkpoints" in done.stderr) == (2, True)


def test_a_model_takes_its_weights_from_another_place(run, table, tmp_path):
    bundled = Path(clapstack.__file__).parent / "bundled" / "laion-unfused"
    place, away = tmp_path / "here", tmp_path / "away"
    shutil.copytree(bundled, place)
    out, family = tmp_path / "m.clapstack", f"mine={place}"
    done = run("fit", table, "--out", out, "--family", family, "--folds", 0, "--quiet")
    assert done.exit_code == 0, done.output
    before = run("score", out, table, "--quiet").stdout
    place.rename(away)
    clear_encoders()
    assert run("score", out, table, "--quiet").exit_code == 3
    moved = run("score", out, table, "--quiet", "--checkpoint", f"mine={away}")
    assert (moved.exit_code, moved.stdout) == (0, before)
    fused = "mine=bundled:laion-fused"
    other = run("score", out, table, "--quiet", "--checkpoint", fused)
    assert "was fitted with the weights" in other.stderr
    wrong = run("score", out, table, "--checkpoint", f"msclap={away}")
    assert "the model has no encoder family 'msclap'. It has mine." in wrong.stderr


def test_an_encoder_of_audio_alone_has_no_cosine(run, table):
    done = run("score", "--unsupervised", table, "--family", "whisper")
    assert done.exit_code == 1
    assert "whisper does not embed texts" in done.stderr


def test_checkpoints_are_listed(run):
    lines = run("checkpoints").stdout.splitlines()
    assert lines[0].split()[:3] == ["name", "here", "licence"]
    rows = lines[1 : lines.index("")]
    assert len(rows) == len(list_checkpoints())
    assert {row.split()[1] for row in rows} <= {"yes", "no"}
    assert lines[lines.index("") + 1].startswith("here: the weights are in")
    rows = list(csv.DictReader(io.StringIO(run("checkpoints", "--csv").stdout)))
    assert rows[0]["name"] == "laion_unfused"
    assert rows[0].keys() == set(list_checkpoints().columns)
