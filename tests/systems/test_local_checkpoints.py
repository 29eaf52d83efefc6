"""Systems on small files of the users' own, beside bundled checkpoints."""

import pickle

import pytest
from numpy.testing import assert_array_equal

from clapstack import make_system
from clapstack.systems import bundled_checkpoints, describe_system


@pytest.fixture(scope="module")
def whisper(tmp_path_factory):
    """Return a folder of a small random Whisper, in the official format."""
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

    folder = tmp_path_factory.mktemp("whisper")
    small = {"d_model": 16, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    small |= {f"{side}_layers": 1 for side in ("encoder", "decoder")}
    small |= {f"{side}_attention_heads": 2 for side in ("encoder", "decoder")}
    tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    tokens |= {"decoder_start_token_id": 1, "vocab_size": 30}
    WhisperModel(WhisperConfig(**small, **tokens)).save_pretrained(folder)
    WhisperFeatureExtractor().save_pretrained(folder)
    return str(folder)


def test_optional_family_joins_where_a_checkpoint_is_given(challenge, cache, whisper):
    train, test = challenge
    checkpoints = bundled_checkpoints({"whisper": whisper})
    settings = {"cache": cache, "device": "cpu"}
    pipeline = make_system("rank-2-like", checkpoints=checkpoints, **settings)
    families = [name for name, _ in pipeline["features"].transformer_list]
    assert families == [*describe_system("rank-2-like").families, "whisper"]
    scores = pipeline.fit(train.X, train.y).predict(test.X)
    assert_array_equal(pickle.loads(pickle.dumps(pipeline)).predict(test.X), scores)
    without = make_system("rank-2-like", checkpoints="bundled", **settings)
    assert (without.fit(train.X, train.y).predict(test.X) != scores).all()
