"""A failed fit leaves the estimator unchanged."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from clapstack import ClapStackingRegressor, CrossAgreement
from clapstack.calibration import IncreasingMap
from clapstack.listeners import ListenerModel
from clapstack.stacking import KernelRegressor, StandardizedRidge
from clapstack.systems import PairDistances, RankEnsembleRegressor


class Failing(RegressorMixin, BaseEstimator):
    """A final level that cannot learn from scores above 100."""

    def fit(self, X, y, sample_weight=None):
        if y.max() > 100:
            msg = "scores above 100"
            raise RuntimeError(msg)
        self.mean_ = y.mean()
        return self

    def predict(self, X):
        return np.full(len(X), self.mean_)


@pytest.fixture
def features():
    """Return (X, y): unit embeddings of two families, and scores."""
    rng = np.random.default_rng(0)
    columns = {}
    for family in ("laion", "msclap"):
        a, b = rng.normal(size=(2, 60, 2))
        a /= np.linalg.norm(a, axis=1, keepdims=True)
        b /= np.linalg.norm(b, axis=1, keepdims=True)
        for side, unit in (("audio", a), ("text", b)):
            columns |= {f"{family}__{side}{i}": unit[:, i] for i in range(2)}
        columns[f"{family}__cosine"] = np.sum(a * b, axis=1)
    X = pd.DataFrame(columns)
    return X, 5 + X["laion__cosine"].to_numpy() + rng.normal(size=60)


def with_nan(y):
    return np.where(np.arange(len(y)) == 3, np.nan, y)


# Estimators, with input that makes them fail as late as possible.
SUPERVISED = {
    "stack": (
        ClapStackingRegressor(boosting=False, final_estimator=Failing()),
        lambda X, y: (X.iloc[:, :5], y + 1000),
    ),
    "rank ensemble": (RankEnsembleRegressor(), lambda X, y: (X, with_nan(y))),
    "ridge": (StandardizedRidge(), lambda X, y: (X.iloc[:, :5], with_nan(y))),
    "kernel": (KernelRegressor(), lambda X, y: (X.iloc[:, :5], with_nan(y))),
    "agreement": (CrossAgreement(), lambda X, y: (X.assign(laion__cosine=np.nan), y)),
    "distances": (PairDistances(), lambda X, y: (X.iloc[:, 1:], y)),
}


def snapshot(estimator):
    return {name: id(value) for name, value in vars(estimator).items()}


@pytest.mark.parametrize("name", SUPERVISED)
def test_failed_fit_leaves_the_estimator_as_it_was(name, features):
    estimator, spoil = SUPERVISED[name]
    estimator.fit(*features)
    before = snapshot(estimator)
    with pytest.raises((ValueError, RuntimeError)):
        estimator.fit(*spoil(*features))
    assert snapshot(estimator) == before


def test_stack_that_never_finished_a_fit_is_not_fitted(features):
    X, y = features
    stack = ClapStackingRegressor(boosting=False, final_estimator=Failing())
    with pytest.raises(RuntimeError, match="above 100"):
        stack.fit(X, y + 1000)
    with pytest.raises(NotFittedError):
        check_is_fitted(stack)


def test_failed_fit_leaves_the_map_as_it_was():
    back = IncreasingMap().fit([1.0, 2.0], [3.0, 4.0])
    before = snapshot(back)
    with pytest.raises(ValueError, match="x passed to IncreasingMap"):
        back.fit([np.nan, 2.0], [3.0, 4.0])
    assert snapshot(back) == before


def test_failed_fit_leaves_the_listeners_as_they_were():
    ratings = pd.DataFrame(
        {"pair": [0, 0, 1], "score": [1, 2, 3], "listener_id": ["a", "b", "a"]}
    )
    model = ListenerModel().fit(ratings)
    before = snapshot(model)
    with pytest.raises(ValueError, match="no pair has two ratings"):
        model.fit(ratings[1:])
    assert snapshot(model) == before


def test_parameters_that_are_refused_leave_the_fit(features):
    ridge = StandardizedRidge().fit(*features)
    coef = ridge.coef_
    with pytest.raises(ValueError, match="'alpha' parameter"):
        ridge.set_params(alpha=-1).fit(*features)
    assert ridge.coef_ is coef
