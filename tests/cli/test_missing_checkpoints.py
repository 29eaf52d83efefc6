"""Published weights that are neither on this machine nor available from the hub."""

import traceback

import pandas as pd
import pytest

from clapstack.exceptions import MissingCheckpointError
from clapstack.features import MsClapPairFeatures

PLACES = [
    "laion/clap-htsat-unfused",
    "laion/clap-htsat-fused",
    "microsoft/msclap",
]


@pytest.fixture(autouse=True)
def _no_network(monkeypatch, tmp_path):
    def fail(*arguments, **settings):
        try:
            raise ConnectionResetError
        except ConnectionResetError as error:
            msg = "Name or service not known"
            raise OSError(msg) from error

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("clapstack.encoders._finding.snapshot_download", fail)


@pytest.mark.parametrize("command", ["score", "probe", "fit", "extract"])
def test_all_missing_checkpoints_are_named_with_every_remedy(
    run, write_csv, pairs, tmp_path, command
):
    table = write_csv(pairs)
    more = {"fit": ["--out", tmp_path / "m.clapstack"], "extract": []}
    done = run(command, table, *more.get(command, ["--unsupervised"]))
    assert done.exit_code == 3
    announced = f"clapstack {command}: downloading {', '.join(PLACES)} from the"
    _, is_announced, words = done.stderr.partition(announced)
    assert is_announced
    assert all(place in words for place in PLACES)
    assert "add --checkpoints bundled" in words
    assert "  --checkpoint laion_unfused=models/clap-htsat-unfused\n" in words
    assert "  --checkpoint msclap=models/msclap\n" in words
    assert "hf download microsoft/msclap CLAP_weights_2023.pth" in words
    assert "hf download openai-community/gpt2 tokenizer.json" in words
    assert "models--openai-community--gpt2" in words


def test_a_fitted_model_is_not_offered_bundled_checkpoints(run, model_file, pairs):
    place = f"msclap={PLACES[2]}"
    done = run("score", model_file, "a.wav", "a bell", "--checkpoint", place)
    assert done.exit_code == 3
    assert "--checkpoint msclap=models/msclap" in done.stderr
    assert "--checkpoints bundled" not in done.stderr


def test_the_traceback_of_a_missing_checkpoint_is_short():
    X = pd.DataFrame({"audio": ["a.wav"], "text": ["a bell"]})
    with pytest.raises(MissingCheckpointError, match="could not be downloaded") as info:
        MsClapPairFeatures("microsoft/msclap").fit(X)
    lines = traceback.format_exception(info.value)
    assert "OSError: Name or service not known\n" in lines
    assert not any("ConnectionResetError" in line for line in lines)


def test_a_missing_file_of_a_repository_is_named_with_its_downloads(
    run, write_csv, pairs
):
    table = write_csv(pairs)
    done = run("score", "--unsupervised", table, "--family", "laion_630k")
    assert done.exit_code == 3
    assert "--checkpoint laion_630k=models/630k-audioset-best.pt" in done.stderr
    assert "hf download lukewys/laion_clap 630k-audioset-best.pt" in done.stderr
    assert "hf download FacebookAI/roberta-base tokenizer.json" in done.stderr
