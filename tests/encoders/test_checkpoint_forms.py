"""Common forms of checkpoints: wrapped, sharded, with additional content."""

from __future__ import annotations

import argparse
import collections
import io
import json
import pathlib
import shutil
import warnings
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from transformers import ClapModel

from clapstack.encoders import load_encoder
from clapstack.encoders._reading import read_content, read_tensors
from clapstack.exceptions import CheckpointError, CollapsedTowerWarning
from tests.checkpoints import edit_tensors, make_laion_file, write_tensors
from tests.checkpoints import read_tensors as tensors_of
from tests.forged import KINDS, make_checkpoints, save_shards

TEXTS = ["a dog barks", "rain"]


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    return make_checkpoints(tmp_path_factory.mktemp("checkpoints"))


# Wrappers


WRAPPERS = ["module.", "_orig_mod.", "model.", "module.model.", "model._orig_mod."]
FORMATS = [
    "laion_larger_general",
    "laion_pt",
    "laion_old_pt",
    "msclap_2023",
    "msclap_2022",
    "m2d_clap",
    "mga_clap",
    *(name for name in KINDS if name == "pe_audio"),
    "beats",
    "eat",
    "eat_pt",
    "audiomae",
    "wavlm",
    "whisper",
    "ctc",
]


def rewrite(place, change):
    """Apply a change to the names of all tensors of a checkpoint."""
    if place.is_file():
        file = place
    else:
        found = [*place.glob("*.safetensors"), *place.glob("*.bin")]
        file = [*found, *place.glob("*.pth")][0]
    if file.suffix == ".safetensors":
        write_tensors(place, change(tensors_of(place)))
        return
    content = torch.load(io.BytesIO(file.read_bytes()), weights_only=False)
    for name in ("model", "state_dict"):
        if name in content:
            content[name] = change(content[name])
            break
    else:
        content = change(content)
    torch.save(content, file)


@pytest.mark.parametrize(
    ("name", "wrapper"),
    [
        *((name, "module.model.") for name in FORMATS),
        *(("laion_pt", wrapper) for wrapper in WRAPPERS),
        *(("eat", wrapper) for wrapper in WRAPPERS),
    ],
)
def test_a_wrapped_model_gives_the_same_bits(places, tmp_path, name, wrapper):
    original = places[name]
    folder = original if original.is_dir() else original.parent
    copy = shutil.copytree(folder, tmp_path / "copy")
    place = copy / original.relative_to(folder)
    rewrite(place, lambda tensors: {f"{wrapper}{n}": t for n, t in tensors.items()})
    encoder, wrapped = (
        load_encoder(KINDS[name], path, device="cpu") for path in (original, place)
    )
    assert wrapped.fingerprint == encoder.fingerprint


def test_a_part_may_be_compiled(places, tmp_path):
    folder = shutil.copytree(places["laion_pt"].parent, tmp_path / "copy")
    tensors = read_tensors(places["laion_pt"])
    named = {
        n.replace("text_branch.", "text_branch._orig_mod."): t
        for n, t in tensors.items()
    }
    torch.save({"state_dict": named}, folder / "best.pt")
    encoder = load_encoder("laion", folder / "best.pt", device="cpu")
    original = load_encoder("laion", places["laion_pt"], device="cpu")
    assert_array_equal(encoder.encode_text(TEXTS), original.encode_text(TEXTS))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tensors: {"state_dict": {"model": tensors}},
        lambda tensors: {"model": {"state_dict": tensors}, "epoch": 3},
        lambda tensors: {"model_state_dict": OrderedDict(tensors), "epoch": 3},
        lambda tensors: {"module": tensors, "global_step": 7},
    ],
)
def test_tensors_may_lie_deeper(tmp_path, wrap):
    torch.save(wrap({"audio.a": torch.ones(1)}), tmp_path / "weights.pt")
    assert read_tensors(tmp_path / "weights.pt").keys() == {"audio.a"}


def test_names_of_a_tower_are_no_wrapper(tmp_path):
    tensors = {"encoder.a": torch.ones(1), "encoder.b": torch.ones(1)}
    torch.save(tensors, tmp_path / "weights.pt")
    assert read_tensors(tmp_path / "weights.pt").keys() == tensors.keys()


def test_tensors_of_a_wrapped_and_of_a_plain_model_are_refused(tmp_path):
    tensors = {"a.b": torch.ones(1), "_orig_mod.a.b": torch.zeros(1)}
    torch.save(tensors, tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match="contains tensors twice"):
        read_tensors(tmp_path / "weights.pt")


# Shards, variants, adapters


@pytest.mark.parametrize("end", ["safetensors", "bin"])
def test_shards_are_read(laion_folders, copy_of, end):
    folder = copy_of(laion_folders[False])
    tensors = tensors_of(folder)
    (folder / "model.safetensors").unlink()
    save_shards(folder, tensors, end)
    sharded = load_encoder("laion", folder, device="cpu")
    whole = load_encoder("laion", laion_folders[False], device="cpu")
    assert sharded.fingerprint == whole.fingerprint
    assert_array_equal(sharded.encode_text(TEXTS), whole.encode_text(TEXTS))


def test_shards_as_transformers_saves_them_are_read(laion_folders, copy_of):
    folder = copy_of(laion_folders[False])
    model = ClapModel.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="50KB")
    assert len([*folder.glob("model-*.safetensors")]) > 1
    sharded = load_encoder("laion", folder, device="cpu")
    whole = load_encoder("laion", laion_folders[False], device="cpu")
    assert sharded.fingerprint == whole.fingerprint


@pytest.fixture
def sharded(laion_folders, copy_of):
    folder = copy_of(laion_folders[False])
    tensors = tensors_of(folder)
    (folder / "model.safetensors").unlink()
    save_shards(folder, tensors)
    return folder


def test_a_shard_that_is_missing_is_named(sharded):
    (sharded / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(
        CheckpointError, match=r"lists model-00002-of-.* Download it too"
    ):
        load_encoder("laion", sharded)


def test_a_tensor_that_its_shard_lacks_is_named(sharded):
    index = sharded / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"]["more"] = "model-00001-of-00002.safetensors"
    index.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=r"tensors that its files lack: more"):
        load_encoder("laion", sharded)


@pytest.mark.parametrize(
    ("variant", "usual"),
    [
        ("model.fp16.safetensors", "model.safetensors"),
        ("pytorch_model.fp16.bin", "pytorch_model.bin"),
    ],
)
def test_a_variant_is_named(laion_folders, copy_of, variant, usual):
    folder = copy_of(laion_folders[False])
    (folder / "model.safetensors").rename(folder / variant)
    message = rf"It contains {variant}, a variant: .* copy it to {usual}"
    with pytest.raises(CheckpointError, match=message):
        load_encoder("laion", folder)


def test_weights_of_another_framework_are_named(laion_folders, copy_of):
    folder = copy_of(laion_folders[False])
    (folder / "model.safetensors").rename(folder / "tf_model.h5")
    with pytest.raises(CheckpointError, match=r"tf_model\.h5, weights of another"):
        load_encoder("laion", folder)


@pytest.mark.parametrize("kind", ["laion", "wavlm"])
def test_an_adapter_is_refused_with_a_remedy(tmp_path, kind):
    (tmp_path / "adapter_config.json").write_text("{}")
    name = "base_model.model.text_model.q.lora_A.weight"
    write_tensors(tmp_path, {name: torch.ones(1)})
    (tmp_path / "model.safetensors").rename(tmp_path / "adapter_model.safetensors")
    with pytest.raises(CheckpointError, match=r"PEFT adapter: .* merge_and_unload\(\)"):
        load_encoder(kind, tmp_path)


def test_weights_that_contain_an_adapter_are_refused(laion_folders, copy_of):
    folder = copy_of(laion_folders[False])
    edit_tensors(folder, lambda t: t.update({"text.lora_A.weight": torch.ones(1)}))
    with pytest.raises(CheckpointError, match=r"merge_and_unload\(\)"):
        load_encoder("laion", folder)


# What lies beside the weights


@pytest.mark.parametrize(
    "value",
    [
        *(np.dtype(c).type(1) for c in "?bBhHiIlLefdFD"),
        np.arange(6).reshape(2, 3),
        np.linspace(0, 1, 3, dtype=np.float32),
        np.zeros((0, 3)),
        np.str_("a run"),
        pathlib.Path("runs/1"),
        pathlib.PurePosixPath("runs/1"),
        collections.defaultdict(list, {"loss": [1.0]}),
        collections.defaultdict(int),
        argparse.Namespace(lr=np.float32(1e-4), root=pathlib.Path("x")),
        {1, 2},
        OrderedDict(a=1),
    ],
    ids=repr,
)
def test_plain_values_beside_the_weights_are_let_through(tmp_path, value):
    content = {"model": {"a.b": torch.ones(2)}, "beside": value}
    torch.save(content, tmp_path / "weights.pt")
    assert read_tensors(tmp_path / "weights.pt").keys() == {"a.b"}


def test_numbers_beside_the_weights_keep_their_values(tmp_path):
    losses = np.arange(6, dtype=np.float32).reshape(2, 3)
    torch.save({"lr": np.float32(0.1), "losses": losses}, tmp_path / "weights.pt")
    content = read_content(tmp_path / "weights.pt")
    assert content["lr"] == np.float32(0.1)
    assert_array_equal(content["losses"], losses)


def test_another_class_is_named(tmp_path):
    content = {"model": {"a": torch.ones(2)}, "sizes": zipfile.ZipInfo("x")}
    torch.save(content, tmp_path / "weights.pt")
    with pytest.raises(
        CheckpointError, match=r"contains an object of zipfile\.ZipInfo"
    ):
        read_tensors(tmp_path / "weights.pt")


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize(
    ("beside", "protocol", "reason"),
    [
        (np.array([1, "a"], object), 2, "ObjectDType"),
        (1, 4, "Unsupported operand 149"),
    ],
)
def test_the_reason_is_that_of_the_file(tmp_path, beside, protocol, reason):
    content = {"model": {"a": torch.ones(2)}, "beside": beside}
    torch.save(content, tmp_path / "weights.pt", pickle_protocol=protocol)
    with pytest.raises(CheckpointError, match=rf"cannot be read: .*{reason}") as caught:
        read_tensors(tmp_path / "weights.pt")
    assert "Re-running" not in str(caught.value)
    assert "save only its state_dict" in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_an_official_file_in_half_precision_loads(laion_official, tmp_path, dtype):
    halves = {
        name: t.to(dtype) if t.is_floating_point() else t
        for name, t in laion_official[False].items()
    }
    assert "audio_branch.logmel_extractor.melW" in halves
    load_encoder("laion", make_laion_file(tmp_path / "best.pt", halves), device="cpu")


# Tokenizers


@pytest.mark.parametrize(
    ("name", "file", "old", "new"),
    [
        ("laion_pt", "best.pt", "roberta-base", "FacebookAI/roberta-base"),
        ("msclap_2023", "CLAP_weights_2023.pth", "gpt2", "openai-community/gpt2"),
        (
            "msclap_2022",
            "CLAP_weights_2022.pth",
            "bert-base-uncased",
            "google-bert/bert-base-uncased",
        ),
    ],
)
@pytest.mark.parametrize("under_old_id", [True, False], ids=["old id", "new id"])
def test_a_cached_tokenizer_is_found_under_either_id(
    places, tmp_path, monkeypatch, name, file, old, new, under_old_id
):
    original = places[name]
    folder = original if original.is_dir() else original.parent
    cache = tmp_path / "hub"
    cached = f"models--{(old if under_old_id else new).replace('/', '--')}"
    commit = "0" * 40
    snapshot = cache / cached / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (cache / cached / "refs").mkdir()
    (cache / cached / "refs" / "main").write_text(commit)
    alone = tmp_path / "alone"
    alone.mkdir()
    for path in folder.iterdir():
        shutil.copy(path, alone if path.name == file else snapshot)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    encoder = load_encoder(KINDS[name], alone / file, device="cpu")
    beside = load_encoder(KINDS[name], original, device="cpu")
    assert encoder.fingerprint == beside.fingerprint


# Projections that were never trained


@pytest.mark.parametrize("tower", ["text", "audio"])
def test_an_untrained_projection_is_seen_at_load(laion_folders, copy_of, tower):
    folder = copy_of(laion_folders[False])
    config = ClapModel.from_pretrained(folder).config
    fresh = ClapModel(config).state_dict()
    names = [name for name in fresh if name.startswith(f"{tower}_projection.")]
    edit_tensors(folder, lambda t: t.update({name: fresh[name] for name in names}))
    message = rf"{tower} projection of .* was never trained: .* deviation 0\.0"
    with pytest.warns(CollapsedTowerWarning, match=message):
        load_encoder("laion", folder, device="cpu")


def test_an_untrained_projection_in_an_official_file_is_seen(laion_official, tmp_path):
    layers = {"0": torch.nn.Linear(64, 24), "2": torch.nn.Linear(24, 24)}
    fresh = {
        f"text_projection.{number}.{name}": tensor.detach()
        for number, layer in layers.items()
        for name, tensor in layer.named_parameters()
    }
    path = make_laion_file(tmp_path / "best.pt", laion_official[False] | fresh)
    with pytest.warns(CollapsedTowerWarning, match="text projection .* never trained"):
        load_encoder("laion", path, device="cpu")


@pytest.mark.parametrize("name", ["laion-unfused", "laion-fused", "msclap"])
def test_the_bundled_projections_are_trained(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error", CollapsedTowerWarning)
        load_encoder("msclap" if name == "msclap" else "laion", f"bundled:{name}")


def test_zero_biases_alone_do_not_mean_untrained(laion_folders, copy_of):
    folder = copy_of(laion_folders[False])

    def edit(tensors):
        for number in (1, 2):
            tensors[f"text_projection.linear{number}.bias"].zero_()

    edit_tensors(folder, edit)
    with warnings.catch_warnings():
        warnings.simplefilter("error", CollapsedTowerWarning)
        load_encoder("laion", folder, device="cpu")
