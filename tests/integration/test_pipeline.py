"""The whole system on the bundled mini checkpoints and a simulated challenge."""

import os
import pickle
import subprocess
import sys

import joblib
import numpy as np
import pandas as pd
import pytest
import soundfile as sf
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer

from clapstack import LaionClapPairFeatures, MsClapPairFeatures, make_clap_stack
from clapstack.encoders.clap._base import ClapEncoder
from clapstack.exceptions import BadPairsError, FingerprintMismatchError
from clapstack.metrics import srcc, srcc_scorer

ENCODERS = {
    "laion-unfused": LaionClapPairFeatures("bundled:laion-unfused", cache=None),
    "laion-fused": LaionClapPairFeatures("bundled:laion-fused", cache=None),
    "msclap": MsClapPairFeatures("bundled:msclap", cache=None),
}
each_encoder = pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS)


def test_stack_finds_real_signal(fitted, challenge):
    _, test = challenge
    assert srcc(test.y, fitted.predict(test.X)) > 0.2


def test_predictions_are_on_the_scale_of_the_ratings(fitted, challenge):
    train, test = challenge
    scores = fitted.predict(test.X)
    assert abs(scores.mean() - train.y.mean()) < 1.5
    assert 0.2 < scores.std() < 2 * train.y.std()


def test_columns_carry_the_family_names(fitted, challenge):
    _, test = challenge
    features = fitted[:-1].transform(test.X)
    families = list(dict.fromkeys(name.split("__")[0] for name in features.columns))
    assert families == ["laion_unfused", "laion_fused", "msclap", "cross"]
    assert set(map(str, features.dtypes)) == {"float32"}


def test_refit_gives_the_same_bits(fitted, challenge):
    train, test = challenge
    again = clone(fitted).fit(train.X, train.y)
    assert_array_equal(again.predict(test.X), fitted.predict(test.X))


def test_pickle_is_small_and_predicts_the_same_bits_in_a_fresh_process(
    fitted, challenge, tmp_path
):
    _, test = challenge
    model, pairs, out = (tmp_path / k for k in ("model.joblib", "X.pkl", "y.npy"))
    joblib.dump(fitted, model)
    test.X.to_pickle(pairs)
    assert model.stat().st_size < 50e6
    code = (
        "import joblib, numpy, pandas, sys; "
        f"X = pandas.read_pickle({str(pairs)!r}); "
        f"numpy.save({str(out)!r}, joblib.load({str(model)!r}).predict(X))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert_array_equal(np.load(out), fitted.predict(test.X))


def test_feature_step_pickles_without_weights(fitted):
    assert len(pickle.dumps(fitted["features"])) < 20_000


def test_other_weights_than_those_fitted_are_refused(fitted, challenge):
    _, test = challenge
    swapped = pickle.loads(pickle.dumps(fitted["features"]))
    dict(swapped.transformer_list)["laion_unfused"].checkpoint = "bundled:laion-fused"
    with pytest.raises(FingerprintMismatchError, match="was fitted with the weights"):
        swapped.transform(test.X)


def test_cross_val_score_works_with_groups(pipeline, challenge):
    train, _ = challenge
    groups = np.arange(len(train.y)) // 4
    scores = cross_val_score(
        pipeline,
        train.X,
        train.y,
        groups=groups,
        cv=GroupKFold(2),
        scoring=srcc_scorer,
        error_score="raise",
    )
    assert scores.shape == (2,)
    assert np.isfinite(scores).all()


def writing_down_calls(log):
    """Return a step that makes its process write down what it encodes and decodes.

    It is a closure, and so reaches the processes of a search by value.
    """

    def watch(X):
        import os

        import soundfile

        from clapstack.encoders.clap._base import ClapEncoder

        def written(function):
            def call(*args, **kwargs):
                with open(log, "a") as file:
                    print(function.__name__, file=file)
                return function(*args, **kwargs)

            call.watched = True
            return call

        with open(log, "a") as file:
            print("process", os.getpid(), file=file)
        for owner, name in [
            (ClapEncoder, "encode_audio"),
            (ClapEncoder, "encode_text"),
            (soundfile.SoundFile, "read"),
        ]:
            if not hasattr(getattr(owner, name), "watched"):
                setattr(owner, name, written(getattr(owner, name)))
        return X

    return FunctionTransformer(watch)


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """Return the step that watches, and a function that reads and empties its log."""
    log = tmp_path / "calls.txt"

    def read():
        lines = log.read_text().splitlines()
        log.unlink()
        processes = {int(s.split()[1]) for s in lines if s.startswith("process")}
        return [s for s in lines if not s.startswith("process")], processes

    for owner, name in [
        (ClapEncoder, "encode_audio"),
        (ClapEncoder, "encode_text"),
        (sf.SoundFile, "read"),
    ]:
        monkeypatch.setattr(owner, name, getattr(owner, name))
    return writing_down_calls(str(log)), read


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_grid_search_drops_families_and_encodes_and_decodes_nothing_again(
    fitted, pipeline, challenge, calls, n_jobs
):
    train, _ = challenge
    step, read = calls
    watched = Pipeline([("watch", step), *pipeline.steps])
    watched.set_output(transform="pandas")
    fused = dict(pipeline["features"].transformer_list)["laion_fused"]
    make_pipeline(step, clone(fused).set_params(cache=None)).fit_transform(train.X[:2])
    assert set(read()[0]) == {"encode_audio", "encode_text", "read"}
    grid = {
        "agreement__n_components": [4, 8],
        "features__laion_fused": ["drop", fused],
        "stack__boosting": [False],
    }
    search = GridSearchCV(
        watched,
        grid,
        scoring=srcc_scorer,
        cv=KFold(2),
        error_score="raise",
        n_jobs=n_jobs,
    )
    search.fit(train.X, train.y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    found, processes = read()
    assert found == []
    assert len(search.cv_results_["params"]) == 4
    assert (len(processes) > 1) is (n_jobs > 1)


@each_encoder
def test_embeddings_do_not_depend_on_the_batch_or_on_neighbours(encoder, challenge):
    _, test = challenge
    X = test.X[:7]
    whole = clone(encoder).set_params(batch_size=7).fit_transform(X)
    small = clone(encoder).set_params(batch_size=2).fit_transform(X)
    alone = np.vstack([clone(encoder).fit_transform(X[i : i + 1]) for i in range(7)])
    # To the last bit: tests/encoders/test_same_bits.py says where.
    assert_allclose(small, whole, atol=1e-6)
    assert_allclose(alone, whole, atol=1e-6)


@each_encoder
def test_path_and_array_give_the_same_features(encoder, challenge):
    _, test = challenge
    X = test.X[:3]
    read = [sf.read(path, dtype="float32") for path in X["audio"]]
    tuples = X.assign(audio=read)
    mappings = X.assign(audio=[{"array": a, "sampling_rate": r} for a, r in read])
    from_path = clone(encoder).fit_transform(X)
    assert_array_equal(clone(encoder).fit_transform(tuples), from_path)
    assert_array_equal(clone(encoder).fit_transform(mappings), from_path)


@each_encoder
def test_long_clips_embed_the_same_on_every_call(encoder):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 16_000 * 23)
    X = pd.DataFrame({"audio": [(noise, 16_000)] * 2, "text": ["wind", "rain"]})
    first = clone(encoder).fit_transform(X)
    assert_array_equal(clone(encoder).fit_transform(X), first)
    assert_allclose(
        np.linalg.norm(first[:, : first.shape[1] // 5], axis=1), 1, atol=1e-5
    )


def test_bad_rows_are_named_and_good_rows_are_kept(challenge, tmp_path):
    _, test = challenge
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "notes.wav").write_text("not audio at all")
    silent = (np.zeros(16_000, dtype=np.float32), 16_000)
    broken = (np.full(16_000, np.nan, dtype=np.float32), 16_000)
    good = list(test.X["audio"][:2])
    audio = [
        good[0],
        "no/such.wav",
        str(tmp_path / "empty.wav"),
        str(tmp_path / "notes.wav"),
        silent,
        broken,
        good[1],
        good[1],
        good[1],
    ]
    texts = ["a dog"] * 6 + ["  ", None, "a cow"]
    X = pd.DataFrame({"audio": audio, "text": texts})
    cache = tmp_path / "store"
    features = LaionClapPairFeatures("bundled:laion-unfused", cache=str(cache))
    with pytest.raises(BadPairsError, match="7 of 9 pairs") as caught:
        features.fit(X).transform(X)
    assert [row.position for row in caught.value.rows] == [1, 2, 3, 4, 5, 6, 7]
    from clapstack.encoders.clap import _base

    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(_base.ClapEncoder, "encode_audio")
        patch.delattr(_base.ClapEncoder, "encode_text")
        assert features.transform(X.loc[[0, 8]]).shape[0] == 2


def test_unknown_family_is_named():
    with pytest.raises(ValueError, match=r"unknown families \['birds'\]"):
        make_clap_stack(families=["birds"])


def test_unknown_set_of_checkpoints_is_named():
    with pytest.raises(ValueError, match="'published', 'bundled' or a mapping"):
        make_clap_stack("paper")


def test_published_checkpoints_are_the_default():
    names = [
        transformer.checkpoint
        for _, transformer in make_clap_stack()["features"].transformer_list
    ]
    assert names == [
        "laion/clap-htsat-unfused",
        "laion/clap-htsat-fused",
        "microsoft/msclap",
    ]


def test_a_pair_is_predicted_to_the_same_bits_alone(fitted, challenge):
    _, test = challenge
    features = fitted[:-2].transform(test.X)
    together = fitted[-2:].predict(features)
    alone = [fitted[-2:].predict(features[i : i + 1])[0] for i in range(len(features))]
    assert_array_equal(alone, together)
    # More than a block of rows, and other neighbours.
    many = pd.concat([features[::-1]] * 13)
    assert_array_equal(fitted[-2:].predict(many), np.tile(together[::-1], 13))


ALONE = """
import sys, threading, time
from pathlib import Path
import joblib, numpy as np, pandas as pd

def seconds():
    own = {str(thread.native_id) for thread in threading.enumerate()}
    return {
        task.name: int((task / "schedstat").read_text().split()[0])
        for task in Path("/proc/self/task").iterdir()
        if task.name not in own
    }

rng = np.random.default_rng(0)
clips = [(rng.normal(0, 0.1, 48_000), 16_000) for _ in range(3)]
pairs = [
    pd.DataFrame({"audio": [clip], "text": [f"number {i}"]})
    for i, clip in enumerate(clips)
]
pipe = joblib.load(sys.argv[1])
pipe.predict(pairs[0])
time.sleep(0.5)
before = seconds()
for pair in pairs[1:]:
    pipe.predict(pair)
print(seconds() == before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_new_pair_is_predicted_without_the_threads_of_libraries(fitted, tmp_path):
    # Neither are there others after it, nor has one of those that were there run:
    # OpenBLAS starts its own when it is loaded.
    model = tmp_path / "model.joblib"
    joblib.dump(fitted, model)
    numbers = dict.fromkeys(["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"], "4")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ALONE, str(model)],
        env=os.environ | numbers,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "True"
