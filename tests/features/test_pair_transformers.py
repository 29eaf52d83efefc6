"""Checks that every transformer of pairs must pass.

They replace scikit-learn's own estimator checks, which pass numeric arrays that pair
transformers do not accept.
"""

import contextlib
import io
import os
import pickle

import numpy as np
import pandas as pd
import pytest
import soundfile
from numpy.testing import assert_allclose, assert_array_equal
from pandas.testing import assert_frame_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.utils import get_tags

from clapstack.exceptions import BadPairsError, FingerprintMismatchError
from clapstack.features import (
    AudioMaeFeatures,
    BeatsFeatures,
    CtcFeatures,
    EatFeatures,
    LaionClapPairFeatures,
    M2dClapPairFeatures,
    MgaClapPairFeatures,
    MsClapPairFeatures,
    PairFeatures,
    PeAudioPairFeatures,
    PrecomputedPairFeatures,
    WavLmFeatures,
    WhisperFeatures,
)
from clapstack.store import EmbeddingStore


class World:
    """One transformer class, configured with toy encoders."""

    def __init__(self, kind, pairs, encoders, toy, cache, tmp_path):
        self.kind = kind
        self.pairs = pairs
        self.encoders = encoders
        self.toy = toy
        self.cache = cache
        self.tmp_path = tmp_path
        if kind is PrecomputedPairFeatures:
            self.files = [self.save(pairs[name], name) for name in ("audio", "text")]

    def make(self, **params):
        if self.kind is PrecomputedPairFeatures:
            return PrecomputedPairFeatures(*self.files, **params)
        params = {"cache": self.cache, **params}
        if self.kind is PairFeatures:
            return PairFeatures(self.toy, **params)
        if self.kind in (MgaClapPairFeatures, PeAudioPairFeatures):
            params = {"checkpoint": "named", **params}
        return self.kind(**params)

    def save(self, keys, name):
        rows = np.random.default_rng(len(name)).standard_normal((len(keys), 6))
        path = self.tmp_path / f"{name}.npz"
        np.savez(path, keys=np.array(list(keys)), embeddings=rows)
        return str(path)

    @property
    def encoder(self):
        if self.kind is PairFeatures:
            return self.toy
        return self.encoders.get(next(iter(self.encoders)))

    @property
    def n_encoded(self):
        return len(self.encoder.clips), len(self.encoder.texts)

    @property
    def n_texts(self):
        """Number of the eight texts that are encoded."""
        return 0 if self.kind in AUDIO else 8

    @property
    def width(self):
        return {CtcFeatures: 10}.get(self.kind, 6 if self.kind in AUDIO else 31)

    @property
    def first_name(self):
        return "mean0" if self.kind in AUDIO else "audio0"

    @property
    def some_param(self):
        """A parameter to change, and a value other than its default."""
        return {"batch_size": 7} if self.kind in AUDIO else {"blocks": ("cosine",)}

    def n_stored(self):
        store = EmbeddingStore(self.cache)
        n_rows = len(store)
        store.close()
        return n_rows


def as_paths_spelt_otherwise(pairs):
    paths = [os.path.split(path) for path in pairs["audio"]]
    return pairs.assign(audio=[os.path.join(head, ".", tail) for head, tail in paths])


def as_arrays(pairs):
    clips = [soundfile.read(path, dtype="int16") for path in pairs["audio"]]
    return pairs.assign(audio=pd.Series(clips, index=pairs.index, dtype=object))


# Checks for all


def check_result_is_float32_of_the_named_width(world):
    features = world.make().fit_transform(world.pairs)
    assert features.shape == (8, world.width)
    assert features.dtype == np.float32


def check_names_match_width(world):
    transformer = world.make()
    features = transformer.fit_transform(world.pairs)
    names = transformer.get_feature_names_out()
    assert names.dtype == object
    assert features.shape[1] == len(names) == len(set(names))


def check_names_match_blocks(world):
    for blocks in (("cosine",), ("text", "product"), ["audio", "sqdiff", "absdiff"]):
        transformer = world.make(blocks=blocks)
        features = transformer.fit_transform(world.pairs)
        assert features.shape[1] == len(transformer.get_feature_names_out())


def check_unfitted(world):
    with pytest.raises(NotFittedError):
        world.make().transform(world.pairs)
    with pytest.raises(NotFittedError):
        world.make().get_feature_names_out()


def check_clone(world):
    transformer = world.make(**world.some_param).set_output(transform="pandas")
    twin = clone(transformer.fit(world.pairs))
    assert not hasattr(twin, "n_features_in_")
    assert twin.get_params() == transformer.get_params()
    expected = transformer.transform(world.pairs)
    assert_frame_equal(twin.fit_transform(world.pairs), expected)


def check_pickle_small(world):
    transformer = world.make()
    transformer.fit_transform(world.pairs)
    assert len(pickle.dumps(transformer)) < 2_000


def check_pickle_gives_the_same_bits(world):
    transformer = world.make().fit(world.pairs)
    twin = pickle.loads(pickle.dumps(transformer))
    assert_array_equal(twin.transform(world.pairs), transformer.transform(world.pairs))


def check_set_output(world):
    transformer = world.make().set_output(transform="pandas")
    frame = transformer.fit_transform(world.pairs)
    assert list(frame.columns) == list(transformer.get_feature_names_out())
    assert list(frame.index) == list(world.pairs.index)
    assert (frame.dtypes == np.float32).all()


def check_families_are_prefixes_in_a_union(world):
    union = FeatureUnion([("one", world.make()), ("two", world.make())])
    frame = union.set_output(transform="pandas").fit_transform(world.pairs)
    assert frame.columns[0] == f"one__{world.first_name}"
    assert [name.partition("__")[0] for name in frame.columns] == (
        ["one"] * world.width + ["two"] * world.width
    )


def check_row_order(world):
    transformer = world.make().fit(world.pairs)
    order = [5, 2, 7, 0, 0, 1]
    shuffled = transformer.transform(world.pairs.iloc[order])
    assert_array_equal(shuffled, transformer.transform(world.pairs)[order])


def check_column_order_and_other_columns_do_not_matter(world):
    expected = world.make().fit_transform(world.pairs)
    other = world.pairs.assign(score=1.0)[["score", "text", "audio"]]
    assert_array_equal(world.make().fit_transform(other), expected)


def check_rows_equal_frame(world):
    expected = world.make().fit_transform(world.pairs)
    rows = world.pairs.to_numpy(dtype=object)
    assert_array_equal(world.make().fit_transform(rows), expected)


def check_input_is_not_changed(world):
    before = world.pairs.copy(deep=True)
    world.make().fit_transform(world.pairs)
    assert_frame_equal(world.pairs, before)


def check_transform_leaves_the_transformer_alone(world):
    transformer = world.make().fit(world.pairs)
    before = dict(vars(transformer))
    transformer.transform(world.pairs)
    assert vars(transformer) == before


def check_refit_gives_the_same_bits(world):
    first = world.make().fit_transform(world.pairs)
    assert_array_equal(world.make().fit_transform(world.pairs), first)


def check_fitted_names_are_those_of_a_pair(world):
    transformer = world.make().fit(world.pairs.assign(score=1.0))
    assert list(transformer.feature_names_in_) == ["audio", "text"]
    assert transformer.n_features_in_ == 2


def check_tags(world):
    tags = get_tags(world.make())
    assert tags.input_tags.string
    assert not tags.input_tags.two_d_array
    assert not tags.target_tags.required


def check_blocks_are_validated(world):
    with pytest.raises(ValueError, match="'blocks' parameter of"):
        world.make(blocks="cosine").fit(world.pairs)
    with pytest.raises(ValueError, match="blocks must be distinct names"):
        world.make(blocks=("cosine", "angle")).fit(world.pairs)


def check_missing_column_is_named(world):
    with pytest.raises(ValueError, match=r"missing \['text'\]"):
        world.make().fit(world.pairs[["audio"]])
    with pytest.raises(ValueError, match=r"missing \['audio'\]"):
        world.make().fit(world.pairs).transform(world.pairs[["text"]])


def check_no_rows(world):
    with pytest.raises(ValueError, match="has no rows"):
        world.make().fit(world.pairs.iloc[:0])


def check_bad_rows_are_all_named(world):
    transformer = world.make().fit(world.pairs)
    spoiled = world.pairs.copy()
    spoiled.loc["k", "audio"] = "nowhere.wav"
    spoiled.loc["m", "text"] = ""
    spoiled.loc["o", ["audio", "text"]] = ["nothing.wav", ""]
    with pytest.raises(BadPairsError, match="3 of 8 pairs cannot be used") as error:
        transformer.transform(spoiled)
    rows = error.value.rows
    assert [(row.position, row.index) for row in rows] == [(2, "k"), (4, "m"), (6, "o")]
    assert "nowhere.wav" in rows[0].source
    assert "nothing.wav" in rows[2].source
    assert "Also:" in rows[2].reason


# Checks for those that encode


def check_batch_size_invariance(world):
    expected = world.make(cache=None, batch_size=32).fit_transform(world.pairs)
    for batch_size in (1, 3, 8):
        transformer = world.make(cache=None, batch_size=batch_size)
        assert_allclose(transformer.fit_transform(world.pairs), expected, atol=1e-6)


def check_a_row_alone_equals_the_row_among_others(world):
    transformer = world.make(cache=None).fit(world.pairs)
    together = transformer.transform(world.pairs)
    alone = [transformer.transform(world.pairs.iloc[[i]])[0] for i in range(8)]
    assert_allclose(alone, together, atol=1e-6)


def check_path_equals_array(world):
    expected = world.make(cache=None).fit_transform(world.pairs)
    arrays = as_arrays(world.pairs)
    assert_array_equal(world.make(cache=None).fit_transform(arrays), expected)


def check_every_clip_is_heard_at_the_rate_of_the_encoder(world):
    world.make().fit_transform(world.pairs)
    seconds = [0.5, 1.0, 2.5, 0.3, 3.1, 1.0, 0.1, 1.7]
    heard = np.array(world.encoder.clips) / world.encoder.sample_rate
    assert_allclose(heard, seconds, atol=1e-3)


def check_stored_equals_computed(world):
    computed = world.make(cache=None).fit_transform(world.pairs)
    world.make().fit_transform(world.pairs)
    assert_array_equal(world.make().fit_transform(world.pairs), computed)


def check_nothing_is_encoded_twice(world):
    transformer = world.make()
    transformer.fit_transform(world.pairs)
    transformer.transform(world.pairs.iloc[::-1])
    clone(transformer).fit_transform(world.pairs)
    model = make_pipeline(world.make(), Ridge())
    cross_val_score(model, world.pairs, np.arange(8.0), cv=4, error_score="raise")
    world.make(**{**world.some_param, "batch_size": 2}).fit_transform(
        as_paths_spelt_otherwise(world.pairs)
    )
    assert world.n_encoded == (8, world.n_texts)


def check_repeated_clips_and_texts_are_encoded_once(world):
    repeated = pd.concat([world.pairs, world.pairs[::-1]])
    repeated["text"] = "always the same"
    world.make(cache=None).fit_transform(repeated)
    assert world.n_encoded == (8, min(1, world.n_texts))


def check_fit_encodes_nothing(world):
    world.make().fit(world.pairs)
    assert world.n_encoded == (0, 0)


def check_without_a_cache_nothing_is_stored(world):
    world.make(cache=None).fit_transform(world.pairs)
    assert not world.cache.exists()


def check_changed_file_is_never_stale(world):
    transformer = world.make().fit(world.pairs)
    before = transformer.transform(world.pairs)
    path = world.pairs["audio"].iloc[0]
    samples, rate = soundfile.read(path)
    status = os.stat(path)
    soundfile.write(path, samples[::-1] ** 2, rate)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    after = transformer.transform(world.pairs)
    assert abs(after[0] - before[0]).max() > 1e-3
    assert_array_equal(after[1:], before[1:])


def check_swapped_files_are_distinguished(world):
    transformer = world.make().fit(world.pairs)
    before = transformer.transform(world.pairs)[:, :4]
    first, last = world.pairs["audio"].iloc[[0, 7]]
    os.rename(first, first + "x")
    os.rename(last, first)
    os.rename(first + "x", last)
    after = transformer.transform(world.pairs)[:, :4]
    assert_array_equal(after[[7, *range(1, 7), 0]], before)


def check_bad_rows_named_and_good_rows_stored(world):
    spoiled = world.pairs.copy()
    with open(spoiled.loc["j", "audio"], "wb") as file:
        file.truncate(0)
    spoiled.loc["p", "text"] = "  "
    with pytest.raises(BadPairsError) as error:
        world.make(batch_size=2).fit_transform(spoiled)
    assert [row.index for row in error.value.rows] == ["j", "p"]
    assert error.value.rows[0].source.endswith("rain.flac")
    assert error.value.rows[0].reason.startswith("the file is empty (0 bytes)")
    n_encoded = (7, min(7, world.n_texts))
    assert world.n_encoded == n_encoded
    good = spoiled.drop(index=["j", "p"])
    assert world.make().fit_transform(good).shape == (6, world.width)
    assert world.n_encoded == n_encoded


def check_only_bad_rows_give_the_same_error(world):
    world.pairs["audio"] = None
    with pytest.raises(BadPairsError, match="8 of 8 pairs"):
        world.make().fit_transform(world.pairs)


def check_an_interrupted_run_keeps_its_finished_batches(world):
    transformer = world.make(batch_size=2).fit(world.pairs)
    encode, calls = world.encoder.encode_audio, []

    def interrupted(waveforms, **options):
        calls.append(len(waveforms))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return encode(waveforms, **options)

    world.encoder.encode_audio = interrupted
    with pytest.raises(KeyboardInterrupt):
        transformer.transform(world.pairs)
    assert world.n_stored() == 6
    world.encoder.encode_audio = encode
    transformer.transform(world.pairs)
    assert world.n_encoded == (8, world.n_texts)


def check_other_weights_are_refused(world):
    transformer = world.make().fit(world.pairs)
    fitted = world.encoder.fingerprint
    world.encoder.fingerprint = "0123"
    with pytest.raises(FingerprintMismatchError, match=f"{fitted}.* weights are 0123"):
        transformer.transform(world.pairs)


def check_embeddings_that_are_not_finite_are_never_stored(world):
    transformer = world.make().fit(world.pairs)
    world.encoder.encode_audio = lambda clips, **_: np.full((len(clips), 6), np.nan)
    with pytest.raises(ValueError, match=r"must .* finite"):
        transformer.transform(world.pairs)
    assert not world.cache.exists() or world.n_stored() == 0


def check_progress_is_shown_only_on_request(world):
    for verbose in (False, True):
        printed = io.StringIO()
        with contextlib.redirect_stderr(printed):
            world.make(cache=None, verbose=verbose).fit_transform(world.pairs)
        assert ("encoding clips" in printed.getvalue()) is verbose
        assert ("encoding texts" in printed.getvalue()) is (
            verbose and world.kind not in AUDIO
        )


def check_encoder_parameters_are_validated(world):
    with pytest.raises(ValueError, match="'batch_size' parameter of"):
        world.make(batch_size=0).fit(world.pairs)
    with pytest.raises(ValueError, match="'cache' parameter of"):
        world.make(cache=3).fit(world.pairs)


# Checks for published checkpoints


def check_crop_reaches_the_encoder_and_the_key(world):
    whole = world.make().fit_transform(world.pairs)
    start = world.make(crop="start").fit_transform(world.pairs)
    assert world.encoder.crops == ["windows", "start"]
    long = [2, 4, 7]  # longer than the window of the toy encoder
    assert (abs(whole - start).max(axis=1) > 0).nonzero()[0].tolist() == long


def check_checkpoints_do_not_share_embeddings(world):
    one = world.make().fit_transform(world.pairs)
    other = world.make(checkpoint="another").fit_transform(world.pairs)
    assert abs(one - other).max() > 1e-3


def check_parameters_reach_the_loader(world):
    with pytest.raises(ValueError, match=r"'crop' parameter of .* 'random'"):
        world.make(crop="random").fit(world.pairs)
    with pytest.raises(ValueError, match="'dtype' parameter of"):
        world.make(dtype="int8").fit(world.pairs)
    world.make(checkpoint="mine").fit(world.pairs)
    assert list(world.encoders) == [(CHECKPOINTS[world.kind], "mine")]


def check_fitted_attributes_describe_the_encoder(world):
    transformer = world.make().fit(world.pairs)
    if world.kind in AUDIO:
        assert transformer.blocks_ == world.encoder.blocks
    else:
        assert transformer.projection_dim_ == 6
    assert transformer.sample_rate_ == 8_000
    assert transformer.fingerprint_ == world.encoder.fingerprint


# By the kind of their encoder.
AUDIO = {
    WavLmFeatures: "wavlm",
    AudioMaeFeatures: "audiomae",
    WhisperFeatures: "whisper",
    CtcFeatures: "ctc",
    BeatsFeatures: "beats",
    EatFeatures: "eat",
}
CLAP = {
    LaionClapPairFeatures: "laion",
    MsClapPairFeatures: "msclap",
    M2dClapPairFeatures: "m2d-clap",
    MgaClapPairFeatures: "mga-clap",
    PeAudioPairFeatures: "pe-audio",
}
CHECKPOINTS = {**CLAP, **AUDIO}
PAIR = [*CLAP, PairFeatures, PrecomputedPairFeatures]
ENCODING = [*CHECKPOINTS, PairFeatures]
ALL = [*ENCODING, PrecomputedPairFeatures]
BATTERY = {
    check_result_is_float32_of_the_named_width: ALL,
    check_names_match_width: ALL,
    check_names_match_blocks: PAIR,
    check_unfitted: ALL,
    check_clone: ALL,
    check_pickle_small: [*CHECKPOINTS, PrecomputedPairFeatures],  # others hold theirs
    check_pickle_gives_the_same_bits: ALL,
    check_set_output: ALL,
    check_families_are_prefixes_in_a_union: ALL,
    check_row_order: ALL,
    check_column_order_and_other_columns_do_not_matter: ALL,
    check_rows_equal_frame: ALL,
    check_input_is_not_changed: ALL,
    check_transform_leaves_the_transformer_alone: ALL,
    check_refit_gives_the_same_bits: ALL,
    check_fitted_names_are_those_of_a_pair: ALL,
    check_tags: ALL,
    check_blocks_are_validated: PAIR,
    check_missing_column_is_named: ALL,
    check_no_rows: ALL,
    check_bad_rows_are_all_named: ALL,
    check_batch_size_invariance: ENCODING,
    check_a_row_alone_equals_the_row_among_others: ENCODING,
    check_path_equals_array: ENCODING,
    check_every_clip_is_heard_at_the_rate_of_the_encoder: ENCODING,
    check_stored_equals_computed: ENCODING,
    check_nothing_is_encoded_twice: ENCODING,
    check_repeated_clips_and_texts_are_encoded_once: ENCODING,
    check_fit_encodes_nothing: ENCODING,
    check_without_a_cache_nothing_is_stored: ENCODING,
    check_changed_file_is_never_stale: ENCODING,
    check_swapped_files_are_distinguished: ENCODING,
    check_bad_rows_named_and_good_rows_stored: ENCODING,
    check_only_bad_rows_give_the_same_error: ENCODING,
    check_an_interrupted_run_keeps_its_finished_batches: ENCODING,
    check_other_weights_are_refused: ENCODING,
    check_embeddings_that_are_not_finite_are_never_stored: ENCODING,
    check_progress_is_shown_only_on_request: ENCODING,
    check_encoder_parameters_are_validated: ENCODING,
    check_crop_reaches_the_encoder_and_the_key: CHECKPOINTS,
    check_checkpoints_do_not_share_embeddings: CHECKPOINTS,
    check_parameters_reach_the_loader: CHECKPOINTS,
    check_fitted_attributes_describe_the_encoder: CHECKPOINTS,
}
CASES = [(kind, check) for check, kinds in BATTERY.items() for kind in kinds]


@pytest.mark.parametrize(
    ("kind", "check"), CASES, ids=[f"{k.__name__}-{c.__name__}" for k, c in CASES]
)
def test_battery(kind, check, pairs, encoders, toy_encoder, cache, tmp_path):
    check(World(kind, pairs, encoders, toy_encoder, cache, tmp_path))


def test_every_check_of_this_file_is_in_the_battery():
    written = {name for name in globals() if name.startswith("check_")}
    written -= {"check_is_fitted"}
    assert {check.__name__ for check in BATTERY} == written


def test_size_of_the_battery():
    # Two checks are of the blocks of equation 1; small pickles are not asked of those
    # who hold an encoder of one's own.
    assert len(CASES) == 18 * 13 + 18 * 12 + 4 * 11 + 2 * 7 + 12
