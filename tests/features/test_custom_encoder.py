"""Custom encoders."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from transformers.modeling_outputs import BaseModelOutputWithPooling

from clapstack.exceptions import CollapsedTowerWarning, UnstableEncoderWarning
from clapstack.features import PairFeatures
from clapstack.features import _embedding as _embed

BLOCKS = ("audio", "text", "cosine")


class Plain:
    """A minimal encoder, without identity or unit norm."""

    sample_rate = 8_000

    def encode_audio(self, waveforms):
        return [[len(waveform), 2.0] for waveform in waveforms]

    def encode_text(self, texts):
        return [[len(text), 3.0] for text in texts]


@pytest.fixture
def X():
    clips = [(np.linspace(-1, 1, n), 8_000) for n in (400, 300)]
    return pd.DataFrame({"audio": clips, "text": ["rain", "a dog"]})


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
    assert sizes == [1, 1, 4, 4, 2]  # one is embedded again, alone


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

    message = r"Uneven\.encode_audio must .* shape \(n, 2\).*got shape \(\d, 3\)"
    with pytest.raises(ValueError, match=message):
        PairFeatures(Uneven(), cache=None).fit_transform(X)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "sample_rate",
            None,
            r"Plain\.sample_rate must be a number of hertz; got None",
        ),
        ("sample_rate", "16 kHz", r"Plain\.sample_rate must be a number of hertz"),
        ("sample_rate", 0, r"Plain\.sample_rate must be a number of hertz; got 0"),
        (
            "projection_dim",
            "2",
            r"Plain\.projection_dim must be a whole number; got '2'",
        ),
        ("fingerprint", 7, r"Plain\.fingerprint must be a string; got 7"),
        ("identity", "", r"Plain\.identity must be a string; got ''"),
        # As a method it would have another name in each process.
        ("identity", lambda: "plain-1", r"Plain\.identity must be a string; got <func"),
    ],
)
def test_attributes_of_another_kind_are_named_before_anything_is_encoded(
    X, name, value, message
):
    encoder = Plain()
    setattr(encoder, name, value)
    with pytest.raises(TypeError, match=message):
        PairFeatures(encoder).fit(X)


def test_a_class_instead_of_an_instance_is_refused(X):
    with pytest.raises(TypeError, match=r"an object, not a class; got Plain\. Pass Pl"):
        PairFeatures(Plain).fit(X)


def test_a_random_encoder_triggers_a_warning(X):
    class Drawing(Plain):
        rng = np.random.default_rng(0)

        def encode_audio(self, waveforms):
            return self.rng.standard_normal((len(waveforms), 2))

    with pytest.warns(
        UnstableEncoderWarning,
        match=r"Drawing\.encode_audio: .* twice differ .* is random",
    ):
        PairFeatures(Drawing(), cache=None).fit_transform(X)


def test_an_encoder_that_depends_on_its_batch_triggers_a_warning(X):
    class Padding(Plain):
        def encode_text(self, texts):
            longest = max(map(len, texts))
            return [[len(text), longest] for text in texts]

    with pytest.warns(
        UnstableEncoderWarning,
        match=r"Padding\.encode_text: .* alone and in a batch differ",
    ):
        PairFeatures(Padding(), cache=None).fit_transform(X)


def test_stability_is_checked_once_and_only_for_batches(X):
    calls = []

    class Counting(Plain):
        projection_dim = 2

        def encode_text(self, texts):
            calls.append(len(texts))
            return super().encode_text(texts)

    features = PairFeatures(Counting(), cache=None).fit(X)
    for pairs in (X.iloc[:1], X, X):
        features.transform(pairs)
    clone(features).fit_transform(X)
    assert calls == [1, 1, 1, 2, 2, 2]


def test_an_encoder_that_works_in_place_is_no_cause_for_a_warning(X):
    class Scaling(Plain):
        def encode_audio(self, waveforms):
            for waveform in waveforms:
                waveform *= 0.5
            return [[np.abs(w).sum(), 2.0] for w in waveforms]

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PairFeatures(Scaling(), cache=None).fit_transform(X)


def test_an_encoder_that_cannot_be_referred_to_weakly_works(X):
    class Slotted:
        __slots__ = ()
        sample_rate = 8_000
        encode_audio, encode_text = Plain.encode_audio, Plain.encode_text

    assert PairFeatures(Slotted(), cache=None).fit_transform(X).shape == (2, 11)


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
    """A torch encoder whose 32 numbers are passed through `finish`."""

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
        r"return its \.pooler_output"
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
def test_output_without_one_row_per_item_is_named(X, finish, message):
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
def test_a_collapsed_custom_encoder_triggers_a_warning(eight, batch_size):
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
