"""A fit from feature files equals a fit in memory."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.pipeline import FeatureUnion, make_pipeline

from clapstack import ClapStackingRegressor, CrossAgreement, PairFeatures
from clapstack.distributed import read_features, write_features
from clapstack.distributed._mapped import MappedRows
from clapstack.streaming import StreamedFeatures
from tests.distributed.conftest import cut
from tests.distributed.encoders import BandsEncoder, MortalEncoder

EMBEDDINGS = ("audio", "text")


def make_union(pairs, encoder=None, *, cache=None):
    """Embeddings of two spaces, one of them as a numeric family."""
    bands = PairFeatures(encoder or BandsEncoder(), blocks=EMBEDDINGS, cache=cache)
    products = PairFeatures(BandsEncoder(), blocks=("product",), cache=cache)
    return FeatureUnion([("bands", bands), ("products", products)]).fit(pairs)


def in_memory(union, pairs):
    features = union.transform(pairs)
    sides = features[:, :4], features[:, 4:8]
    names = {"products": [f"product{i}" for i in range(4)]}
    return StreamedFeatures(
        {"bands": sides}, {"products": features[:, 8:]}, names=names
    )


def test_a_fit_from_files_gives_the_bits_of_one_in_memory(cluster, pairs, tmp_path):
    union = make_union(pairs)
    write_features(union, cut(pairs), tmp_path, keep=["score"])
    X, rows, bad = read_features(tmp_path).values()
    assert_array_equal(rows.index, pairs.index)
    assert bad.empty
    expected = in_memory(union, pairs)
    assert X.columns.tolist() == expected.columns.tolist()
    assert_array_equal(X.rows(slice(None)), expected.rows(slice(None)))
    stack = make_pipeline(CrossAgreement(n_components=2), ClapStackingRegressor())
    from_files = stack.fit(X, rows["score"]).predict(X)
    assert_array_equal(
        from_files, stack.fit(expected, pairs["score"]).predict(expected)
    )


def test_a_worker_killed_in_mid_run_changes_no_bit(cluster, pairs, tmp_path):
    tomb = tmp_path / "tomb"
    union = make_union(pairs, MortalEncoder(str(tomb), n_samples=1_100))
    write_features(union, cut(pairs), tmp_path / "quiet")
    tomb.touch()
    write_features(union, cut(pairs), tmp_path / "killed")
    assert not tomb.exists()
    quiet, killed = (read_features(tmp_path / name) for name in ("quiet", "killed"))
    assert_array_equal(killed.rows.index, pairs.index)
    assert_array_equal(killed.X.rows(slice(None)), quiet.X.rows(slice(None)))


def test_bad_rows_are_returned_separately(bad_pairs, pairs, tmp_path):
    table = cut(bad_pairs)
    table = table[(table["id"] < 8) | (table["id"] > 15)]  # one partition is empty
    options = {"scheduler": "synchronous"}
    write_features(
        make_union(pairs), table, tmp_path, keep=["id"], compute_kwargs=options
    )
    X, rows, bad = read_features(tmp_path).values()
    assert bad["id"].tolist() == [3, 30, 31]
    assert bad["error"].str.contains("nowhere.wav|empty").all()
    assert rows.columns.tolist() == ["id"]
    assert rows["id"].tolist() == [
        i for i in [*range(8), *range(16, 48)] if i not in (3, 30, 31)
    ]
    expected = in_memory(make_union(pairs), pairs.loc[rows.index])
    assert_array_equal(X.rows(slice(None)), expected.rows(slice(None)))


def test_a_table_of_files_crosses_to_another_process_as_paths(pairs, tmp_path):
    options = {"scheduler": "synchronous"}
    write_features(make_union(pairs), cut(pairs), tmp_path, compute_kwargs=options)
    X = read_features(tmp_path).X
    X.rows([0, 40])
    pickled = pickle.dumps(X)
    assert len(pickled) < 6_000
    assert_array_equal(pickle.loads(pickled).rows([0, 40]), X.rows([0, 40]))


def test_an_unfinished_run_is_not_read(pairs, tmp_path):
    (tmp_path / "tomb").touch()
    union = make_union(pairs)
    options = {"scheduler": "synchronous"}
    write_features(union, cut(pairs), tmp_path, compute_kwargs=options)
    broken = union.transformer_list[0][1].set_params(encoder=None)
    assert broken.encoder is None
    with pytest.raises(TypeError, match="sample_rate must be a number of hertz"):
        write_features(union, cut(pairs), tmp_path, compute_kwargs=options)
    with pytest.raises(FileNotFoundError, match="has no complete features"):
        read_features(tmp_path)
    assert not list(tmp_path.rglob("*.part"))


def test_unusable_features_are_refused(pairs, tmp_path):
    alone = PairFeatures(BandsEncoder(), cache=None).fit(pairs)
    with pytest.raises(ValueError, match=r"such as 'audio0'\. Wrap it: FeatureUnion"):
        write_features(alone, cut(pairs), tmp_path)
    table = cut(pairs.assign(error=0))
    with pytest.raises(ValueError, match=r"keep has \['error'\]"):
        write_features(make_union(pairs), table, tmp_path, keep=["error"])
    options = {"scheduler": "synchronous"}
    blank = cut(pairs.assign(text=""))
    write_features(make_union(pairs), blank, tmp_path, compute_kwargs=options)
    with pytest.raises(ValueError, match=r"none of the 48 pairs in .* are usable"):
        read_features(tmp_path)


@pytest.fixture
def mapped(tmp_path):
    """Return rows in files of several lengths, including zero, and the whole array."""
    whole = np.arange(24, dtype=np.float32).reshape(8, 3)
    n_rows = [3, 0, 1, 4, 0]
    paths = [tmp_path / f"{i}.npy" for i in range(5)]
    for path, part in zip(paths, np.split(whole, np.cumsum(n_rows)[:-1]), strict=True):
        np.save(path, part)
    return MappedRows(paths, n_rows, 3), whole


@pytest.mark.parametrize("start", range(9))
def test_any_slice_is_that_of_the_whole(mapped, start):
    rows, whole = mapped
    for stop in range(9):
        assert_array_equal(rows[start:stop], whole[start:stop])
    assert_array_equal(rows[start::3], whole[start::3])


def test_any_rows_are_those_of_the_whole(mapped):
    rows, whole = mapped
    for numbers in ([7, 0, 3, 3], [2], []):
        numbers = np.array(numbers, dtype=int)
        assert_array_equal(rows[numbers], whole[numbers])
    assert rows.shape == whole.shape


def test_a_file_that_changed_is_refused(mapped, tmp_path):
    rows, whole = mapped
    np.save(tmp_path / "3.npy", whole.astype(np.float64))
    with pytest.raises(ValueError, match=r"3\.npy must contain a float32 array"):
        rows[5:6]


def test_a_relative_folder_is_resolved_by_the_caller(
    cluster, pairs, tmp_path, monkeypatch
):
    """The workers were started in another folder."""
    union = make_union(pairs)
    monkeypatch.chdir(tmp_path)
    write_features(union, cut(pairs), "features")
    X = read_features("features").X
    monkeypatch.chdir("/")
    assert_array_equal(X.rows(slice(None)), in_memory(union, pairs).rows(slice(None)))
