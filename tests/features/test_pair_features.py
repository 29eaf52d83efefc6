import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from clapstack.features import PAIR_BLOCKS, pair_feature_names, pair_features

selections = st.lists(st.sampled_from(PAIR_BLOCKS), min_size=1, unique=True)


def unit(n, dim, seed):
    rows = np.random.default_rng(seed).standard_normal((n, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def equation_1(a, b):
    parts = [a, b, a * b, abs(a - b), (a - b) ** 2, (a * b).sum(1, keepdims=True)]
    return np.concatenate(parts, axis=1)


@given(st.integers(1, 200), st.integers(1, 40), st.integers(0, 9))
def test_features_are_those_of_equation_1(n, dim, seed):
    a, b = unit(n, dim, seed), unit(n, dim, seed + 10)
    features = pair_features(a, b)
    assert features.shape == (n, 5 * dim + 1)
    assert features.dtype == np.float32
    assert_allclose(features, equation_1(a.astype(float), b.astype(float)), atol=1e-6)


@given(selections)
def test_chosen_blocks_are_columns_of_the_whole(blocks):
    a, b = unit(9, 5, 0), unit(9, 5, 1)
    everything = dict(zip(pair_feature_names(5), pair_features(a, b).T, strict=True))
    chosen = pair_features(a, b, blocks)
    names = pair_feature_names(5, blocks)
    assert_array_equal(chosen, np.transpose([everything[name] for name in names]))


@given(selections)
def test_order_of_the_blocks_is_that_of_the_equation(blocks):
    names = pair_feature_names(1, blocks)
    assert names == [name for name in pair_feature_names(1) if name in names]


def test_names_of_all_columns():
    assert pair_feature_names(2) == [
        *("audio0", "audio1", "text0", "text1", "product0", "product1"),
        *("absdiff0", "absdiff1", "sqdiff0", "sqdiff1", "cosine"),
    ]


def test_a_row_does_not_depend_on_the_others():
    a, b = unit(300, 33, 0), unit(300, 33, 1)
    features = pair_features(a, b)
    alone = np.concatenate(
        [pair_features(a[i : i + 1], b[i : i + 1]) for i in range(300)]
    )
    assert_array_equal(features, alone)


def test_the_same_embedding_twice_has_cosine_one_and_no_distance():
    a = unit(20, 16, 0)
    features = pair_features(a, a, ("absdiff", "sqdiff", "cosine"))
    assert_array_equal(features[:, :-1], 0)
    assert_allclose(features[:, -1], 1, atol=1e-6)


def test_input_is_not_written_to():
    a, b = unit(5, 4, 0), unit(5, 4, 1)
    a.flags.writeable = b.flags.writeable = False
    pair_features(a, b)


def test_float64_input_gives_float32():
    a, b = unit(5, 4, 0).astype(float), unit(5, 4, 1).astype(float)
    assert pair_features(a, b).dtype == np.float32


@pytest.mark.parametrize(
    "blocks", [(), ("audio", "audio"), ("audio", "prod"), "cosine"]
)
def test_blocks_that_are_no_selection(blocks):
    with pytest.raises(ValueError, match="blocks must be distinct names from"):
        pair_features(unit(2, 3, 0), unit(2, 3, 1), blocks)


@pytest.mark.parametrize(("a", "b"), [((2, 3), (2, 4)), ((2, 3), (3, 3)), ((3,), (3,))])
def test_shapes_that_do_not_match(a, b):
    with pytest.raises(ValueError, match=r"must both have shape \(n_pairs, proj"):
        pair_features(np.ones(a), np.ones(b))


@pytest.mark.parametrize("norm", [43.0, 0.5, 0.0, np.nan, 1.01])
def test_a_row_that_is_not_of_unit_norm_is_refused(norm):
    a, b = unit(5, 4, 0), unit(5, 4, 1)
    b[3] *= norm
    message = rf"row 3 of b has norm {norm:g}.* Pass normalize=True"
    with pytest.raises(ValueError, match=message):
        pair_features(a, b)


def test_rows_of_any_norm_may_be_normalised():
    a, b = unit(5, 4, 0), unit(5, 4, 1)
    features = pair_features(43 * a, 1e-20 * b.astype(float), normalize=True)
    assert_allclose(features, pair_features(a, b), atol=1e-6)


@pytest.mark.parametrize("value", [0, np.inf, np.nan])
def test_a_row_that_has_no_direction_is_refused(value):
    a, b = unit(5, 4, 0), unit(5, 4, 1)
    a[2] = value
    with pytest.raises(ValueError, match=r"row 2 of a has norm .* Encode it again"):
        pair_features(a, b, normalize=True)


@pytest.mark.parametrize("dim", [8, 1024])
def test_half_precision_is_near_enough_to_unit_norm(dim):
    a, b = unit(50, dim, 0), unit(50, dim, 1)
    halves = pair_features(a.astype(np.float16), b.astype(np.float16))
    assert_allclose(halves, pair_features(a, b), atol=3e-3)


@pytest.mark.parametrize("normalize", [False, True])
def test_bits_of_a_row_do_not_depend_on_the_layout_of_the_table(normalize):
    a, b = unit(60, 64, 0), unit(60, 64, 1)
    by_column = [np.asfortranarray(side) for side in (a, b)]
    assert_array_equal(
        pair_features(*by_column, normalize=normalize),
        pair_features(a, b, normalize=normalize),
    )
