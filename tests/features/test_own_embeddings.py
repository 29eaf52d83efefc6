import warnings
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from transformers.modeling_outputs import BaseModelOutputWithPooling

from clapstack.exceptions import BadPairsError, CollapsedTowerWarning
from clapstack.features import PairFeatures, PrecomputedPairFeatures
from clapstack.features import _embedding as _embed

BLOCKS = ("audio", "text", "cosine")


class Plain:
    """The least that an encoder needs: no identity, no unit norm."""

    sample_rate = 8_000

    def encode_audio(self, waveforms):
        return [[len(waveform), 2.0] for waveform in waveforms]

    def encode_text(self, texts):
        return [[len(text), 3.0] for text in texts]


@pytest.fixture
def X():
    clips = [(np.linspace(-1, 1, n), 8_000) for n in (400, 300)]
    return pd.DataFrame({"audio": clips, "text": ["rain", "a dog"]})


@pytest.fixture
def table():
    audio = {"a.wav": [1.0, 0.0], "b.wav": [0.0, 2.0], "c.wav": [3.0, 4.0]}
    text = {"rain": [1.0, 0.0], "a dog": [0.0, -1.0]}
    X = pd.DataFrame({"audio": ["c.wav", "a.wav"], "text": ["a dog", "rain"]})
    expected = [[0.6, 0.8, 0, -1, -0.8], [1, 0, 1, 0, 1]]
    return audio, text, X, expected


# Encoders of one's own


def test_an_encoder_without_identity_stores_nothing_and_says_so(X, cache):
    with pytest.warns(
        UserWarning, match="Plain has no attribute 'identity'.*cache=None"
    ):
        PairFeatures(Plain(), cache=cache).fit_transform(X)
    assert not cache.exists()


def test_without_a_cache_there_is_nothing_to_warn_of(X):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PairFeatures(Plain(), cache=None).fit_transform(X)


def test_embeddings_are_normalised(X):
    features = PairFeatures(Plain(), cache=None, blocks=BLOCKS).fit_transform(X)
    audio = np.array([[400, 2], [300, 2]]) / np.hypot([[400], [300]], 2)
    text = np.array([[4, 3], [5, 3]]) / np.hypot([[4], [5]], 3)
    cosine = (audio * text).sum(axis=1, keepdims=True)
    assert_allclose(features, np.hstack([audio, text, cosine]), rtol=1e-6)


def test_an_encoder_is_called_with_at_most_a_batch(X):
    sizes = []

    class Counting(Plain):
        projection_dim = 2

        def encode_text(self, texts):
            sizes.append(len(texts))
            return super().encode_text(texts)

    many = pd.concat([X] * 5, ignore_index=True)
    many["text"] = [f"text {'x' * i}" for i in range(10)]
    PairFeatures(Counting(), cache=None, batch_size=4).fit_transform(many)
    assert sizes == [4, 4, 2]


def test_clones_share_the_encoder(toy_encoder):
    transformer = PairFeatures(toy_encoder)
    assert clone(transformer).encoder is toy_encoder


def test_a_clone_of_a_clone_is_independent(toy_encoder):
    transformer = PairFeatures(toy_encoder).set_output(transform="pandas")
    clone(transformer).set_output(transform="default")
    assert transformer._sklearn_output_config == {"transform": "pandas"}


def test_an_embedding_without_direction_is_refused(X):
    class Mute(Plain):
        def encode_audio(self, waveforms):
            return np.zeros((len(waveforms), 2))

    with pytest.raises(ValueError, match=r"Mute\.encode_audio: .* not all zero"):
        PairFeatures(Mute(), cache=None).fit_transform(X)


def test_towers_of_different_width_are_refused(X):
    class Uneven(Plain):
        def encode_audio(self, waveforms):
            return np.ones((len(waveforms), 3))

    with pytest.raises(ValueError, match=r"shape \(2, 2\); got shape \(2, 3\)"):
        PairFeatures(Uneven(), cache=None).fit_transform(X)


def test_an_object_that_is_no_encoder_is_refused(X):
    with pytest.raises(ValueError, match="'encoder' parameter of PairFeatures"):
        PairFeatures("laion").fit(X)


def test_a_file_that_changes_while_it_is_read_is_stored_under_its_new_content(
    toy_encoder, cache, pairs, monkeypatch
):
    transformer = PairFeatures(toy_encoder, cache=cache).fit(pairs)
    original = transformer.transform(pairs)
    (cache / "embeddings.sqlite3").unlink()
    first, last = pairs["audio"].iloc[[0, -1]]
    content = Path(first).read_bytes()
    read = _embed.read_keyed_audio

    def read_after_a_change(source, rate):
        if source == first:
            Path(first).write_bytes(Path(last).read_bytes())
        return read(source, rate)

    monkeypatch.setattr(_embed, "read_keyed_audio", read_after_a_change)
    transformer.transform(pairs)
    monkeypatch.setattr(_embed, "read_keyed_audio", read)
    Path(first).write_bytes(content)
    assert_array_equal(transformer.transform(pairs), original)


class OfTorch(Plain):
    """An encoder of torch: 32 numbers, whatever `finish` makes of them."""

    def __init__(self, finish):
        self.finish = finish

    def encode_audio(self, waveforms):
        return self.finish(self.numbers([len(waveform) for waveform in waveforms]))

    def encode_text(self, texts):
        return self.finish(self.numbers([len(text) for text in texts]))

    def numbers(self, sizes):
        angles = torch.tensor(sizes)[:, None] * torch.arange(1, 33)
        return angles.sin().requires_grad_()


@pytest.mark.parametrize(
    "finish",
    [
        lambda t: t,
        lambda t: t.to(torch.bfloat16),
        lambda t: t.half(),
        lambda t: t.double(),
        lambda t: list(t),
        lambda t: tuple(t.to(torch.bfloat16)),
        lambda t: torch.nn.Parameter(t),
    ],
    ids=["grad", "bfloat16", "half", "double", "list", "tuple", "parameter"],
)
def test_tensors_are_taken(X, finish):
    made, plain = (
        PairFeatures(OfTorch(f), cache=None).fit_transform(X)
        for f in (finish, lambda t: t.detach().numpy())
    )
    assert_allclose(made, plain, atol=2e-2)


def test_an_output_object_is_named_with_the_field_to_return(X):
    def finish(t):
        return BaseModelOutputWithPooling(last_hidden_state=t[:, None], pooler_output=t)

    message = (
        r"OfTorch\.encode_text must return .* got BaseModelOutputWithPooling; "
        r"return \.pooler_output of it"
    )
    with pytest.raises(TypeError, match=message):
        PairFeatures(OfTorch(finish), cache=None).fit(X)


@pytest.mark.parametrize(
    ("finish", "message"),
    [
        (lambda t: t[:, None], r"got shape \(1, 1, 32\)"),
        (lambda t: t[0], r"got shape \(32,\)"),
        (lambda t: t.to(torch.complex64), "got Tensor of complex64 values"),
        (lambda t: {"text_embeds": t}, r"got dict"),
        (lambda t: ["a"], r"got list of <U1 values"),
        (lambda t: None, r"got NoneType of object values"),
        (lambda t: torch.cat([t, t]), r"got shape \(2, 32\)"),
    ],
)
def test_what_is_no_row_for_each_item_is_named(X, finish, message):
    with pytest.raises((TypeError, ValueError), match=message):
        PairFeatures(OfTorch(finish), cache=None).fit(X)


def test_rows_of_one_batch_do_not_slip_into_the_next(X):
    class Slipping(Plain):
        projection_dim = 2

        def encode_text(self, texts):
            rows = super().encode_text(texts)
            return rows * 2 if texts[0] == "a dog" else []

    with pytest.raises(
        ValueError, match=r"Slipping\.encode_text .* got shape \(2, 2\)"
    ):
        PairFeatures(Slipping(), cache=None, batch_size=1).fit_transform(X)


@pytest.fixture
def eight():
    rng = np.random.default_rng(0)
    clips = [(rng.uniform(-1, 1, 300 + i), 8_000) for i in range(8)]
    return pd.DataFrame({"audio": clips, "text": [f"text {'x' * i}" for i in range(8)]})


@pytest.mark.parametrize("batch_size", [1, 32])
def test_a_collapsed_encoder_of_ones_own_is_seen(eight, batch_size):
    class Collapsed(OfTorch):
        identity = "collapsed-1"

        def encode_text(self, texts):
            return 1 + 1e-3 * super().encode_text(texts).detach()

    features = PairFeatures(Collapsed(lambda t: t), cache=None, batch_size=batch_size)
    message = "text tower of Collapsed gives 8 distinct inputs .* cosine is 1.0000"
    with pytest.warns(CollapsedTowerWarning, match=message):
        features.fit_transform(eight)


def test_stored_embeddings_of_a_collapsed_encoder_warn_too(eight, cache):
    class Collapsed(OfTorch):
        identity = "collapsed-2"

        def encode_audio(self, waveforms):
            return 1 + 1e-3 * super().encode_audio(waveforms).detach()

    features = PairFeatures(Collapsed(lambda t: t), cache=cache)
    for _ in range(2):
        with pytest.warns(CollapsedTowerWarning, match="audio tower of Collapsed"):
            features.fit_transform(eight)


def test_one_text_in_many_rows_is_no_collapse(eight):
    eight["text"] = "rain"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PairFeatures(OfTorch(lambda t: t), cache=None).fit_transform(eight)


# Precomputed embeddings


def test_tensors_by_key_are_taken(table):
    audio, text, X, expected = table
    audio = {k: torch.tensor(v).bfloat16().requires_grad_() for k, v in audio.items()}
    text = {k: torch.tensor(v, requires_grad=True) for k, v in text.items()}
    features = PrecomputedPairFeatures(audio, text, blocks=BLOCKS)
    assert_allclose(features.fit_transform(X), expected, atol=5e-3)


def test_collapsed_embeddings_by_key_are_seen():
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
    with pytest.raises(
        BadPairsError, match=r"text 'Rain': .* 2 keys .* such as 'rain'"
    ):
        PrecomputedPairFeatures(audio, text).fit_transform(X)


def test_samples_are_no_key(table):
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
    message = r"a\.npz: 1 keys occur more than once, such as 'a\.wav'"
    with pytest.raises(ValueError, match=message):
        PrecomputedPairFeatures(tmp_path / "a.npz", table[1]).fit(table[2])


def test_a_key_that_stands_twice_in_memory_is_named(table):
    _, text, X, _ = table
    frame = pd.DataFrame(np.eye(2), index=["a.wav", "a.wav"])
    for twice in (frame, {"a.wav": [1, 0], Path("a.wav"): [0, 1]}):
        with pytest.raises(ValueError, match=r"more than once, such as 'a\.wav'"):
            PrecomputedPairFeatures(twice, text).fit(X)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"key,x\na.wav,1\n", r"a\.npz is no \.npz, \.npy or Parquet file\. Give a"),
        (b"PK and no more", r"a\.npz is damaged \(File is not a zip file\)"),
        (b"", r"a\.npz is no \.npz"),
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
    with pytest.raises(ValueError, match=r"a\.npz: a key must be a text or a number"):
        PrecomputedPairFeatures(tmp_path / "a.npz", table[1]).fit(table[2])


def test_arrays_of_other_programs_are_named_with_their_file(table, tmp_path):
    np.savez(tmp_path / "a.npz", audio=np.eye(2), row=[0, 1])
    message = (
        r"a\.npz \(audio_embeddings\) must hold 1-D vectors; 'audio' has the shape"
    )
    with pytest.raises(ValueError, match=message):
        PrecomputedPairFeatures(tmp_path / "a.npz", table[1]).fit(table[2])


def test_a_frame_without_keys_is_refused(table):
    with pytest.raises(ValueError, match=r"its index counts its rows\. Give a"):
        PrecomputedPairFeatures(pd.DataFrame(np.eye(2)), table[1]).fit(table[2])


def test_a_plain_array_does_not_tell_its_keys(table, tmp_path):
    _, text, X, _ = table
    np.save(tmp_path / "a.npy", np.ones((2, 2)))
    with pytest.raises(ValueError, match="fields 'key' and 'embedding'; got float64"):
        PrecomputedPairFeatures(tmp_path / "a.npy", text).fit(X)


def test_pickled_objects_are_not_loaded(table, tmp_path):
    audio, text, X, _ = table
    np.save(tmp_path / "a.npy", audio)
    with pytest.raises(
        ValueError, match=r"a\.npy holds Python objects, which are never"
    ):
        PrecomputedPairFeatures(tmp_path / "a.npy", text).fit(X)


def test_a_missing_file_is_named(table, tmp_path):
    _, text, X, _ = table
    with pytest.raises(FileNotFoundError, match=r"gone\.npz"):
        PrecomputedPairFeatures(tmp_path / "gone.npz", text).fit(X)
