"""The scripts of the gallery run when the documents are built; the others here."""

from pathlib import Path

import numpy as np
import pytest

from clapstack.encoders import load_encoder

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("name", ["laion-unfused", "laion-fused", "msclap"])
def test_training_writes_a_checkpoint_that_loads(name, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from train_mini_checkpoints import train

    train(name, tmp_path, n_scenes=64, n_steps=1, n_watched=4)
    encoder = load_encoder(name.split("-")[0], str(tmp_path / name), device="cpu")
    text = encoder.encode_text(["a dog barks", "rain"])
    assert text.shape == (2, 64)
    assert not np.allclose(text[0], text[1])
