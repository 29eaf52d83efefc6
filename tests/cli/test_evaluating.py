import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline

from clapstack import ClapStackingRegressor
from clapstack.cli.tables import (
    doubt,
    evaluate,
    evaluate_model,
    fit_and_evaluate,
    report_lines,
)
from clapstack.cli.tables._rated import Rated
from clapstack.exceptions import BadPair, BadPairsError

N_PAIRS = 60
SETTINGS = {"coverage": 0.9, "n_resamples": 20, "verbose": False}


class Digits(TransformerMixin, BaseEstimator):
    """The numbers in a text; a text with "bad" in it cannot be used."""

    n_asked = 0

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def transform(self, X):
        Digits.n_asked += 1
        bad = [
            BadPair(i, X.index[i], "text", "it is bad")
            for i, text in enumerate(X["text"])
            if "bad" in text
        ]
        if bad:
            raise BadPairsError(bad, len(X))
        values = np.array([text.split() for text in X["text"]], dtype=float)
        return pd.DataFrame(values, index=X.index, columns=["f__a", "f__b"])


class Remembering(Ridge):
    """A ridge that knows the groups that it was fitted on."""

    seen = []

    def fit(self, X, y, groups=None):
        Remembering.seen.append(groups)
        return super().fit(X, y)


@pytest.fixture
def rated():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(N_PAIRS, 2))
    texts = [f"{a} {b}" for a, b in values]
    audio = [f"{i}.wav" for i in range(N_PAIRS)]
    pairs = pd.DataFrame({"audio": audio, "text": texts}, dtype=object)
    y = 5 + values.sum(axis=1) + 0.1 * rng.normal(size=N_PAIRS)
    return Rated(pairs, y, None, N_PAIRS)


@pytest.fixture
def spoilt(rated):
    """Return the same; rows 4 and 9 cannot be used."""
    pairs = rated.pairs.copy()
    pairs.loc[4, "text"] = "bad"
    pairs.loc[9, "audio"] = ""
    return rated._replace(pairs=pairs)


def make(last=None):
    return Pipeline([("digits", Digits()), ("last", last or Ridge())])


def fit(pipeline, rated, **settings):
    wanted = {"folds": 3, "random_state": 0, "skip_bad": False, **SETTINGS, **settings}
    return fit_and_evaluate(pipeline, rated, **wanted)


def test_no_pair_is_judged_by_what_learned_from_it(rated):
    noise = rated._replace(y=np.random.default_rng(1).normal(size=N_PAIRS))
    from sklearn.tree import DecisionTreeRegressor

    evaluation = fit(make(DecisionTreeRegressor(random_state=0)), noise)
    assert abs(evaluation.report["srcc"]) < 0.5  # a tree knows its own pairs by heart


def test_the_model_is_fitted_on_all_pairs(rated):
    pipeline = make()
    evaluation = fit(pipeline, rated)
    assert evaluation.report["srcc"] > 0.9
    expected = make().fit(rated.pairs, rated.y)
    np.testing.assert_array_equal(
        pipeline.predict(rated.pairs), expected.predict(rated.pairs)
    )


def test_frozen_encoders_are_not_asked_in_every_fold(rated):
    Digits.n_asked = 0
    fit(make(), rated, folds=10)
    assert Digits.n_asked == 2  # for the folds, and for the fit on all pairs


def test_groups_are_not_parted_and_reach_the_fit(rated):
    Remembering.seen = []
    groups = np.repeat([f"g{i}" for i in range(6)], 10)
    fit(make(Remembering()), rated._replace(groups=groups))
    *folds, last = Remembering.seen
    assert [len(each) for each in folds] == [40, 40, 40]
    assert [len(set(each)) for each in folds] == [4, 4, 4]
    np.testing.assert_array_equal(last, groups)


def test_intervals_are_judged_where_there_are_any(rated):
    evaluation = fit(make(ClapStackingRegressor(boosting=False)), rated)
    assert 0.7 < evaluation.report["held"] <= 1
    assert evaluation.report["coverage"] == 0.9
    assert "held" not in fit(make(), rated).report


def test_without_folds_there_is_no_report(rated):
    assert fit(make(), rated, folds=0).report == {}


def test_rows_that_cannot_be_used_stop_the_fit_and_are_named(spoilt):
    with pytest.raises(BadPairsError) as caught:
        fit(make(), spoilt)
    assert [row.position for row in caught.value.rows] == [4, 9]


def test_rows_that_cannot_be_used_are_left_out_where_that_is_wanted(spoilt):
    evaluation = fit(make(), spoilt, skip_bad=True)
    assert len(evaluation.y) == evaluation.report["n_pairs"] == N_PAIRS - 2
    assert [row.position for row in evaluation.bad] == [4, 9]


def test_a_fitted_model_is_judged_as_its_predictions_are(rated, spoilt):
    model = make().fit(rated.pairs, rated.y)
    evaluation = evaluate_model(model, spoilt, skip_bad=True, **SETTINGS)
    good = [i for i in range(N_PAIRS) if i not in (4, 9)]
    scores = np.full((len(good), 3), np.nan)
    scores[:, 0] = model.predict(rated.pairs.iloc[good])
    expected = evaluate(rated.y[good], scores, coverage=0.9, n_resamples=20)
    assert evaluation.report == expected.report
    np.testing.assert_array_equal(evaluation.scores, scores)
    np.testing.assert_array_equal(evaluation.y, rated.y[good])
    with pytest.raises(BadPairsError, match="2 of 60 pairs cannot be used"):
        evaluate_model(model, spoilt, skip_bad=False, **SETTINGS)


def test_a_table_without_any_usable_row_is_refused(spoilt):
    nothing = Rated(spoilt.pairs.iloc[[4, 9]], spoilt.y[:2], None, 2)
    with pytest.raises(BadPairsError, match="2 of 2 pairs"):
        fit(make(), nothing, skip_bad=True, folds=2)


def test_a_report_reads_as_lines():
    y = np.array([1.0, 2, 3, 4])
    scores = np.column_stack([y, y - 1, y + 0.5])
    lines = report_lines(evaluate(y, scores, coverage=0.9, n_resamples=0).report)
    assert lines[0] == "SRCC 1.0000"
    assert lines[3] == "MSE  0.0000"
    assert lines[4] == (
        "90 % prediction intervals contain 100.0 % of the ratings; mean width 1.50"
    )


@pytest.mark.parametrize(
    ("srcc", "n_pairs", "is_doubted"),
    [(-0.58, 10, True), (0.6, 10, True), (0.7, 10, False), (0.05, 7500, False)],
)
def test_a_held_out_srcc_that_chance_gives_is_doubted(srcc, n_pairs, is_doubted):
    words = doubt({"srcc": srcc, "n_pairs": n_pairs})
    assert bool(words) == is_doubted
    if is_doubted:
        assert "with 10 pairs, chance alone reaches 0.65" in words
