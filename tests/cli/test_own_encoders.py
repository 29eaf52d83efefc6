"""Models with encoders or embeddings of the user's own, on the command line."""

import json
import sys

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from typer.testing import CliRunner

from clapstack import PairFeatures, PrecomputedPairFeatures, save_model
from clapstack.cli import app

CODE = """
import numpy as np


class Loudness:
    sample_rate = 8000
    identity = "loudness-1"
    projection_dim = 2

    def encode_audio(self, waveforms):
        return np.array([[np.abs(w).mean(), 0.1] for w in waveforms])

    def encode_text(self, texts):
        return np.array([[len(text), 10.0] for text in texts])


def not_a_class():
    pass
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Return the name of a module on the path that has an encoder."""
    name = f"encoders_of_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    sys.modules.pop(name, None)


@pytest.fixture
def fitted(module, clips, pairs):
    loudness = __import__(module).Loudness()
    X = pd.DataFrame(pairs)[["audio", "text"]]
    X["audio"] = [str(clips / name) for name in X["audio"]]
    y = [row["score"] for row in pairs]
    return make_pipeline(PairFeatures(loudness, cache=None), Ridge()).fit(X, y)


@pytest.fixture
def model(fitted, tmp_path):
    return save_model(fitted, tmp_path / "own.clapstack")


@pytest.fixture
def table(clips, pairs, tmp_path):
    rows = [{**row, "audio": str(clips / row["audio"])} for row in pairs]
    path = tmp_path / "rated.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def run(*command):
    return CliRunner().invoke(app, [str(part) for part in command])


@pytest.mark.parametrize("separator", [":", "."])
def test_score_takes_a_model_whose_encoder_is_named(
    model, module, fitted, clips, separator
):
    trust = ("--trust-encoder", f"{module}{separator}Loudness")
    done = run("score", *trust, model, clips / "0.wav", "a dog barks")
    assert done.exit_code == 0, done.stderr
    X = pd.DataFrame({"audio": [str(clips / "0.wav")], "text": ["a dog barks"]})
    assert done.stdout == f"{fitted.predict(X)[0]:.3f}\n"


def test_evaluate_and_report_take_it_too(model, module, table, tmp_path):
    trust = ("--trust-encoder", f"{module}:Loudness")
    done = run("evaluate", model, table, *trust, "--json", "--resamples", 0)
    assert json.loads(done.stdout)["report"]["n_pairs"] == 24
    page = tmp_path / "page.html"
    done = run("report", model, "--data", table, *trust, "-o", page, "--resamples", 0)
    assert done.exit_code == 0, done.stderr
    assert "Loudness" in page.read_text() or "PairFeatures" in page.read_text()


def test_submit_has_the_option(tmp_path):
    assert "--trust-encoder" in run("xacle", "submit", "--help").stdout


def test_trust_in_files_of_joblib_opens_model_files_too(model, module, clips):
    options = ("--trust", "--trust-encoder", f"{module}:Loudness")
    done = run("score", *options, model, clips / "0.wav", "a dog barks")
    assert done.exit_code == 0, done.stderr


def test_check_takes_a_model_whose_encoder_is_named(model, module, challenge_folder):
    command = ("xacle", "check", "--data", challenge_folder, "--model", model)
    assert "--trust-encoder" in run(*command).stderr
    done = run(*command, "--trust-encoder", f"{module}:Loudness")
    assert done.exit_code == 0, done.stderr


def test_weights_that_are_not_found_are_given_with_an_option(clips, table, tmp_path):
    command = ("--unsupervised", table, "--family", "mga_clap")
    done = run("score", *command, "--out", tmp_path / "scored.csv")
    assert "no file 'MGA-CLAP/model.pt'" in done.stderr
    assert "  --checkpoint mga_clap=models/model.pt\n" in done.stderr
    gone = tmp_path / "model.pt"
    done = run("score", *command, "--checkpoint", f"mga_clap={gone}")
    assert f"--checkpoint: there is no file or folder {str(gone)!r}" in done.stderr


def test_encoder_that_is_not_named_is_not_imported(model, module, clips):
    del sys.modules[module]
    done = run("score", model, clips / "0.wav", "a dog")
    assert done.exit_code == 3
    assert f"--trust-encoder {module}:Loudness" in done.stderr
    assert module not in sys.modules


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no_such_module:Loudness", "Install the module, or add its folder"),
        ("{module}:Nothing", "has no class 'Nothing'"),
        ("{module}:not_a_class", "has no class 'not_a_class'"),
        ("Loudness", "must have the form MODULE:CLASS"),
        (":", "must have the form MODULE:CLASS"),
    ],
)
def test_encoder_that_is_not_found_is_named(model, module, clips, name, words):
    name = name.format(module=module)
    done = run("score", model, clips / "0.wav", "a", "--trust-encoder", name)
    assert done.exit_code == (1 if "form" in words else 3)
    assert words in done.stderr


def test_another_class_than_the_model_holds_does_not_do(model, module, clips):
    done = run(
        "score", model, clips / "0.wav", "a", "--trust-encoder", "json:JSONDecoder"
    )
    assert done.exit_code == 3
    assert "types that are not trusted" in done.stderr


def test_joblib_file_whose_class_is_gone_says_what_to_do(
    fitted, module, clips, tmp_path, monkeypatch
):
    path = tmp_path / "own.joblib"
    joblib.dump(fitted, path)
    monkeypatch.delattr(sys.modules[module], "Loudness")
    done = run("score", "--trust", path, clips / "0.wav", "a dog")
    assert done.exit_code == 1
    assert "contains a class whose code cannot be found" in done.stderr
    assert "--trust-encoder MODULE:CLASS" in done.stderr


@pytest.fixture
def keyed(tmp_path):
    """Return (model file, table) of embeddings by id, without any clips."""
    rng = np.random.default_rng(0)
    audio = {f"clip {i}": rng.normal(size=3) for i in range(8)}
    text = {f"text {i}": rng.normal(size=3) for i in range(3)}
    rows = [(a, t, float(rng.uniform(0, 10))) for a in audio for t in text]
    table = pd.DataFrame(rows, columns=["audio", "text", "score"])
    features = PrecomputedPairFeatures(audio, text)
    model = make_pipeline(features, Ridge()).fit(table.iloc[:12], table["score"][:12])
    path = save_model(model, tmp_path / "keyed.clapstack")
    table.iloc[12:].to_csv(tmp_path / "new.csv", index=False)
    return path, tmp_path / "new.csv"


def test_keys_of_embeddings_are_taken_as_they_stand_in_the_table(keyed, tmp_path):
    model, table = keyed
    out = tmp_path / "scores.csv"
    done = run("score", model, table, "-o", out)
    assert done.exit_code == 0, done.stderr
    assert pd.read_csv(out)["score"].notna().all()
    assert run("evaluate", model, table, "--resamples", 0).exit_code == 0


def test_report_on_embeddings_by_key_needs_no_clips(keyed, tmp_path):
    model, table = keyed
    page = tmp_path / "page.html"
    done = run("report", model, "--data", table, "-o", page, "--resamples", 0)
    assert done.exit_code == 0, done.stderr
    text = page.read_text()
    assert "clip 5" in text
    assert "What was heard" not in text
