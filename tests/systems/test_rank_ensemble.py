import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.stats import rankdata
from sklearn.utils.estimator_checks import parametrize_with_checks

from clapstack.metrics import srcc
from clapstack.systems import RankEnsembleRegressor


@parametrize_with_checks([RankEnsembleRegressor()])
def test_sklearn_check(estimator, check):
    check(estimator)


def test_ranks_are_those_among_the_training_predictions(features):
    X, y = features
    ensemble = RankEnsembleRegressor().fit(X, y)
    oof = ensemble.stack_.oof_predictions_
    ranks = [(rankdata(column) - 0.5) / len(y) for column in oof.T]
    expected = np.mean(ranks, axis=0)
    assert_allclose(ensemble._mean_rank(oof)[:, 0], expected)


def test_families_count_alike_for_any_spread_of_their_predictions(features):
    X, y = features
    ensemble = RankEnsembleRegressor().fit(X, y)
    assert len(ensemble.knots_) == 2
    for _, ranks in ensemble.knots_:
        assert_allclose((ranks.min(), ranks.max()), (1 / 180, 179 / 180))


def test_ensemble_predicts_on_the_scale_of_y(features):
    X, y = features
    scores = RankEnsembleRegressor().fit(X[:60], y[:60]).predict(X[60:])
    assert srcc(y[60:], scores) > 0.5
    assert scores.mean() == pytest.approx(y.mean(), abs=1.0)


def test_features_that_say_nothing_do_not_reverse_the_order(features):
    X, _ = features
    y = np.tile([0.0, 10.0, 5.0], 30)
    assert RankEnsembleRegressor().fit(X, y).line_.coef_[0] >= 0


def test_scores_of_a_nullable_dtype_are_scores(features):
    X, y = features
    expected = RankEnsembleRegressor().fit(X, np.round(y)).predict(X)
    found = RankEnsembleRegressor().fit(X, pd.Series(np.round(y), dtype="Int64"))
    assert_allclose(found.predict(X), expected)
