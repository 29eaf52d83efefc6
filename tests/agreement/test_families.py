import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import BaseEstimator

from clapstack.families import (
    check_features,
    contrastive_families,
    families_of,
    family_of,
)


@pytest.mark.parametrize(
    ("name", "family"),
    [("msclap__cosine", "msclap"), ("a__b__c", "a"), ("plain", "plain")],
)
def test_family_is_the_part_before_the_first_double_underscore(name, family):
    assert family_of(name) == family


def test_columns_of_a_family_need_not_be_neighbours():
    families = families_of(["b__x", "a__x", "b__y"])
    assert list(families) == ["b", "a"]
    np.testing.assert_array_equal(families["b"], [0, 2])


def test_contrastive_means_a_column_named_cosine():
    names = ["a__cosine", "b__cosine_gap", "cross__a_cosine", "c__mean0", "d__cosine"]
    assert contrastive_families(names) == ["a", "d"]


@pytest.fixture
def table():
    return pd.DataFrame({"a__x": [1.0, 2.0, 3.0], "a__cosine": [0.5, 0.25, 0.0]})


def check(X):
    return check_features(BaseEstimator(), X, reset=True)


@pytest.mark.parametrize(
    ("columns", "named"),
    [
        (pd.MultiIndex.from_tuples([("a", "x"), ("a", "y")]), r"\('a', 'x'\)"),
        ([b"a__x", b"a__cosine"], "b'a__x'"),
        ([0.5, 1.5], "0.5"),
    ],
)
def test_names_without_families_are_refused_with_the_remedy(table, columns, named):
    table.columns = columns
    with pytest.raises(ValueError, match=f"a column named {named}.*'__'.join"):
        check(table)


@pytest.mark.parametrize("dtype", [object, "Float64", "category"])
def test_numbers_of_any_dtype_are_features(table, dtype):
    assert_array_equal(check(table.astype(dtype)), table.to_numpy())


@pytest.mark.parametrize("missing", [None, pd.NA, np.nan])
def test_missing_features_are_named(table, missing):
    table = table.astype(object)
    table.loc[1, "a__cosine"] = missing
    with pytest.raises(ValueError, match=r"'a__cosine'.*the first is row 1"):
        check(table)
    with pytest.raises(ValueError, match=r"columns \(1\).*the first is row 1"):
        check(table.to_numpy())


def test_masked_features_are_missing(table):
    X = np.ma.masked_array(table.to_numpy(), mask=False)
    assert_array_equal(check(X), table.to_numpy())
    X[2, 0] = np.ma.masked
    with pytest.raises(ValueError, match=r"columns \(0\).*the first is row 2"):
        check(X)


def test_text_features_are_refused(table):
    text = table.astype(str)
    with pytest.raises(ValueError, match=r"column 'a__x' of X .* row 0 has '1\.0'"):
        check(text)
    for values in (text.to_numpy(), text.to_numpy().tolist()):
        with pytest.raises(ValueError, match="X passed to BaseEstimator must be num"):
            check(values)
