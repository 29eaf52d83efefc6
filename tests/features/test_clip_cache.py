"""Encoders of one sample rate share decoded and resampled clips."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile
from numpy.testing import assert_array_equal
from sklearn.pipeline import FeatureUnion

from clapstack.features import PairFeatures
from clapstack.features import _embedding as _embed
from clapstack.features._clip_cache import ClipCache, clip_cache_bytes


@pytest.fixture
def toy(toy_encoder):
    def make(name="toy", sample_rate=8_000):
        encoder = type(toy_encoder)(name)
        encoder.sample_rate = sample_rate
        return encoder

    return make


@pytest.fixture
def shared(monkeypatch):
    clips = ClipCache(1 << 30)
    monkeypatch.setattr(_embed, "_CLIPS", clips)
    return clips


@pytest.fixture
def reads(monkeypatch, shared):
    """Number of times each clip was decoded and resampled."""
    counts, read = Counter(), _embed.read_keyed_audio

    def counted(source, sample_rate):
        counts[source, sample_rate] += 1
        return read(source, sample_rate)

    monkeypatch.setattr(_embed, "read_keyed_audio", counted)
    return counts


def union(*encoders, **params):
    params = {"cache": None, "batch_size": 2, **params}
    return FeatureUnion(
        [(f"family{i}", PairFeatures(e, **params)) for i, e in enumerate(encoders)]
    )


def test_a_second_encoder_of_the_same_rate_decodes_nothing(toy, pairs, reads):
    union(toy("one"), toy("two")).fit_transform(pairs)
    assert len(reads) == len(pairs)
    assert set(reads.values()) == {1}


def test_each_rate_is_resampled_to_once_in_any_order(toy, pairs, reads):
    rates = [8_000, 16_000, 8_000, 16_000]
    union(*(toy(str(i), rate) for i, rate in enumerate(rates))).fit_transform(pairs)
    assert Counter(rate for _, rate in reads) == {8_000: 8, 16_000: 8}
    assert set(reads.values()) == {1}


def test_features_are_those_of_clips_read_anew(toy, pairs, reads, shared):
    together = union(toy("one"), toy("two")).fit_transform(pairs)
    shared.keep_only([])
    alone = union(toy("two")).fit_transform(pairs)
    assert_array_equal(together[:, alone.shape[1] :], alone)


def test_a_table_beyond_the_memory_is_shared_from_its_beginning(
    toy, pairs, reads, shared
):
    shared.max_bytes = 4 * 8_000 * 5  # the first three clips take 4.0 seconds
    union(toy("one"), toy("two")).fit_transform(pairs)
    assert shared.n_bytes <= shared.max_bytes
    assert [reads[path, 8_000] for path in pairs["audio"][:3]] == [1, 1, 1]
    assert max(reads.values()) == 2


def test_clips_leave_when_another_table_comes(toy, pairs, reads, shared):
    transformer = union(toy()).fit(pairs)
    transformer.transform(pairs)
    transformer.transform(pairs[-2:])
    assert shared.n_bytes == pytest.approx(4 * 8_000 * (0.1 + 1.7), rel=1e-3)


def test_a_changed_file_is_read_again(toy, pairs, reads):
    transformer = union(toy()).fit(pairs)
    before = transformer.transform(pairs)
    soundfile.write(pairs["audio"].iloc[1], np.linspace(-0.5, 0.5, 9_000), 16_000)
    after = transformer.transform(pairs)
    assert abs(after - before).max(axis=1).nonzero()[0].tolist() == [1]


def test_an_encoder_that_works_in_place_leaves_the_next_ones_clips_alone(
    toy, pairs, reads
):
    def overwriting(waveforms, **options):
        embeddings = encode(waveforms, **options)
        for waveform in waveforms:
            waveform[:] = 0.1
        return embeddings

    first = toy("one")
    encode, first.encode_audio = first.encode_audio, overwriting
    after = union(first, first, toy("two")).fit_transform(pairs)
    expected = union(toy("one"), toy("two")).fit_transform(pairs)
    width = expected.shape[1] // 2
    assert_array_equal(after[:, width:], expected)


def test_a_clip_that_cannot_be_read_is_not_shared(toy, pairs, reads, shared):
    pairs.loc["k", "audio"] = "nowhere.wav"
    with pytest.raises(ValueError, match="1 of 8 pairs"):
        union(toy()).fit_transform(pairs)
    assert len(shared._clips) == 7


def test_threads_never_exceed_the_memory_nor_mix_clips_up():
    shared = ClipCache(max_bytes=4 * 100 * 20)

    def work(seed):
        rng = np.random.default_rng(seed)
        for value in rng.integers(0, 50, 300):
            shared.put(str(value), 8_000, np.full(100, value, dtype=np.float32))
            clip = shared.get(str(value), 8_000)
            assert clip is None or (clip == value).all()
            if value == 0:
                shared.keep_only(map(str, range(25)))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert shared.n_bytes == sum(clip.nbytes for clip in shared._clips.values())
    assert 0 < shared.n_bytes <= shared.max_bytes


@pytest.mark.parametrize(
    ("given", "n_bytes"), [(None, 1 << 30), ("", 1 << 30), ("0", 0), (" 2048 ", 2048)]
)
def test_a_variable_says_how_much_memory_clips_may_take(given, n_bytes, monkeypatch):
    monkeypatch.delenv("CLAPSTACK_SHARED_BYTES", raising=False)
    if given is not None:
        monkeypatch.setenv("CLAPSTACK_SHARED_BYTES", given)
    assert clip_cache_bytes() == n_bytes


@pytest.mark.parametrize("given", ["-1", "1e9", "1 GB"])
def test_a_variable_that_is_no_number_of_bytes_is_refused(given, monkeypatch):
    monkeypatch.setenv("CLAPSTACK_SHARED_BYTES", given)
    with pytest.raises(ValueError, match=f"number of bytes, 0 or more; got '{given}'"):
        clip_cache_bytes()


def test_without_memory_every_encoder_reads_anew(toy, pairs, reads, shared):
    shared.max_bytes = 0
    union(toy("one"), toy("two")).fit_transform(pairs)
    assert set(reads.values()) == {2}
    assert shared.n_bytes == 0


def test_a_clip_in_memory_that_many_rows_share_is_hashed_once(toy, shared, monkeypatch):
    hashed, key_of = [], _embed.audio_key

    def noted(source):
        hashed.append(source)
        return key_of(source)

    monkeypatch.setattr(_embed, "audio_key", noted)
    clip = (np.random.default_rng(0).normal(0, 0.1, 8_000), 8_000)
    pairs = [(clip, text) for text in ("rain", "a bell", "wind")]
    assert len(PairFeatures(toy(), cache=None).fit_transform(pairs)) == 3
    assert len(hashed) == 1
