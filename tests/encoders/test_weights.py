from __future__ import annotations

import json
import os
import pickle

import pytest
import torch

from clapstack.encoders import load_encoder
from clapstack.encoders._reading import check_tensors, read_tensors
from clapstack.exceptions import CheckpointError


class RunsCode:
    """Content of a malicious file of weights."""

    def __init__(self, witness):
        self.witness = witness

    def __reduce__(self):
        return os.mkdir, (str(self.witness),)


def test_a_pickle_that_runs_code_is_refused_and_not_run(tmp_path):
    path = tmp_path / "CLAP_weights_2023.pth"
    torch.save({"model": RunsCode(tmp_path / "harm")}, path)
    with pytest.raises(
        CheckpointError, match=r"was not loaded: .* could run code when read"
    ):
        read_tensors(path)
    assert not (tmp_path / "harm").exists()


def test_an_old_style_pickle_is_refused_and_not_run(tmp_path):
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(pickle.dumps(RunsCode(tmp_path / "harm"), protocol=2))
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin"):
        read_tensors(path)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("name", ["model.safetensors", "weights.pth"])
@pytest.mark.parametrize("content", [b"", b"no weights at all" * 9])
def test_a_damaged_file_is_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"{name}.* Download it again"):
        read_tensors(tmp_path / name)


def test_a_truncated_file_is_named(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"a": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(CheckpointError, match=r"weights\.pth .*Download it again"):
        read_tensors(path)


@pytest.mark.parametrize("content", [torch.zeros(3), {"model": {"a": 1}}, [1, 2]])
def test_a_file_of_something_else_is_named(tmp_path, content):
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(
        CheckpointError, match=r"must contain a mapping of names to tensors"
    ):
        read_tensors(tmp_path / "weights.pth")


def test_many_faults_are_counted_not_listed(tmp_path):
    expected = {f"layer{i}": torch.zeros(1) for i in range(9)}
    with pytest.raises(CheckpointError, match=r"layer0, .*, layer4 and 4 more"):
        check_tensors({}, expected, source=tmp_path)


@pytest.mark.parametrize("kind", ["laion", "msclap"])
def test_a_name_that_is_neither_here_nor_a_hub_id_is_refused(kind):
    with pytest.raises(
        CheckpointError, match=r"'no/such/folder' is not a file, .* not a hub id"
    ):
        load_encoder(kind, "no/such/folder")


@pytest.mark.parametrize(
    ("kind", "checkpoint", "file"),
    [
        ("laion", "laion/clap-htsat-unfused", "preprocessor_config.json"),
        ("msclap", "microsoft/msclap", "CLAP_weights_2023.pth"),
    ],
)
def test_without_a_network_the_message_says_what_to_put_where(
    kind, checkpoint, file, monkeypatch, tmp_path
):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        CheckpointError, match=rf"'{checkpoint}' could not be .*{file}.* pass the path"
    ):
        load_encoder(kind, checkpoint)


def test_an_unknown_bundled_checkpoint_is_refused():
    with pytest.raises(CheckpointError, match="no bundled checkpoint 'bundled:beats'"):
        load_encoder("laion", "bundled:beats")


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("config.json", r"config\.json cannot be read"),
        ("preprocessor_config.json", r"processor_config\.json cannot be read"),
        ("model.safetensors", r"lacks model\.safetensors or pytorch_model\.bin"),
        ("vocab.json", r"lacks the tokenizer\. .* vocab\.json and merges\.txt"),
    ],
)
def test_a_missing_file_of_a_laion_folder_is_named(
    laion_folders, copy_of, file, message
):
    folder = copy_of(laion_folders[False])
    (folder / file).unlink()
    with pytest.raises(CheckpointError, match=message):
        load_encoder("laion", str(folder))


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("CLAP_weights_2023.pth", r"lacks CLAP_weights\*\.pth"),
        ("vocab.json", r"put gpt2's tokenizer .* vocab\.json and merges\.txt"),
    ],
)
def test_a_missing_file_of_an_msclap_folder_is_named(
    msclap_folder, copy_of, file, message
):
    folder = copy_of(msclap_folder)
    (folder / file).unlink()
    with pytest.raises(CheckpointError, match=message):
        load_encoder("msclap", str(folder))


def test_of_several_msclap_files_one_must_be_chosen(msclap_folder, copy_of):
    folder = copy_of(msclap_folder)
    (folder / "CLAP_weights_2022.pth").touch()
    with pytest.raises(CheckpointError, match=r"CLAP_weights_2022.*Pass the path"):
        load_encoder("msclap", str(folder))


def test_a_file_is_no_laion_checkpoint(laion_folders):
    path = laion_folders[False] / "model.safetensors"
    with pytest.raises(CheckpointError, match=r"is a file; .* is a folder"):
        load_encoder("laion", str(path))


def test_a_damaged_configuration_is_named(laion_folders, copy_of):
    folder = copy_of(laion_folders[False])
    (folder / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json cannot be read"):
        load_encoder("laion", str(folder))


def test_a_damaged_tokenizer_is_named(laion_folders, copy_of):
    folder = copy_of(laion_folders[False])
    (folder / "vocab.json").write_text("{ damaged", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"tokenizer in .* cannot be read"):
        load_encoder("laion", str(folder))


def test_a_tokenizer_larger_than_the_text_tower_is_refused(laion_folders, copy_of):
    folder = copy_of(laion_folders[False])
    vocab = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    vocab["more"] = len(vocab)
    (folder / "vocab.json").write_text(json.dumps(vocab), encoding="utf-8")
    with pytest.raises(
        CheckpointError, match=r"does not match the text tower: it has \d+"
    ):
        load_encoder("laion", str(folder))
