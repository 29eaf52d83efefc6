import pickle
import subprocess
import sys
import tempfile
import warnings
import zipfile

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays, scalar_dtypes
from numpy.testing import assert_array_equal
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.exceptions import InconsistentVersionWarning, NotFittedError
from sklearn.linear_model import Lasso, LassoCV, RidgeCV
from sklearn.model_selection import GroupKFold, KFold
from sklearn.preprocessing import StandardScaler

from clapstack import (
    ClapStackingRegressor,
    LaionClapPairFeatures,
    PrecomputedPairFeatures,
    load_model,
    save_model,
)
from clapstack.exceptions import ModelFileError
from clapstack.sharing import _card, describe_model


class Mean(RegressorMixin, BaseEstimator):
    """A custom regressor."""

    def fit(self, X, y):
        self.mean_ = float(np.mean(y))
        return self

    def predict(self, X):
        return np.full(len(X), self.mean_)


class Holder(BaseEstimator):
    """An estimator with one value."""

    def fit(self, value):
        self.value_ = value
        return self


def through_file(value):
    with tempfile.TemporaryDirectory() as folder:
        path = save_model(Holder().fit(value), f"{folder}/holder.clapstack")
        return load_model(path, trusted=[Holder]).value_


@pytest.mark.slow
def test_predicts_the_same_bits_in_a_fresh_process(model, features, saved, tmp_path):
    X, _ = features
    table, out = tmp_path / "X.pkl", tmp_path / "y.npy"
    X.to_pickle(table)
    code = (
        "import clapstack, numpy, pandas; "
        f"X = pandas.read_pickle({str(table)!r}); "
        f"y = clapstack.load_model({str(saved)!r}).predict(X); "
        f"numpy.save({str(out)!r}, y)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert_array_equal(np.load(out), model.predict(X))


def test_loaded_model_can_be_cloned_pickled_refitted_and_saved_again(
    model, features, saved, tmp_path
):
    loaded = load_model(saved)
    expected = model.predict(features[0])
    again = pickle.loads(pickle.dumps(loaded))
    assert_array_equal(again.predict(features[0]), expected)
    assert_array_equal(clone(loaded).fit(*features).predict(features[0]), expected)
    twice = save_model(loaded, tmp_path / "twice.clapstack")
    assert twice.read_bytes() == saved.read_bytes()


def test_fitted_attributes_come_back(model, saved):
    there, here = model["stack"], load_model(saved)["stack"]
    assert here.families_ == there.families_
    assert here.first_level_names_ == there.first_level_names_
    assert_array_equal(here.oof_predictions_, there.oof_predictions_)
    assert here.final_estimator_ is here._final_level.estimator_
    assert list(here.get_feature_names_out()) == list(there.get_feature_names_out())


@pytest.mark.parametrize(
    "settings",
    [
        {"cv": KFold(2), "final_estimator": "mean", "final_target": "rank"},
        {
            "cv": [
                (np.arange(30), np.arange(30, 60)),
                (np.arange(30, 60), np.arange(30)),
            ]
        },
        {"base_estimators": Lasso(0.1), "final_estimator": RidgeCV()},
        {"final_estimator": LassoCV(cv=2)},
        {"random_state": np.random.RandomState(0)},
    ],
    ids=lambda settings: ",".join(settings),
)
def test_other_settings_of_the_stack_come_back(settings, features, tmp_path):
    X, y = features
    stack = ClapStackingRegressor(**{"boosting": False, **settings}).fit(X, y)
    loaded = load_model(save_model(stack, tmp_path / "model.clapstack"))
    assert_array_equal(loaded.predict(X), stack.predict(X))


def test_a_stack_fitted_with_groups_and_weights_can_be_saved(features, tmp_path):
    X, y = features
    stack = ClapStackingRegressor(cv=GroupKFold(2), boosting=False)
    stack.fit(X, y, groups=np.arange(60) // 3, sample_weight=np.arange(60.0))
    loaded = load_model(save_model(stack, tmp_path / "model.clapstack"))
    assert_array_equal(loaded.predict(X), stack.predict(X))


def test_folders_of_this_machine_are_not_saved(tmp_path):
    X = pd.DataFrame({"audio": ["dog.wav"], "text": ["a dog"]})
    encoder = LaionClapPairFeatures("bundled:laion-unfused", cache=str(tmp_path))
    path = save_model(encoder.fit(X), tmp_path / "encoder.clapstack")
    loaded = load_model(path)
    assert loaded.cache == "auto"
    assert loaded.fingerprint_ == encoder.fingerprint_
    assert encoder.cache == str(tmp_path)
    assert str(tmp_path).encode() not in path.read_bytes()


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.sampled_from([np.float64(0.1), np.float32(0.1), np.int64(7), np.bool_(True)]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(plain)
def test_plain_values_come_back_equal_and_of_the_same_type(value):
    back = through_file(value)
    assert back == value
    assert repr(back) == repr(value)


@given(
    arrays(
        scalar_dtypes().filter(lambda dtype: dtype.kind in "biufcU"),
        array_shapes(min_dims=0, min_side=0, max_dims=3),
    )
)
def test_arrays_come_back_bit_for_bit(array):
    back = through_file(array)
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert back.tobytes() == array.tobytes()


def test_memory_order_of_arrays_is_kept_since_sums_depend_on_it():
    back = through_file(np.asfortranarray(np.arange(6.0).reshape(2, 3)))
    assert back.flags.f_contiguous
    assert not back.flags.c_contiguous


@pytest.mark.parametrize("kind", [np.random.RandomState, np.random.default_rng])
def test_random_states_continue_after_loading(kind):
    there = kind(5)
    there.normal(size=3)
    here = through_file(there)
    assert_array_equal(here.normal(size=9), there.normal(size=9))


def test_one_array_in_two_places_stays_one():
    array = np.arange(3.0)
    first, second = through_file([array, array])
    assert first is second


def test_non_finite_floats_come_back():
    assert np.isnan(through_file(float("nan")))
    assert through_file([float("inf"), -float("inf")]) == [np.inf, -np.inf]


def test_values_that_are_not_data_are_named_with_their_place(features, tmp_path):
    stack = ClapStackingRegressor(boosting=False).fit(*features)
    stack.extra_ = {"scorer": np.mean}
    where = r"ClapStackingRegressor\.extra_\['scorer'\] is a "
    with pytest.raises(TypeError, match=where):
        save_model(stack, tmp_path / "model.clapstack")
    assert not list(tmp_path.iterdir())


def test_a_model_that_contains_itself_is_refused(features, tmp_path):
    stack = ClapStackingRegressor(boosting=False).fit(*features)
    stack.extra_ = [stack]
    with pytest.raises(TypeError, match=r"extra_\[0\] contains itself"):
        save_model(stack, tmp_path / "model.clapstack")


def test_unfitted_model_is_refused(tmp_path):
    with pytest.raises(NotFittedError):
        save_model(ClapStackingRegressor(), tmp_path / "model.clapstack")


def test_failed_save_leaves_the_older_file(saved, tmp_path, features):
    path = tmp_path / "model.clapstack"
    path.write_bytes(saved.read_bytes())
    stack = ClapStackingRegressor(boosting=False).fit(*features)
    stack.extra_ = np.mean
    with pytest.raises(TypeError):
        save_model(stack, path)
    assert path.read_bytes() == saved.read_bytes()


def test_own_type_is_loaded_when_it_is_trusted(features, tmp_path):
    X, y = features
    stack = ClapStackingRegressor(boosting=False, final_estimator=Mean()).fit(X, y)
    path = save_model(stack, tmp_path / "model.clapstack")
    loaded = load_model(path, trusted=[Mean])
    assert_array_equal(loaded.predict(X), stack.predict(X))


def test_card_has_the_given_fields_and_the_facts_of_the_model(model, tmp_path):
    card = {"licence": "CC BY 4.0", "metrics": {"srcc": 0.5}, "date": "2026-11-24"}
    path = save_model(model, tmp_path / "model.clapstack", card=card)
    with zipfile.ZipFile(path) as file:
        text = file.read("README.md").decode()
    for said in ("CC BY 4.0", "| srcc | 0.5000 |", "2026-11-24", "60 pairs."):
        assert said in text


def test_card_names_checkpoints_fingerprints_and_limits_of_mini_checkpoints(tmp_path):
    X = pd.DataFrame({"audio": ["dog.wav"], "text": ["a dog"]})
    encoder = LaionClapPairFeatures("bundled:laion-unfused", cache=None).fit(X)
    path = save_model(encoder, tmp_path / "encoder.clapstack")
    with zipfile.ZipFile(path) as file:
        text = file.read("README.md").decode()
    assert encoder.fingerprint_ in text
    assert "bundled:laion-unfused" in text
    assert "which know only the bundled sound classes" in text


def test_unknown_field_of_the_card_is_named(model, tmp_path):
    with pytest.raises(ValueError, match=r"unknown fields \['license'\]"):
        save_model(model, tmp_path / "model.clapstack", card={"license": "MIT"})


def as_if_by(monkeypatch, **versions):
    real = _card.versions()
    monkeypatch.setattr(
        "clapstack.sharing._model.versions", lambda: {**real, **versions}
    )


def test_older_file_that_predicts_the_same_loads_without_a_warning(saved, monkeypatch):
    as_if_by(monkeypatch, **{"scikit-learn": "9.9.9"})
    load_model(saved)


def test_embeddings_that_go_into_the_file_are_warned_of(tmp_path):
    audio, text = {"a.wav": [1.0, 0.0]}, {"a secret prompt": [0.6, 0.8]}
    X = pd.DataFrame({"audio": ["a.wav"], "text": ["a secret prompt"]})
    features = PrecomputedPairFeatures(audio, text).fit(X)
    words = r"will contain the embeddings and keys \(paths, texts\) of audio_emb"
    with pytest.warns(UserWarning, match=words):
        again = load_model(save_model(features, tmp_path / "m.clapstack"))
    assert_array_equal(again.transform(X), features.transform(X))


def test_embeddings_in_files_are_not_warned_of(tmp_path):
    paths = [tmp_path / "audio.npz", tmp_path / "text.npz"]
    for path in paths:
        np.savez(path, key=[1.0, 0.0])
    X = pd.DataFrame({"audio": ["key"], "text": ["key"]})
    features = PrecomputedPairFeatures(*map(str, paths)).fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_model(features, tmp_path / "m.clapstack")


def test_older_file_without_recorded_scores_warns(tmp_path, monkeypatch):
    scaler = StandardScaler().fit([[1.0], [2.0]])
    path = save_model(scaler, tmp_path / "scaler.clapstack")
    as_if_by(monkeypatch, **{"scikit-learn": "9.9.9"})
    with pytest.warns(InconsistentVersionWarning, match=r"version 9\.9\.9"):
        load_model(path)


def test_older_file_that_cannot_be_rebuilt_says_who_wrote_it(saved, monkeypatch):
    as_if_by(monkeypatch, **{"scikit-learn": "9.9.9"})
    monkeypatch.delattr("clapstack.agreement.CrossAgreement")
    wrote = r"was written by clapstack .*cannot be rebuilt here .*CrossAgreement is no"
    with pytest.raises(ModelFileError, match=wrote):
        load_model(saved)


def test_file_that_predicts_otherwise_here_says_who_wrote_it(saved, monkeypatch):
    predict = ClapStackingRegressor.predict
    monkeypatch.setattr(
        ClapStackingRegressor, "predict", lambda self, X: predict(self, X) + 0.1
    )
    wrote = (
        r"was written by clapstack .*scikit-learn .*predicts differently here \(by 0\.1"
    )
    with pytest.raises(ModelFileError, match=wrote):
        load_model(saved)


def test_file_that_cannot_predict_here_says_who_wrote_it(saved, monkeypatch):
    def predict(self, X):
        msg = "no attribute '_old'"
        raise AttributeError(msg)

    monkeypatch.setattr(ClapStackingRegressor, "predict", predict)
    with pytest.raises(ModelFileError, match=r"cannot predict here .*_old"):
        load_model(saved)


def test_a_model_is_described_with_and_without_its_file(tmp_path):
    X = np.random.default_rng(0).normal(size=(60, 3))
    stack = ClapStackingRegressor(boosting=False).fit(X, X.sum(axis=1))
    card = {"data": "Made up.", "metrics": {"srcc": 0.5}}
    path = save_model(stack, tmp_path / "m.clapstack", card=card)
    alone, with_file = describe_model(stack), describe_model(stack, path)
    for facts in (alone, with_file):
        assert facts["n_pairs"] == 60
        assert facts["families"] == ["features"]
        assert facts["encoders"] == facts["columns"] == []
        assert facts["card"]["licence"] == "Not given."
    assert alone["metrics"] == {}
    assert with_file["metrics"] == {"srcc": 0.5}
    assert with_file["card"]["data"] == "60 pairs.\n\nMade up."
    here = {name: own for name, (_, own) in alone["versions"].items()}
    assert {wrote for wrote, _ in alone["versions"].values()} == {None}
    assert with_file["versions"] == {name: (own, own) for name, own in here.items()}


def test_a_damaged_file_describes_nothing(tmp_path):
    path = tmp_path / "m.clapstack"
    path.write_bytes(b"PK")
    with pytest.raises(ModelFileError, match="is not a model file"):
        describe_model(StandardScaler().fit([[0.0], [1.0]]), path)
