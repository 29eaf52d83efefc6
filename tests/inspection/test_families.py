"""Pictures of families: their SRCC, agreement, and contributions to a score."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.linear_model import LinearRegression, Ridge

from clapstack import ClapStackingRegressor
from clapstack.inspection import (
    ExplanationDisplay,
    FamilyAgreementDisplay,
    FamilyScoresDisplay,
    family_scores,
)
from clapstack.metrics import bootstrap_interval, srcc


@pytest.fixture
def row():
    parts = {"baseline": 5.0, "laion": -0.5, "msclap": 2.0, "calibration": 9.0}
    return pd.Series({**parts, "prediction": 15.5})


def labels(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


@pytest.fixture
def many(features):
    """Return a stack of ten models with long names."""
    X, y = features
    names = {"laion": "laion_unfused", "msclap": "laion_larger_general"}
    X = X.rename(columns=lambda c: c.replace(f := c.split("__")[0], names[f]))
    models = ["ridge", *(Ridge(alpha) for alpha in (1, 3, 9, 27))]
    return ClapStackingRegressor(boosting=False, base_estimators=models).fit(X, y)


def drawn(display):
    """Return the figure of a display and the bounding boxes of texts in its axes."""
    figure = display.ax_.figure
    figure.canvas.draw()
    return figure, [text.get_window_extent() for text in display.ax_.texts]


def test_families_have_the_srcc_of_their_held_out_predictions(model, features):
    y = features[1][:80]
    display = FamilyScoresDisplay.from_estimator(model, y, n_resamples=50)
    stack = model[-1]
    scores = display.scores.set_index(["model", "target"])
    first = stack.oof_predictions_[:, stack.first_level_names_.index("laion__rank")]
    assert scores.loc[("laion", "rank"), "srcc"] == srcc(y, first)
    assert scores.loc[("stack", "final"), "srcc"] == srcc(y, stack.oof_scores_)
    by_default = FamilyScoresDisplay.from_estimator(model, n_resamples=50)
    pd.testing.assert_frame_equal(by_default.scores, display.scores)
    interval = bootstrap_interval(srcc, y, first, n_resamples=50)
    assert tuple(scores.loc[("laion", "rank"), ["low", "high"]]) == interval
    table = family_scores(model, n_resamples=50)
    pd.testing.assert_frame_equal(table, display.scores)


def test_families_without_resamples_have_intervals_of_no_width(model):
    table = family_scores(model, n_resamples=0)
    assert (table["low"] == table["srcc"]).all()
    assert (table["high"] == table["srcc"]).all()


def test_families_are_those_of_a_stack(features):
    with pytest.raises(TypeError, match=r"family_scores needs .* got Ridge"):
        family_scores(Ridge().fit(*features))


def test_a_picture_is_the_same_svg_each_time(model):
    scores = family_scores(model, n_resamples=0)
    first, again = (FamilyScoresDisplay(scores=scores).to_svg() for _ in range(2))
    assert first == again
    assert b"<svg" in first


def test_stack_comes_first_and_then_the_best(model, features):
    display = FamilyScoresDisplay.from_estimator(model, features[1][:80], n_resamples=9)
    names = labels(display.ax_.yaxis)
    best = display.scores.groupby("model")["srcc"].max()
    assert names[0] == "stack"
    assert list(best[names[1:]]) == sorted(best[names[1:]], reverse=True)
    assert set(names) == {"stack", "laion", "msclap", "cross"}
    assert len(display.markers_) == len(display.scores) == 7


def test_several_models_of_a_family_are_named(features):
    X, y = features
    stack = ClapStackingRegressor(
        boosting=False,
        targets=("score",),
        base_estimators=["ridge", LinearRegression()],
    ).fit(X, y)
    display = FamilyScoresDisplay.from_estimator(stack, y, n_resamples=5)
    assert "laion · ridge" in labels(display.ax_.yaxis)


def test_model_without_a_stack_is_refused(features):
    ridge = Ridge().fit(*features)
    with pytest.raises(TypeError, match="ClapStackingRegressor; got Ridge"):
        FamilyScoresDisplay.from_estimator(ridge, features[1])
    with pytest.raises(TypeError, match="ClapStackingRegressor; got Ridge"):
        FamilyAgreementDisplay.from_estimator(ridge)


def test_scores_of_other_pairs_are_refused(model, features):
    with pytest.raises(ValueError, match=r"shapes \(79,\) and \(80,\)"):
        FamilyScoresDisplay.from_estimator(model, features[1][:79])


def test_table_without_a_column_is_refused():
    with pytest.raises(ValueError, match=r"missing \['low', 'high'\]"):
        FamilyScoresDisplay(scores=pd.DataFrame(columns=["model", "target", "srcc"]))


def test_legend_beside_long_names_is_in_the_picture(many):
    display = FamilyScoresDisplay.from_estimator(many, n_resamples=5)
    figure, _ = drawn(display)
    legend = display.ax_.get_legend().get_window_extent()
    assert figure.bbox.x0 <= legend.x0
    assert legend.x1 <= figure.bbox.x1


def test_numbers_of_many_models_do_not_touch(many):
    _, boxes = drawn(FamilyAgreementDisplay.from_estimator(many))
    assert len(boxes) == 45
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))


def test_agreement_is_the_srcc_between_held_out_predictions(model):
    display = FamilyAgreementDisplay.from_estimator(model, target="rank")
    stack = model[-1]
    columns = [stack.first_level_names_.index(f"{f}__rank") for f in ("laion", "cross")]
    first, second = stack.oof_predictions_[:, columns].T
    assert display.agreement.loc["laion", "cross"] == srcc(first, second)
    assert list(display.agreement) == ["laion", "msclap", "cross"]


def test_map_writes_every_pair_of_families_once(model):
    display = FamilyAgreementDisplay.from_estimator(model)
    assert display.image_.get_array().count() == 3
    written = sorted(text.get_text() for text in display.ax_.texts)
    values = display.agreement.to_numpy()[np.tril_indices(3, -1)]
    assert written == sorted(f"{value:.2f}" for value in values)


def test_cosines_of_contrastive_families_are_taken(features):
    X, _ = features
    X = X.assign(cross__cosine=0.0, beats__logit0=1.0)
    display = FamilyAgreementDisplay.from_features(X)
    assert list(display.agreement) == ["laion", "msclap"]
    expected = srcc(X["laion__cosine"], X["msclap__cosine"])
    assert display.agreement.iat[0, 1] == expected


def test_array_takes_names(features):
    values = np.random.default_rng(0).normal(size=(20, 2))
    display = FamilyAgreementDisplay.from_predictions(values, names=["a", "b"])
    assert "a and b agree most" in display.describe()


def test_a_single_family_is_refused():
    with pytest.raises(ValueError, match="for at least two families"):
        FamilyAgreementDisplay.from_predictions(pd.DataFrame({"laion": [1, 2]}))


def test_target_that_was_not_learned_is_refused(model):
    with pytest.raises(ValueError, match=r"\['score', 'rank'\]; got 'ranks'"):
        FamilyAgreementDisplay.from_estimator(model, target="ranks")


def test_bars_lead_from_the_baseline_to_the_prediction(row):
    display = ExplanationDisplay.from_contributions(row)
    bars = display.bars_.patches
    ends = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in bars]
    assert ends[0][0] == display.baseline == 5
    assert_allclose([start for start, _ in ends[1:]], [end for _, end in ends[:-1]])
    assert ends[-1][1] == display.prediction == 15.5


def test_largest_part_comes_first_and_calibration_last(row):
    display = ExplanationDisplay.from_contributions(row)
    assert list(display.steps.index) == ["msclap", "laion", "calibration"]
    assert labels(display.ax_.yaxis) == ["baseline", *display.steps.index, "prediction"]


def test_rise_and_fall_differ_in_colour_and_sign(row):
    display = ExplanationDisplay.from_contributions(row)
    rise, fall, _ = (bar.get_facecolor() for bar in display.bars_.patches)
    assert rise != fall
    written = [text.get_text() for text in display.ax_.texts]
    assert {"+2.00", "−0.50"} <= set(written)


def test_prediction_without_any_part_is_drawn():
    display = ExplanationDisplay.from_contributions({"baseline": 5.0})
    assert display.prediction == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prediction": 3.0}, "add up to 15.5, but 'prediction' is 3"),
        ({"laion": np.nan}, r"NaN or infinity at \['laion'\]"),
    ],
)
def test_contributions_that_do_not_add_up_are_refused(change, message, row):
    with pytest.raises(ValueError, match=message):
        ExplanationDisplay.from_contributions({**row, **change})


def test_missing_baseline_is_refused(row):
    with pytest.raises(ValueError, match="must have an entry 'baseline'"):
        ExplanationDisplay.from_contributions(row.drop("baseline"))


class Explaining(Ridge):
    """A linear model that explains itself."""

    def explain(self, X):
        parts = X * self.coef_
        parts.insert(0, "baseline", self.intercept_)
        return parts.assign(prediction=self.predict(X))


def test_model_explains_one_pair(features):
    X, y = features
    linear = Explaining().fit(X, y)
    display = ExplanationDisplay.from_estimator(linear, X.iloc[[3]])
    assert display.prediction == pytest.approx(linear.predict(X)[3])
    with pytest.raises(ValueError, match=r"got 120 rows. Select one: X.iloc"):
        ExplanationDisplay.from_estimator(linear, X)


def test_stack_explains_its_prediction(model, features):
    pair = features[0].iloc[[90]]
    display = ExplanationDisplay.from_estimator(model, pair)
    assert display.prediction == pytest.approx(model.predict(pair)[0])
    assert {"laion", "msclap", "cross"} <= set(display.steps.index)


def test_model_that_cannot_explain_is_refused(features):
    ridge = Ridge().fit(*features)
    with pytest.raises(TypeError, match="Ridge has none"):
        ExplanationDisplay.from_estimator(ridge, features[0].iloc[[0]])
