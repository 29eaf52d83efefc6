"""Features of events: windows, columns, and the contract of a transformer."""

import pickle

import numpy as np
import pandas as pd
import pytest
import soundfile
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.utils import get_tags

from clapstack import EventFeatures, LaionClapPairFeatures, PairFeatures
from clapstack.exceptions import BadPairsError, FingerprintMismatchError
from clapstack.features import MsClapPairFeatures, PrecomputedPairFeatures
from clapstack.store import EmbeddingStore

COLUMNS = [
    "cosine",
    "weakest",
    "mean",
    "lag",
    "margin",
    "inversion",
    "centroids",
    "weakest_ordered",
    "explained",
]


class Tones:
    """An encoder that recognises a low, a middle and a high tone exactly."""

    sample_rate = 8_000
    projection_dim = 4
    identity = fingerprint = "tones"
    tones = {"low": 200.0, "middle": 900.0, "high": 3_000.0}

    def encode_audio(self, waveforms):
        return np.stack([self._hear(waveform) for waveform in waveforms])

    def encode_text(self, texts):
        named = [[name in text for name in self.tones] for text in texts]
        return np.column_stack([named, np.full(len(texts), 0.05)]).astype(float)

    def _hear(self, waveform):
        power = np.abs(np.fft.rfft(waveform)) ** 2
        bins = np.fft.rfftfreq(len(waveform), 1 / self.sample_rate)
        near = [power[abs(bins - tone) < 60].sum() for tone in self.tones.values()]
        return np.append(np.sqrt(near), 1e-3 * len(waveform))


def scene(*names, seconds=2.0, rate=8_000):
    """Return a clip of successive tones; several names sound together."""
    time = np.arange(int(seconds * rate)) / rate
    parts = [
        sum(0.3 * np.sin(2 * np.pi * Tones.tones[n] * time) for n in name.split("+"))
        for name in names
    ]
    return np.concatenate(parts), rate


def features_of(audio, text, **settings):
    features = EventFeatures(PairFeatures(Tones(), cache=None), **settings)
    pair = pd.DataFrame({"audio": [audio], "text": [text]}, dtype=object)
    frame = features.set_output(transform="pandas").fit_transform(pair)
    return frame.iloc[0].rename(lambda name: name.removeprefix("PairFeatures_"))


@pytest.fixture
def events(cache):
    """Return unfitted features with two toy encoders."""
    union = FeatureUnion(
        [
            ("one", LaionClapPairFeatures("one", cache=cache)),
            ("two", MsClapPairFeatures("two", cache=cache)),
        ]
    )
    return EventFeatures(union, length=0.5, hop=0.25)


# What the columns say


def test_missing_clause_is_the_weakest():
    clip = scene("low", "high")
    right = features_of(clip, "a low tone and a high tone")
    wrong = features_of(clip, "a low tone and a middle tone")
    assert right["weakest"] > 0.9
    assert wrong["weakest"] < 0.2
    assert wrong["lag"] == pytest.approx(wrong["weakest"] - wrong["mean"])


@pytest.mark.parametrize(
    ("text", "sign"),
    [
        ("a low tone, then a high tone", 1),
        ("a high tone, then a low tone", -1),
        ("a high tone after a low tone", 1),
        ("a low tone and a high tone", 0),
        ("a low tone", 0),
    ],
)
def test_margin_has_the_sign_of_the_order(text, sign):
    row = features_of(scene("low", "high"), text)
    assert np.sign(row["margin"]) == np.sign(row["centroids"]) == sign
    assert row["inversion"] == min(0, row["margin"])
    assert row["claims_order"] == (sign != 0)


def test_one_wrong_claim_of_several_makes_the_margin_negative():
    row = features_of(
        scene("low", "middle", "high"), "a low tone, then a high tone, then a middle"
    )
    assert row["margin"] < 0
    assert row["n_clauses"] == 3


def test_sound_that_no_clause_names_is_unexplained():
    right = features_of(scene("low", "high"), "a low tone and a high tone")
    wrong = features_of(scene("low", "high"), "a low tone")
    assert right["explained"] > wrong["explained"] + 0.5


def test_silence_needs_no_explanation():
    samples, rate = scene("low")
    padded = np.concatenate([samples, 1e-4 * np.ones(4 * rate)]), rate
    row = features_of(padded, "a low tone")
    assert row["explained"] > 0.8


def test_clip_shorter_than_a_window_has_no_order():
    row = features_of(scene("low", "high", seconds=0.4), "a low tone, then a high tone")
    assert row["margin"] == row["inversion"] == row["centroids"] == 0
    assert row["claims_order"] == 1
    assert row["weakest"] > 0.5


def test_windows_of_digital_silence_have_finite_features():
    samples, rate = scene("low")
    silence = np.zeros(3 * rate)
    clip = np.concatenate([silence, samples, silence])
    row = features_of((clip, rate), "a low tone, then a high tone")
    assert np.isfinite(row.to_numpy(float)).all()


# The contract of a transformer


def test_columns_are_named_by_encoder_and_their_mean(events, encoders, pairs):
    frame = events.set_output(transform="pandas").fit_transform(pairs)
    names = [f"{name}_{c}" for name in ("one", "two", "all") for c in COLUMNS]
    assert list(frame.columns) == [*names, "n_clauses", "claims_order"]
    assert list(frame.index) == list(pairs.index)
    assert (frame.dtypes == np.float32).all()
    both = (frame["one_margin"] + frame["two_margin"]) / 2
    assert_allclose(frame["all_margin"], both, atol=1e-6)


def test_blocks_choose_columns(events, encoders, pairs):
    frame = events.set_params(blocks=("order",)).set_output(transform="pandas")
    names = frame.fit_transform(pairs).columns
    assert list(names[:4]) == [f"one_{column}" for column in COLUMNS[4:8]]
    assert len(names) == 14


def test_checkpoints_are_encoders_of_their_kind(encoders, pairs):
    checkpoints = ["laion/larger_clap", "microsoft/msclap", "x/m2d_clap_base/last.pth"]
    events = EventFeatures(checkpoints).fit(pairs)
    assert list(encoders) == [
        ("laion", "laion/larger_clap"),
        ("msclap", "microsoft/msclap"),
        ("m2d-clap", "x/m2d_clap_base/last.pth"),
    ]
    assert [name for name, _ in events.encoders_] == ["larger_clap", "msclap", "last"]


def test_rows_do_not_depend_on_others_or_on_batches(events, encoders, pairs):
    together = events.fit_transform(pairs)
    without = clone(events)
    for name in ("one", "two"):
        part = {f"encoders__{name}__cache": None, f"encoders__{name}__batch_size": 3}
        without.set_params(**part)
    without.fit(pairs)
    alone = [without.transform(pairs.iloc[[row]])[0] for row in range(len(pairs))]
    assert_allclose(alone, together, atol=1e-6)
    assert_array_equal(clone(events).fit_transform(pairs), together)


def test_windows_are_stored_once(events, encoders, pairs, cache):
    first = events.fit_transform(pairs)
    heard = {key: list(toy.clips) for key, toy in encoders.items()}
    with_copies = pd.concat([pairs, pairs[::-1]])
    again = clone(events).fit_transform(with_copies)
    assert {key: toy.clips for key, toy in encoders.items()} == heard
    assert_array_equal(again[:8], first)
    assert_array_equal(again[:7:-1], first)
    clone(events).set_params(hop=0.5).fit_transform(pairs)
    assert all(len(toy.clips) > len(heard[key]) for key, toy in encoders.items())


def test_damaged_store_costs_time_and_no_values(events, encoders, pairs, cache):
    first = events.fit_transform(pairs)
    store = EmbeddingStore(cache)
    store.prune(max_bytes=0)
    store.close()
    assert_array_equal(events.transform(pairs), first)


def test_pickle_and_clone_give_the_same_bits(events, encoders, pairs):
    first = events.fit(pairs).transform(pairs)
    twin = pickle.loads(pickle.dumps(events))
    assert_array_equal(twin.transform(pairs), first)
    assert len(pickle.dumps(events)) < 4_000
    assert clone(events).get_params().keys() == events.get_params().keys()


def test_other_weights_are_refused(events, encoders, pairs):
    events.fit(pairs)
    encoders["msclap", "two"].fingerprint = "0123"
    with pytest.raises(
        FingerprintMismatchError, match="but the loaded weights are 0123"
    ):
        events.transform(pairs)


def test_unfitted(events):
    with pytest.raises(NotFittedError):
        events.transform(pd.DataFrame({"audio": ["a.wav"], "text": ["a"]}))
    with pytest.raises(NotFittedError):
        events.get_feature_names_out()


def test_bad_rows_are_named_and_the_others_stored(events, encoders, pairs):
    spoiled = pairs.copy()
    spoiled.loc["k", "audio"] = "nowhere.wav"
    spoiled.loc["m", "text"] = " "
    with pytest.raises(BadPairsError) as error:
        events.fit(pairs).transform(spoiled)
    assert [row.index for row in error.value.rows] == ["k", "m"]
    n_heard = len(encoders["laion", "one"].clips)
    with pytest.raises(BadPairsError):
        events.transform(spoiled)
    assert len(encoders["laion", "one"].clips) == n_heard


def test_embeddings_that_are_not_finite_are_refused(events, encoders, pairs):
    events.fit(pairs)
    toy = encoders["laion", "one"]
    toy.encode_audio = lambda clips, **_: np.full((len(clips), 6), np.nan)
    with pytest.raises(ValueError, match=r"must return finite embeddings .* windows"):
        events.transform(pairs)


def test_search_over_the_length_of_windows(events, encoders, pairs):
    search = GridSearchCV(
        make_pipeline(events, Ridge()), {"eventfeatures__length": [0.3, 0.5]}, cv=2
    )
    search.fit(pairs, np.arange(8.0))
    assert search.best_params_["eventfeatures__length"] in (0.3, 0.5)


def test_tags(events):
    tags = get_tags(events)
    assert tags.input_tags.string
    assert not tags.input_tags.two_d_array


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"hop": 0.6}, "hop must be at most length"),
        ({"length": 0}, "'length' parameter of"),
        ({"windows": "cut"}, "'windows' parameter of"),
        ({"blocks": ("order", "cosines")}, "blocks must be distinct names"),
        ({"blocks": ()}, "blocks must be distinct names"),
        ({"encoders": ["a/x", "b/x"]}, "encoders .* with distinct names"),
        ({"encoders": []}, "encoders must be one or more encoders"),
        ({"encoders": ["all"]}, "names other than 'all'"),
    ],
)
def test_parameters_are_checked(events, encoders, pairs, settings, words):
    with pytest.raises(ValueError, match=words):
        events.set_params(**settings).fit(pairs)


def test_embeddings_without_an_encoder_are_refused(pairs):
    keyed = PrecomputedPairFeatures({"a": [1.0]}, {"b": [1.0]})
    with pytest.raises(ValueError, match="'PrecomputedPairFeatures' is Precomputed"):
        EventFeatures(keyed).fit(pairs)


def test_dense_windows_need_an_encoder_that_has_them(events, encoders, pairs):
    with pytest.raises(ValueError, match="has no method encode_windows, which 'dense'"):
        events.set_params(windows="dense").fit(pairs).transform(pairs)


def test_file_and_array_give_the_same_bits(events, encoders, pairs):
    clips = [soundfile.read(path, dtype="int16") for path in pairs["audio"]]
    arrays = pairs.assign(audio=pd.Series(clips, index=pairs.index, dtype=object))
    assert_array_equal(events.fit_transform(arrays), clone(events).fit_transform(pairs))
