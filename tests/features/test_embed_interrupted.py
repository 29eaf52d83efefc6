"""An interrupted run loses only the current batch; the next run resumes there."""

import io
import re
from contextlib import redirect_stderr

import pytest

from clapstack.features import PairFeatures
from clapstack.store import EmbeddingStore


@pytest.fixture
def interrupt():
    def at_call(encoder, method, call):
        """Simulate Ctrl-C once, in this call of an encoder's method."""
        encode, calls = getattr(encoder, method), []

        def interrupted(inputs, **options):
            calls.append(len(inputs))
            if len(calls) == call:
                raise KeyboardInterrupt
            return encode(inputs, **options)

        setattr(encoder, method, interrupted)

    return at_call


@pytest.mark.parametrize(
    ("method", "call", "n_stored"),
    [
        ("encode_audio", 1, 0),
        ("encode_audio", 3, 4),
        ("encode_text", 1, 8),
        ("encode_text", 4, 8 + 6),
    ],
)
def test_all_batches_before_the_interruption_are_stored(
    method, call, n_stored, pairs, toy_encoder, cache, interrupt
):
    transformer = PairFeatures(toy_encoder, batch_size=2, cache=cache).fit(pairs)
    interrupt(toy_encoder, method, call)
    with pytest.raises(KeyboardInterrupt):
        transformer.transform(pairs)
    store = EmbeddingStore(cache)
    assert len(store) == n_stored
    store.close()


@pytest.mark.parametrize("method", ["encode_audio", "encode_text"])
def test_the_next_run_encodes_only_what_is_left(
    method, pairs, toy_encoder, cache, interrupt
):
    transformer = PairFeatures(toy_encoder, batch_size=2, cache=cache).fit(pairs)
    interrupt(toy_encoder, method, 3)
    with pytest.raises(KeyboardInterrupt):
        transformer.transform(pairs)
    transformer.transform(pairs)
    assert len(toy_encoder.clips) == 8
    assert sorted(toy_encoder.texts) == sorted(pairs["text"])


def test_texts_of_like_length_share_a_batch_the_longest_first(pairs, toy_encoder):
    PairFeatures(toy_encoder, batch_size=2, cache=None).fit_transform(pairs)
    lengths = [len(text) for text in toy_encoder.texts]
    assert lengths == sorted(lengths, reverse=True)


def test_progress_shows_the_rate_and_the_time_left(pairs, toy_encoder):
    transformer = PairFeatures(toy_encoder, batch_size=2, cache=None, verbose=True)
    transformer.fit(pairs)
    printed = io.StringIO()
    with redirect_stderr(printed):
        transformer.transform(pairs)
    for unit in ("clip", "text"):
        bar = rf"encoding {unit}s: .*[0-9]/8 \[00:[0-9]+<.*{unit}/s\]"
        assert re.search(bar, printed.getvalue())
