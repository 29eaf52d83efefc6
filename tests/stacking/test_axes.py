"""Ratings on several axes: each axis is fitted as if it were alone."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    PredefinedSplit,
    cross_val_predict,
)
from sklearn.pipeline import Pipeline

from clapstack import ClapStackingRegressor, CrossAgreement, load_model, save_model
from clapstack.metrics import srcc_scorer
from clapstack.sharing import describe_model
from clapstack.stacking import KernelRegressor, StandardizedRidge
from clapstack.streaming import StreamedFeatures
from clapstack.systems import RankEnsembleRegressor

AXES = ["relevance", "inclusion", "order"]


@pytest.fixture
def rated(pairs):
    """Features, and ratings on three axes with gaps; every pair has one."""
    X, y = pairs
    rng = np.random.default_rng(5)
    Y = pd.DataFrame({name: y + rng.normal(size=len(y)) for name in AXES})
    Y.loc[::4, "inclusion"] = np.nan
    Y.loc[1::3, "order"] = np.nan
    return X, Y


@pytest.fixture
def fitted(ridges, rated):
    return ridges.fit(*rated)


def alone(stack, X, Y, axis, **arguments):
    """Return a stack fitted on the rated pairs of one axis."""
    rows = np.flatnonzero(Y[axis].notna())
    taken = {name: np.asarray(values)[rows] for name, values in arguments.items()}
    return clone(stack).fit(X.iloc[rows], Y[axis].iloc[rows], **taken)


def test_each_axis_has_the_bits_of_a_fit_on_its_rated_pairs(fitted, rated, new_pairs):
    X, Y = rated
    new, _ = new_pairs
    predicted = fitted.predict(new)
    intervals = fitted.predict_interval(new, 0.8)
    assert predicted.shape == (60, 3)
    assert intervals.shape == (60, 3, 2)
    for number, axis in enumerate(AXES):
        single = alone(fitted, X, Y, axis)
        assert_array_equal(predicted[:, number], single.predict(new))
        assert_array_equal(intervals[:, number], single.predict_interval(new, 0.8))
        rows = Y[axis].notna()
        assert_array_equal(fitted.oof_scores_[rows, number], single.oof_scores_)
        assert np.isnan(fitted.oof_scores_[~rows, number]).all()


def test_the_whole_stack_with_trees_weights_and_groups(stack, rated, new_pairs):
    X, Y = rated
    weight = np.random.default_rng(0).uniform(0.5, 2, len(X))
    groups = np.arange(len(X)) // 2
    given = {"sample_weight": weight, "groups": groups}
    predicted = stack.fit(X, Y, **given).predict(new_pairs[0])
    single = alone(stack, X, Y, "order", **given)
    assert_array_equal(predicted[:, 2], single.predict(new_pairs[0]))


def test_weights_may_differ_by_axis(ridges, rated, new_pairs):
    X, Y = rated
    weights = pd.DataFrame(
        np.random.default_rng(0).uniform(0.5, 2, Y.shape), columns=AXES
    ).where(Y.notna())
    predicted = ridges.fit(X, Y, sample_weight=weights).predict(new_pairs[0])
    single = alone(ridges, X, Y, "inclusion", sample_weight=weights["inclusion"])
    assert_array_equal(predicted[:, 1], single.predict(new_pairs[0]))
    with pytest.raises(ValueError, match=r"axes of y are \['relevance', 'inclusion'"):
        ridges.fit(X, Y, sample_weight=weights[AXES[::-1]])
    with pytest.raises(ValueError, match=r"or \(90, 3\), one per pair and axis"):
        ridges.fit(X, Y, sample_weight=weights[AXES[:2]])
    with pytest.raises(ValueError, match="On axis 'order': sample_weight is zero for"):
        ridges.fit(X, Y, sample_weight=weights.assign(order=0))


@pytest.mark.parametrize("form", [list, lambda rows: (r for r in rows), "predefined"])
def test_listed_splits_are_those_of_the_whole_table(ridges, rated, new_pairs, form):
    X, Y = rated
    splits = list(KFold(4, shuffle=True, random_state=3).split(X))
    test_fold = np.empty(len(X), int)
    for number, (_, test) in enumerate(splits):
        test_fold[test] = number
    cv = PredefinedSplit(test_fold) if form == "predefined" else form(splits)
    predicted = ridges.set_params(cv=cv).fit(X, Y).predict(new_pairs[0])
    rows = np.flatnonzero(Y["order"].notna())
    single = clone(ridges.set_params(cv=PredefinedSplit(test_fold[rows])))
    single.fit(X.iloc[rows], Y["order"].iloc[rows])
    assert_array_equal(predicted[:, 2], single.predict(new_pairs[0]))


def test_an_array_numbers_its_axes(ridges, rated):
    X, Y = rated
    stack = ridges.fit(X, Y.to_numpy())
    assert stack.axes_ == ["axis0", "axis1", "axis2"]
    assert stack.fit(X, Y.to_numpy().tolist()).axes_ == ["axis0", "axis1", "axis2"]


def test_polars_ratings_are_ratings(fitted, rated, new_pairs):
    pl = pytest.importorskip("polars")
    X, Y = rated
    other = clone(fitted).fit(X, pl.DataFrame(Y.to_dict("list")).fill_nan(None))
    assert other.axes_ == AXES
    assert_array_equal(other.predict(new_pairs[0]), fitted.predict(new_pairs[0]))


def test_a_row_without_any_rating_is_named(ridges, rated):
    X, Y = rated
    Y.iloc[[7, 19]] = np.nan
    message = r"no rating on any axis in 2 of 90 rows \(rows 7, 19\). Remove those"
    with pytest.raises(ValueError, match=message):
        ridges.fit(X, Y)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda Y: Y.assign(order=np.nan), "has no rating at all on order"),
        (lambda Y: Y.replace(Y.iloc[5, 0], np.inf), r"infinity in 1 of 90 rows \(rows"),
        (lambda Y: Y.set_axis(["a", "b", "a"], axis=1), r"more than one column .*'a'"),
        (lambda Y: Y.assign(order="good"), "y passed to ClapStackingRegressor must be"),
        (lambda Y: Y.iloc[:50], r"inconsistent numbers of samples: \[90, 50\]"),
        (
            lambda Y: Y.assign(order=Y["order"].where(Y.index < 2)),
            "On axis 'order', with 1 rated pairs: ",
        ),
        (
            lambda Y: Y.assign(order=Y["order"] * 0),
            "On axis 'order', with 60 rated pairs: y is constant",
        ),
    ],
)
def test_invalid_ratings_are_refused_with_the_reason(ridges, rated, change, message):
    X, Y = rated
    with pytest.raises(ValueError, match=message):
        ridges.fit(X, change(Y))
    assert not hasattr(ridges, "axes_")


def test_one_column_of_a_frame_is_one_axis(ridges, rated, new_pairs):
    X, Y = rated
    with pytest.warns(UserWarning, match="column-vector"):
        predicted = clone(ridges).fit(X, Y[["relevance"]]).predict(new_pairs[0])
    single = ridges.fit(X, Y["relevance"])
    assert_array_equal(predicted, single.predict(new_pairs[0]))


def test_a_refit_removes_all_earlier_attributes(ridges, rated):
    X, Y = rated
    ridges.set_output(transform="pandas")
    ridges.fit(X, Y["relevance"]).fit(X, Y)
    assert not hasattr(ridges, "oof_predictions_")
    assert not hasattr(ridges, "estimators_")
    assert list(ridges.transform(X).columns[:2]) == [
        "relevance__msclap__score",
        "relevance__msclap__rank",
    ]
    ridges.fit(X, Y["relevance"])
    assert not hasattr(ridges, "axes_")
    assert ridges.predict(X).shape == (90,)


def test_explanations_of_all_axes_are_concatenated(fitted, rated):
    X, _ = rated
    parts = fitted.explain(X)
    predicted = parts.xs("prediction", axis=1, level="part")
    assert list(predicted.columns) == AXES
    np.testing.assert_allclose(predicted, fitted.predict(X))


def test_first_level_predictions_are_named_by_axis(fitted, rated):
    X, _ = rated
    names = fitted.get_feature_names_out()
    assert names[0] == "relevance__msclap__score"
    assert fitted.transform(X).shape == (90, len(names))


def test_score_is_the_mean_r2_of_rated_pairs(fitted, rated):
    X, Y = rated
    each = [
        fitted.estimators_by_axis_[axis].score(X[Y[axis].notna()], Y[axis].dropna())
        for axis in AXES
    ]
    assert fitted.score(X, Y) == pytest.approx(np.mean(each), rel=1e-12)
    with pytest.raises(ValueError, match="y must have one column per axis"):
        fitted.score(X, Y["order"])
    with pytest.raises(ValueError, match=r"in this order; got \['order', 'incl"):
        fitted.score(X, Y[AXES[::-1]])


def test_splits_that_do_not_fit_the_table_are_refused(ridges, rated):
    X, Y = rated
    splits = [(np.arange(60), np.arange(60, 90)), (np.arange(60, 90), np.arange(99))]
    with pytest.raises(ValueError, match="cv split 1 does not match X with 90 rows"):
        ridges.set_params(cv=splits).fit(X, Y)


def test_lists_are_tables_too(ridges, rated):
    X, Y = rated
    listed = clone(ridges).fit(X.to_numpy().tolist(), Y, groups=list(range(90)))
    expected = ridges.fit(X.to_numpy(), Y, groups=np.arange(90))
    assert_array_equal(listed.predict(X.to_numpy()), expected.predict(X.to_numpy()))


def test_a_search_and_cross_validation_take_ratings_with_gaps(rated):
    X, Y = rated
    X = X[[name for name in X if not name.startswith("cross")]]
    pipe = Pipeline(
        [
            ("agreement", CrossAgreement(n_components=2)),
            ("stack", ClapStackingRegressor(boosting=False, cv=GroupKFold(3))),
        ]
    ).set_output(transform="pandas")
    groups = np.arange(len(X)) // 2
    given = {"groups": groups, "stack__groups": groups}
    search = GridSearchCV(
        pipe,
        {"stack__targets": [("score",), ("rank",)]},
        scoring=srcc_scorer,
        cv=GroupKFold(3),
        error_score="raise",
    ).fit(X, Y, **given)
    assert search.best_score_ > 0.5
    assert search.predict(X).shape == (90, 3)
    pipe.set_params(stack__cv=3)
    held_out = cross_val_predict(pipe, X, Y, cv=3)
    assert held_out.shape == (90, 3)
    assert srcc_scorer._score_func(Y, held_out) > 0.5


def test_clone_pickle_and_model_file(fitted, rated, new_pairs, tmp_path):
    new, _ = new_pairs
    expected = fitted.predict(new)
    assert not hasattr(clone(fitted), "axes_")
    again = pickle.loads(pickle.dumps(fitted))
    path = save_model(fitted, tmp_path / "axes.clapstack")
    loaded = load_model(path)
    facts = describe_model(loaded, path)
    assert (facts["axes"], facts["n_pairs"]) == (AXES, 90)
    assert "order__msclap__score" in facts["first_level"]
    for stack in (again, loaded):
        assert stack.axes_ == AXES
        assert_array_equal(stack.predict(new), expected)
        assert_array_equal(
            stack.predict_interval(new), fitted.predict_interval(new), strict=True
        )


def test_streamed_features_are_features(ridges, rated):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 90, 4)).astype(np.float32)
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    b /= np.linalg.norm(b, axis=1, keepdims=True)
    table = StreamedFeatures({"laion": (a, b)})
    held = pd.DataFrame(table.rows(slice(None)), columns=table.columns)
    expected = clone(ridges).fit(held, rated[1]).predict(held)
    np.testing.assert_allclose(ridges.fit(table, rated[1]).predict(table), expected)


def test_other_columns_than_those_of_the_fit_are_refused(fitted, rated):
    X, _ = rated
    with pytest.raises(ValueError, match="feature names should match"):
        fitted.predict(X.iloc[:, ::-1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted.predict(X)


@pytest.mark.parametrize(
    "estimator", [KernelRegressor(), StandardizedRidge(), RankEnsembleRegressor()]
)
def test_single_axis_regressors_name_the_one_for_several(estimator, rated):
    X, Y = rated
    message = r"several columns.*ClapStackingRegressor"
    with pytest.raises(ValueError, match=message):
        estimator.fit(X, Y)
