"""Tuned pair features, in a pipeline and in the members of a stack."""

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from clapstack import ClapStackingRegressor, load_model, save_model
from clapstack.features import pair_features
from clapstack.metrics import srcc
from clapstack.stacking import StandardizedRidge
from clapstack.tuning import ProjectionTuning


def tuned(X, y, **settings):
    tuning = ProjectionTuning(**{"shrinkage": 0.3, **settings})
    return tuning.set_output(transform="pandas").fit(X, y)


def test_tuned_cosines_tell_scores_better(table):
    X, y = table
    train, test = X[:100], X[100:]
    cosine = tuned(train, y[:100]).transform(test)["laion__cosine"]
    assert srcc(y[100:], cosine) > srcc(y[100:], test["laion__cosine"]) + 0.1


def test_tuned_features_are_pair_features_of_unit_embeddings(table):
    X, y = table
    out = tuned(X, y).transform(X)
    laion = out.filter(like="laion__").to_numpy()
    assert_allclose(np.linalg.norm(laion[:, :6], axis=1), 1.0, rtol=1e-6)
    assert_allclose(laion, pair_features(laion[:, :6], laion[:, 6:12]), atol=1e-6)


def test_other_columns_names_and_dtype_stay(table):
    X, y = table
    out = tuned(X, y).transform(X)
    assert list(out) == list(X)
    assert set(out.dtypes) == {np.dtype("float32")}
    pd.testing.assert_frame_equal(out.filter(like="beats"), X.filter(like="beats"))


def test_added_features_follow_all_columns_under_their_family(table):
    X, y = table
    added = tuned(X, y, output="add").transform(X)
    replaced = tuned(X, y).transform(X)
    pd.testing.assert_frame_equal(added[list(X)], X)
    new = list(added)[X.shape[1] :]
    assert (new[0], new[-1]) == ("laion__tuned_audio0", "msclap__tuned_cosine")
    plain = [name.replace("tuned_", "") for name in new]
    assert_array_equal(added[new], replaced[plain])


def test_a_shrinkage_of_one_changes_no_bit(table):
    X, y = table
    tuning = tuned(X, y, shrinkage=1.0)
    pd.testing.assert_frame_equal(tuning.transform(X), X)
    pd.testing.assert_frame_equal(tuning.fit_transform(X, y), X)
    assert tuning.maps_["laion"].shape == (2, 2, 6, 0)


def test_shrinkage_is_chosen_for_each_family(table):
    X, y = table
    tuning = tuned(X, y, shrinkage=(0.3, 1.0))
    assert tuning.shrinkage_ == {"laion": 0.3, "msclap": 1.0}


def test_selected_blocks_are_enough(table):
    X, y = table
    few = X.filter(regex="audio|text|cosine")
    out = tuned(few, y).transform(few)
    whole = tuned(X, y).transform(X)[list(few)]
    pd.testing.assert_frame_equal(out, whole)


def test_an_array_begins_with_its_pair_features(table):
    X, y = table
    names = [*X.filter(like="laion__"), *X.filter(like="beats__")]
    expected = tuned(X[names], y).transform(X[names])
    tuning = ProjectionTuning(shrinkage=0.3).fit(X[names].to_numpy(), y)
    assert tuning.families_ == ["features"]
    assert_array_equal(tuning.transform(X[names].to_numpy()), expected)


def test_fit_transform_gives_a_row_features_that_its_score_did_not_move(table):
    X, y = table
    moved = y.copy()
    moved[7] += 3
    tuning = ProjectionTuning(shrinkage=(0.5, 0.3), n_folds=2, max_iter=5)
    before, after = (tuning.fit_transform(X, scores) for scores in (y, moved))
    assert_array_equal(before[7], after[7])
    changed = np.any(before != after, axis=1)
    assert changed.any()
    # The features of other rows know the score: a stack must not be fed with them.
    assert not changed.all()


def test_fit_transform_fits_the_map_of_all_pairs_for_transform(table):
    X, y = table
    one, other = ProjectionTuning(shrinkage=0.3), ProjectionTuning(shrinkage=0.3)
    crossed = one.fit_transform(X, y)
    whole = other.fit(X, y).transform(X)
    assert_array_equal(one.transform(X), whole)
    assert np.any(crossed != whole)


def test_a_weight_counts_repetitions(table):
    X, y = table
    times = np.arange(150) % 3
    weighted = ProjectionTuning(max_iter=5).fit(X, y, sample_weight=times)
    repeated = ProjectionTuning(max_iter=5).fit(
        X.loc[np.repeat(X.index, times)], np.repeat(y, times)
    )
    assert weighted.shrinkage_ == repeated.shrinkage_
    out = weighted.transform(X)
    assert np.any(out != X)
    assert_allclose(out, repeated.transform(X), atol=1e-4)


def member():
    tuning = ProjectionTuning(shrinkage=0.3, n_folds=2, max_iter=5)
    return make_pipeline(tuning, StandardizedRidge())


def make_stack():
    return ClapStackingRegressor(
        base_estimators={"laion": ["ridge", member()], "msclap": member()},
        boosting=False,
        targets=("score",),
    )


def test_in_the_members_of_a_stack_nothing_leaks(table):
    X, y = table
    moved = y.copy()
    moved[7] += 3
    before, after = (make_stack().fit(X, s).oof_predictions_ for s in (y, moved))
    assert_array_equal(before[7], after[7])
    assert np.any(before != after)


def test_before_a_stack_it_would_leak(table):
    """What the documentation warns of."""
    X, y = table
    moved = y.copy()
    moved[7] += 3
    pipe = Pipeline(
        [
            ("tuning", ProjectionTuning(shrinkage=0.3, max_iter=5)),
            ("stack", ClapStackingRegressor(boosting=False)),
        ]
    ).set_output(transform="pandas")
    before, after = (
        clone(pipe).fit(X, s)["stack"].oof_predictions_ for s in (y, moved)
    )
    assert np.any(before[7] != after[7])


def test_a_stack_of_members_takes_auxiliary_columns_and_weights(table):
    X, y = table
    stack = make_stack().fit(X, y, sample_weight=1.0 + np.arange(150) % 2)
    assert stack.auxiliary_ == ["beats"]
    assert srcc(y, stack.predict(X)) > 0.5


def test_it_clones_pickles_small_and_goes_through_a_model_file(table, tmp_path):
    X, y = table
    stack = make_stack().fit(X, y)
    expected = stack.predict(X)
    assert_array_equal(pickle.loads(pickle.dumps(stack)).predict(X), expected)
    assert_array_equal(clone(stack).fit(X, y).predict(X), expected)
    loaded = load_model(save_model(stack, tmp_path / "stack.clapstack"))
    assert_array_equal(loaded.predict(X), expected)
    tuning = ProjectionTuning(shrinkage=0.3).fit(X, y)
    loaded = load_model(save_model(tuning, tmp_path / "tuning.clapstack"))
    assert_array_equal(loaded.transform(X), tuning.transform(X))
    assert len(pickle.dumps(tuning)) < 10_000


def test_it_goes_through_a_grid_search(table):
    X, y = table
    pipe = Pipeline([("tuning", ProjectionTuning()), ("ridge", StandardizedRidge())])
    grid = {"tuning__shrinkage": [1.0, 0.3]}
    search = GridSearchCV(pipe, grid, cv=2).fit(X.filter(like="laion"), y)
    scores = search.cv_results_["mean_test_score"]
    assert np.all(scores > 0.1)
    assert scores[0] != scores[1]


def test_constant_scores_are_refused(table):
    X, y = table
    with pytest.raises(ValueError, match="y is constant in a training part of 150"):
        ProjectionTuning().fit(X, np.full(150, 4.0))
    y = np.full(150, 4.0)
    y[3] = 5.0
    with pytest.raises(ValueError, match=r"y is constant in a training part of 100"):
        ProjectionTuning().fit(X, y)


def test_ties_everywhere_are_no_harm(table):
    X, y = table
    levels = np.where(y > np.median(y), 7.0, 3.0)
    cosine = tuned(X, levels).transform(X)["laion__cosine"]
    assert srcc(y, cosine) > srcc(y, X["laion__cosine"])


def test_fewer_pairs_than_folds_are_refused(table):
    X, y = table
    with pytest.raises(
        ValueError, match=r"n_folds=3 needs at least 3 pairs .*n_samples=2"
    ):
        ProjectionTuning().fit(X[:2], y[:2])


def test_nan_is_refused_with_its_place(table):
    X, y = table
    X.loc[7, "laion__text2"] = np.nan
    with pytest.raises(ValueError, match=r"'laion__text2'.*the first is row 7"):
        ProjectionTuning().fit(X, y)
    y[9] = np.nan
    with pytest.raises(ValueError, match="rows 9"):
        ProjectionTuning().fit(X.fillna(0.0), y)


def test_scaled_embeddings_are_refused(table):
    X, y = table
    scaled = StandardScaler().set_output(transform="pandas").fit_transform(X)
    with pytest.raises(ValueError, match=r"'laion' are not of unit norm .*row 0 has"):
        ProjectionTuning().fit(scaled, y)


def test_an_embedding_of_zeros_is_refused_later_too(table):
    X, y = table
    tuning = ProjectionTuning().fit(X, y)
    broken = X.copy()
    broken.loc[5] = 0.0
    with pytest.raises(ValueError, match=r"in 1 of 150 rows \(row 5 has norm 0\)"):
        tuning.transform(broken)


def test_missing_embeddings_are_named(table):
    X, y = table
    with pytest.raises(ValueError, match=r"both embeddings of family 'laion'.*'text'"):
        ProjectionTuning().fit(X.drop(columns=[f"laion__text{i}" for i in range(6)]), y)


def test_no_contrastive_family_is_an_error(table):
    X, y = table
    with pytest.raises(ValueError, match="has no '<family>__cosine' column"):
        ProjectionTuning().fit(X.filter(like="beats"), y)


def test_an_array_of_something_else_is_an_error(rng):
    X, y = rng.normal(size=(30, 11)), rng.normal(size=30)
    with pytest.raises(ValueError, match="does not begin with pair features"):
        ProjectionTuning().fit(X, y)


def test_a_wrong_shrinkage_is_an_error(table):
    for wrong in ((0.5, 1.5), (), (0.0, 1.0)):
        with pytest.raises(ValueError, match=r"must be a number in \(0, 1\]"):
            ProjectionTuning(shrinkage=wrong).fit(*table)
