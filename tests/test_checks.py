"""Checks of numbers, weights and labels in all supported containers."""

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from clapstack._numerics.checks import as_numbers, check_labels

NUMBERS = {
    "list": [1, 0, 2],
    "booleans": np.array([1, 0, 2], dtype=bool),
    "objects": np.array([1, Decimal(0), 2.0], dtype=object),
    "Int64": pd.Series([1, 0, 2], dtype="Int64"),
    "Float64": pd.Series([1, 0, 2], dtype="Float64"),
    "boolean": pd.Series([True, False, True], dtype="boolean"),
    "category": pd.Series([1, 0, 2]).astype("category"),
    "sparse": pd.Series([1.0, 0.0, 2.0]).astype(pd.SparseDtype(float, 0.0)),
    "frame": pd.DataFrame({"y": [1, 0, 2]}),
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_are_read_from(name):
    expected = [1.0, 0.0, 1.0 if "bool" in name else 2.0]
    assert_array_equal(as_numbers(NUMBERS[name], "y").ravel(), expected)


def test_numbers_are_read_from_arrow():
    pytest.importorskip("pyarrow")
    column = pd.Series([1.5, None], dtype="double[pyarrow]")
    assert_array_equal(as_numbers(column, "y"), [1.5, np.nan])


@pytest.mark.parametrize(
    "values",
    [
        pd.Series([1, None, 3], dtype="Int64"),
        pd.Series([1, None, 3], dtype="Float64"),
        [1, None, 3],
        [1, pd.NA, 3],
        np.ma.masked_array([1, 2, 3], mask=[False, True, False]),
    ],
    ids=["Int64", "Float64", "None", "NA", "masked"],
)
def test_missing_numbers_become_nan(values):
    assert_array_equal(as_numbers(values, "y"), [1, np.nan, 3])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["7_5", "1"], "y must be numbers; its dtype is <U3.*pd.to_numeric"),
        ([1.0, "2"], "its dtype is <U"),
        (pd.Series(["a", "b"]), "row 0 has 'a'"),
        (np.array([1.0, "2"], dtype=object), "row 1 has '2'"),
        (np.array([1 + 2j]), "its dtype is complex128"),
        (np.array([1, 2 + 0j], dtype=object), "row 1 has"),
        (np.array(["2026-01-01"], dtype="datetime64[D]"), "its dtype is datetime64"),
        (pd.Series(pd.date_range("2026", periods=2, tz="UTC")), "row 0 has Timestamp"),
        (np.array([3], dtype="timedelta64[s]"), "its dtype is timedelta64"),
        ([[1.0], [1.0, 2.0]], "y must be one number per row"),
    ],
)
def test_what_is_no_number_is_named(values, message):
    with pytest.raises(ValueError, match=message):
        as_numbers(values, "y")


def test_whole_numbers_beyond_float64_are_infinite():
    assert_array_equal(as_numbers([10**400, -(10**400), 2], "y"), [np.inf, -np.inf, 2])


def labels_of(values):
    return check_labels(values, "groups", "Name every group.")


@pytest.mark.parametrize(
    "values",
    [
        [1, "1", 2, "1"],
        [("a", 1), ("a", 2), ("b", 1), ("a", 2)],
        [2**70, 2**70 + 1, 3, 2**70 + 1],
        np.array([1, "1", 2.5, "1"], dtype=object),
        pd.Series(["a", "b", "c", "b"], dtype="category"),
        pd.Series([5, 6, 7, 6], dtype="Int64"),
        pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1), ("a", 2)]),
    ],
)
def test_labels_are_equal_where_they_were(values):
    labels = labels_of(values)
    assert len(np.unique(labels)) == 3
    assert labels[1] == labels[3]


def test_labels_of_one_type_stay_as_they_came():
    assert_array_equal(labels_of([3, 1, 2]), [3, 1, 2])
    assert_array_equal(labels_of(["b", "a"]), ["b", "a"])


def test_numbers_of_labels_do_not_depend_on_the_order_of_rows():
    values = [1, "b", ("c", 2), "a", 1]
    assert_array_equal(labels_of(values)[::-1], labels_of(values[::-1]))


@pytest.mark.parametrize(
    "values",
    [
        ["a", None, "b"],
        [1, np.nan, 2],
        [("a", 1), ("a", None), ("b", 1)],
        pd.Series([1, None, 3], dtype="Int64"),
        np.ma.masked_array([1, 2, 3], mask=[False, True, False]),
    ],
)
def test_missing_labels_are_named(values):
    message = r"groups has missing values in 1 of 3 rows \(rows 1\). Name every"
    with pytest.raises(ValueError, match=message):
        labels_of(values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[1], [2]], "must be hashable labels"),
        (np.ones((3, 2)), r"one column of labels; got shape \(3, 2\).*ngroup"),
        (5, r"got shape \(\)"),
    ],
)
def test_what_is_no_column_of_labels_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        labels_of(values)
