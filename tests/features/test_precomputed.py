"""Pair features of precomputed embeddings."""

import warnings
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.base import clone

from clapstack.exceptions import BadPairsError, CollapsedTowerWarning
from clapstack.features import PrecomputedPairFeatures

BLOCKS = ("audio", "text", "cosine")


@pytest.fixture
def table():
    audio = {"a.wav": [1.0, 0.0], "b.wav": [0.0, 2.0], "c.wav": [3.0, 4.0]}
    text = {"rain": [1.0, 0.0], "a dog": [0.0, -1.0]}
    X = pd.DataFrame({"audio": ["c.wav", "a.wav"], "text": ["a dog", "rain"]})
    expected = [[0.6, 0.8, 0, -1, -0.8], [1, 0, 1, 0, 1]]
    return audio, text, X, expected


def test_tensors_by_key_are_taken(table):
    audio, text, X, expected = table
    audio = {k: torch.tensor(v).bfloat16().requires_grad_() for k, v in audio.items()}
    text = {k: torch.tensor(v, requires_grad=True) for k, v in text.items()}
    features = PrecomputedPairFeatures(audio, text, blocks=BLOCKS)
    assert_allclose(features.fit_transform(X), expected, atol=5e-3)


def test_collapsed_precomputed_embeddings_trigger_a_warning():
    rng = np.random.default_rng(0)
    audio = {f"{i}.wav": 1 + 1e-3 * rng.standard_normal(32) for i in range(8)}
    text = {f"text {i}": rng.standard_normal(32) for i in range(8)}
    X = pd.DataFrame({"audio": list(audio), "text": list(text)})
    with pytest.warns(CollapsedTowerWarning, match="audio tower of audio_embeddings"):
        PrecomputedPairFeatures(audio, text).fit_transform(X)


def test_pairing_is_by_key_and_not_by_order(table):
    audio, text, X, expected = table
    features = PrecomputedPairFeatures(audio, text, blocks=BLOCKS)
    assert_allclose(features.fit_transform(X), expected, rtol=1e-6)
    backwards = dict(reversed(audio.items()))
    features = PrecomputedPairFeatures(backwards, text, blocks=BLOCKS)
    assert_allclose(features.fit_transform(X), expected, rtol=1e-6)


def save_one_array_per_key(path, table):
    np.savez(path, **table)


def save_keys_and_embeddings(path, table):
    np.savez(path, keys=list(table), embeddings=list(table.values()))


def save_fields(path, table):
    fields = [("key", "U20"), ("embedding", "f4", (2,))]
    np.save(path, np.array(list(table.items()), dtype=fields))


@pytest.mark.parametrize(
    ("save", "suffix"),
    [
        (save_one_array_per_key, ".npz"),
        (save_keys_and_embeddings, ".npz"),
        (save_fields, ".npy"),
    ],
)
def test_files_give_what_a_mapping_gives(table, tmp_path, save, suffix):
    audio, text, X, expected = table
    paths = [tmp_path / f"{name}{suffix}" for name in ("audio", "text")]
    for path, rows in zip(paths, (audio, text), strict=True):
        save(path, rows)
    features = PrecomputedPairFeatures(*paths, blocks=BLOCKS)
    assert_allclose(features.fit_transform(X), expected, rtol=1e-6)


def test_a_path_object_stands_for_its_string(table, tmp_path):
    _, text, X, _ = table
    X["audio"] = [tmp_path / "c.wav", tmp_path / "a.wav"]
    audio = {str(tmp_path / name): [1.0, 0.0] for name in ("a.wav", "c.wav")}
    features = PrecomputedPairFeatures(audio, text, blocks=("cosine",))
    assert_allclose(features.fit_transform(X), [[0], [1]], atol=1e-7)


@pytest.mark.parametrize(
    ("vector", "reason"),
    [
        ([1.0, 0.0, 0.0], r"has shape \(3,\); the others have \(2,\)"),
        ([0.0, 0.0], "all zero or not finite"),
        ([np.nan, 1.0], "all zero or not finite"),
    ],
)
def test_an_unusable_embedding_is_named(table, vector, reason):
    audio, text, X, _ = table
    audio["a.wav"] = vector
    audio = {"c.wav": audio.pop("c.wav"), **audio}  # the first sets the width
    with pytest.raises(BadPairsError, match=f"row 1 .*audio 'a.wav': .*{reason}"):
        PrecomputedPairFeatures(audio, text).fit_transform(X)


def test_a_key_that_is_missing_is_named_beside_one_that_is_there(table):
    audio, text, X, _ = table
    X.loc[1, "text"] = "Rain"
    with pytest.raises(BadPairsError, match=r"text 'Rain': .* 2 keys, such as 'rain'"):
        PrecomputedPairFeatures(audio, text).fit_transform(X)


def test_samples_cannot_be_keys(table):
    audio, text, _, _ = table
    X = pd.DataFrame({"audio": [{"array": [0.1]}], "text": ["rain"]})
    with pytest.raises(BadPairsError, match="no embedding has this key"):
        PrecomputedPairFeatures(audio, text).fit_transform(X)


def test_spaces_of_different_width_are_refused(table):
    audio, _, X, _ = table
    with pytest.raises(ValueError, match="vectors of 2 and of 3 values"):
        PrecomputedPairFeatures(audio, {"rain": [1, 2, 3]}).fit(X)


def test_an_empty_table_is_refused(table):
    audio, _, X, _ = table
    with pytest.raises(ValueError, match="text_embeddings is empty"):
        PrecomputedPairFeatures(audio, {}).fit(X)


def save_parquet_by_index(path, table):
    pd.DataFrame(table.values(), index=list(table), columns=["x", "y"]).to_parquet(path)


def save_parquet_of_lists(path, table):
    columns = {"key": list(table), "embedding": list(table.values())}
    pd.DataFrame(columns).to_parquet(path)


@pytest.mark.parametrize("save", [save_parquet_by_index, save_parquet_of_lists])
def test_parquet_gives_what_a_mapping_gives(table, tmp_path, save):
    pytest.importorskip("pyarrow")
    audio, text, X, expected = table
    save(tmp_path / "a", audio)
    features = PrecomputedPairFeatures(tmp_path / "a", text, blocks=BLOCKS)
    assert_allclose(features.fit_transform(X), expected, rtol=1e-6)


def test_frames_and_arrays_give_what_a_mapping_gives(table):
    audio, text, X, expected = table
    frame = pd.DataFrame(audio.values(), index=list(audio))
    fields = np.array(list(text.items()), [("key", "U9"), ("embedding", "f4", (2,))])
    features = PrecomputedPairFeatures(frame, fields, blocks=BLOCKS)
    assert_allclose(clone(features).fit_transform(X), expected, rtol=1e-6)


def test_paths_are_found_by_paths(table):
    audio, text, X, expected = table
    audio = {Path(name): vector for name, vector in audio.items()}
    for column in (X["audio"], [Path(name) for name in X["audio"]]):
        features = PrecomputedPairFeatures(audio, text, blocks=BLOCKS)
        found = features.fit_transform(X.assign(audio=column))
        assert_allclose(found, expected, rtol=1e-6)


def test_keys_of_bytes_are_found_by_their_text(table, tmp_path):
    audio, text, X, expected = table
    keys = np.array(list(audio), dtype="S")
    np.savez(tmp_path / "a.npz", keys=keys, embeddings=list(audio.values()))
    features = PrecomputedPairFeatures(tmp_path / "a.npz", text, blocks=BLOCKS)
    assert_allclose(features.fit_transform(X), expected, rtol=1e-6)


def with_keys(path):
    np.savez(path, keys=["b.wav", "a.wav", "a.wav"], embeddings=np.eye(3))


def with_members(path):
    with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns, NumPy does not
        for value in (1.0, 2.0):
            with archive.open("a.wav.npy", "w") as file:
                np.save(file, np.array([value, 0.0]))


@pytest.mark.parametrize("save", [with_keys, with_members])
def test_a_key_that_stands_twice_is_named_with_its_file(table, tmp_path, save):
    save(tmp_path / "a.npz")
    message = r"a\.npz: duplicate keys \(1\), such as 'a\.wav'"
    with pytest.raises(ValueError, match=message):
        PrecomputedPairFeatures(tmp_path / "a.npz", table[1]).fit(table[2])


def test_a_key_that_stands_twice_in_memory_is_named(table):
    _, text, X, _ = table
    frame = pd.DataFrame(np.eye(2), index=["a.wav", "a.wav"])
    for twice in (frame, {"a.wav": [1, 0], Path("a.wav"): [0, 1]}):
        with pytest.raises(ValueError, match=r"duplicate keys \(1\), such as 'a\.wav'"):
            PrecomputedPairFeatures(twice, text).fit(X)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"key,x\na.wav,1\n", r"a\.npz is not a \.npz, \.npy or Parquet file\. Use a"),
        (b"PK and no more", r"a\.npz is damaged \(File is not a zip file\)"),
        (b"", r"a\.npz is not a \.npz"),
    ],
)
def test_a_file_of_another_kind_is_named(table, tmp_path, content, message):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        PrecomputedPairFeatures(tmp_path / "a.npz", table[1]).fit(table[2])


@pytest.mark.parametrize("form", ["npy", "parquet"])
def test_a_cut_file_of_embeddings_is_named(table, tmp_path, form):
    _, text, X, _ = table
    path = tmp_path / f"a.{form}"
    if form == "parquet":
        pytest.importorskip("pyarrow")
        pd.DataFrame({"key": ["a.wav"], "embedding": [[1.0, 0.0]]}).to_parquet(path)
    else:
        np.save(path, np.ones((2, 2)))
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match=rf"a\.{form}(:| is damaged)"):
        PrecomputedPairFeatures(path, text).fit(X)


def test_keys_of_two_axes_are_refused(table, tmp_path):
    np.savez(tmp_path / "a.npz", keys=[["a.wav"]], embeddings=[[1.0, 0.0]])
    with pytest.raises(ValueError, match=r"a\.npz: a key must be a string or a number"):
        PrecomputedPairFeatures(tmp_path / "a.npz", table[1]).fit(table[2])


def test_arrays_of_other_programs_are_named_with_their_file(table, tmp_path):
    np.savez(tmp_path / "a.npz", audio=np.eye(2), row=[0, 1])
    message = r"a\.npz \(audio_embeddings\) must contain 1-D vectors; 'audio' has shape"
    with pytest.raises(ValueError, match=message):
        PrecomputedPairFeatures(tmp_path / "a.npz", table[1]).fit(table[2])


def test_a_frame_without_keys_is_refused(table):
    with pytest.raises(ValueError, match=r"its index only numbers rows\. Use a"):
        PrecomputedPairFeatures(pd.DataFrame(np.eye(2)), table[1]).fit(table[2])


def test_a_plain_array_without_keys_is_refused(table, tmp_path):
    _, text, X, _ = table
    np.save(tmp_path / "a.npy", np.ones((2, 2)))
    with pytest.raises(ValueError, match="fields 'key' and 'embedding'; got float64"):
        PrecomputedPairFeatures(tmp_path / "a.npy", text).fit(X)


def test_pickled_objects_are_not_loaded(table, tmp_path):
    audio, text, X, _ = table
    np.save(tmp_path / "a.npy", audio)
    with pytest.raises(
        ValueError, match=r"a\.npy has pickled objects, which are never"
    ):
        PrecomputedPairFeatures(tmp_path / "a.npy", text).fit(X)


def test_a_missing_file_is_named(table, tmp_path):
    _, text, X, _ = table
    with pytest.raises(FileNotFoundError, match=r"gone\.npz"):
        PrecomputedPairFeatures(tmp_path / "gone.npz", text).fit(X)
