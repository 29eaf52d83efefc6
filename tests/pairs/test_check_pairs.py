import numpy as np
import pandas as pd
import pytest
import soundfile as sf
from numpy.testing import assert_array_equal
from pandas.testing import assert_frame_equal
from sklearn.base import BaseEstimator

from clapstack.pairs import bad_texts, check_pairs

ROWS = [("a.wav", "a dog"), ("b.wav", "rain")]


@pytest.fixture
def frame():
    return pd.DataFrame(ROWS, columns=["audio", "text"], index=["x", "y"], dtype=object)


def checked(X, reset=True):
    return check_pairs(BaseEstimator(), X, reset=reset)


def test_frame_keeps_its_labels(frame):
    assert_frame_equal(checked(frame), frame)


def test_columns_are_found_by_name_in_any_order(frame):
    assert_frame_equal(checked(frame[["text", "audio"]]), frame)


def test_other_columns_are_ignored(frame):
    assert_frame_equal(checked(frame.assign(score=1.0)), frame)


@pytest.mark.parametrize(
    "X", [ROWS, np.array(ROWS, dtype=object), np.array(ROWS), [list(r) for r in ROWS]]
)
def test_rows_hold_audio_before_text(X, frame):
    assert_frame_equal(checked(X), frame.reset_index(drop=True))


def test_a_cell_may_hold_samples():
    clip = (np.zeros(4), 16_000)
    pairs = checked([(clip, "a dog"), ({"array": [0.0], "sampling_rate": 8}, "rain")])
    assert pairs["audio"][0] is clip
    assert pairs["audio"][1]["sampling_rate"] == 8


def test_input_is_not_changed(frame):
    before = frame.copy()
    pairs = checked(frame)
    pairs.loc["x", "text"] = "changed"
    assert_frame_equal(frame, before)


def test_feature_names_are_those_of_the_pair(frame):
    estimator = BaseEstimator()
    check_pairs(
        estimator, frame.assign(score=1.0)[["score", "text", "audio"]], reset=True
    )
    assert_array_equal(estimator.feature_names_in_, ["audio", "text"])
    assert estimator.n_features_in_ == 2


def test_fitted_on_a_frame_accepts_rows(frame):
    estimator = BaseEstimator()
    check_pairs(estimator, frame, reset=True)
    assert len(check_pairs(estimator, ROWS, reset=False)) == 2


def test_missing_column_is_named(frame):
    with pytest.raises(ValueError, match=r"missing \['text'\], got \['audio'\]"):
        checked(frame[["audio"]])


def test_frame_without_names_says_how_to_rename(frame):
    with pytest.raises(ValueError, match=r"Rename your columns with X.rename"):
        checked(frame.set_axis([0, 1], axis=1))


def test_repeated_column_is_refused(frame):
    twice = pd.concat([frame, frame[["text"]]], axis=1)
    with pytest.raises(ValueError, match="more than one column of the same name"):
        checked(twice)


@pytest.mark.parametrize(
    "X", [[], np.empty((0, 2)), pd.DataFrame(columns=["audio", "text"])]
)
def test_no_rows(X):
    with pytest.raises(ValueError, match="BaseEstimator has no rows"):
        checked(X)


@pytest.mark.parametrize("shape", [(3,), (3, 1), (3, 3), (3, 2, 1)])
def test_array_of_another_shape(shape):
    with pytest.raises(ValueError, match=r"must have shape \(n_pairs, 2\)"):
        checked(np.zeros(shape, dtype=object))


@pytest.mark.parametrize("row", ["ab", b"ab", ("a.wav",), 5, {"audio": 1, "text": 2}])
def test_row_that_is_not_a_pair(row):
    with pytest.raises(ValueError, match="row 1 is"):
        checked([ROWS[0], row])


@pytest.mark.parametrize("kind", ["Table", "RecordBatch"])
def test_an_arrow_table_is_a_table(kind, frame):
    arrow = pytest.importorskip("pyarrow")
    X = getattr(arrow, kind).from_pydict(
        {"score": [1, 2], "text": ["a dog", "rain"], "audio": ["a.wav", "b.wav"]}
    )
    assert_frame_equal(checked(X), frame.reset_index(drop=True))
    with pytest.raises(
        ValueError, match=r"missing \['audio'\], got \['score', 'text'\]"
    ):
        checked(X.select(["score", "text"]))


def test_cells_of_an_arrow_table_are_python_objects():
    arrow = pytest.importorskip("pyarrow")
    clip = {"array": [0.0, 0.5], "sampling_rate": 8_000}
    pairs = checked(arrow.table({"audio": [clip], "text": [None]}))
    assert pairs.to_numpy().tolist() == [[clip, None]]


def test_a_repeated_column_of_an_arrow_table_is_refused():
    arrow = pytest.importorskip("pyarrow")
    X = arrow.Table.from_arrays([["a"], ["b"], ["c"]], ["audio", "text", "text"])
    with pytest.raises(ValueError, match="more than one column of the same name"):
        checked(X)


def test_a_dataset_is_a_table(frame):
    datasets = pytest.importorskip("datasets")
    X = datasets.Dataset.from_dict(
        {"text": ["rain", "?", "a dog"], "n": [1, 2, 3], "audio": ["b", "?", "a"]}
    )
    pairs = checked(X.with_format("numpy").select([2, 0]))
    assert pairs.to_numpy().tolist() == [["a", "a dog"], ["b", "rain"]]


def test_audio_of_a_dataset_is_left_to_our_own_decoder(tmp_path):
    datasets = pytest.importorskip("datasets")
    path = str(tmp_path / "a.wav")
    sf.write(path, np.full(800, 0.5), 8_000)
    X = datasets.Dataset.from_dict({"audio": [path], "text": ["a dog"]})
    for feature in (datasets.Audio(), datasets.Audio(sampling_rate=16_000)):
        (cell,) = checked(X.cast_column("audio", feature))["audio"]
        assert cell == {"bytes": None, "path": path}


def test_a_split_of_several_datasets_must_be_taken():
    datasets = pytest.importorskip("datasets")
    X = datasets.Dataset.from_dict({"audio": ["a"], "text": ["b"]})
    with pytest.raises(TypeError, match="For a DatasetDict, pass one split"):
        checked(datasets.DatasetDict(train=X))


@pytest.mark.parametrize("X", [{"audio": ["a"], "text": ["b"]}, "ab", None, 5])
def test_neither_frame_nor_rows(X):
    with pytest.raises(TypeError, match=r"Wrap it with pandas.DataFrame\(X\)"):
        checked(X)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty or blank"),
        (" \t\n", "empty or blank"),
        (None, "got NoneType"),
        (np.nan, "got float"),
        (7, "got int"),
        (b"rain", "got bytes"),
        ("\ud800", "not valid UTF-8"),
    ],
)
def test_bad_text_is_named_with_its_row(frame, text, reason):
    texts = pd.Series(["a dog", text], index=frame.index, dtype=object)
    (row,) = bad_texts(frame.assign(text=texts))
    assert (row.position, row.index) == (1, "y")
    assert row.source.startswith("text ")
    assert reason in row.reason


def test_good_texts_give_no_bad_rows(frame):
    assert bad_texts(frame.assign(text=["犬が吠える", "!"])) == []
