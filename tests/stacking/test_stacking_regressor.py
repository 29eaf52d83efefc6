import os
import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import rankdata, spearmanr
from sklearn import config_context
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    LeaveOneOut,
    ShuffleSplit,
    cross_val_predict,
    cross_val_score,
)
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from clapstack.agreement import CrossAgreement
from clapstack.metrics import mse, srcc, srcc_scorer
from clapstack.stacking import ClapStackingRegressor, StandardizedRidge, rank_target
from clapstack.stacking._trees import BoostedTrees


class Recorder(RegressorMixin, BaseEstimator):
    """Keep the targets of every fit on the class, and predict zero."""

    seen = []

    def fit(self, X, y):
        self.seen.append(y)
        self.n_features_in_ = X.shape[1]
        return self

    def predict(self, X):
        return np.zeros(len(X))


def by_family(X, *families):
    return X[[name for name in X if name.partition("__")[0] in families]]


def reorder(X, families):
    return pd.concat([by_family(X, family) for family in families], axis=1)


def test_first_level_is_families_by_targets(stack, pairs):
    stack.fit(*pairs)
    assert stack.first_level_names_ == [
        "msclap__score",
        "msclap__rank",
        "laion__score",
        "laion__rank",
        "cross__score",
        "cross__rank",
        "boosting__score",
        "boosting__rank",
    ]


def test_one_member_per_fold(stack, pairs):
    stack.set_params(cv=4).fit(*pairs)
    counts = {
        len(members)
        for by_target in stack.estimators_.values()
        for members in by_target.values()
    }
    assert counts == {4}


def test_predictions_follow_the_scores(pairs, new_pairs):
    stack = ClapStackingRegressor().fit(*pairs)
    X, y = new_pairs
    assert spearmanr(stack.predict(X), y).statistic > 0.8


# Invariants


@pytest.mark.parametrize("final_target", ["score", "rank"])
@pytest.mark.parametrize("row", [0, 7, 61])
def test_oof_row_ignores_its_own_target(stack, pairs, row, final_target):
    X, y = pairs
    moved = y.copy()
    moved[row] += 5
    stack.set_params(final_target=final_target)
    before = clone(stack).fit(X, y).oof_predictions_
    after = clone(stack).fit(X, moved).oof_predictions_
    assert_array_equal(before[row], after[row])
    assert not np.array_equal(before, after)


def test_oof_row_ignores_the_targets_of_its_fold(ridges, pairs):
    X, y = pairs
    splits = list(KFold(3).split(X))
    ridges.set_params(cv=splits)
    test = splits[1][1]
    moved = y.copy()
    moved[test] = moved[test][::-1]
    before = clone(ridges).fit(X, y).oof_predictions_
    after = clone(ridges).fit(X, moved).oof_predictions_
    assert_array_equal(before[test], after[test])


def test_family_order_only_permutes_oof_predictions(stack, pairs):
    X, y = pairs
    other = reorder(X, ["cross", "beats", "laion", "msclap"])
    first = clone(stack).fit(X, y)
    second = clone(stack).fit(other, y)
    order = [first.first_level_names_.index(n) for n in second.first_level_names_]
    assert order != sorted(order)
    assert_array_equal(second.oof_predictions_, first.oof_predictions_[:, order])


def test_family_order_does_not_move_predictions(stack, pairs, new_pairs):
    X, y = pairs
    families = ["cross", "beats", "laion", "msclap"]
    first = clone(stack).fit(X, y)
    second = clone(stack).fit(reorder(X, families), y)
    assert_allclose(
        second.predict(reorder(new_pairs[0], families)),
        first.predict(new_pairs[0]),
        rtol=1e-9,
    )


def test_refit_gives_the_same_bits(pairs, new_pairs):
    first = ClapStackingRegressor().fit(*pairs)
    second = ClapStackingRegressor().fit(*pairs)
    assert_array_equal(first.oof_predictions_, second.oof_predictions_)
    assert_array_equal(first.predict(new_pairs[0]), second.predict(new_pairs[0]))


def test_threads_do_not_change_the_bits(stack, pairs):
    one = clone(stack).set_params(n_jobs=1).fit(*pairs)
    two = clone(stack).set_params(n_jobs=2).fit(*pairs)
    assert_array_equal(one.oof_predictions_, two.oof_predictions_)


@pytest.mark.slow
def test_pickle_predicts_the_same_bits_in_a_fresh_process(
    stack, pairs, new_pairs, tmp_path
):
    stack.fit(*pairs)
    (tmp_path / "in.pkl").write_bytes(pickle.dumps((stack, new_pairs[0])))
    script = (
        "import pickle, sys\n"
        "stack, X = pickle.load(open(sys.argv[1], 'rb'))\n"
        "pickle.dump(stack.predict(X), open(sys.argv[2], 'wb'))\n"
    )
    paths = [str(tmp_path / "in.pkl"), str(tmp_path / "out.pkl")]
    subprocess.run(
        [sys.executable, "-c", script, *paths], check=True, env=dict(os.environ)
    )
    again = pickle.loads((tmp_path / "out.pkl").read_bytes())
    assert_array_equal(again, stack.predict(new_pairs[0]))


# First level


def test_member_is_the_ridge_of_sklearn_on_the_training_rows(ridges, pairs):
    X, y = pairs
    splits = list(KFold(3, shuffle=True, random_state=0).split(X))
    stack = ridges.fit(X, y)
    cross = by_family(X, "cross").to_numpy()
    for k, (train, test) in enumerate(splits):
        ridge = make_pipeline(
            StandardScaler(), Ridge(stack.alphas_["cross"]["rank"][k])
        )
        ridge.fit(cross[train], (rankdata(y[train]) - 0.5) / len(train))
        column = stack.first_level_names_.index("cross__rank")
        assert_allclose(
            stack.oof_predictions_[test, column], ridge.predict(cross[test]), rtol=1e-9
        )


def test_penalty_is_alpha_per_column(pairs):
    stack = ClapStackingRegressor(alphas=0.2, boosting=False).fit(*pairs)
    assert_allclose(stack.alphas_["cross"]["score"], [0.2 * 2] * 3)


def test_ranks_are_computed_inside_each_training_fold(pairs):
    X, y = pairs
    Recorder.seen = []
    splits = list(KFold(3).split(X))
    ClapStackingRegressor(
        targets=["rank"],
        base_estimators=Recorder(),
        boosting=False,
        cv=splits,
        final_target="score",
    ).fit(by_family(X, "laion"), y)
    # The fits without two folds, for intervals, follow.
    for (train, _), seen in zip(splits, Recorder.seen[:3], strict=True):
        assert_array_equal(seen, rank_target(y[train]))
    for (_, test), seen in zip(splits[::-1], Recorder.seen[3:], strict=True):
        assert_array_equal(np.sort(seen), np.sort(rank_target(y[test])))


def test_first_level_prediction_is_the_mean_of_the_fold_members(ridges, pairs):
    X, y = pairs
    stack = ridges.fit(X, y)
    columns = stack.columns_["laion"]
    members = stack.estimators_["laion"]["score"]
    expected = np.mean([m.predict(X.to_numpy()[:, columns]) for m in members], axis=0)
    column = stack.first_level_names_.index("laion__score")
    assert_allclose(stack.transform(X)[:, column], expected)


# Unlike a family's ridge, this one has a different compression in each fold.
@pytest.mark.slow
@pytest.mark.parametrize("booster", [BoostedTrees(), StandardizedRidge()])
def test_boosting_prediction_is_the_mean_of_the_fold_members(stack, pairs, booster):
    X, y = pairs
    stack.set_params(boosting=booster).fit(X, y)
    members = stack.estimators_["boosting"]["rank"]
    expected = np.mean(
        [
            member.predict(compressor.transform(X.to_numpy()))
            for member, compressor in zip(members, stack.compressors_, strict=True)
        ],
        axis=0,
    )
    assert_allclose(stack.transform(X)[:, -1], expected)


def test_compression_is_the_svd_of_standardised_training_rows(stack, pairs):
    X, y = pairs
    stack.set_params(n_components=3, cv=KFold(3)).fit(X, y)
    train, test = next(KFold(3).split(X))
    scaler = StandardScaler().fit(X.iloc[train])
    vectors = np.linalg.svd(scaler.transform(X.iloc[train]), full_matrices=False)[2]
    expected = scaler.transform(X.iloc[test]) @ vectors[:3].T
    got = stack.compressors_[0].transform(X.iloc[test].to_numpy())
    assert_allclose(np.abs(got), np.abs(expected), atol=1e-5)


def test_compression_is_capped_by_the_rank(stack, pairs):
    X, y = pairs
    stack.set_params(n_components=500).fit(X, y)
    # One of 15 columns of the table repeats another.
    assert [c.projection.shape for c in stack.compressors_] == [(15, 14)] * 3


def test_auxiliary_families_join_the_contrastive_ones(ridges, pairs):
    stack = ridges.fit(*pairs)
    assert stack.auxiliary_ == ["beats"]
    assert stack.families_ == ["msclap", "laion", "cross"]
    assert {name: len(c) for name, c in stack.columns_.items()} == {
        "msclap": 8,
        "laion": 8,
        "cross": 2,
    }


def test_named_auxiliary_families_join_the_others(pairs):
    stack = ClapStackingRegressor(auxiliary=["cross"], boosting=False).fit(*pairs)
    assert stack.families_ == ["msclap", "laion", "beats"]
    assert [len(c) for c in stack.columns_.values()] == [7, 7, 3]


def test_without_auxiliary_every_family_stands_alone(pairs):
    stack = ClapStackingRegressor(auxiliary=(), boosting=False).fit(*pairs)
    assert stack.families_ == ["msclap", "laion", "cross", "beats"]


def with_events(X):
    """Return features with an event family and an auxiliary family."""
    rng = np.random.default_rng(3)
    columns = ["events__all_weakest", "events__n_clauses", "events__claims_order"]
    return X.assign(**{name: rng.normal(size=len(X)) for name in columns})


def test_events_stand_alone_and_have_trees_of_their_own(stack, pairs):
    X, y = pairs
    stack.fit(with_events(X), y)
    assert stack.auxiliary_ == ["beats"]
    assert stack.families_ == ["msclap", "laion", "cross", "events"]
    assert [name for name in stack.first_level_names_ if "events" in name] == [
        "events__ridge__score",
        "events__ridge__rank",
        "events__boostedtrees__score",
        "events__boostedtrees__rank",
    ]
    assert len(stack.columns_["msclap"]) == 8  # its own and those of beats


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"boosting": False}, ["events__score", "events__rank"]),
        (
            {"base_estimators": {"events": "ridge"}},
            ["events__score", "events__rank"],
        ),
        ({"base_estimators": "ridge"}, ["events__score", "events__rank"]),
        ({"auxiliary": ["events"]}, []),
    ],
)
def test_models_of_events_can_be_chosen(stack, pairs, settings, names):
    X, y = pairs
    stack.set_params(**settings).fit(with_events(X), y)
    got = [name for name in stack.first_level_names_ if name.startswith("events")]
    assert got == names


def test_without_contrastive_family_every_family_stands_alone(ridges, pairs):
    X, y = pairs
    stack = ridges.fit(by_family(X, "cross", "beats"), y)
    assert stack.families_ == ["cross", "beats"]


def test_nameless_array_is_one_family(ridges, pairs):
    X, y = pairs
    assert ridges.fit(X.to_numpy(), y).families_ == ["features"]


def test_one_target_halves_the_first_level(pairs):
    stack = ClapStackingRegressor(targets=["score"], boosting=None).fit(*pairs)
    assert stack.first_level_names_ == ["msclap__score", "laion__score", "cross__score"]


def test_any_regressor_replaces_the_family_ridges(pairs):
    stack = ClapStackingRegressor(
        base_estimators=KNeighborsRegressor(), boosting=False
    ).fit(*pairs)
    assert isinstance(stack.estimators_["laion"]["rank"][0], KNeighborsRegressor)
    assert stack.alphas_ == {}


def test_any_regressor_replaces_the_boosted_trees(pairs):
    stack = ClapStackingRegressor(boosting=LinearRegression()).fit(*pairs)
    assert isinstance(stack.estimators_["boosting"]["score"][0], LinearRegression)


# Folds


def test_splitter_and_its_list_of_splits_agree(ridges, pairs):
    X, y = pairs
    splitter = KFold(4, shuffle=True, random_state=5)
    first = clone(ridges).set_params(cv=splitter).fit(X, y)
    second = clone(ridges).set_params(cv=list(splitter.split(X))).fit(X, y)
    assert_array_equal(first.oof_predictions_, second.oof_predictions_)


def test_generator_of_splits_serves_every_family(ridges, pairs):
    X, y = pairs
    stack = ridges.set_params(cv=iter(list(KFold(3).split(X)))).fit(X, y)
    assert len(stack.estimators_["cross"]["rank"]) == 3


def test_random_state_shuffles_the_folds(ridges, pairs):
    first = clone(ridges).fit(*pairs).oof_predictions_
    second = clone(ridges).set_params(random_state=1).fit(*pairs).oof_predictions_
    assert not np.allclose(first, second)


def test_groups_keep_their_pairs_together(ridges, pairs):
    X, y = pairs
    groups = np.arange(90) % 10
    grouped = clone(ridges).fit(X, y, groups=groups)
    explicit = list(GroupKFold(3).split(X, y, groups))
    expected = clone(ridges).set_params(cv=explicit).fit(X, y)
    assert_array_equal(grouped.oof_predictions_, expected.oof_predictions_)


def test_splits_that_leave_rows_out_are_refused(ridges, pairs):
    ridges.set_params(cv=ShuffleSplit(3, random_state=0))
    with pytest.raises(ValueError, match="cv must predict every row exactly once"):
        ridges.fit(*pairs)


def test_splits_that_train_on_their_test_rows_are_refused(ridges, pairs):
    rows = np.arange(90)
    ridges.set_params(cv=[(rows, rows[:45]), (rows[:45], rows[45:])])
    with pytest.raises(ValueError, match=r"cv split 0 has 45 rows in both.*row 0"):
        ridges.fit(*pairs)


def test_too_few_pairs_for_the_folds_are_counted(ridges, pairs):
    X, y = pairs
    with pytest.raises(ValueError, match=r"cv=3 folds need .* n_samples=2"):
        ridges.fit(X.iloc[:2], y[:2])


def test_too_few_groups_for_the_folds_are_counted(ridges, pairs):
    X, y = pairs
    with pytest.raises(ValueError, match=r"cv=3 folds need .* 2 different groups"):
        ridges.fit(X, y, groups=np.arange(90) % 2)


def test_leave_one_out_is_accepted(pairs):
    X, y = by_family(pairs[0], "laion").iloc[:12], pairs[1][:12]
    stack = ClapStackingRegressor(boosting=False, cv=LeaveOneOut()).fit(X, y)
    assert len(stack.estimators_["laion"]["score"]) == 12


# Final level


@pytest.mark.parametrize("final_target", ["score", "both", "rank"])
def test_predictions_are_on_the_scale_of_y(ridges, pairs, new_pairs, final_target):
    X, y = pairs
    stack = ridges.set_params(final_target=final_target).fit(X, 50 + 20 * y)
    expected = 50 + 20 * new_pairs[1]
    predicted = stack.predict(new_pairs[0])
    assert stack.final_target_ == final_target
    assert np.mean((predicted - expected) ** 2) < 0.5 * expected.var()
    assert abs(predicted.mean() - expected.mean()) < 0.3 * expected.std()


def test_map_to_scores_keeps_the_order_of_the_final_level(ridges, pairs, new_pairs):
    stack = ridges.set_params(final_target="rank").fit(*pairs)
    first_level = stack.final_scaler_.transform(stack.transform(new_pairs[0]))
    ranks = stack.final_estimator_.predict(first_level)
    assert_array_equal(np.argsort(stack.predict(new_pairs[0])), np.argsort(ranks))


def test_map_to_scores_is_fitted_out_of_fold(pairs):
    """The map must not use in-sample predictions of a memorising final level."""
    X, y = pairs
    noise = np.random.default_rng(3).normal(size=len(y))
    stack = ClapStackingRegressor(
        boosting=False,
        final_target="rank",
        final_estimator=KNeighborsRegressor(n_neighbors=1),
    ).fit(X, y + 3 * noise)
    spread = np.std(stack.predict(X))
    # In-sample predictions would spread as much as y.
    assert spread < 0.75 * np.std(y + 3 * noise)


def test_rank_target_without_order_to_keep_is_refused(ridges, pairs):
    ridges.set_params(final_estimator=DummyRegressor(), final_target="rank")
    with pytest.raises(ValueError, match="final_target='rank' cannot be mapped back"):
        ridges.fit(*pairs)


def test_auto_prefers_the_score_where_it_is_a_sum_of_features(ridges, pairs):
    X, y = pairs
    noise = np.random.default_rng(0).normal(size=len(y))
    assert ridges.fit(X, y + noise).final_target_ == "score"


def test_auto_weighs_the_error_as_well_as_the_order(ridges, pairs):
    X, y = pairs
    bent = np.exp(y / 2)
    targets = ("score", "both", "rank")
    stacks = {t: clone(ridges).set_params(final_target=t).fit(X, bent) for t in targets}
    loss = {
        name: mse(bent, stack.oof_scores_) / bent.var()
        + 2 * (1 - srcc(bent, stack.oof_scores_))
        for name, stack in stacks.items()
    }
    assert ridges.fit(X, bent).final_target_ == min(loss, key=loss.get)
    assert len(set(loss.values())) == 3


def test_auto_takes_ranks_where_scores_have_outliers(ridges, pairs):
    X, y = pairs
    heavy = y.copy()
    heavy[::9] *= 1e4
    assert ridges.fit(X, heavy).final_target_ == "rank"


@pytest.mark.parametrize(("seed", "target"), [(3, "rank"), (5, "rank"), (26, "both")])
def test_auto_takes_no_target_that_has_no_map_to_scores(ridges, seed, target):
    """On noise, where that target would be closest in each fold."""
    rng = np.random.default_rng(seed)
    columns = ["a__x", "a__cosine", "b__x", "b__cosine"]
    X = pd.DataFrame(rng.normal(size=(40, 4)), columns=columns)
    noise = rng.normal(size=40)
    with pytest.raises(ValueError, match=f"final_target='{target}' cannot be mapped"):
        clone(ridges).set_params(final_target=target).fit(X, noise)
    assert ridges.fit(X, noise).final_target_ != target


def test_mean_gives_equal_weights(pairs):
    stack = ClapStackingRegressor(final_estimator="mean", boosting=False).fit(*pairs)
    assert len(set(stack.final_estimator_.coef_)) == 1


def test_any_regressor_replaces_the_final_ridge(pairs):
    forest = RandomForestRegressor(n_estimators=3, random_state=0)
    stack = ClapStackingRegressor(final_estimator=forest, boosting=False).fit(*pairs)
    assert isinstance(stack.final_estimator_, RandomForestRegressor)


def test_scale_of_y_does_not_change_the_weights_of_rank_and_score(ridges, pairs):
    X, y = pairs
    ridges.set_params(final_target="score")
    small = clone(ridges).fit(X, y)
    large = clone(ridges).fit(X, 1000 * y)
    assert_allclose(
        1000 * small.final_estimator_.coef_, large.final_estimator_.coef_, rtol=1e-6
    )


# Weights


def test_zero_weights_leave_pairs_out(ridges, pairs, new_pairs):
    X, y = pairs
    weight = (np.arange(90) % 5 > 0).astype(float)
    splits = list(KFold(3).split(X))
    ridges.set_params(cv=splits)
    spoilt = np.where(weight == 0, 1e3, y)
    first = clone(ridges).fit(X, y, sample_weight=weight)
    second = clone(ridges).fit(X, spoilt, sample_weight=weight)
    assert_array_equal(first.predict(new_pairs[0]), second.predict(new_pairs[0]))


def test_unit_weights_change_nothing(stack, pairs, new_pairs):
    first = clone(stack).fit(*pairs)
    second = clone(stack).fit(*pairs, sample_weight=np.ones(90))
    assert_allclose(
        first.predict(new_pairs[0]), second.predict(new_pairs[0]), rtol=1e-5
    )


def test_weights_for_a_regressor_that_takes_none_are_refused(pairs):
    stack = ClapStackingRegressor(base_estimators=KNeighborsRegressor(), boosting=False)
    with pytest.raises(ValueError, match=r"KNeighborsRegressor\.fit does not acc"):
        stack.fit(*pairs, sample_weight=np.ones(90))


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.full(90, -1.0), r"not negative; 90 of 90 rows are not \(rows 0, 1"),
        (np.where(np.arange(90) == 4, np.nan, 1.0), r"1 of 90 rows .*\(rows 4\)"),
        (np.zeros(90), "sample_weight is zero for all pairs"),
        (np.ones(89), r"must have shape \(90,\), .*got \(89,\)"),
    ],
)
def test_bad_weights_are_named(ridges, pairs, weight, message):
    with pytest.raises(ValueError, match=message):
        ridges.fit(*pairs, sample_weight=weight)


# Bad input


def test_scores_of_nan_are_named(ridges, pairs):
    X, y = pairs
    y[[3, 8]] = [np.nan, np.inf]
    with pytest.raises(ValueError, match=r"y .* in 2 of 90 rows \(rows 3, 8\)"):
        ridges.fit(X, y)


def test_missing_scores_are_refused(ridges, pairs):
    X, y = pairs
    with pytest.raises(ValueError, match=r"inconsistent.*\[90, 80\]. Pass one score"):
        ridges.fit(X, y[:80])


def test_scores_that_are_words_are_refused(ridges, pairs):
    with pytest.raises(ValueError, match=r"y passed to .* must be numbers"):
        ridges.fit(pairs[0], ["good"] * 90)


def test_constant_scores_are_refused(ridges, pairs):
    with pytest.raises(ValueError, match="y is constant: all 90 scores are 4"):
        ridges.fit(pairs[0], np.full(90, 4.0))


def test_constant_family_is_named(ridges, pairs):
    X, y = pairs
    broken = X.assign(**dict.fromkeys(by_family(X, "laion"), 0.3))
    message = "All 5 columns of family 'laion' are constant over 90 pairs"
    with pytest.raises(ValueError, match=message):
        ridges.fit(broken, y)


def test_family_constant_in_one_training_part_predicts_its_mean(ridges, pairs):
    X, y = pairs
    flag = X.assign(flag__cosine=(np.arange(90) < 30).astype(float))
    splits = list(KFold(3).split(X))
    stack = ridges.set_params(cv=splits).fit(flag, y)
    column = stack.first_level_names_.index("flag__score")
    assert np.isfinite(stack.oof_predictions_[:, column]).all()


def test_column_with_nan_is_named(ridges, pairs):
    X, y = pairs
    X.loc[5, "laion__cosine"] = np.nan
    with pytest.raises(ValueError, match=r"'laion__cosine'.*first is row 5"):
        ridges.fit(X, y)


def test_columns_in_another_order_are_refused(ridges, pairs):
    X, y = pairs
    ridges.fit(X, y)
    with pytest.raises(ValueError, match="must be in the same order"):
        ridges.predict(reorder(X, ["cross", "beats", "laion", "msclap"]))


def test_missing_column_is_named(ridges, pairs):
    X, y = pairs
    ridges.fit(X, y)
    with pytest.raises(ValueError, match="laion__cosine"):
        ridges.predict(X.drop(columns="laion__cosine"))


def test_unknown_auxiliary_family_is_named(pairs):
    stack = ClapStackingRegressor(auxiliary=["wavlm"], boosting=False)
    with pytest.raises(ValueError, match=r"unknown families \['wavlm'\]"):
        stack.fit(*pairs)


def test_auxiliary_families_with_nothing_to_join_are_refused(pairs):
    stack = ClapStackingRegressor(auxiliary=["msclap", "laion"], boosting=False)
    with pytest.raises(ValueError, match="leaves no contrastive family to add"):
        stack.fit(*pairs)


def test_family_named_boosting_is_refused(ridges, pairs):
    X, y = pairs
    with pytest.raises(ValueError, match="has a family named 'boosting'"):
        ridges.fit(X.assign(boosting__mean=y), y)


@pytest.mark.parametrize("targets", [[], ["score", "score"], ["score", "logit"]])
def test_unknown_targets_are_refused(pairs, targets):
    with pytest.raises(ValueError, match=r"'targets' .* a list of 'score', 'rank' or"):
        ClapStackingRegressor(targets=targets).fit(*pairs)


def test_alpha_of_zero_is_refused(pairs):
    with pytest.raises(ValueError, match="The 'alphas' parameter"):
        ClapStackingRegressor(alphas=0).fit(*pairs)


# As part of scikit-learn


def test_transform_returns_named_first_level_predictions(ridges, pairs):
    stack = ridges.set_output(transform="pandas").fit(*pairs)
    first_level = stack.transform(pairs[0])
    assert list(first_level.columns) == stack.first_level_names_
    assert_array_equal(first_level.index, pairs[0].index)


def test_prediction_is_an_array_for_any_transform_output(ridges, pairs):
    stack = ridges.set_output(transform="pandas").fit(*pairs)
    assert type(stack.predict(pairs[0])) is np.ndarray


def test_grid_searches_agreement_and_stack(ridges, pairs):
    X, y = pairs
    pipe = Pipeline([("agreement", CrossAgreement(2)), ("stack", ridges)])
    pipe.set_output(transform="pandas")
    search = GridSearchCV(
        pipe,
        {"agreement__n_components": [1, 2], "stack__alphas": [0.5, 1e6]},
        scoring=srcc_scorer,
        cv=2,
    )
    search.fit(X.drop(columns=by_family(X, "cross")), y)
    assert search.best_params_["stack__alphas"] == 0.5


def test_cross_val_score_of_a_stack(ridges, pairs):
    values = cross_val_score(ridges, *pairs, scoring=srcc_scorer, cv=3)
    assert (values > 0.6).all()


def test_groups_reach_the_stack_through_a_search(ridges, pairs):
    X, y = pairs
    groups = np.arange(90) % 12
    search = GridSearchCV(ridges, {"alphas": [1.0, 2.0]}, cv=GroupKFold(2))
    search.fit(X, y, groups=groups)
    assert hasattr(search, "best_estimator_")


def test_groups_and_weights_are_routed_through_a_pipeline(ridges, pairs):
    X, y = pairs
    groups, weight = np.arange(90) % 10, np.arange(90) % 3 + 1.0
    expected = clone(ridges).fit(X, y, sample_weight=weight, groups=groups)
    with config_context(enable_metadata_routing=True):
        ridges.set_fit_request(sample_weight=True, groups=True)
        pipe = make_pipeline(ridges).fit(X, y, sample_weight=weight, groups=groups)
    assert_array_equal(pipe[-1].oof_predictions_, expected.oof_predictions_)


def test_stack_predicts_out_of_fold_inside_cross_val_predict(ridges, pairs):
    X, y = pairs
    predicted = cross_val_predict(ridges, X, y, cv=3)
    assert spearmanr(predicted, y).statistic > 0.6


def test_verbose_shows_progress(ridges, pairs, capsys):
    ridges.set_params(verbose=True).fit(*pairs)
    assert "first level" in capsys.readouterr().err


def test_silence_is_the_default(ridges, pairs, capsys):
    ridges.fit(*pairs)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_scores_of_the_fit_are_kept_beside_its_held_out_ones(ridges, pairs):
    X, y = pairs
    given = y.copy()
    ridges.fit(X, given)
    given[:] = 0
    assert_array_equal(ridges.y_train_, y)
    assert ridges.y_train_.shape == ridges.oof_scores_.shape
