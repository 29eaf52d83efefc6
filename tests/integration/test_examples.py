"""The examples run as they stand."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from clapstack.encoders import load_encoder

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_quick_start_runs_and_shows_its_scores(tmp_path):
    environment = os.environ | {"MPLBACKEND": "agg", "CLAPSTACK_CACHE": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "plot_quickstart.py")],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert "'srcc':" in done.stdout
    assert "agreement__n_components" in done.stdout


@pytest.mark.parametrize("name", ["laion-unfused", "laion-fused", "msclap"])
def test_training_writes_a_checkpoint_that_loads(name, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from train_mini_checkpoints import train

    train(name, tmp_path, n_scenes=64, n_steps=1, n_watched=4)
    encoder = load_encoder(name.split("-")[0], str(tmp_path / name), device="cpu")
    text = encoder.encode_text(["a dog barks", "rain"])
    assert text.shape == (2, 64)
    assert not np.allclose(text[0], text[1])
