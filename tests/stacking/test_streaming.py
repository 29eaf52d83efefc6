"""Streamed tables give the same results as tables in memory."""

import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    cross_val_score,
    train_test_split,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from clapstack import ClapStackingRegressor, CrossAgreement
from clapstack._numerics.lazy_table import read_table
from clapstack.features import pair_feature_names, pair_features
from clapstack.stacking import KernelRegressor, StandardizedRidge
from clapstack.stacking._trees import BoostedTrees
from clapstack.streaming import StreamedFeatures

DIMS = {"msclap": 6, "laion": 4}


def unit_rows(rng, n_rows, dim):
    rows = rng.normal(size=(n_rows, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def make_table(n_pairs, seed):
    """Embeddings of two spaces, auxiliary numbers, and scores that follow cosines."""
    rng = np.random.default_rng(seed)
    pairs = {}
    y = rng.normal(scale=0.1, size=n_pairs)
    for family, dim in DIMS.items():
        a, b = (unit_rows(rng, n_pairs, dim) for _ in range(2))
        pairs[family] = (a, b)
        y += (a * b).sum(axis=1)
    beats = rng.normal(size=(n_pairs, 3)).astype(np.float32)
    return StreamedFeatures(pairs, {"beats": beats}), y


def in_memory(table):
    return pd.DataFrame(table.rows(slice(None)), columns=table.columns)


@pytest.fixture
def table():
    return make_table(120, seed=0)


def test_rows_are_the_pair_features(table):
    X, _ = table
    a, b = X._sources[0].audio, X._sources[0].text
    expected = pair_features(a, b)
    assert_array_equal(X.rows(slice(None))[:, : expected.shape[1]], expected)
    names = [f"msclap__{name}" for name in pair_feature_names(6)]
    assert X.columns[: len(names)].tolist() == names
    assert X.columns[-1] == "beats__feature2"


@settings(deadline=None, max_examples=30)
@given(
    rows=st.lists(st.integers(0, 19), max_size=8),
    columns=st.lists(st.integers(0, 54), min_size=1, max_size=12, unique=True),
)
def test_any_rows_and_columns_are_those_of_the_array(rows, columns):
    X, _ = make_table(20, seed=1)
    assert X.shape == (20, 55)
    whole = in_memory(X).to_numpy()
    rows, columns = np.array(rows, dtype=int), np.array(columns)
    expected = whole[np.ix_(rows, columns)]
    assert_array_equal(X.rows(rows, columns), expected)
    assert_array_equal(read_table(whole, rows, columns), expected)
    cut = slice(3, 17, 2)
    assert_array_equal(X.rows(cut, columns), whole[cut][:, columns])
    assert_array_equal(read_table(whole, cut, columns), whole[cut][:, columns])


@pytest.mark.parametrize("weighted", [False, True])
def test_streamed_stack_is_the_stack_in_memory(table, weighted):
    X, y = table
    new, _ = make_table(40, seed=2)
    weight = np.random.default_rng(0).integers(0, 3, len(y)) if weighted else None
    trees = BoostedTrees(max_iter=5)
    stack = ClapStackingRegressor(boosting=trees, n_components=4)
    arguments = {"clapstackingregressor__sample_weight": weight}
    held = make_pipeline(CrossAgreement(3), stack).set_output(transform="pandas")
    held.fit(in_memory(X), y, **arguments)
    expected = held.predict(in_memory(new))
    streamed = make_pipeline(CrossAgreement(3), stack)
    streamed.set_output(transform="default").fit(X, y, **arguments)
    assert_allclose(streamed.predict(new), expected, atol=1e-9)
    assert_allclose(streamed[-1].oof_predictions_, held[-1].oof_predictions_, atol=1e-9)
    # Each model accepts the other's table.
    streamed.set_output(transform="pandas")
    assert_allclose(streamed.predict(in_memory(new)), expected, atol=1e-9)


def test_rows_are_taken_as_numpy_takes_them(table):
    X, _ = table
    whole = X.rows(slice(None))
    mask = np.arange(len(X)) % 7 == 0
    assert_array_equal(X.rows(mask), whole[mask])
    assert_array_equal(X.rows([3, -1]), whole[[3, -1]])
    assert X.rows([1, 2], []).shape == (2, 0)
    with pytest.raises(IndexError, match="out of bounds"):
        X.rows([120])


@pytest.mark.parametrize(
    "rows",
    [slice(3, 90, 2), slice(None, None, -1), [5, 5, -1], np.arange(120) % 7 == 0],
)
def test_a_table_is_cut_into_tables(table, rows):
    X = CrossAgreement(2).fit(table[0]).transform(table[0])  # computed columns too
    whole = X.rows(slice(None))
    part = X[rows]
    assert isinstance(part, StreamedFeatures)
    assert part.columns.tolist() == X.columns.tolist()
    assert_array_equal(part.rows(slice(None)), whole[rows])
    assert_array_equal(part[1:][::2].rows([-1, 0]), whole[rows][1:][::2][[-1, 0]])
    again = pickle.loads(pickle.dumps(table[0][rows]))
    assert_array_equal(again.rows(slice(None)), table[0].rows(slice(None))[rows])


def test_a_table_is_not_cut_by_columns(table):
    with pytest.raises(IndexError, match=r"use \.rows\(rows, columns\)"):
        table[0][:, 3]


def test_rows_that_were_cut_off_are_not_checked(table):
    numbers = np.zeros((120, 2), np.float32)
    numbers[9] = np.nan
    X = StreamedFeatures({}, {"beats": numbers})
    X[10:].check("Model")
    with pytest.raises(ValueError, match=r"infinity in family 'beats' .*row 1\)"):
        X[8:].check("Model")


def test_searches_and_splits_cut_a_table_as_they_cut_frames(table):
    X, y = table
    model = make_pipeline(CrossAgreement(2), ClapStackingRegressor(boosting=False))
    grid = {"crossagreement__n_components": [1, 2]}
    splits = KFold(3, shuffle=True, random_state=0)

    def search(model, X):
        return GridSearchCV(model, grid, cv=splits).fit(X, y)

    streamed = search(model, X)
    held = search(clone(model).set_output(transform="pandas"), in_memory(X))
    scores = streamed.cv_results_["mean_test_score"]
    assert_allclose(scores, held.cv_results_["mean_test_score"], atol=1e-9)
    assert_allclose(streamed.predict(X), held.predict(in_memory(X)), atol=1e-9)
    assert_allclose(
        cross_val_score(model, X, y, cv=splits),
        cross_val_score(held.estimator, in_memory(X), y, cv=splits),
        atol=1e-9,
    )
    train, test = train_test_split(X, random_state=0)
    assert (train.shape, test.shape) == ((90, X.shape[1]), (30, X.shape[1]))


def test_agreement_is_computed_when_it_is_read(table):
    X, _ = table
    agreement = CrossAgreement(3)
    lazy = agreement.fit(X).transform(X)
    assert isinstance(lazy, StreamedFeatures)
    assert lazy.columns.tolist() == agreement.get_feature_names_out().tolist()
    frame = in_memory(X)
    expected = CrossAgreement(3).set_output(transform="pandas").fit_transform(frame)
    assert_array_equal(lazy.rows(slice(None)), expected)
    alone = CrossAgreement(3, passthrough=False).fit(X).transform(X)
    assert_array_equal(alone.rows(slice(5, 9)), expected.to_numpy()[5:9, X.shape[1] :])


def test_agreement_of_a_lazy_table_outlives_the_next_fit(table):
    X, _ = table
    agreement = CrossAgreement(2)
    lazy = agreement.fit(X).transform(X)
    before = lazy.rows(slice(None))
    agreement.fit(make_table(60, seed=5)[0])
    assert_array_equal(lazy.rows(slice(None)), before)


def test_no_reading_takes_the_whole_table(monkeypatch):
    X, y = make_table(6000, seed=3)
    read, most = StreamedFeatures.reader, []

    def watched(self, columns):
        parts = read(self, columns)

        def counted(rows):
            for where, values in parts(rows):
                most.append(values.size)
                yield where, values

        return counted

    monkeypatch.setattr(StreamedFeatures, "reader", watched)
    monkeypatch.setattr("clapstack._numerics.rows._CHUNK_ELEMENTS", 1 << 15)
    monkeypatch.setattr("clapstack._numerics.rows._BLOCK_ELEMENTS", 1 << 15)
    lazy = CrossAgreement(2).fit(X).transform(X)
    ClapStackingRegressor(boosting=False, cv=2).fit(lazy, y).predict(lazy)
    # The largest are the 2,048 rows of 31 columns that are predicted at once.
    assert 0 < max(most) <= 2048 * 31


def test_memory_mapped_embeddings_are_not_copied(tmp_path):
    rng = np.random.default_rng(0)
    for side in ("audio", "text"):
        np.save(tmp_path / f"{side}.npy", unit_rows(rng, 30, 4))
    a, b = (np.load(tmp_path / f"{s}.npy", mmap_mode="r") for s in ("audio", "text"))
    X = StreamedFeatures({"laion": (a, b)})
    assert X._sources[0].audio is a
    assert_array_equal(
        X.rows(slice(2, 5)), pair_features(np.array(a), np.array(b))[2:5]
    )


def test_fitted_stack_does_not_hold_the_table(table):
    X, y = table
    lazy = CrossAgreement(2).fit(X).transform(X)
    stack = ClapStackingRegressor(boosting=False).fit(lazy, y)
    assert b"StreamedFeatures" not in pickle.dumps(stack)


def test_other_regressors_take_their_family_as_an_array(table):
    X, y = table
    stack = ClapStackingRegressor(boosting=False, base_estimators=Ridge())
    streamed = stack.fit(X, y).predict(X)
    expected = stack.fit(in_memory(X), y).predict(in_memory(X))
    # They work in float32, and the order of sums depends on the memory layout.
    assert_allclose(streamed, expected, atol=1e-5)


def test_regressors_that_work_in_place_leave_the_features_alone(table):
    X, y = table[0].rows(slice(None)), table[1]
    before = X.copy()
    regressor = make_pipeline(StandardScaler(copy=False), Ridge())
    stack = ClapStackingRegressor(boosting=False, base_estimators=regressor)
    stack.fit(X, y).predict(X)
    assert_array_equal(X, before)


def test_columns_of_a_lazy_table_are_compared(table):
    X, y = table
    ridge = StandardizedRidge().fit(X, y)
    assert ridge.feature_names_in_.tolist() == X.columns.tolist()
    other = StreamedFeatures({"laion": (X._sources[1].audio, X._sources[1].text)})
    with pytest.raises(ValueError, match="feature names should match"):
        ridge.predict(other)


def test_frames_cannot_hold_a_lazy_table(table):
    agreement = CrossAgreement(2).set_output(transform="pandas").fit(table[0])
    with pytest.raises(ValueError, match="cannot be converted to a DataFrame"):
        agreement.transform(table[0])


@pytest.mark.parametrize("wrong", [np.nan, 0.0, 3.0])
def test_embeddings_that_are_not_of_unit_norm_are_named(table, wrong):
    X, _ = table
    text = X._sources[1].text.copy()
    text[7] = wrong
    X = StreamedFeatures({"laion": (X._sources[1].audio, text)})
    match = "CrossAgreement has text embeddings of family 'laion' .*: row 7 has norm"
    with pytest.raises(ValueError, match=match):
        CrossAgreement().fit(X)


def test_numbers_that_are_not_finite_are_named(table):
    X, y = table
    numbers = np.zeros((120, 2), np.float32)
    numbers[9, 1] = np.inf
    X = StreamedFeatures({}, {"beats": numbers})
    with pytest.raises(ValueError, match=r"infinity in family 'beats' .*row 9"):
        ClapStackingRegressor().fit(X, y)


def test_family_that_never_varies_is_named(table):
    X, y = table
    sides = {"laion": (X._sources[1].audio, X._sources[1].text)}
    X = StreamedFeatures(sides, {"beats": np.ones((120, 2), np.float32)})
    with pytest.raises(ValueError, match="'beats' are constant over 120 pairs"):
        ClapStackingRegressor().fit(X, y)


ONES = np.ones((3, 2), np.float32)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (({},), "got no family"),
        (({"a": (ONES, ONES[:2])},), r"same shape; got \(3, 2\) and \(2, 2\)"),
        (({"a": (ONES, ONES)}, {"b": ONES[:2]}), r"got \{'a': 3, 'b': 2\}\. Use"),
        (({"a": (ONES.astype(float), ONES)},), "must be a 2-D float32 array.*float64"),
        (({"a": (ONES, [[1.0, 2.0]])},), "must be a 2-D float32 array.*list"),
        (({"a__b": (ONES, ONES)},), r"or contain '__'.*got \['a__b'\]"),
        (({"a": (ONES, ONES)}, {"a": ONES}), r"must be unique.*got \['a'\]"),
    ],
)
def test_invalid_families_are_refused(arguments, match):
    with pytest.raises(ValueError, match=match):
        StreamedFeatures(*arguments)


def test_names_must_match_the_columns():
    with pytest.raises(ValueError, match="1 names for family 'b', which has 2 col"):
        StreamedFeatures({}, {"b": ONES}, names={"b": ["mean0"]})
    with pytest.raises(ValueError, match=r"names has unknown families \['c'\]"):
        StreamedFeatures({}, {"b": ONES}, names={"c": ["mean0", "mean1"]})
    X = StreamedFeatures({}, {"b": ONES}, names={"b": ["mean0", "mean1"]})
    assert X.columns.tolist() == ["b__mean0", "b__mean1"]


def test_regressors_that_work_in_place_do_not_spoil_one_another(table):
    X, y = table[0].rows(slice(None)), table[1]

    def predict(copy):
        regressor = make_pipeline(StandardScaler(copy=copy), Ridge())
        stack = ClapStackingRegressor(boosting=False, base_estimators=regressor)
        return stack.fit(X, y).predict(X)

    assert_array_equal(predict(copy=False), predict(copy=True))


def test_kernel_model_of_a_streamed_table_is_that_of_the_table(table):
    X, y = table
    streamed = KernelRegressor().fit(X, y)
    held = KernelRegressor().fit(in_memory(X), y)
    assert streamed.blocks_.keys() == held.blocks_.keys()
    for found, expected in zip(
        streamed.predict(X, return_std=True),
        held.predict(in_memory(X), return_std=True),
        strict=True,
    ):
        assert_allclose(found, expected, rtol=1e-6)


def test_stack_with_a_kernel_model_takes_a_streamed_table(table):
    X, y = table
    stack = ClapStackingRegressor(boosting=False, kernel=True)
    streamed = clone(stack).fit(X, y).oof_predictions_
    held = clone(stack).fit(in_memory(X), y).oof_predictions_
    assert_allclose(streamed, held, rtol=1e-6)
