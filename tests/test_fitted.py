"""Queries of fitted models of any class."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer

from clapstack import ClapStackingRegressor, MsClapPairFeatures
from clapstack._fitted import (
    find_stack,
    predict_with_interval,
    score_names,
    stack_of,
    was_fitted_on,
    with_encoders_set,
)


class Half(RegressorMixin, BaseEstimator):
    """A custom rule without fitted attributes."""

    def fit(self, X, y):
        return self

    def predict(self, X):
        return X[:, 0] / 2


@pytest.mark.parametrize(
    "model",
    [Half(), make_pipeline(FunctionTransformer(), Half())],
    ids=["", "pipeline"],
)
def test_a_model_without_fitted_attributes_predicts(model):
    X = np.arange(6.0).reshape(3, 2)
    found = predict_with_interval(model, X, 0.9)
    assert_array_equal(
        found, [[0, np.nan, np.nan], [1, np.nan, np.nan], [2, np.nan, np.nan]]
    )
    assert stack_of(model) is None
    assert not was_fitted_on(model, np.ones(3))


def test_a_stack_that_is_not_fitted_is_named_as_such():
    with pytest.raises(NotFittedError, match="not fitted yet"):
        find_stack(ClapStackingRegressor(), "A picture")
    with pytest.raises(NotFittedError, match="not fitted yet"):
        predict_with_interval(ClapStackingRegressor(), np.ones((3, 2)), 0.9)


@pytest.fixture(scope="module")
def of_axes():
    """Return a stack with two axes, its features and its ratings."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    y = pd.DataFrame({"a": X[:, 0], "b": X[:, 1]}) + rng.normal(size=(60, 2))
    y.loc[:9, "b"] = np.nan
    return ClapStackingRegressor(boosting=False).fit(X, y), X, y


def test_scores_of_several_axes_have_one_more_dimension(of_axes):
    stack, X, _ = of_axes
    found = predict_with_interval(stack, X, 0.8)
    assert_array_equal(found[:, :, 0], stack.predict(X))
    assert_array_equal(found[:, :, 1:], stack.predict_interval(X, 0.8))
    assert np.isnan(predict_with_interval(stack, X, None)[:, :, 1:]).all()
    assert score_names(stack) == ["a", "a_low", "a_high", "b", "b_low", "b_high"]


@pytest.mark.parametrize("names", [["a", "a_low"], ["error", "b"], ["text", "b"]])
def test_axes_with_clashing_result_columns_are_refused(of_axes, names):
    _, X, y = of_axes
    stack = ClapStackingRegressor(boosting=False).fit(X, y.set_axis(names, axis=1))
    with pytest.raises(
        ValueError, match="Rename the columns of y and fit the model again"
    ):
        score_names(stack)


def test_several_numbers_without_names_are_not_mixed():
    X = np.arange(24.0).reshape(8, 3)
    both = LinearRegression().fit(X, X[:, :2])
    with pytest.raises(
        ValueError, match=r"LinearRegression predicts an array of shape \(2,\)"
    ):
        predict_with_interval(both, X, None)


def test_ratings_of_the_fit_are_known_by_axis(of_axes):
    stack, _, y = of_axes
    assert was_fitted_on(stack, y)
    assert was_fitted_on(stack, y[["b"]][::-1])
    assert not was_fitted_on(stack, y.assign(b=y["b"] + 1))
    with pytest.raises(ValueError, match="here needs a model with one axis"):
        find_stack(stack, "here")


def test_a_copy_with_other_settings_leaves_the_model_and_shares_its_arrays():
    features = MsClapPairFeatures("bundled:msclap", cache="auto")
    search = GridSearchCV(Ridge(), {"alpha": [1]})
    search.best_estimator_ = Pipeline([("features", features), ("ridge", Ridge())])
    search.best_estimator_[-1].coef_ = coefficients = np.ones(3)
    twin = with_encoders_set(search, cache=None, verbose=True)
    assert twin.best_estimator_[0].get_params()["cache"] is None
    assert twin.best_estimator_[0].get_params()["verbose"]
    assert features.cache == "auto"
    assert twin.best_estimator_[-1].coef_ is coefficients
