"""Pictures show one axis; a model with several is refused with the remedy."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone

from clapstack.inspection import (
    CalibrationCurveDisplay,
    ExplanationDisplay,
    FamilyAgreementDisplay,
    FamilyScoresDisplay,
    PredictionDisplay,
    ResidualsDisplay,
    family_scores,
)
from clapstack.stacking import model_of_axis

REMEDY = r"\['axis0', 'axis1'\]. Select one with clapstack.stacking.model_of_axis"


@pytest.fixture(scope="module")
def of_two(model, features):
    """Return a model with two axes, where twenty pairs have no second rating."""
    X, y = features
    ratings = np.column_stack([y, y[::-1]])
    ratings[:20, 1] = np.nan
    return clone(model).fit(X, ratings)


@pytest.mark.parametrize(
    "draw",
    [
        PredictionDisplay.from_estimator,
        ResidualsDisplay.from_estimator,
        CalibrationCurveDisplay.from_estimator,
        lambda model, X, y: ExplanationDisplay.from_estimator(model, X.iloc[[0]]),
        lambda model, X, y: FamilyScoresDisplay.from_estimator(model, n_resamples=0),
        lambda model, X, y: FamilyAgreementDisplay.from_estimator(model),
        lambda model, X, y: family_scores(model, n_resamples=0),
    ],
)
def test_a_picture_is_of_one_axis(of_two, features, draw):
    with pytest.raises(ValueError, match=REMEDY):
        draw(of_two, *features)
    draw(model_of_axis(of_two, "axis1"), *features)


def test_the_model_of_an_axis_predicts_that_axis(of_two, features):
    X, _ = features
    for number, axis in enumerate(["axis0", "axis1"]):
        one = model_of_axis(of_two, axis)
        assert_array_equal(one.predict(X), of_two.predict(X)[:, number])
    with pytest.raises(ValueError, match=r"no axis 'x'; it has \['axis0', 'axis1'\]"):
        model_of_axis(of_two, "x")
