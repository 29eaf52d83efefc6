import os
import pickle
import subprocess
import sys
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from clapstack.agreement import CrossAgreement


@pytest.fixture
def agreement():
    return CrossAgreement(n_components=3).set_output(transform="pandas")


def columns_of(X, family):
    return [name for name in X.columns if name.startswith(f"{family}__")]


def reorder(X, families):
    return X[[name for family in families for name in columns_of(X, family)]]


def projection(X, family, n_components):
    """Project on numpy's right singular vectors, largest loading positive."""
    table = X[columns_of(X, family)].to_numpy()
    vectors = np.linalg.svd(table, full_matrices=False)[2][:n_components].T
    largest = np.abs(vectors).argmax(axis=0)
    return table @ (vectors * np.sign(vectors[largest, range(n_components)]))


def test_families_are_those_with_a_cosine(agreement, features):
    assert agreement.fit(features).families_ == ["msclap", "laion", "fused"]


def test_input_columns_come_first_and_unchanged(agreement, features):
    out = agreement.fit_transform(features)
    pd.testing.assert_frame_equal(out[features.columns], features)
    assert list(out.columns[: features.shape[1]]) == list(features.columns)


def test_new_columns_are_the_family_cross(agreement, features):
    out = agreement.fit_transform(features)
    added = out.columns[features.shape[1] :]
    assert all(name.startswith("cross__") for name in added)
    # Three families: 3 cosines, 3 gaps, and 3 projections, products and differences.
    assert len(added) == 3 + 3 + 3 * (3 + 3 + 3)


def test_without_passthrough_only_cross_is_left(features):
    agreement = CrossAgreement(3, passthrough=False).set_output(transform="pandas")
    out = agreement.fit_transform(features)
    assert {name.partition("__")[0] for name in out.columns} == {"cross"}


def test_names_match_the_width(agreement, features):
    out = agreement.fit(features).transform(features)
    assert_array_equal(out.columns, agreement.get_feature_names_out())


def test_cosines_are_copied(agreement, features):
    out = agreement.fit_transform(features)
    assert_array_equal(out["cross__laion_cosine"], features["laion__cosine"])


def test_cosine_gap_is_the_absolute_difference(agreement, features):
    out = agreement.fit_transform(features)
    expected = (features["laion__cosine"] - features["msclap__cosine"]).abs()
    assert_allclose(out["cross__laion_msclap_cosine_gap"], expected)


def test_projection_is_the_leading_svd_of_the_family(agreement, features):
    out = agreement.fit_transform(features)
    got = out[[f"cross__msclap_svd{i}" for i in range(3)]]
    assert_allclose(got, projection(features, "msclap", 3), atol=1e-12)


def test_product_and_difference_compare_projections(agreement, features):
    out = agreement.fit_transform(features)
    fused, laion = (projection(features, name, 3) for name in ("fused", "laion"))
    product = out[[f"cross__fused_laion_product{i}" for i in range(3)]]
    difference = out[[f"cross__fused_laion_absdiff{i}" for i in range(3)]]
    assert_allclose(product, fused * laion, atol=1e-12)
    assert_allclose(difference, np.abs(fused - laion), atol=1e-12)


def test_svd_of_few_rows_is_that_of_many_columns(features):
    wide = features.iloc[:12]
    out = CrossAgreement(3).set_output(transform="pandas").fit_transform(wide)
    got = out[[f"cross__msclap_svd{i}" for i in range(3)]]
    assert_allclose(got, projection(wide, "msclap", 3), atol=1e-12)


def test_iterative_svd_of_a_large_family_is_exact():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(90, 120)) * np.linspace(1, 0.1, 120)
    names = [f"laion__audio{i}" for i in range(119)] + ["laion__cosine"]
    X = pd.DataFrame(values, columns=names)
    out = CrossAgreement(4).set_output(transform="pandas").fit_transform(X)
    got = out[[f"cross__laion_svd{i}" for i in range(4)]]
    assert_allclose(got, projection(X, "laion", 4), atol=1e-11)


def test_identical_families_do_not_differ(agreement, features):
    twin = {
        name.replace("laion__", "twin__"): features[name]
        for name in columns_of(features, "laion")
    }
    out = agreement.fit_transform(features.assign(**twin))
    columns = [name for name in out.columns if name.startswith("cross__laion_twin_")]
    gaps = [name for name in columns if "gap" in name or "absdiff" in name]
    assert len(gaps) == 4
    assert (out[gaps] == 0).all(axis=None)


def test_family_order_only_permutes_columns(agreement, features):
    shuffled = reorder(features, ["beats", "laion", "fused", "msclap"])
    first = agreement.fit_transform(features)
    second = clone(agreement).fit_transform(shuffled)
    pd.testing.assert_frame_equal(second[first.columns], first, check_exact=True)


def test_refit_gives_the_same_bits(agreement, features):
    first = agreement.fit_transform(features)
    pd.testing.assert_frame_equal(
        clone(agreement).fit_transform(features), first, check_exact=True
    )


def test_random_state_matters_to_rounding_only(agreement, features):
    first = agreement.fit_transform(features)
    other = clone(agreement).set_params(random_state=7).fit_transform(features)
    pd.testing.assert_frame_equal(other, first, rtol=0, atol=1e-12)


def test_pairs_do_not_depend_on_their_neighbours(agreement, features):
    agreement.fit(features)
    alone = agreement.transform(features.iloc[[7]])
    assert_allclose(alone, agreement.transform(features).iloc[[7]], atol=1e-14)


def test_float32_stays_float32(agreement, features):
    out = agreement.fit_transform(features.astype(np.float32))
    assert set(out.dtypes) == {np.dtype(np.float32)}


def test_float32_values_are_those_of_float64(agreement, features):
    exact = agreement.fit_transform(features)
    single = clone(agreement).fit_transform(features.astype(np.float32))
    assert_allclose(single, exact, atol=1e-6)


def test_target_is_not_read(agreement, features):
    y = np.arange(40.0)
    first = clone(agreement).fit(features, y).transform(features)
    second = clone(agreement).fit(features, -y).transform(features)
    pd.testing.assert_frame_equal(first, second, check_exact=True)


def test_one_contrastive_family_has_no_pairs(agreement, features):
    out = agreement.fit_transform(features[columns_of(features, "laion")])
    assert list(out.columns[-4:]) == [
        "cross__laion_cosine",
        "cross__laion_svd0",
        "cross__laion_svd1",
        "cross__laion_svd2",
    ]


def test_no_contrastive_family_passes_through(agreement, features):
    beats = features[columns_of(features, "beats")]
    pd.testing.assert_frame_equal(agreement.fit_transform(beats), beats)


def test_width_is_capped_by_the_number_of_pairs(features):
    assert CrossAgreement(32).fit(features.iloc[:10]).n_components_ == 10


def test_width_is_capped_by_the_rank_of_the_smallest_family(features):
    # Products sum to the cosine, so one of the 21 columns is redundant.
    smallest = features[columns_of(features, "laion")].to_numpy()
    assert np.linalg.matrix_rank(smallest) == 20
    assert CrossAgreement(32).fit(features).n_components_ == 20


def test_nameless_columns_warn_with_the_remedy(features):
    with pytest.warns(UserWarning, match=r'\.set_output\(transform="pandas"\)'):
        out = CrossAgreement().fit_transform(features.to_numpy())
    assert_array_equal(out, features.to_numpy())


def test_second_agreement_is_refused(agreement, features):
    out = agreement.fit_transform(features)
    with pytest.raises(ValueError, match="already has a family 'cross'"):
        clone(agreement).fit(out)


def test_nothing_to_return_is_refused(features):
    beats = features[columns_of(features, "beats")]
    with pytest.raises(ValueError, match=r"no contrastive family.*\['beats'\]"):
        CrossAgreement(passthrough=False).fit(beats)


def test_family_of_zeros_is_named(agreement, features):
    broken = features.copy()
    broken[columns_of(features, "fused")] = 0.0
    with pytest.raises(ValueError, match="All columns of family 'fused' are zero"):
        agreement.fit(broken)


def test_column_with_nan_is_named(agreement, features):
    broken = features.copy()
    broken.loc[[4, 9], "laion__text2"] = np.nan
    message = r"1 of 71 columns \('laion__text2'\) and 2 of 40 rows .* row 4\)"
    with pytest.raises(ValueError, match=message):
        agreement.fit(broken)


def test_columns_in_another_order_are_refused(agreement, features):
    agreement.fit(features)
    with pytest.raises(ValueError, match="must be in the same order"):
        agreement.transform(reorder(features, ["beats", "laion", "fused", "msclap"]))


def test_ambiguous_names_are_refused(agreement):
    rng = np.random.default_rng(0)
    names = [f"{family}__cosine" for family in ("a", "b_c", "a_b", "c")]
    X = pd.DataFrame(rng.normal(size=(9, 4)), columns=names)
    with pytest.raises(ValueError, match=r"'cross__a_b_c_cosine_gap'.*Rename"):
        agreement.fit(X)


def test_large_float32_input_is_not_copied_to_float64():
    rng = np.random.default_rng(0)
    values = rng.standard_normal((2000, 3000), dtype=np.float32)
    names = [f"laion__audio{i}" for i in range(199)] + ["laion__cosine"]
    names += [f"beats__mean{i}" for i in range(2800)]
    X = pd.DataFrame(values, columns=names)
    agreement = CrossAgreement(4)
    tracemalloc.start()
    agreement.fit(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < values.nbytes


@pytest.mark.slow
def test_pickle_gives_the_same_bits_in_a_fresh_process(agreement, features, tmp_path):
    expected = agreement.fit_transform(features)
    (tmp_path / "in.pkl").write_bytes(pickle.dumps((agreement, features)))
    script = (
        "import pickle, sys\n"
        "agreement, X = pickle.load(open(sys.argv[1], 'rb'))\n"
        "pickle.dump(agreement.transform(X), open(sys.argv[2], 'wb'))\n"
    )
    paths = [str(tmp_path / "in.pkl"), str(tmp_path / "out.pkl")]
    subprocess.run(
        [sys.executable, "-c", script, *paths], check=True, env=dict(os.environ)
    )
    again = pickle.loads((tmp_path / "out.pkl").read_bytes())
    pd.testing.assert_frame_equal(again, expected, check_exact=True)
