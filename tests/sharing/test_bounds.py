"""Loading an untrusted file takes bounded time and memory and reads no other file."""

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from clapstack import (
    LaionClapPairFeatures,
    PairFeatures,
    PrecomputedPairFeatures,
    load_model,
    save_model,
)
from clapstack.exceptions import ModelFileError

PAIRS = pd.DataFrame({"audio": ["dog.wav", "cat.wav"], "text": ["a dog", "a cat"]})


@pytest.fixture(scope="module")
def ridge(tmp_path_factory):
    """Return the file of a scaler and a ridge on three columns."""
    X = np.random.default_rng(0).normal(size=(20, 3))
    model = make_pipeline(
        StandardScaler(), Ridge(random_state=np.random.RandomState(0))
    )
    model.fit(X, X.sum(axis=1))
    return save_model(model, tmp_path_factory.mktemp("ridge") / "model.clapstack")


@pytest.fixture(scope="module")
def precomputed(tmp_path_factory):
    """Return the file of a model on embeddings that are read from a file."""
    folder = tmp_path_factory.mktemp("precomputed")
    for name, keys in (("audio", PAIRS["audio"]), ("text", PAIRS["text"])):
        np.savez(folder / name, **dict(zip(keys, np.eye(2), strict=True)))
    features = PrecomputedPairFeatures(folder / "audio.npz", folder / "text.npz")
    model = make_pipeline(features, Ridge()).fit(PAIRS, [1.0, 2.0])
    return save_model(model, folder / "model.clapstack")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """Return the file of a fitted encoder."""
    features = LaionClapPairFeatures("bundled:laion-unfused").fit(PAIRS)
    return save_model(features, tmp_path_factory.mktemp("encoder") / "model.clapstack")


def held(state, name):
    """Return the attributes of the first instance of a class."""
    return next(e["state"] for e in state["objects"] if e["class"].endswith(name))


def pipeline_of(state, *numbers):
    steps = [{"tuple": [f"s{i}", {"object": n}]} for i, n in enumerate(numbers)]
    held = {"steps": steps, "memory": None, "verbose": False, "transform_input": None}
    state["objects"].append({"class": "sklearn.pipeline.Pipeline", "state": held})
    return len(state["objects"]) - 1


@pytest.mark.slow
def test_files_forged_in_every_way_are_refused_or_predict(tmp_path):
    """Load forged files of every kind in a process with limited memory and time."""
    command = [sys.executable, "-m", "tests.bench.fuzz_models", "--files", "23"]
    done = subprocess.run(
        [*command, "--folder", tmp_path],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) == 24


@pytest.mark.parametrize("width", [10**9, 10**7, -1, 2**70])
def test_width_that_no_table_has_is_refused(ridge, forge_state, width):
    def widen(state):
        for entry in state["objects"]:
            if "n_features_in_" in entry["state"]:
                entry["state"]["n_features_in_"] = width

    with pytest.raises(ModelFileError, match=r"'n_features_in_' of .* is|takes more"):
        load_model(forge_state(ridge, widen))


def test_pipelines_nested_by_reference_are_counted_not_walked(ridge, forge_state):
    def nest(state):
        number = len(state["objects"]) - 1
        for _ in range(30):
            number = pipeline_of(state, number, number)
        state["root"] = {"object": number}

    words = r"with every part counted as often as it is used, it takes more than"
    with pytest.raises(ModelFileError, match=words):
        load_model(forge_state(ridge, nest))


def test_pipelines_nested_too_deep_are_refused(ridge, forge_state):
    def nest(state):
        number = len(state["objects"]) - 1
        for _ in range(60):
            number = pipeline_of(state, number)
        state["root"] = {"object": number}

    with pytest.raises(ModelFileError, match="nested more than 100 deep"):
        load_model(forge_state(ridge, nest))


def test_model_that_contains_itself_is_refused(ridge, forge_state):
    def circle(state):
        held(state, "Ridge")["extra_"] = {"object": len(state["objects"]) - 1}

    with pytest.raises(ModelFileError, match="which does not come earlier"):
        load_model(forge_state(ridge, circle))


@pytest.mark.parametrize("position", [625, -1, 2**31 - 1, 10**30, "0", None])
def test_random_state_that_points_outside_its_numbers_is_refused(
    ridge, forge_state, position
):
    def move(state):
        code = held(state, "Ridge")["random_state"]["state"]
        inner = dict(code["dict"])["state"]["dict"]
        inner[[key for key, _ in inner].index("pos")][1] = position

    with pytest.raises(ModelFileError, match="points outside its numbers"):
        load_model(forge_state(ridge, move))


@pytest.mark.parametrize(
    "root", ["model", None, 1, [], {"tuple": []}, {"float": "nan"}, {"array": 0}]
)
def test_root_that_is_not_an_estimator_is_refused(ridge, forge_state, root):
    with pytest.raises(ModelFileError, match="its root is not an estimator"):
        load_model(forge_state(ridge, lambda state: state.update(root=root)))


def test_encoder_inside_the_last_step_is_not_asked(encoder, forge_state):
    def hide(state):
        number = len(state["objects"]) - 1
        name = "sklearn.dummy.DummyRegressor"
        dummy = {"strategy": "mean", "n_outputs_": 1, "extra_": {"object": number}}
        state["objects"].append({"class": name, "state": dummy})
        state["root"] = {"object": pipeline_of(state, number, number + 1)}
        held(state, "LaionClapPairFeatures")["checkpoint"] = "evil/weights"

    with pytest.raises(ModelFileError, match="manifest does not list the encoders"):
        load_model(forge_state(encoder, hide))


def test_encoder_outside_the_steps_is_refused(encoder, forge_state):
    def hide(state):
        name = "sklearn.dummy.DummyRegressor"
        dummy = {"strategy": "mean", "extra_": {"object": len(state["objects"]) - 1}}
        state["objects"].append({"class": name, "state": dummy})
        state["root"] = {"object": len(state["objects"]) - 1}

    with pytest.raises(ModelFileError, match="contains a hidden LaionClapPairFeatures"):
        load_model(forge_state(encoder, hide))


def test_encoder_that_the_card_does_not_show_is_refused(encoder, forge_state):
    with zipfile.ZipFile(encoder) as file:
        assert b"| bundled:laion-unfused |" in file.read("README.md")

    def other(state):
        held(state, "LaionClapPairFeatures")["checkpoint"] = "evil/weights"

    with pytest.raises(ModelFileError, match="manifest does not list the encoders"):
        load_model(forge_state(encoder, other))

    def other_manifest(manifest):
        manifest["encoders"][0]["checkpoint"] = "evil/weights"

    with pytest.raises(ModelFileError, match="card does not list the checkpoints"):
        load_model(forge_state(encoder, other, manifest=other_manifest))


@pytest.mark.parametrize(
    "place", ["\\\\evil\\share\\x.npz", "//evil/x.npz", "https://evil/x.npz"]
)
def test_file_on_another_machine_is_read_only_where_the_user_names_it(
    precomputed, forge_state, place
):
    def other(state):
        held(state, "PrecomputedPairFeatures")["audio_embeddings"] = place

    path = forge_state(precomputed, other)
    with pytest.raises(ModelFileError, match="a file on another machine") as caught:
        load_model(path)
    assert repr(place) in str(caught.value)
    load_model(path, trusted=[place])


def test_path_on_another_machine_is_saved_and_has_to_be_named(precomputed, tmp_path):
    model = load_model(precomputed)
    features = model[0].set_params(audio_embeddings=Path("//server/audio.npz"))
    path = save_model(features, tmp_path / "model.clapstack")
    with pytest.raises(ModelFileError, match="a file on another machine"):
        load_model(path)
    load_model(path, trusted=["//server/audio.npz"])


@pytest.mark.parametrize("value", [0, [], {"float": "nan"}])
def test_parameters_of_ours_are_checked_as_at_fit(precomputed, forge_state, value):
    def other(state):  # 0 would be read as standard input
        held(state, "PrecomputedPairFeatures")["audio_embeddings"] = value

    with pytest.raises(ModelFileError, match="The 'audio_embeddings' parameter"):
        load_model(forge_state(precomputed, other))


def test_the_number_of_jobs_is_not_saved(ridge, forge_state):
    def many(state):
        held(state, "Pipeline")["n_jobs"] = 10**6

    assert load_model(forge_state(ridge, many)).n_jobs is None


@pytest.mark.parametrize(
    "text",
    ["NaN", "Infinity", "1e999", "9" * 5000],
    ids=["NaN", "Infinity", "1e999", "digits"],
)
def test_numbers_that_json_does_not_have_are_refused(ridge, forge_state, text):
    with zipfile.ZipFile(ridge) as file:
        state = file.read("state.json")
    assert b'"tol": 0.0001' in state
    state = state.replace(b'"tol": 0.0001', b'"tol": ' + text.encode())
    path = forge_state(ridge, members={"state.json": state})
    with pytest.raises(ModelFileError, match=r"is not JSON|a number of inf"):
        load_model(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("encoders", [{"name": 1}]),
        ("encoders", {}),
        ("card", {"metrics": {"srcc": "x"}}),
        ("card", {"metrics": {}, "data": 1}),
        ("scores", "high"),
        ("scores", [1, None]),
        ("versions", {"clapstack": "\x1b[2J"}),
        ("n_pairs", -1),
        ("families", [["x"]]),
        ("needs_trust", "x"),
    ],
)
def test_field_of_the_manifest_of_another_kind_is_named(ridge, forge_state, key, value):
    path = forge_state(ridge, manifest=lambda m: m.update({key: value}))
    with pytest.raises(ModelFileError, match=f"'{key}' is missing from .*, or invalid"):
        load_model(path)


def test_scores_cannot_be_left_out_to_pass_unchecked(ridge, forge_state):
    path = forge_state(ridge, manifest=lambda m: m.update(scores=None))
    with pytest.raises(ModelFileError, match="recorded scores are missing"):
        load_model(path)


@pytest.mark.parametrize(
    "value",
    [
        np.zeros((1000, 1)),
        np.zeros((3, 1, 1)),
        np.zeros(3, dtype="m8[s]"),
        np.zeros(3, dtype="V5"),
        np.zeros(3, dtype=[("a", "f8"), ("b", "f8")]),
        np.zeros((0, 10**9)),
        np.zeros((0, 3), dtype="U1000000"),
    ],
    ids=lambda array: f"{array.dtype.kind}{array.shape}",
)
def test_arrays_that_no_fit_makes_are_refused(ridge, forge_state, value):
    buffer = io.BytesIO()
    np.save(buffer, value)
    path = forge_state(ridge, members={"arrays/0.npy": buffer.getvalue()})
    with pytest.raises(ModelFileError, match="array"):
        load_model(path)


def test_names_that_are_not_utf_8_come_back(tmp_path):
    odd = "caf\udce9.wav"
    X = pd.DataFrame({"audio": [odd, "b"], "text": ["x", "y"]}, dtype=object)
    features = PrecomputedPairFeatures(
        {odd: [1.0, 0.0], "b": [0.0, 1.0]}, {"x": [1.0, 0.0], "y": [0.6, 0.8]}
    )
    model = make_pipeline(features, Ridge()).fit(X, [1.0, 2.0])
    loaded = load_model(save_model(model, tmp_path / "model.clapstack"))
    assert_array_equal(loaded.predict(X), model.predict(X))


class Mean:
    """A custom encoder."""

    sample_rate = 8000
    identity = "mean-1"

    def encode_audio(self, waveforms):
        return np.array([[np.abs(w).mean(), 1.0] for w in waveforms])

    def encode_text(self, texts):
        return np.array([[len(text), 1.0] for text in texts])


def test_own_encoder_is_found_by_the_type_given_for_a_class_of_a_script(
    tmp_path, forge_state
):
    model = Pipeline([("own", PairFeatures(Mean(), cache=None))]).fit(PAIRS)
    path = save_model(model, tmp_path / "model.clapstack")
    name = f"{Mean.__module__}.Mean"
    with pytest.raises(ModelFileError, match="types that are not trusted"):
        load_model(path)

    def in_a_script(state):
        for entry in state["objects"]:
            if entry["class"] == name:
                entry["class"] = "__main__.Mean"

    forged = forge_state(path, in_a_script)
    assert isinstance(load_model(forged, trusted=[Mean])["own"].encoder, Mean)
    with pytest.raises(ModelFileError, match=r"__main__\.Mean"):
        load_model(forged, trusted=[name])
