"""The bits of an embedding do not depend on other inputs."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from clapstack.encoders import load_encoder

pytestmark = pytest.mark.filterwarnings(
    "ignore::clapstack.exceptions.CollapsedTowerWarning"
)

BUNDLED = {
    "unfused": ("laion", "bundled:laion-unfused"),
    "fused": ("laion", "bundled:laion-fused"),
    "msclap": ("msclap", "bundled:msclap"),
}
WORDS = ["a", "dog", "barks", "while", "rain", "falls", "on", "the", "roof", "cars"]


@pytest.fixture(params=BUNDLED)
def encoder(request):
    family, checkpoint = BUNDLED[request.param]
    return load_encoder(family, checkpoint, device="cpu")


@pytest.fixture(params=[1, 2])
def n_threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def clips():
    rng = np.random.default_rng(0)
    seconds = [0.3, 1, 3.1, 7, 10, 10.5, 17, 26, 5]
    return [
        rng.normal(0, 0.1, int(48_000 * s)).astype(np.float32)  # of any rate
        for s in seconds
    ]


@pytest.fixture(scope="module")
def texts():
    rng = np.random.default_rng(0)
    drawn = [" ".join(rng.choice(WORDS, n)) for n in [*range(1, 25), 90]]
    return [*drawn, "rain", "!", "a dog barks"]


def same_rows(rows, expected):
    """Compare texts: some kernels round the last rows of a product differently."""
    if torch.backends.cpu.get_cpu_capability() == "AVX512":
        assert_array_equal(rows, expected)
    else:
        assert_allclose(rows, expected, rtol=0, atol=1e-6)


def test_a_clip_gives_the_same_bits_alone(encoder, clips, n_threads):
    together = encoder.encode_audio(clips)
    alone = [encoder.encode_audio([clip])[0] for clip in clips]
    assert_array_equal(alone, together)


def test_clips_give_the_same_bits_in_any_order_and_batch(encoder, clips, n_threads):
    together = encoder.encode_audio(clips)
    order = np.random.default_rng(1).permutation(len(clips))
    shuffled = encoder.encode_audio([clips[i] for i in order], batch_size=3)
    assert_array_equal(shuffled, together[order])


def test_a_text_gives_the_same_bits_alone(encoder, texts, n_threads):
    together = encoder.encode_text(texts)
    same_rows([encoder.encode_text([text])[0] for text in texts], together)


def test_texts_give_the_same_bits_in_any_order_and_batch(encoder, texts, n_threads):
    together = encoder.encode_text(texts)
    order = np.random.default_rng(1).permutation(len(texts))
    shuffled = encoder.encode_text([texts[i] for i in order], batch_size=3)
    same_rows(shuffled, together[order])


def test_the_number_of_threads_does_not_move_a_bit(encoder, clips, texts):
    before = torch.get_num_threads()
    found = []
    for n_threads in (1, 2):
        torch.set_num_threads(n_threads)
        found.append((encoder.encode_audio(clips[:5]), encoder.encode_text(texts)))
    torch.set_num_threads(before)
    for one, two in zip(*found, strict=True):
        assert_array_equal(two, one)
