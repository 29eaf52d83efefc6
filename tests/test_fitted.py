"""Questions to fitted models, whatever class they are of."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from clapstack import ClapStackingRegressor
from clapstack._fitted import (
    find_stack,
    predict_with_interval,
    stack_of,
    was_fitted_on,
)


class Half(RegressorMixin, BaseEstimator):
    """A rule of a user's own, which learns nothing and keeps nothing."""

    def fit(self, X, y):
        return self

    def predict(self, X):
        return X[:, 0] / 2


@pytest.mark.parametrize(
    "model",
    [Half(), make_pipeline(FunctionTransformer(), Half())],
    ids=["", "pipeline"],
)
def test_a_model_without_fitted_attributes_is_asked_all_the_same(model):
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
