import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from clapstack.systems import PairDistances
from clapstack.systems._svr import make_two_svrs


def test_distances_are_those_of_the_embeddings(features):
    X, _ = features
    out = PairDistances().set_output(transform="pandas").fit_transform(X)
    a = X.filter(regex="msclap__audio").to_numpy(float)
    b = X.filter(regex="msclap__text").to_numpy(float)
    angle = np.degrees(np.arccos(np.sum(a * b, axis=1)))
    assert_allclose(out["msclap__angle"], 1 - angle / 180, atol=1e-6)
    assert_allclose(out["msclap__l1"], np.abs(a - b).sum(axis=1), rtol=1e-6)
    assert_allclose(out["msclap__l2"], np.linalg.norm(a - b, axis=1), rtol=1e-6)
    assert set(map(str, out.dtypes)) == {"float32"}


def test_distance_of_a_pair_does_not_depend_on_other_pairs(features):
    X, _ = features
    distances = PairDistances().fit(X)
    assert_array_equal(distances.transform(X[:1]), distances.transform(X)[:1])


def test_distance_of_a_pair_alone_has_the_same_bits_in_a_table_held_by_column():
    rng = np.random.default_rng(0)
    sides = rng.normal(size=(40, 128)) / 8
    cosine = np.zeros((40, 1))
    columns = [f"clap__{side}{i}" for side in ("audio", "text") for i in range(64)]
    table = np.asfortranarray(np.hstack([sides, cosine]))
    X = pd.DataFrame(table, columns=[*columns, "clap__cosine"])
    distances = PairDistances().fit(X)
    alone = [distances.transform(X[row : row + 1])[0] for row in range(40)]
    assert_array_equal(alone, distances.transform(X))


def test_cosine_beyond_one_by_rounding_has_an_angle():
    columns = ["clap__audio0", "clap__text0", "clap__cosine"]
    X = pd.DataFrame([[1.0, 1.0, 1.0000001]], columns=columns)
    assert PairDistances().fit_transform(X)[0, -3:].tolist() == [1.0, 0.0, 0.0]


def test_family_without_both_embeddings_is_named(features):
    X, _ = features
    X = X.drop(columns=[f"msclap__text{i}" for i in range(4)])
    with pytest.raises(
        ValueError, match="'msclap' has 4 columns of audio and 0 of text"
    ):
        PairDistances().fit(X)


def test_features_without_names_are_refused(features):
    with pytest.raises(ValueError, match="no '<family>__cosine' column"):
        PairDistances().fit(features[0].to_numpy())


def test_each_regressor_receives_its_own_families(features):
    X, y = features
    svrs = make_two_svrs(("m2d_clap", "msclap"), ("laion_unfused",), 3, 0).fit(X, y)
    changed = X.copy()
    changed.loc[:, X.columns.str.startswith("msclap")] = 0.5
    first, second = svrs.estimators_
    assert not np.allclose(first.predict(changed), first.predict(X))
    assert_array_equal(second.predict(changed), second.predict(X))


def test_the_second_regressor_receives_no_distance_but_l1(features):
    X, y = features
    X = PairDistances().set_output(transform="pandas").fit_transform(X)
    svrs = make_two_svrs(("msclap",), ("laion_unfused",), 3, 0).fit(X, y)
    first, second = svrs.estimators_
    for name in ("cosine", "angle", "l2"):
        changed = X.assign(
            **{f"{family}__{name}": 0.5 for family in ("msclap", "laion_unfused")}
        )
        assert not np.allclose(first.predict(changed), first.predict(X))
        # Columns that lie elsewhere in memory sum to other roundings of float32.
        assert_allclose(second.predict(changed), second.predict(X), rtol=1e-5)
    changed = X.assign(laion_unfused__l1=0.5)
    assert not np.allclose(second.predict(changed), second.predict(X))


def test_weights_are_positive_and_of_scores_out_of_fold(features):
    X, y = features
    svrs = make_two_svrs(("msclap",), ("laion_unfused",), 3, 0).fit(X, y)
    weights = svrs.final_estimator_.coef_
    assert (weights >= 0).all()
    assert weights.sum() == pytest.approx(1.0, abs=0.2)
    assert_array_equal(clone(svrs).fit(X, y).predict(X), svrs.predict(X))
