import importlib
import json
import pkgutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator

import clapstack
from clapstack import load_model, save_model
from clapstack.calibration import IncreasingMap
from clapstack.exceptions import ModelFileError
from clapstack.sharing._names import CLASSES, MOVED, RETIRED, class_name, find_class
from tests.sharing.models import models, simulated_table

WRITTEN = Path(__file__).parent / "files" / "written_by_0.1.0.zip"
KINDS = ("paper", "best", "rank_ensemble", "mean", "encoders")
# Their fitted attributes are tables.
NEVER_SAVED = {"ListenerModel"}


@pytest.fixture(scope="module")
def fitted():
    return models()


def our_modules():
    for found in pkgutil.walk_packages(clapstack.__path__, "clapstack."):
        if not found.name.endswith("__main__"):
            try:
                yield importlib.import_module(found.name)
            except ImportError as error:
                # An encoder of a later library than the oldest that is allowed.
                if "needs transformers" not in str(error):
                    raise


def test_every_estimator_has_a_stable_name():
    estimators = {
        value
        for module in our_modules()
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, BaseEstimator)
        and value.__module__.startswith("clapstack.")
    }
    lacking = {
        cls.__name__
        for cls in estimators
        if class_name(cls) not in {*CLASSES, *RETIRED} and cls.__name__[0] != "_"
    }
    assert lacking == NEVER_SAVED
    assert len(estimators) > 20


def test_every_name_is_of_the_class_that_it_finds():
    assert [class_name(find_class(name)) for name in CLASSES] == list(CLASSES)


def test_our_names_hold_no_private_module():
    ours = [name for name in CLASSES if name.startswith("clapstack.")]
    assert len(ours) > 20
    assert not any("._" in name for name in ours)


def test_names_that_moved_or_retired_are_no_names_of_today():
    assert set(MOVED.values()) <= set(CLASSES)
    assert not set(CLASSES) & {*MOVED, *RETIRED}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_model_of_every_kind_is_saved_by_stable_names(kind, fitted, tmp_path):
    path = save_model(fitted[kind], tmp_path / "model.clapstack")
    with zipfile.ZipFile(path) as file:
        objects = json.loads(file.read("state.json"))["objects"]
    assert {entry["class"] for entry in objects} <= set(CLASSES)
    load_model(path)


@pytest.mark.parametrize("kind", sorted({*KINDS} - {"best"}))
def test_files_of_the_first_format_are_read(kind, fitted, tmp_path):
    with zipfile.ZipFile(WRITTEN) as file:
        path = file.extract(f"{kind}.clapstack", tmp_path)
        scores = json.loads(file.read("scores.json"))
    loaded = load_model(path)
    assert type(loaded) is type(fitted[kind])
    if kind == "encoders":
        first, again = loaded.transformer_list, fitted[kind].transformer_list
        assert [step.fingerprint_ for _, step in first] == [
            step.fingerprint_ for _, step in again
        ]
    else:
        X, _ = simulated_table()
        assert_allclose(loaded.predict(X), scores[kind], rtol=1e-6)
        save_model(loaded, tmp_path / "again.clapstack")


def test_a_parameter_that_came_later_has_its_default(fitted, tmp_path, forge_state):
    def forget(state):
        for entry in state["objects"]:
            if entry["class"].endswith("ClapStackingRegressor"):
                del entry["state"]["calibration"]

    path = save_model(fitted["mean"], tmp_path / "model.clapstack")
    loaded = load_model(forge_state(path, forget))
    assert loaded.get_params()["calibration"] is False


@pytest.mark.parametrize("name", RETIRED)
def test_class_that_clapstack_no_longer_has_is_named_with_what_to_do(
    name, fitted, tmp_path, forge_state
):
    def retire(state):
        state["objects"][0]["class"] = name

    path = save_model(fitted["mean"], tmp_path / "model.clapstack")
    short = name.rpartition(".")[2]
    words = rf"contains a {short}, which clapstack no longer has\. Fit .* load the file"
    with pytest.raises(ModelFileError, match=words):
        load_model(forge_state(path, retire))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("ranking", "a RankingRegressor, .* StandardizedRidge"),
        ("best", "a BlendRidge, .* Fit the preset 'best' again"),
    ],
)
def test_file_of_a_class_that_clapstack_no_longer_has_is_named(kind, words, tmp_path):
    with zipfile.ZipFile(WRITTEN) as file:
        path = file.extract(f"{kind}.clapstack", tmp_path)
    words = rf"{kind}\.clapstack' contains {words}"
    with pytest.raises(ModelFileError, match=words):
        load_model(path)


def set_in_stacks(state, **parameters):
    for entry in state["objects"]:
        if entry["class"].endswith("ClapStackingRegressor"):
            entry["state"] |= parameters


@pytest.mark.parametrize("passthrough", [False, {"scalar": "|b1", "of": False}])
def test_retired_parameters_that_changed_nothing_are_dropped(
    passthrough, fitted, tmp_path, forge_state
):
    def change(state):
        set_in_stacks(state, passthrough=passthrough, alpha_criterion="srcc")

    path = save_model(fitted["mean"], tmp_path / "model.clapstack")
    loaded = load_model(forge_state(path, change))
    assert not {"passthrough", "alpha_criterion"} & set(vars(loaded))
    again = save_model(loaded, tmp_path / "again.clapstack")
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"alpha_criterion": "mse"}, r"alpha_criterion='mse', .* Fit the model again"),
        ({"passthrough": True}, r"passthrough=True, .* Fit the model again"),
    ],
)
def test_retired_parameters_that_matter_are_named_with_what_to_do(
    parameters, words, fitted, tmp_path, forge_state
):
    path = save_model(fitted["best"], tmp_path / "model.clapstack")
    forged = forge_state(path, lambda state: set_in_stacks(state, **parameters))
    words = rf"forged\.clapstack' contains a ClapStackingRegressor with {words}"
    with pytest.raises(ModelFileError, match=words):
        load_model(forged)


@pytest.mark.parametrize("shape", ["auto", "identity", "line", "pieces"])
@pytest.mark.parametrize("taken", ["identity", "pieces"])
def test_maps_that_had_a_shape_predict_as_they_did(shape, taken, tmp_path, forge_state):
    def reshape(state):
        (entry,) = state["objects"]
        del entry["state"]["on_scale"]
        entry["state"] |= {"shape": shape, "shape_": taken}
        if taken == "identity":
            none = {"empty": "<f8", "shape": [0]}
            entry["state"] |= {"x_knots_": none, "y_knots_": none}

    x = np.linspace(0, 1, 30)
    written = IncreasingMap().fit(x, 10 * x**2)
    path = save_model(written, tmp_path / "map.clapstack")
    loaded = load_model(forge_state(path, reshape))
    expected = x if taken == "identity" else written.predict(x)
    assert_array_equal(loaded.predict(x), expected)
    assert vars(loaded).keys() == vars(written).keys()
    assert loaded.on_scale == (shape in ("auto", "identity"))
    save_model(loaded, tmp_path / "again.clapstack")


def test_class_of_a_newer_clapstack_is_named(fitted, tmp_path, forge_state):
    def rename(state):
        state["objects"][0]["class"] = "clapstack.stacking.BetterRidge"

    path = save_model(fitted["mean"], tmp_path / "model.clapstack")
    words = r"BetterRidge, which clapstack .* does not have.*Upgrade clapstack"
    with pytest.raises(ModelFileError, match=words):
        load_model(forge_state(path, rename))
