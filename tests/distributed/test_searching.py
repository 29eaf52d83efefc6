"""Searches and cross-validation run unchanged on a cluster."""

import joblib
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import FeatureUnion, make_pipeline

from clapstack import ClapStackingRegressor, CrossAgreement, PairFeatures
from clapstack.distributed import read_features, write_features
from clapstack.metrics import srcc_scorer
from tests.distributed.conftest import cut, make_stack
from tests.distributed.encoders import BandsEncoder, MortalEncoder

GRID = {"agreement__n_components": [1, 2]}


def search(model, pairs):
    folds = GroupKFold(2)
    grid = GridSearchCV(model, GRID, scoring=srcc_scorer, cv=folds)
    groups = np.arange(len(pairs)) // 2
    return grid.fit(pairs, pairs["score"], groups=groups)


@pytest.mark.parametrize("dies", [False, True], ids=["quiet", "killed"])
def test_a_search_gives_the_bits_of_one_machine(cluster, pairs, tmp_path, dies):
    tomb = tmp_path / "tomb"
    encoder = MortalEncoder(str(tomb), n_samples=1_100)
    here = search(make_stack(encoder, None), pairs)
    tomb.touch() if dies else None
    with joblib.parallel_config("dask"):
        there = search(make_stack(encoder, str(tmp_path / "store")), pairs)
    assert not tomb.exists()
    for name in ("mean_test_score", "std_test_score", "rank_test_score"):
        assert_array_equal(there.cv_results_[name], here.cv_results_[name])
    assert_array_equal(there.predict(pairs), here.predict(pairs))


def test_cross_validation_gives_the_bits_of_one_machine(cluster, pairs, cache):
    model = make_stack(BandsEncoder(), cache)
    settings = {"scoring": srcc_scorer, "cv": 2}
    here = cross_val_score(model, pairs, pairs["score"], **settings)
    with joblib.parallel_config("dask"):
        there = cross_val_score(model, pairs, pairs["score"], **settings)
    assert_array_equal(there, here)


def test_a_search_of_features_in_files_gives_the_bits_of_one_machine(
    cluster, pairs, tmp_path
):
    embeddings = PairFeatures(BandsEncoder(), blocks=("audio", "text"), cache=None)
    union = FeatureUnion([("bands", embeddings)]).fit(pairs)
    write_features(union, cut(pairs), tmp_path, keep=["score"])
    X, rows, _ = read_features(tmp_path).values()
    stack = ClapStackingRegressor(boosting=False)
    grid = {"crossagreement__n_components": [1, 2]}
    grid = GridSearchCV(make_pipeline(CrossAgreement(), stack), grid, cv=2)
    here = clone(grid).fit(X, rows["score"])
    with joblib.parallel_config("dask"):
        there = grid.fit(X, rows["score"])
    name = "mean_test_score"
    assert_array_equal(there.cv_results_[name], here.cv_results_[name])
