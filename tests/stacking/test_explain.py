import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression, PoissonRegressor, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from clapstack.stacking import ClapStackingRegressor
from clapstack.stacking._trees import BoostedTrees
from clapstack.streaming import StreamedFeatures


def parts_of(explained):
    return explained.drop(columns="prediction").sum(axis=1).to_numpy()


def reorder(X, families):
    by_family = [
        X[[name for name in X if name.partition("__")[0] == f]] for f in families
    ]
    return pd.concat(by_family, axis=1)


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"boosting": False},
        {"calibration": True, "final_target": "score"},
        {"final_target": "rank"},
        {"final_estimator": "mean"},
        {"kernel": True},
        {"final_estimator": make_pipeline(StandardScaler(), Ridge())},
        {"auxiliary": ()},
        {"base_estimators": ["ridge", LinearRegression()]},
        {"alphas": [0.5, 50.0], "targets": ["rank"]},
    ],
    ids=str,
)
def test_parts_sum_to_the_prediction(stack, pairs, new_pairs, parameters):
    stack.set_params(**parameters).fit(*pairs)
    X, _ = new_pairs
    explained = stack.explain(X)
    assert_allclose(parts_of(explained), stack.predict(X), rtol=0, atol=1e-9)
    assert_array_equal(explained["prediction"], stack.predict(X))


@settings(max_examples=15, deadline=None)
@given(
    n_families=st.integers(1, 4),
    n_joined=st.integers(0, 2),
    n_columns=st.integers(1, 5),
    targets=st.sampled_from([["score"], ["rank"], ["score", "rank"]]),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
    seed=st.integers(0, 1000),
)
def test_parts_sum_to_the_prediction_for_any_families(
    n_families, n_joined, n_columns, targets, scale, seed
):
    rng = np.random.default_rng(seed)
    names = [f"clap{f}__x{i}" for f in range(n_families) for i in range(n_columns)]
    names += [f"clap{f}__cosine" for f in range(n_families)]
    names += [f"audio{f}__x{i}" for f in range(n_joined) for i in range(n_columns)]
    X = pd.DataFrame(scale * rng.normal(5, 1, (40, len(names))), columns=names)
    y = 5 + rng.normal(size=40)
    stack = ClapStackingRegressor(boosting=False, targets=targets, random_state=seed)
    stack.set_params(final_target="score").fit(X, y)
    assert_allclose(parts_of(stack.explain(X)), stack.predict(X), rtol=0, atol=1e-9)


def test_columns_are_the_families_and_later_stages(stack, pairs):
    explained = stack.fit(*pairs).explain(pairs[0])
    assert list(explained) == [
        "baseline",
        "msclap",
        "laion",
        "cross",
        "beats",
        "boosting",
        "calibration",
        "prediction",
    ]


def test_order_of_families_only_permutes_columns(ridges, pairs, new_pairs):
    X, y = pairs
    other = ["cross", "beats", "laion", "msclap"]
    first = clone(ridges).fit(X, y).explain(new_pairs[0])
    second = clone(ridges).fit(reorder(X, other), y)
    second = second.explain(reorder(new_pairs[0], other))
    assert list(second) != list(first)
    assert_allclose(second[list(first)], first, rtol=0, atol=1e-9)


def test_moving_a_family_moves_its_own_part_alone(ridges, pairs, new_pairs):
    ridges.set_params(final_target="score").fit(*pairs)
    X, _ = new_pairs
    moved = X.copy()
    moved.loc[:, moved.columns.str.startswith("beats__")] += 1.0
    before, after = ridges.explain(X), ridges.explain(moved)
    others = before.columns.difference(["beats", "prediction"])
    assert_allclose(after[others], before[others], rtol=0, atol=1e-9)
    assert np.ptp(after["beats"] - before["beats"]) < 1e-9
    assert abs(after["beats"] - before["beats"]).min() > 1e-3


def test_part_of_a_joined_family_is_its_coefficients_times_its_distance_from_the_mean(
    ridges, pairs, new_pairs
):
    X, y = pairs
    ridges.set_params(targets=["score"], final_target="score").fit(X, y)
    beats = [name for name in X if name.startswith("beats__")]
    expected = np.zeros(len(new_pairs[0]))
    weights = ridges.final_estimator_.coef_ / ridges.final_scaler_.scale_
    for column, family in enumerate(["msclap", "laion"]):
        names = X.columns[ridges.columns_[family]]
        for member in ridges.estimators_[family]["score"]:
            coef = pd.Series(member.coef_, index=names)[beats]
            around = new_pairs[0][beats] - X[beats].mean()
            expected += weights[column] * (around @ coef).to_numpy() / 3
    assert_allclose(ridges.explain(new_pairs[0])["beats"], expected, atol=1e-9)


def test_a_family_without_weight_adds_nothing(pairs):
    X, y = pairs
    X = X.drop(columns=[name for name in X if name.startswith("beats__")])

    class LaionAlone(LinearRegression):
        def fit(self, inputs, y):
            super().fit(inputs, y)
            self.coef_[[0, 2]] = 0.0
            return self

    stack = ClapStackingRegressor(
        boosting=False, targets=["score"], final_estimator=LaionAlone()
    )
    explained = stack.set_params(final_target="score").fit(X, y).explain(X)
    assert_array_equal(explained[["msclap", "cross"]], 0.0)
    assert np.ptp(explained["laion"]) > 1.0


def test_average_pair_gets_the_baseline(ridges, pairs):
    X, y = pairs
    ridges.set_params(final_target="score").fit(X, y)
    assert_allclose(ridges.explain(X)["baseline"], y.mean(), atol=1e-9)


def test_weights_count_pairs_in_the_means(ridges, pairs):
    X, y = pairs
    weight = np.ones(len(y))
    weight[:20] = 0.0
    ridges.set_params(final_target="score").fit(X, y, sample_weight=weight)
    assert_allclose(ridges.explain(X)["baseline"], y[20:].mean(), atol=1e-9)
    beats = ridges.explain(X)["beats"]
    assert abs(beats[20:].mean()) < 1e-9 < abs(beats.mean())


def test_parts_after_a_rank_target_are_on_the_scale_of_y(ridges, pairs):
    X, y = pairs
    explained = ridges.set_params(final_target="rank").fit(X, y).explain(X)
    assert abs(explained["baseline"].iloc[0] - y.mean()) < 0.5
    assert np.std(explained[["msclap", "laion", "cross"]].sum(axis=1)) > 0.5 * np.std(y)
    assert 0.0 < explained["calibration"].abs().max() < np.std(y)


def test_calibration_is_zero_without_a_map(ridges, pairs):
    ridges.set_params(final_target="score").fit(*pairs)
    explained = ridges.explain(pairs[0])
    assert_allclose(explained["calibration"], 0.0, atol=1e-12)


def test_boosting_is_zero_without_trees(ridges, pairs):
    assert_array_equal(ridges.fit(*pairs).explain(pairs[0])["boosting"], 0.0)


def test_regressors_that_cannot_be_split_have_a_column_of_all_they_take(
    ridges, pairs, new_pairs
):
    ridges.set_params(base_estimators={"msclap": ["ridge", LinearRegression()]})
    explained = ridges.fit(*pairs).explain(new_pairs[0])
    assert np.ptp(explained["msclap+beats"]) > 0
    assert "laion+beats" not in explained
    assert_allclose(
        parts_of(explained), ridges.predict(new_pairs[0]), rtol=0, atol=1e-9
    )


def test_index_of_the_pairs_is_kept(ridges, pairs):
    X, y = pairs
    labels = [f"clip{i}.wav" for i in range(len(X))]
    explained = ridges.fit(X, y).explain(X.set_axis(labels))
    assert explained.index.tolist() == labels


def test_array_without_names_is_one_family(ridges, pairs):
    X, y = pairs
    explained = ridges.fit(X.to_numpy(), y).explain(X.to_numpy())
    assert "features" in explained
    assert explained.index.tolist() == list(range(len(X)))


def test_one_pair_is_explained_as_among_many(stack, pairs, new_pairs):
    stack.fit(*pairs)
    X, _ = new_pairs
    one = stack.explain(X.iloc[[7]])
    assert_allclose(one, stack.explain(X).iloc[[7]], rtol=0, atol=1e-9)


def test_streamed_features_are_explained_as_the_table():
    rng = np.random.default_rng(0)

    def unit(n):
        rows = rng.normal(size=(n, 4)).astype(np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    pair_families = {name: (unit(80), unit(80)) for name in ("laion", "msclap")}
    beats = rng.normal(size=(80, 3)).astype(np.float32)
    X = StreamedFeatures(pair_families, {"beats": beats})
    y = rng.normal(size=80)
    table = pd.DataFrame(X.rows(slice(None)), columns=X.columns)
    stack = ClapStackingRegressor(
        boosting=BoostedTrees(max_iter=5), final_target="score"
    )
    streamed = clone(stack).fit(X, y).explain(X)
    assert_allclose(parts_of(streamed), streamed["prediction"], rtol=0, atol=1e-9)
    assert_allclose(streamed, clone(stack).fit(table, y).explain(table), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "final",
    [HistGradientBoostingRegressor(max_iter=5), PoissonRegressor()],
    ids=lambda final: type(final).__name__,
)
def test_a_final_level_that_is_not_linear_is_refused(ridges, pairs, final):
    X, y = pairs
    ridges.set_params(final_estimator=final, final_target="score")
    ridges.fit(X, y - y.min() + 1.0)
    with pytest.raises(
        ValueError, match=f"{type(final).__name__} is not linear, so its"
    ):
        ridges.explain(X.iloc[[0]])


def test_a_family_named_as_a_part_is_refused(ridges, pairs):
    X, y = pairs
    X = X.rename(columns=lambda name: name.replace("laion__", "baseline__"))
    with pytest.raises(ValueError, match=r"named \['baseline'\]"):
        ridges.fit(X, y).explain(X)


def test_an_unfitted_stack_explains_nothing(ridges, pairs):
    with pytest.raises(ValueError, match="not fitted yet"):
        ridges.explain(pairs[0])
