"""The stack as a meta-estimator: its regressors, weights, groups and memory."""

import pickle
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from joblib import parallel_config
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.dummy import DummyRegressor
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.metrics import make_scorer, r2_score
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    LeaveOneGroupOut,
    PredefinedSplit,
    cross_validate,
)
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR
from sklearn.tree import DecisionTreeRegressor

from clapstack._numerics import rows as _linalg
from clapstack.stacking import ClapStackingRegressor

SCALED_SVR = make_pipeline(StandardScaler(), SVR())


def columns_of(X, family):
    return [name for name in X if name.partition("__")[0] == family]


# Models of families


def test_each_family_has_its_models(ridges, pairs):
    models = {"msclap": ["ridge", SCALED_SVR], "laion": KNeighborsRegressor()}
    stack = ridges.set_params(base_estimators=models, targets=["score"]).fit(*pairs)
    assert stack.first_level_names_ == [
        "msclap__ridge__score",
        "msclap__svr__score",
        "laion__score",
        "cross__score",
    ]
    assert list(stack.alphas_) == ["msclap__ridge", "cross"]


def test_models_of_one_class_are_numbered(ridges, pairs):
    models = [SVR(), None, SVR(C=0.5)]
    ridges.set_params(base_estimators={"cross": models}, targets=["rank"]).fit(*pairs)
    assert ridges.first_level_names_[2:] == [
        "cross__svr-1__rank",
        "cross__ridge__rank",
        "cross__svr-2__rank",
    ]


def test_one_list_serves_all_families(ridges, pairs):
    ridges.set_params(base_estimators=["ridge", LinearRegression()]).fit(*pairs)
    assert list(ridges.estimators_) == [
        f"{family}__{model}"
        for family in ("msclap", "laion", "cross")
        for model in ("ridge", "linearregression")
    ]


def test_a_second_model_leaves_the_ridge_as_it_was(ridges, pairs):
    alone = clone(ridges).fit(*pairs)
    ridges.set_params(base_estimators={"laion": ["ridge", SVR()]}).fit(*pairs)
    assert_array_equal(
        ridges.oof_predictions_[
            :, ridges.first_level_names_.index("laion__ridge__rank")
        ],
        alone.oof_predictions_[:, alone.first_level_names_.index("laion__rank")],
    )


def test_svr_members_are_those_of_scikit_learn(ridges, pairs):
    X, y = pairs
    ridges.set_params(cv=KFold(3), base_estimators={"cross": SCALED_SVR}).fit(X, y)
    train, test = next(KFold(3).split(X))
    cross = X[columns_of(X, "cross")].to_numpy()
    expected = clone(SCALED_SVR).fit(cross[train], y[train]).predict(cross[test])
    column = ridges.first_level_names_.index("cross__score")
    assert_allclose(ridges.oof_predictions_[test, column], expected)


def test_order_of_families_only_permutes_what_models_predict(ridges, pairs):
    X, y = pairs
    models = {"msclap": SCALED_SVR, "laion": ["ridge", DecisionTreeRegressor()]}
    models["laion"][1].set_params(random_state=0)
    ridges.set_params(base_estimators=models)
    first = clone(ridges).fit(X, y)
    families = ["beats", "laion", "cross", "msclap"]
    reordered = pd.concat([X[columns_of(X, f)] for f in families], axis=1)
    second = clone(ridges).fit(reordered, y)
    order = [first.first_level_names_.index(n) for n in second.first_level_names_]
    assert order != sorted(order)
    assert_array_equal(second.oof_predictions_, first.oof_predictions_[:, order])


def test_a_search_changes_models_and_their_parameters(ridges, pairs):
    grid = {"base_estimators": [None, {"laion": SVR()}]}
    search = GridSearchCV(ridges, grid, cv=2, error_score="raise").fit(*pairs)
    assert len(search.cv_results_["params"]) == 2
    grid = {"base_estimators__svr__C": [0.1, 1.0]}
    ridges.set_params(base_estimators=SCALED_SVR)
    search = GridSearchCV(ridges, grid, cv=2, error_score="raise").fit(*pairs)
    assert search.best_params_["base_estimators__svr__C"] == 1.0


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ({"wavlm": SVR()}, r"invalid keys \['wavlm'\];.*are \['msclap'"),
        ({"beats": SVR()}, r"\['beats'\] are auxiliary and have no models"),
        ({"laion": []}, "empty list for family 'laion'"),
        ({"laion": SVR}, "for family 'laion' must be 'ridge', None, a regressor"),
        ({"laion": "svr"}, "Got 'svr' instead"),
        ("svr", "The 'base_estimators' parameter"),
    ],
)
def test_wrong_models_are_named(ridges, pairs, models, message):
    with pytest.raises(ValueError, match=message):
        ridges.set_params(base_estimators=models).fit(*pairs)


# Weights


def test_weights_reach_every_step_of_a_pipeline_that_takes_them(ridges, pairs):
    X, y = pairs
    weight = np.arange(90) % 3 + 1.0
    ridges.set_params(cv=KFold(3), base_estimators={"cross": SCALED_SVR})
    ridges.fit(X, y, sample_weight=weight)
    train, test = next(KFold(3).split(X))
    cross, used = X[columns_of(X, "cross")].to_numpy(), weight[train]
    scaler = StandardScaler().fit(cross[train], sample_weight=used)
    svr = SVR().fit(scaler.transform(cross[train]), y[train], sample_weight=used)
    column = ridges.first_level_names_.index("cross__score")
    assert_allclose(
        ridges.oof_predictions_[test, column],
        svr.predict(scaler.transform(cross[test])),
    )


@pytest.mark.parametrize(
    "regressor",
    [
        make_pipeline(StandardScaler(), make_pipeline(StandardScaler(), SVR())),
        TransformedTargetRegressor(Ridge()),
        GridSearchCV(Ridge(), {"alpha": [0.1, 1.0]}, cv=2),
    ],
)
def test_weights_reach_what_a_regressor_wraps(ridges, pairs, regressor):
    weight = np.arange(90) % 3 + 1.0
    ridges.set_params(base_estimators={"cross": regressor}, targets=["score"])
    plain = clone(ridges).fit(*pairs).oof_predictions_
    weighted = clone(ridges).fit(*pairs, sample_weight=weight).oof_predictions_
    assert not np.allclose(plain[:, -1], weighted[:, -1])


@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize("name", ["base_estimators", "final_estimator", "boosting"])
def test_weights_for_a_pipeline_whose_regressor_takes_none_are_refused(
    ridges, pairs, name, routing
):
    ridges.set_params(**{name: make_pipeline(KNeighborsRegressor())})
    message = r"KNeighborsRegressor\.fit does not accept it"
    context = config_context(enable_metadata_routing=routing)
    with context, pytest.raises(ValueError, match=message):
        ridges.fit(*pairs, sample_weight=np.ones(90))


# Metadata routing


@pytest.fixture
def routing():
    with config_context(enable_metadata_routing=True):
        yield


def test_regressors_must_say_whether_they_take_weights(ridges, pairs, routing):
    ridges.set_params(base_estimators={"laion": SVR()})
    with pytest.raises(UnsetMetadataPassedError, match=r"requested for SVR\.fit"):
        ridges.fit(*pairs, sample_weight=np.ones(90))


@pytest.mark.parametrize("asks", [False, True])
def test_weights_are_routed_as_regressors_ask(ridges, pairs, routing, asks):
    weight = np.arange(90) % 3 + 1.0
    svr = SVR().set_fit_request(sample_weight=asks)
    scaler = StandardScaler().set_fit_request(sample_weight=False)
    models = {"laion": make_pipeline(scaler, svr)}
    ridges.set_params(cv=KFold(3), base_estimators=models)
    ridges.fit(*pairs, sample_weight=weight)
    column = ridges.first_level_names_.index("laion__score")
    plain = clone(ridges).fit(*pairs)
    same = np.allclose(
        plain.oof_predictions_[:, column], ridges.oof_predictions_[:, column]
    )
    assert same is not asks
    # The ridges of the stack are weighted either way.
    assert not np.allclose(plain.oof_predictions_[:, 0], ridges.oof_predictions_[:, 0])


def test_default_members_are_weighted_with_routing_as_without(stack, pairs):
    weight = np.arange(90) % 3 + 1.0
    stack = ClapStackingRegressor()
    expected = clone(stack).fit(*pairs, sample_weight=weight).oof_predictions_
    with config_context(enable_metadata_routing=True):
        routed = clone(stack).fit(*pairs, sample_weight=weight).oof_predictions_
    assert_array_equal(routed, expected)


def test_groups_and_weights_reach_the_inner_folds_of_a_search(pairs, routing):
    X, y = pairs
    groups, weight = np.arange(90) % 10, np.arange(90) % 3 + 1.0
    stack = ClapStackingRegressor(boosting=False, cv=LeaveOneGroupOut())
    stack.set_fit_request(groups=True, sample_weight=True)
    pipe = make_pipeline(stack)
    params = {"groups": groups, "sample_weight": weight}
    # Before scikit-learn 1.7 a pipeline takes no weights to its own score.
    unweighted = make_scorer(r2_score).set_score_request(sample_weight=False)
    search = GridSearchCV(
        pipe,
        {"clapstackingregressor__alphas": [1.0]},
        cv=GroupKFold(2),
        scoring=unweighted,
    ).fit(X, y, **params)
    members = search.best_estimator_[-1].estimators_["laion"]["score"]
    assert len(members) == 10
    outer = cross_validate(
        search.best_estimator_,
        X,
        y,
        cv=GroupKFold(2),
        scoring=unweighted,
        params=params,
        return_estimator=True,
        error_score="raise",
    )
    inner = [len(e[-1].estimators_["laion"]["score"]) for e in outer["estimator"]]
    assert inner == [5, 5]


def test_groups_reach_the_stack_unless_it_declines(pairs, routing):
    X, y = pairs
    groups = np.arange(90) % 10
    stack = ClapStackingRegressor(boosting=False)
    asked = make_pipeline(stack).fit(X, y, groups=groups)[-1]
    expected = clone(stack).fit(X, y, groups=groups)
    assert_array_equal(asked.oof_predictions_, expected.oof_predictions_)
    declined = clone(stack).set_fit_request(groups=False)
    scores = cross_validate(
        declined,
        X,
        y,
        cv=GroupKFold(2),
        params={"groups": groups},
        return_estimator=True,
    )
    first = scores["estimator"][0]
    train = next(GroupKFold(2).split(X, y, groups))[0]
    plain = clone(stack).fit(X.iloc[train], y[train])
    assert_array_equal(first.oof_predictions_, plain.oof_predictions_)


# Folds


def test_predefined_folds_are_kept(ridges, pairs):
    X, y = pairs
    fold = np.arange(90) // 30
    first = clone(ridges).set_params(cv=PredefinedSplit(fold)).fit(X, y)
    second = clone(ridges).set_params(cv=KFold(3)).fit(X, y)
    assert_array_equal(first.oof_predictions_, second.oof_predictions_)


def test_splits_as_masks_are_read_as_masks(ridges, pairs):
    X, y = pairs
    fold = np.arange(90) // 30
    masks = [(fold != k, fold == k) for k in range(3)]
    first = clone(ridges).set_params(cv=masks).fit(X, y)
    second = clone(ridges).set_params(cv=KFold(3)).fit(X, y)
    assert_array_equal(first.oof_predictions_, second.oof_predictions_)


def test_folds_that_split_a_group_are_refused(ridges, pairs):
    ridges.set_params(cv=list(KFold(3).split(np.empty(90))))
    with pytest.raises(ValueError, match=r"split 0 splits 10 groups between.*int"):
        ridges.fit(*pairs, groups=np.arange(90) % 10)


def test_splits_of_another_table_are_refused(ridges, pairs):
    ridges.set_params(cv=list(KFold(3).split(np.empty(120))))
    with pytest.raises(ValueError, match="cv split 0 does not match X with 90 rows"):
        ridges.fit(*pairs)


def test_splits_without_test_rows_are_refused(ridges, pairs):
    nothing = np.empty(0, dtype=int)
    splits = [*KFold(3).split(np.empty(90)), (np.arange(90), nothing)]
    with pytest.raises(ValueError, match="cv split 3 has no test rows"):
        ridges.set_params(cv=splits).fit(*pairs)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (
            np.arange(80),
            r"groups must have shape \(90,\), one label per pair; got \(80,\)",
        ),
        (np.where(np.arange(90) == 7, np.nan, 1.0), r"in 1 of 90 rows \(rows 7\)"),
        ([None] + ["a"] * 89, r"in 1 of 90 rows \(rows 0\)"),
    ],
)
def test_bad_groups_are_named(ridges, pairs, groups, message):
    with pytest.raises(ValueError, match=message):
        ridges.fit(*pairs, groups=groups)


@pytest.mark.parametrize(
    "label",
    [lambda i: (i, "clip"), lambda i: i if i % 2 else str(i), lambda i: f"{i:02d}"],
    ids=["tuples", "mixed", "text"],
)
def test_groups_of_any_labels_keep_their_pairs_together(ridges, pairs, label):
    numbers = (np.arange(90) % 10).tolist()
    ridges.set_params(base_estimators=Recorder(), targets=["score"])
    Recorder.seen = []
    ridges.fit(*pairs, groups=[label(number) for number in numbers])
    y = pairs[1]
    for seen in Recorder.seen:
        trained = np.isin(y, seen)
        for number in range(10):
            assert len(set(trained[np.equal(numbers, number)])) == 1


def test_groups_of_one_and_of_text_one_are_two_groups(ridges, pairs):
    splits = [(np.arange(45, 90), np.arange(45)), (np.arange(45), np.arange(45, 90))]
    groups = [1] * 45 + ["1"] * 45
    ridges.set_params(cv=splits).fit(*pairs, groups=groups)
    with pytest.raises(ValueError, match=r"the first is that of rows 45 and 3\)"):
        ridges.fit(*pairs, groups=[2, 2, 2, *groups[45:], *groups[3:45]])


class Recorder(LinearRegression):
    """Record the scores passed to each fit."""

    seen: list = []

    def fit(self, X, y, sample_weight=None):
        Recorder.seen.append(y.copy())
        return super().fit(X, y, sample_weight)


# Regressors that work in place, or make invalid predictions


class InPlace(RegressorMixin, BaseEstimator):
    """Modify all input in place."""

    def fit(self, X, y, sample_weight=None):
        self.mean_ = y.mean()
        y -= self.mean_
        X *= 0
        if sample_weight is not None:
            sample_weight /= sample_weight.sum()
        return self

    def predict(self, X):
        X *= 0
        return np.full(len(X), self.mean_)


class ReturnsNothing(LinearRegression):
    def fit(self, X, y, sample_weight=None):
        super().fit(X, y, sample_weight)


def test_regressors_whose_fit_returns_nothing_are_fitted(pairs):
    X, y = pairs
    scores = [
        ClapStackingRegressor(
            boosting=one, base_estimators=[one, "ridge"], final_estimator=one
        )
        .fit(X, y)
        .predict(X)
        for one in (ReturnsNothing(), LinearRegression())
    ]
    assert_array_equal(*scores)


@pytest.mark.parametrize("weighted", [False, True])
def test_regressors_that_work_in_place_change_no_other(pairs, weighted):
    X, y = pairs
    weight = np.linspace(0.5, 1.5, 90) if weighted else None
    kept = X.copy(), y.copy(), np.linspace(0.5, 1.5, 90)
    others = [LinearRegression(), make_pipeline(StandardScaler(), Ridge())]
    alone = ClapStackingRegressor(boosting=False, base_estimators=others)
    stack = ClapStackingRegressor(
        boosting=InPlace(),
        base_estimators=[InPlace(), *others, make_pipeline(InPlaceScaler(), Ridge())],
        final_estimator=InPlace(),
        final_target="score",
    )
    expected = alone.fit(X, y, sample_weight=weight)
    stack.fit(X, y, sample_weight=weight)
    for name in expected.first_level_names_:
        column = expected.oof_predictions_[:, expected.first_level_names_.index(name)]
        where = stack.first_level_names_.index(name.replace("__ridge", "__ridge-1"))
        assert_array_equal(stack.oof_predictions_[:, where], column)
    assert_array_equal(X, kept[0])
    assert_array_equal(y, kept[1])
    assert weight is None or np.array_equal(weight, kept[2])
    assert_allclose(stack.predict(X), np.average(y), atol=0.3)
    assert_array_equal(X, kept[0])


class InPlaceScaler(StandardScaler):
    """Scale, then modify the weights, which later steps also use."""

    def fit(self, X, y=None, sample_weight=None):
        super().fit(X, y, sample_weight)
        if sample_weight is not None:
            sample_weight[:] = 0
        return self


class Predicting(LinearRegression):
    """Apply a function to the predictions."""

    def __init__(self, change=None):
        super().__init__()
        self.change = change

    def predict(self, X):
        return self.change(super().predict(X))


def spoil_second(predicted):
    predicted[1] = np.nan
    return predicted


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (spoil_second, "predicted NaN or infinity for 1 of 30 pairs"),
        (lambda p: p / 0.0, "predicted NaN or infinity for 30 of 30 pairs"),
        (lambda p: p[:1], r"predicted an array of shape \(1,\) for 30 pairs"),
        (lambda p: np.c_[p, p], r"predicted an array of shape \(30, 2\)"),
        (lambda p: p.mean(), r"predicted an array of shape \(\)"),
        (lambda p: p.astype(str), "must be numbers; its dtype is <U"),
        (lambda p: p + 0j, "must be numbers; its dtype is complex"),
    ],
)
@pytest.mark.parametrize(
    ("place", "where"),
    [
        ("base_estimators", "the member of 'msclap' for the target 'score' and fold 0"),
        ("boosting", "the member of 'boosting' for the target 'score' and fold 0"),
        ("final_estimator", "the final level"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
def test_a_regressor_whose_predictions_cannot_be_used_is_named(
    ridges, pairs, place, where, change, message
):
    ridges.set_params(**{place: Predicting(change)})
    with pytest.raises(ValueError, match=f"Predicting, {where}.*{message}"):
        ridges.fit(*pairs)


def test_predictions_of_one_column_are_taken(ridges, pairs):
    column = Predicting(lambda p: p[:, np.newaxis])
    expected = clone(ridges).set_params(base_estimators=LinearRegression()).fit(*pairs)
    ridges.set_params(base_estimators=column).fit(*pairs)
    assert_array_equal(ridges.oof_predictions_, expected.oof_predictions_)


def test_scores_constant_in_one_training_part_are_refused(ridges, pairs):
    X, _ = pairs
    y = np.where(np.arange(90) < 30, np.arange(90), 4.0)
    message = "constant in the training part of cv split 0: all 60 scores are 4"
    with pytest.raises(ValueError, match=message):
        ridges.set_params(cv=KFold(3)).fit(X, y)


def test_training_part_of_one_row_is_refused(ridges, pairs):
    X, y = pairs
    weight = np.r_[np.ones(31), np.zeros(59)]
    message = "split 0 has 1 rows of positive sample_weight; at least two"
    with pytest.raises(ValueError, match=message):
        ridges.set_params(cv=KFold(3)).fit(X, y, sample_weight=weight)


# transform


def test_global_output_of_frames_changes_nothing(ridges, pairs, new_pairs):
    expected = clone(ridges).fit(*pairs).predict(new_pairs[0])
    with config_context(transform_output="pandas"):
        ridges.fit(*pairs)
    assert_array_equal(ridges.predict(new_pairs[0]), expected)


# Jobs, memory, pickles


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_jobs_of_a_context_do_not_change_the_bits(ridges, pairs, backend):
    ridges.set_params(base_estimators={"laion": ["ridge", SVR()]})
    one = clone(ridges).fit(*pairs)
    with parallel_config(backend, n_jobs=2):
        two = clone(ridges).fit(*pairs)
    assert_array_equal(one.oof_predictions_, two.oof_predictions_)


@pytest.fixture
def wide(monkeypatch):
    """A float32 DataFrame of 24 MB, and small float64 chunks."""
    monkeypatch.setattr(_linalg, "_CHUNK_ELEMENTS", 1 << 16)
    values = np.random.default_rng(0).standard_normal((6000, 1000), dtype=np.float32)
    names = [f"{f}__{i}" for f in ("laion", "beats") for i in range(499)]
    return pd.DataFrame(values, columns=[*names, "laion__cosine", "beats__cosine"])


def peak_of(function, *args, **kwargs):
    tracemalloc.start()
    try:
        function(*args, **kwargs)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_no_step_makes_a_float64_copy_of_the_table(wide, ridges):
    stack = ridges.set_params(boosting=DummyRegressor(), n_components=8)
    y, weight = wide["laion__cosine"].to_numpy(), np.arange(6000) % 5
    whole = wide.size * 8
    assert peak_of(stack.fit, wide, y, sample_weight=weight) < whole
    # Prediction takes one family at a time, and small pieces of the rest.
    assert peak_of(stack.predict, wide) < 0.45 * whole


def test_members_hold_no_rows_of_the_table(ridges):
    rng = np.random.default_rng(0)
    sizes = []
    for n_pairs in (100, 1000):
        X = pd.DataFrame(rng.normal(size=(n_pairs, 200)))
        X.columns = [f"laion__{i}" for i in X]
        fitted = clone(ridges).fit(X, X.sum(axis=1))
        sizes.append(len(pickle.dumps(fitted)) - fitted.oof_predictions_.nbytes)
    # Kept for each pair: its score, predictions and two errors. A row of the table has
    # 200 numbers.
    assert abs(sizes[1] - sizes[0]) < 900 * 4 * 8 + 2_000
