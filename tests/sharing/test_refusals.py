import io
import json
import pickle
import zipfile

import joblib
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from typer.testing import CliRunner

from clapstack import ClapStackingRegressor, load_model, save_model
from clapstack.cli import app
from clapstack.exceptions import ModelFileError, UntrustedTypesError
from clapstack.sharing._archive import _digest

TREES = "sklearn.ensemble.HistGradientBoostingRegressor"
PREDICTOR = "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"


class Malicious:
    """Runs a command when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return exec, (f"open({str(self.marker)!r}, 'w').close()",)


@pytest.fixture
def members(saved):
    """Return the members of a model file by name."""
    with zipfile.ZipFile(saved) as file:
        return {name: file.read(name) for name in file.namelist()}


@pytest.fixture
def forge(members, tmp_path):
    """Write a file with other members and matching checksums, as a forger would."""

    def write(changed=None, *, state=None, manifest=None, **how):
        new = {**members, **(changed or {})}
        if state is not None:
            new["state.json"] = json.dumps(state).encode()
        facts = {**json.loads(members["manifest.json"]), **(manifest or {})}
        facts["sha256"] = {
            name: _digest(data) for name, data in new.items() if name != "manifest.json"
        }
        new["manifest.json"] = json.dumps(facts).encode()
        path = tmp_path / "forged.clapstack"
        with zipfile.ZipFile(path, "w", **how) as file:
            for name, data in new.items():
                file.writestr(name, data)
        return path

    return write


@pytest.fixture
def state(members):
    return json.loads(members["state.json"])


def first(state, name):
    return next(entry for entry in state["objects"] if entry["class"] == name)


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def test_forged_file_without_a_change_loads(forge, saved, features):
    X, _ = features
    assert_array_equal(load_model(forge()).predict(X), load_model(saved).predict(X))


@pytest.mark.parametrize("dump", [pickle.dump, joblib.dump], ids=["pickle", "joblib"])
def test_pickle_is_refused_unread(dump, tmp_path):
    path, marker = tmp_path / "model.clapstack", tmp_path / "ran"
    with path.open("wb") as file:
        dump(Malicious(marker), file)
    with pytest.raises(ModelFileError, match=r"is not a model file .*joblib"):
        load_model(path)
    assert not marker.exists()


@pytest.mark.parametrize(
    "name",
    ["model.pkl", "../../evil.py", "/etc/evil", "arrays/../0.npy", "arrays/00.npy"],
)
def test_strange_member_is_refused_by_name(forge, name, tmp_path):
    path = forge({name: pickle.dumps(Malicious(tmp_path / "ran"))})
    with pytest.raises(ModelFileError, match="contains the unexpected file"):
        load_model(path)
    assert not (tmp_path / "ran").exists()


def test_array_with_a_pickle_inside_is_refused(forge, tmp_path):
    marker = tmp_path / "ran"
    path = forge({"arrays/0.npy": npy(np.array([Malicious(marker)], dtype=object))})
    with pytest.raises(ModelFileError, match="dtype object"):
        load_model(path)
    assert not marker.exists()


def test_array_that_promises_more_than_it_has_is_refused(forge):
    buffer = io.BytesIO()
    header = {"descr": "<f8", "fortran_order": False, "shape": (1 << 50,)}
    np.lib.format.write_array_header_1_0(buffer, header)
    with pytest.raises(ModelFileError, match="cannot reshape"):
        load_model(forge({"arrays/0.npy": buffer.getvalue() + bytes(80)}))


def test_compressed_members_are_refused_so_that_no_file_grows(forge):
    path = forge({"arrays/0.npy": bytes(10_000_000)}, compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 3e6
    with pytest.raises(ModelFileError, match="is compressed or encrypted"):
        load_model(path)


def test_members_that_promise_more_than_the_file_are_refused(saved, tmp_path):
    path = tmp_path / "bomb.clapstack"
    data = bytearray(saved.read_bytes())
    where = data.index(b"PK\x01\x02")  # the first entry of the central directory
    data[where + 20 : where + 28] = (0xFFFFFFF0).to_bytes(4, "little") * 2
    path.write_bytes(data)
    with pytest.raises(ModelFileError, match=r"members claim 4\d+ bytes"):
        load_model(path)


@pytest.mark.parametrize(
    "name",
    ["os.system", "builtins.eval", "subprocess.Popen", "sklearn.svm.SVR", "evil.Class"],
)
def test_types_beyond_the_list_are_named_and_not_imported(forge, state, name):
    state["objects"].append({"class": name, "state": {}})
    with pytest.raises(UntrustedTypesError, match=rf"trusted=\['{name}'\]") as caught:
        load_model(forge(state=state))
    assert caught.value.types == [name]
    assert pickle.loads(pickle.dumps(caught.value)).types == [name]


@pytest.mark.parametrize(
    "name",
    [
        "clapstack.features._embedding.os",
        "clapstack.stacking.ridge._estimator.cho_solve",
        "clapstack.stacking._final.Ridge",
        "clapstack.stacking.no.such",
    ],
)
def test_foreign_names_in_our_modules_are_refused(forge, state, name):
    state["objects"].append({"class": name, "state": {}})
    with pytest.raises(
        ModelFileError, match=rf"{name}, which clapstack .* does not have"
    ):
        load_model(forge(state=state))


@pytest.mark.parametrize("trusted", ["os.system", True, None], ids=repr)
def test_trust_is_a_list_of_names(saved, trusted):
    with pytest.raises(TypeError, match="trusted must be a list"):
        load_model(saved, trusted=trusted)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("left", 1 << 30),
        ("right", 1 << 30),
        ("left", 0),
        ("feature_idx", 1 << 40),
        ("feature_idx", -1),
        ("is_categorical", 1),
    ],
)
def test_boosted_trees_cannot_lead_out_of_their_arrays(
    forge, state, members, field, value
):
    number = first(state, PREDICTOR)["state"]["nodes"]["array"]
    name = f"arrays/{number}.npy"
    nodes = np.load(io.BytesIO(members[name]))
    nodes[field][0] = value
    with pytest.raises(
        ModelFileError, match="leaves its nodes or columns, or has a loop"
    ):
        load_model(forge({name: npy(nodes)}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("n_features_in_", None),
        ("_in_fit", True),
        ("_bin_mapper", None),
        ("_preprocessor", "x"),
    ],
)
def test_boosted_trees_cannot_skip_the_check_of_their_input(forge, state, key, value):
    first(state, TREES)["state"][key] = value
    with pytest.raises(ModelFileError, match="fitted on numbers only"):
        load_model(forge(state=state))


@pytest.mark.parametrize("key", ["predict", "_preprocess_X", "__class__"])
def test_state_cannot_replace_methods(forge, state, key):
    first(state, TREES)["state"][key] = 1
    with pytest.raises(ModelFileError, match=f"replaces its '{key}'"):
        load_model(forge(state=state))


def test_file_cannot_name_folders_of_this_machine(forge, state):
    first(state, "sklearn.pipeline.Pipeline")["state"]["memory"] = "/somewhere"
    with pytest.raises(ModelFileError, match="has a folder, '/somewhere'"):
        load_model(forge(state=state))


@pytest.mark.parametrize(
    "code",
    [
        {},
        {"what": 1},
        {"object": 10**9},
        {"object": -1},
        {"array": 10**9},
        {"array": "../0"},
        {"empty": "<f8", "shape": [1 << 50]},
        {"float": "1e9"},
    ],
    ids=json.dumps,
)
def test_nonsense_in_a_state_is_refused(forge, state, code):
    first(state, TREES)["state"]["tol"] = code
    with pytest.raises(ModelFileError, match="is not a model file"):
        load_model(forge(state=state))


def test_state_nested_without_end_is_refused(forge):
    deep = b"[" * 200_000 + b"]" * 200_000
    with pytest.raises(ModelFileError, match="is not JSON"):
        load_model(forge({"state.json": deep}))


def test_newer_format_is_refused_by_number(forge):
    path = forge(manifest={"format": 3, "versions": {"clapstack": "7.0"}})
    with pytest.raises(ModelFileError, match=r"format 3, written by clapstack 7\.0"):
        load_model(path)


@pytest.mark.parametrize("name", ["README.md", "state.json", "arrays/3.npy"])
def test_altered_member_fails_its_checksum(members, tmp_path, name):
    path = tmp_path / "altered.clapstack"
    with zipfile.ZipFile(path, "w") as file:
        for member, data in members.items():
            file.writestr(member, data + b" " if member == name else data)
    with pytest.raises(ModelFileError, match=f"'{name}' does not have the checksum"):
        load_model(path)


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_truncated_file_is_refused(saved, tmp_path, part):
    path = tmp_path / "cut.clapstack"
    data = saved.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(ModelFileError, match="altered or cut off"):
        load_model(path)


def test_a_missing_file_raises_file_not_found(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no\.clapstack"):
        load_model(tmp_path / "no.clapstack")


def test_damage_anywhere_is_an_error_or_changes_nothing(features, tmp_path):
    X, y = features
    stack = ClapStackingRegressor(boosting=False).fit(X, y)
    expected = stack.predict(X)
    whole = save_model(stack, tmp_path / "whole.clapstack").read_bytes()
    path = tmp_path / "damaged.clapstack"
    rng = np.random.default_rng(0)
    refused = 0
    for where in rng.integers(len(whole), size=150):
        data = bytearray(whole)
        data[where] ^= 1 << rng.integers(8)
        path.write_bytes(data)
        try:
            loaded = load_model(path)
        except ModelFileError:
            refused += 1
        else:
            assert_array_equal(loaded.predict(X), expected)
    assert refused > 75


def test_score_refuses_a_joblib_file_without_the_flag(model, tmp_path):
    path = tmp_path / "model.joblib"
    joblib.dump(model, path)
    result = CliRunner().invoke(app, ["score", str(path), "dog.wav", "a dog"])
    assert result.exit_code == 3
    assert "is not a model file" in result.stderr


def test_score_reads_both_kinds_of_file(tmp_path):
    import pandas as pd
    import soundfile as sf
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline

    from clapstack import PrecomputedPairFeatures

    sf.write(tmp_path / "dog.wav", np.zeros(8), 8000)
    X = pd.DataFrame({"audio": ["dog.wav", "cat.wav"], "text": ["a dog", "a cat"]})
    audio = {"dog.wav": [1.0, 0.0], "cat.wav": [0.6, 0.8]}
    text = {"a dog": [1.0, 0.0], "a cat": [0.0, 1.0]}
    pipeline = make_pipeline(PrecomputedPairFeatures(audio, text), Ridge())
    pipeline.fit(X, [9.0, 7.0])
    expected = float(pipeline.predict(X)[0])
    shared, trusted = tmp_path / "model.clapstack", tmp_path / "model.joblib"
    save_model(pipeline, shared)
    joblib.dump(pipeline, trusted)
    for command in (["score", str(shared)], ["score", "--trust", str(trusted)]):
        result = CliRunner().invoke(app, [*command, "dog.wav", "a dog", "--json"])
        assert json.loads(result.stdout)["score"] == expected
