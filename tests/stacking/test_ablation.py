import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pandas.testing import assert_frame_equal
from sklearn import config_context
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GroupKFold, KFold, cross_val_predict
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import FunctionTransformer

from clapstack.agreement import CrossAgreement
from clapstack.metrics import compare_report, mse, srcc
from clapstack.stacking import (
    ClapStackingRegressor,
    StandardizedRidge,
    family_ablation,
)
from clapstack.streaming import StreamedFeatures


class Witness(RegressorMixin, BaseEstimator):
    """Keep the columns and groups of every fit on the class; predict the first."""

    columns = []
    groups = []

    def fit(self, X, y, groups=None):
        self.columns.append(list(X.columns))
        self.groups.append(groups)
        self.n_features_in_ = X.shape[1]
        return self

    def predict(self, X):
        return X.iloc[:, 0].to_numpy()


@pytest.fixture
def witness():
    Witness.columns, Witness.groups = [], []
    return Witness()


def value(table, family, metric="srcc", column="difference"):
    return table.set_index(["family", "metric"]).loc[(family, metric), column]


def families_seen(columns):
    return {name.partition("__")[0] for name in columns}


def take(family):
    return FunctionTransformer(
        lambda X: X[[f"{family}_product0", f"{family}_cosine"]].set_axis(
            ["product0", "cosine"], axis=1
        ),
        feature_names_out=lambda self, names: ["product0", "cosine"],
    )


def whole_pipeline(last, families=("msclap", "laion")):
    union = FeatureUnion([(family, take(family)) for family in families])
    steps = [("features", union), ("agreement", CrossAgreement(n_components=1))]
    return Pipeline([*steps, ("last", last)]).set_output(transform="pandas")


@pytest.fixture
def flat(pairs):
    """Pairs, whose columns do not name families."""
    X, y = pairs
    return X.rename(columns=lambda name: name.replace("__", "_")), y


def test_a_row_per_family_and_metric(ridges, pairs):
    table = family_ablation(ridges, *pairs, cv=2, n_resamples=10)
    assert table["family"].tolist() == [
        family for family in ("msclap", "laion", "cross", "beats") for _ in range(2)
    ]
    assert table["metric"].tolist() == ["srcc", "mse"] * 4
    assert ((table["low"] <= table["high"]) & table["low"].notna()).all()


def test_scores_are_those_of_a_refit_without_the_family(ridges, pairs):
    X, y = pairs
    splits = list(KFold(3).split(X))
    table = family_ablation(ridges, X, y, cv=splits, n_resamples=50)
    left = X[[name for name in X if not name.startswith("beats__")]]
    every = cross_val_predict(ridges, X, y, cv=splits)
    without = cross_val_predict(ridges, left, y, cv=splits)
    expected = compare_report(y, every, without, n_resamples=50)["srcc"]
    assert value(table, "beats", column="with_all") == srcc(y, every)
    assert value(table, "beats", "mse", "without") == mse(y, without)
    found = [value(table, "beats", column=c) for c in ("difference", "low", "high")]
    assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_an_informative_family_gains_and_noise_does_not():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(150, 2)), columns=["useful__x", "noise__x"])
    y = X["useful__x"].to_numpy() + 0.3 * rng.normal(size=150)
    table = family_ablation(StandardizedRidge(), X, y, n_resamples=200)
    assert value(table, "useful", column="low") > 0.5
    assert value(table, "useful", "mse", "high") < 0
    assert value(table, "noise", column="low") < 0.02


def test_agreements_of_a_family_go_with_it(witness, pairs):
    X, y = pairs
    X = (
        CrossAgreement(2)
        .set_output(transform="pandas")
        .fit_transform(X[[name for name in X if not name.startswith("cross__")]])
    )
    family_ablation(witness, X, y, cv=2, n_resamples=1)
    _, _, without, *_ = witness.columns
    alone = X[[n for n in X if not n.startswith(("msclap__", "cross__"))]]
    expected = CrossAgreement(2).fit(alone).get_feature_names_out()
    assert sorted(without) == sorted(expected)


def test_entries_of_the_union_are_dropped(witness, flat):
    family_ablation(whole_pipeline(witness), *flat, cv=2, n_resamples=1)
    seen = [families_seen(columns) for columns in witness.columns[::2]]
    assert seen == [
        {"msclap", "laion", "cross"},
        {"laion", "cross"},
        {"msclap", "cross"},
        {"msclap", "laion"},
    ]
    assert not any("msclap" in name for name in witness.columns[2])


def test_dropped_entries_are_no_families(flat):
    model = whole_pipeline(StandardizedRidge(), ("msclap", "laion", "cosines"))
    model.set_params(features__cosines="drop")
    table = family_ablation(model, *flat, cv=2, n_resamples=1)
    assert table["family"].unique().tolist() == ["msclap", "laion", "cross"]


def test_an_agreement_without_passthrough_is_kept(flat):
    model = whole_pipeline(StandardizedRidge()).set_params(agreement__passthrough=False)
    table = family_ablation(model, *flat, cv=2, n_resamples=1)
    assert table["family"].unique().tolist() == ["msclap", "laion"]


def test_removed_families_disappear_from_stack_parameters(pairs):
    stack = ClapStackingRegressor(
        boosting=False,
        auxiliary=["beats"],
        base_estimators={"laion": LinearRegression(), "cross": "ridge"},
    )
    table = family_ablation(stack, *pairs, cv=2, n_resamples=1)
    assert table["family"].nunique() == 4
    assert stack.auxiliary == ["beats"]


def test_groups_are_split_neither_outside_nor_inside(witness, pairs):
    X, y = pairs
    groups = np.arange(len(y)) // 3
    splits = list(GroupKFold(2).split(X, y, groups))
    family_ablation(witness, X, y, groups=groups, cv=2, n_resamples=1)
    assert_array_equal(witness.groups[0], groups[splits[0][0]])


def test_groups_reach_the_last_step_of_a_pipeline(witness, flat):
    X, y = flat
    last = Pipeline([("deeper", witness)])
    groups = np.arange(len(y)) // 3
    (train, _), _ = GroupKFold(2).split(X, y, groups)
    family_ablation(whole_pipeline(last), X, y, groups=groups, cv=2, n_resamples=1)
    assert_array_equal(witness.groups[0], groups[train])


def test_groups_are_routed_where_that_is_on(ridges, pairs):
    X, y = pairs
    groups = np.arange(len(y)) // 3
    expected = family_ablation(ridges, X, y, groups=groups, cv=2, n_resamples=1)
    with config_context(enable_metadata_routing=True):
        model = Pipeline([("stack", ridges)])
        routed = family_ablation(model, X, y, groups=groups, cv=2, n_resamples=1)
    assert_frame_equal(routed, expected)


def test_jobs_do_not_change_the_table(ridges, pairs):
    tables = [
        family_ablation(ridges, *pairs, cv=2, n_resamples=20, n_jobs=jobs)
        for jobs in (None, 2)
    ]
    assert_frame_equal(*tables)


def test_one_family_is_refused(ridges, pairs):
    X, y = pairs
    with pytest.raises(ValueError, match=r"found \['cross'\]"):
        family_ablation(ridges, X[[n for n in X if n.startswith("cross")]], y)


def test_columns_without_names_are_refused(ridges, pairs):
    X, y = pairs
    with pytest.raises(ValueError, match=r"but X \(ndarray\) has none"):
        family_ablation(ridges, X.to_numpy(), y)


def test_pairs_need_a_pipeline_that_begins_with_a_union(ridges):
    X = pd.DataFrame({"audio": ["a.wav"] * 4, "text": ["a"] * 4})
    with pytest.raises(ValueError, match="X is a table of pairs"):
        family_ablation(ridges, X, [1, 2, 3, 4])


def test_streamed_features_are_refused(ridges):
    unit = np.ones((4, 1), np.float32)
    with pytest.raises(TypeError, match="a StreamedFeatures does not support"):
        family_ablation(ridges, StreamedFeatures({"a": (unit, unit)}), [1, 2, 3, 4])


def test_several_axes_are_judged_one_by_one():
    X = pd.DataFrame(np.ones((9, 2)), columns=["a__x", "b__x"])
    with pytest.raises(ValueError, match="family_ablation supports one axis"):
        family_ablation(StandardizedRidge(), X, np.ones((9, 2)))
