import numpy as np
import pytest

from clapstack.families import contrastive_families, families_of, family_of


@pytest.mark.parametrize(
    ("name", "family"),
    [("msclap__cosine", "msclap"), ("a__b__c", "a"), ("plain", "plain")],
)
def test_family_is_what_stands_before_the_first_double_underscore(name, family):
    assert family_of(name) == family


def test_columns_of_a_family_need_not_be_neighbours():
    families = families_of(["b__x", "a__x", "b__y"])
    assert list(families) == ["b", "a"]
    np.testing.assert_array_equal(families["b"], [0, 2])


def test_contrastive_means_a_column_named_cosine():
    names = ["a__cosine", "b__cosine_gap", "cross__a_cosine", "c__mean0", "d__cosine"]
    assert contrastive_families(names) == ["a", "d"]
