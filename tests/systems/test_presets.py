"""The stack's presets: the paper's, and the one that beats it on human scores."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from clapstack import load_model, make_clap_stack, make_system, save_model
from clapstack.stacking import ClapStackingRegressor, KernelRegressor
from clapstack.systems._presets import PRESETS


@pytest.fixture
def best(cache):
    settings = {"cache": cache, "device": "cpu", "n_components": 4}
    families = ["laion_unfused", "msclap"]
    return make_clap_stack("bundled", preset="best", families=families, **settings)


@pytest.fixture
def stack():
    return ClapStackingRegressor(**PRESETS["best"](0))


def test_paper_is_the_default_and_what_the_systems_are_made_of():
    default = make_clap_stack("bundled")
    assert repr(default) == repr(make_clap_stack("bundled", preset="paper"))
    assert repr(default) == repr(make_system("3-clap-stack", checkpoints="bundled"))
    assert default["stack"].get_params() == ClapStackingRegressor().get_params()


def test_best_has_the_features_of_the_paper():
    paper, best = (make_clap_stack("bundled", preset=name) for name in PRESETS)
    assert repr(paper[:-1]) == repr(best[:-1])
    assert repr(paper[-1]) != repr(best[-1])


def test_unknown_preset_is_refused():
    with pytest.raises(ValueError, match=r"one of \['paper', 'best'\]; got 'worst'"):
        make_clap_stack("bundled", preset="worst")


def test_best_fits_predicts_pickles_and_is_saved(best, challenge, tmp_path):
    train, test = challenge
    scores = best.fit(train.X, train.y).predict(test.X)
    assert len(set(scores)) == len(scores)
    assert abs(scores.mean() - train.y.mean()) < 4
    again = pickle.loads(pickle.dumps(best))
    assert_array_equal(again.predict(test.X), scores)
    loaded = load_model(save_model(best, tmp_path / "best.clapstack"))
    X = best[:-1].transform(test.X)
    assert_array_equal(loaded[-1].predict(X), scores)
    # Its store is another, so that texts are encoded anew, in other company.
    assert_allclose(loaded.predict(test.X), scores, rtol=1e-6)
    assert_array_equal(clone(best).fit(train.X, train.y).predict(test.X), scores)


def test_best_is_searched(best, challenge):
    train, test = challenge
    grid = {"stack__kernel": [False, KernelRegressor()]}
    search = GridSearchCV(best, grid, cv=2, error_score="raise")
    assert np.isfinite(search.fit(train.X, train.y).predict(test.X)).all()


def test_best_interval_holds_its_prediction(stack, features):
    X, y = features
    stack.fit(X, y)
    low, high = stack.predict_interval(X, coverage=0.8).T
    scores = stack.predict(X)
    assert ((low < scores) & (scores < high)).mean() > 0.95
    assert ((low <= y) & (y <= high)).mean() > 0.7


def test_first_level_of_a_pair_ignores_its_own_score(stack, features):
    X, y = features
    moved = y.copy()
    moved[7] += 5
    before = clone(stack).fit(X, y).oof_predictions_
    after = clone(stack).fit(X, moved).oof_predictions_
    assert_array_equal(before[7], after[7])
    assert (before != after).any()


def test_best_takes_weights_and_groups(stack, features):
    X, y = features
    weight = np.where(np.arange(90) % 3, 1.0, 2.0)
    stack.fit(X, y, sample_weight=weight, groups=np.arange(90) // 2)
    assert not np.allclose(stack.predict(X), clone(stack).fit(X, y).predict(X))
