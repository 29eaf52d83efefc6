"""polars frames in and out give what pandas frames give."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from pandas.testing import assert_frame_equal
from sklearn.base import BaseEstimator
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.utils.fixes import parse_version

from clapstack import ClapStackingRegressor, CrossAgreement, MsClapPairFeatures
from clapstack.exceptions import BadPairsError
from clapstack.listeners import ListenerModel
from clapstack.pairs import check_pairs
from clapstack.stacking import family_ablation

pl = pytest.importorskip("polars")


@pytest.fixture
def features():
    """Return (X, y) of 60 pairs of two contrastive families and one auxiliary."""
    rng = np.random.default_rng(0)
    names = [f"{f}__{c}" for f in ("laion", "msclap") for c in ("product0", "cosine")]
    X = pd.DataFrame(rng.normal(size=(60, 5)), columns=[*names, "beats__mean0"])
    return X, X.sum(axis=1).to_numpy() + rng.normal(size=60)


@pytest.fixture
def pairs(challenge):
    train, _ = challenge
    return train.X.iloc[:12].astype({"audio": str}), train.y[:12]


@pytest.fixture
def msclap(cache):
    return MsClapPairFeatures("bundled:msclap", cache=cache, device="cpu")


def whole():
    return make_pipeline(CrossAgreement(1), ClapStackingRegressor(boosting=False))


@pytest.mark.parametrize("output", ["polars", "pandas"])
def test_pipeline_of_polars_features_predicts_as_of_pandas(features, output):
    X, y = features
    expected = whole().set_output(transform="pandas").fit(X, y).predict(X)
    pipeline = whole().set_output(transform=output)
    Xp, yp = pl.from_pandas(X), pl.Series(y)
    assert_array_equal(pipeline.fit(Xp, yp).predict(Xp), expected)
    assert pipeline[-1].families_ == ["laion", "msclap", "cross"]


def test_transformers_return_polars_frames_with_names(features):
    X = pl.from_pandas(features[0])
    agreement = CrossAgreement(1).set_output(transform="polars").fit(X)
    out = agreement.transform(X)
    assert isinstance(out, pl.DataFrame)
    assert out.columns == agreement.get_feature_names_out().tolist()
    assert set(X.columns) < set(out.columns)
    stack = ClapStackingRegressor(boosting=False).set_output(transform="polars")
    assert stack.fit(X, features[1]).transform(X).columns == stack.first_level_names_


def test_weights_and_groups_may_be_polars_series(features):
    X, y = features
    groups, weight = np.arange(60) // 3, np.linspace(0.5, 2.0, 60)
    stack = ClapStackingRegressor(boosting=False)
    expected = stack.fit(X, y, sample_weight=weight, groups=groups).predict(X)
    given = {"sample_weight": pl.Series(weight), "groups": pl.Series(groups)}
    assert_array_equal(stack.fit(pl.from_pandas(X), y, **given).predict(X), expected)


def test_cross_validation_and_ablation_take_polars_features(features):
    X, y = features
    Xp = pl.from_pandas(X)
    stack = ClapStackingRegressor(boosting=False)
    assert_array_equal(
        cross_val_predict(stack, Xp, y, cv=2), cross_val_predict(stack, X, y, cv=2)
    )
    settings = {"cv": 2, "n_resamples": 10}
    assert_frame_equal(
        family_ablation(stack, Xp, y, **settings),
        family_ablation(stack, X, y, **settings),
    )


def test_explanation_of_polars_features(features):
    X, y = features
    stack = ClapStackingRegressor(boosting=False).fit(X, y)
    assert_frame_equal(stack.explain(pl.from_pandas(X)), stack.explain(X))


@pytest.mark.parametrize("output", ["default", "polars", "pandas"])
def test_pairs_in_a_polars_frame_give_the_same_features(msclap, pairs, output):
    X, _ = pairs
    expected = msclap.fit_transform(X)
    out = msclap.set_output(transform=output).fit_transform(pl.from_pandas(X))
    assert isinstance(out, {"polars": pl.DataFrame}.get(output, object))
    assert_array_equal(np.asarray(out), expected)
    assert list(msclap.feature_names_in_) == ["audio", "text"]


@pytest.mark.skipif(
    parse_version(sklearn.__version__) < parse_version("1.9"),
    reason="FeatureUnion joins polars frames before it gives their columns other names",
)
def test_whole_pipeline_of_polars_pairs_predicts_as_of_pandas(pipeline, pairs):
    X, y = pairs
    expected = pipeline.fit(X, y).predict(X)
    pipeline.set_output(transform="polars")
    Xp = pl.from_pandas(X)
    # A table laid out by columns is summed in another order.
    assert_allclose(pipeline.fit(Xp, y).predict(Xp), expected, rtol=1e-6)


def test_clips_in_memory_may_be_structs_or_objects():
    tone = {"array": [0.0, 0.5, -0.5], "sampling_rate": 8000}
    clip = (np.zeros(3), 8000)
    structs = pl.DataFrame({"audio": [tone], "text": ["a tone"]})
    objects = pl.DataFrame(
        {"audio": pl.Series([clip], dtype=pl.Object), "text": ["silence"]}
    )
    checked = [check_pairs(BaseEstimator(), X, reset=True) for X in (structs, objects)]
    assert checked[0]["audio"][0] == tone
    assert checked[1]["audio"][0] is clip


def test_bad_rows_of_a_polars_frame_are_named(msclap):
    X = pl.DataFrame({"audio": ["no/such.wav", None], "text": ["rain", "a dog"]})
    with pytest.raises(BadPairsError) as caught:
        msclap.fit(X).transform(X)
    assert [row.position for row in caught.value.rows] == [0, 1]


def test_missing_columns_of_a_polars_frame_are_named(msclap):
    with pytest.raises(ValueError, match=r"missing \['text'\]"):
        msclap.fit(pl.DataFrame({"audio": ["a.wav"]}))


def test_ratings_may_be_a_polars_frame(challenge):
    ratings = challenge[0].ratings
    expected = ListenerModel().fit(ratings)
    found = ListenerModel().fit(pl.from_pandas(ratings))
    assert_array_equal(found.scores_, expected.scores_)
