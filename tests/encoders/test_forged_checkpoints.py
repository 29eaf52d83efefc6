"""Damaged and forged checkpoints always raise CheckpointError."""

from __future__ import annotations

import json
import os
import shutil
import time
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import Split

from clapstack.encoders import load_encoder
from clapstack.encoders._finding import read_tokenizer
from clapstack.encoders._reading import guarded, read_content, read_tensors
from clapstack.exceptions import CheckpointError
from tests.checkpoints import (
    edit_json,
    make_ctc,
    make_wavlm,
    make_whisper,
    save_beats,
    save_eat,
)
from tests.forged import KINDS, damage, make_checkpoints, pickle_bombs

N_FUZZED = 60


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    return make_checkpoints(tmp_path_factory.mktemp("checkpoints"))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("part", range(4))
def test_a_damaged_checkpoint_loads_or_is_named(places, tmp_path, part):
    outcomes = {}
    for number in range(part, N_FUZZED, 4):
        rng = np.random.RandomState(number)
        name = sorted(KINDS)[rng.randint(len(KINDS))]
        original = places[name]
        folder = original if original.is_dir() else original.parent
        copy = shutil.copytree(folder, tmp_path / f"{number}")
        place = copy / original.relative_to(folder)
        way = damage(place, rng)
        try:
            load_encoder(KINDS[name], place, device="cpu")
            outcomes[number] = "loads"
        except CheckpointError:
            outcomes[number] = "named"
        except Exception as error:  # what a damaged file must not raise
            outcomes[number] = f"{way} of {name}: {error!r}"
        shutil.rmtree(copy)
    assert set(outcomes.values()) <= {"loads", "named"}
    assert "named" in outcomes.values()


@pytest.mark.parametrize("bomb", sorted(pickle_bombs()))
def test_a_pickle_that_would_exhaust_memory_is_refused(tmp_path, bomb):
    path = tmp_path / "weights.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights/data.pkl", pickle_bombs()[bomb])
        archive.writestr("weights/version", "3\n")
    began = time.monotonic()
    with pytest.raises(CheckpointError, match=r"weights\.pt"):
        read_tensors(path)
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("bomb", ["bytearray", "nested_keys", "harm"])
def test_such_a_pickle_in_a_file_of_old_torch_is_refused(tmp_path, bomb):
    path = tmp_path / "weights.bin"
    path.write_bytes(pickle_bombs()[bomb])
    with pytest.raises(CheckpointError, match=r"weights\.bin"):
        read_tensors(path)


def test_compressed_entries_are_refused(tmp_path):
    path = tmp_path / "weights.pt"
    torch.save({"a": torch.ones(3)}, path)
    with zipfile.ZipFile(path, "a", compression=zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("weights/data/9", bytes(10**7))
    with pytest.raises(
        CheckpointError, match=r"data/9' .* compressed \(10000000 bytes unpacked\)"
    ):
        read_tensors(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_entries_of_one_name_are_refused(tmp_path):
    path = tmp_path / "weights.pt"
    torch.save({"a": torch.ones(3)}, path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("weights/data.pkl", b"")
    with pytest.raises(CheckpointError, match=r"several entries .* have the same name"):
        read_tensors(path)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(1).expand(10**6, 10**5),
        torch.zeros(10**5, 10**5, layout=torch.sparse_coo),
        torch.empty(10**6, 10**6, device="meta"),
        torch.ones(3, dtype=torch.complex64),
    ],
    ids=["expanded", "sparse", "without values", "complex"],
)
def test_tensors_that_stand_for_more_than_the_file_holds_are_named(tmp_path, tensor):
    torch.save({"a": torch.ones(1), "big": tensor}, tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match=r"sparse, quantized, complex, .*: big"):
        read_tensors(tmp_path / "weights.pt")


def test_one_tensor_under_many_names_is_not_taken_for_many(tmp_path):
    tensor = torch.ones(1000)
    torch.save({f"layer{i}": tensor for i in range(90)}, tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match="claim 360000 bytes, but it has only"):
        read_tensors(tmp_path / "weights.pt")


def test_weights_of_another_type_are_refused(places, tmp_path):
    folder = shutil.copytree(places["audiomae"], tmp_path / "copy")
    tensors = torch.load(folder / "pytorch_model.bin", mmap=False)
    name = "blocks.0.mlp.fc1.weight"
    torch.save(tensors | {name: tensors[name].char()}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=rf"wrong type: {name} torch.int8"):
        load_encoder("audiomae", folder)


def test_a_header_larger_than_its_file_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes((1 << 60).to_bytes(8, "little") + b"{}")
    with pytest.raises(CheckpointError, match=r"header claims 1152921504606846976"):
        read_tensors(path)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="not a regular file"):
        read_content(tmp_path / "model.safetensors")


def test_json_without_end_is_named(laion_folders, copy_of):
    folder = copy_of(laion_folders[False])
    (folder / "config.json").write_text("[" * 200_000)
    with pytest.raises(CheckpointError, match=r"config\.json cannot be read"):
        load_encoder("laion", folder)


HOSTILE = [
    ("num_hidden_layers", 10**6, "num_hidden_layers .* from -1 to 100000; got 1000000"),
    ("num_hidden_layers", 5000, r"layers of a tower .* from 0 to 256; got 5000"),
    ("num_hidden_layers", -1, r"num_hidden_layers .* from 0 .*; got -1"),
    ("num_hidden_layers", "x", r"num_hidden_layers .* integer .*; got 'x'"),
    ("num_hidden_layers", True, r"num_hidden_layers .* integer .*; got True"),
    ("hidden_size", 10**7, r"wrong shape: .* instead of \(.*10000000"),
    ("hidden_size", 10**9, r"hidden_size .* to 10000000; got 1000000000"),
    ("hidden_size", 10**30, "hidden_size .* must be an integer"),
    ("intermediate_size", -5, "intermediate_size .* from 0 to .*; got -5"),
    ("layer_norm_eps", "small", "layer_norm_eps .* must be a number"),
    ("hidden_act", "no such", r"cannot be loaded: KeyError"),
    ("num_attention_heads", 0, r"cannot be loaded: "),
    ("pad_token_id", 10**7, r"cannot be loaded: AssertionError: Padding_idx"),
]


@pytest.mark.parametrize(("name", "value", "message"), HOSTILE)
def test_a_configuration_is_not_believed(laion_folders, copy_of, name, value, message):
    folder = copy_of(laion_folders[False])
    edit_json(folder / "config.json", lambda c: c["text_config"].update({name: value}))
    with pytest.raises(CheckpointError, match=message):
        load_encoder("laion", folder)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("depths", [2, 10**6], r"layers of a tower .* got 1000002"),
        ("depths", [2, 4], r"missing: .*layers\.1\.blocks\.2"),
        ("spec_size", 10**6, r"image of 1000000 pixels"),
        ("spec_size", 64, r"accepts 64 frames of 64 mel bands .* a window has 101"),
        ("patch_stride", [0, 0], "cannot be loaded: ZeroDivisionError"),
        ("patch_stride", [8, 8], r"every \[8, 8\] pixels .*patch_stride"),
        ("patch_stride", [1, 1], r"every \[1, 1\] pixels .*patch_stride"),
        ("patch_stride", [4, 4, 4, 4], r"every \[4, 4, 4, 4\] pixels"),
        ("spec_size", 129, r"image of 129 pixels .* 64 mel bands"),
        ("flatten_patch_embeds", False, r"config\.json has flatten_patch_embeds=False"),
        ("window_size", 1000, r"wrong shape: .*relative_position_bias_table"),
    ],
)
def test_sizes_of_the_audio_tower_are_not_believed(
    laion_folders, copy_of, name, value, message
):
    folder = copy_of(laion_folders[False])
    edit_json(folder / "config.json", lambda c: c["audio_config"].update({name: value}))
    with pytest.raises(CheckpointError, match=message):
        load_encoder("laion", folder)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "max_length_s",
            30,
            r"accepts 256 frames of 64 mel bands .* a window has 3001",
        ),
        ("max_length_s", -1, "max_length_s in .* from 0.01 to 600; got -1"),
        ("sampling_rate", "48k", r"sampling_rate in .* must be an integer"),
        ("hop_length", 0, r"hop_length in .* from 1"),
        ("fft_window_size", 10**9, r"fft_window_size in .* to 16384"),
        ("feature_size", 32, r"produces 32 mel bands .* the audio tower needs 64"),
    ],
)
def test_the_extractor_must_suit_the_tower(
    laion_folders, copy_of, name, value, message
):
    folder = copy_of(laion_folders[False])
    file = next(
        folder / name
        for name in ("preprocessor_config.json", "processor_config.json")
        if (folder / name).exists()
    )

    def edit(content):
        content.get("feature_extractor", content)[name] = value

    edit_json(file, edit)
    with pytest.raises(CheckpointError, match=message):
        load_encoder("laion", folder)


def test_what_a_configuration_says_of_running_is_passed_over(laion_folders, copy_of):
    folder = copy_of(laion_folders[False])
    before = load_encoder("laion", laion_folders[False], device="cpu")
    said = {"return_dict": False, "attn_implementation": "owner/kernel"}
    edit_json(folder / "config.json", lambda c: c.update(said))
    edit_json(folder / "config.json", lambda c: c["text_config"].update(said))
    after = load_encoder("laion", folder, device="cpu")
    np.testing.assert_array_equal(after.encode_text(["a"]), before.encode_text(["a"]))


@pytest.mark.parametrize("model_max_length", [-1, "x", 0.5, None])
def test_the_length_of_a_text_is_not_believed(laion_folders, copy_of, model_max_length):
    folder = copy_of(laion_folders[False])
    edit_json(
        folder / "tokenizer_config.json",
        lambda c: c.update(model_max_length=model_max_length),
    )
    try:
        encoder = load_encoder("laion", folder, device="cpu")
    except CheckpointError:
        return
    encoder.encode_text(["a dog barks " * 99])  # None is no limit, as in transformers


def test_labels_by_the_billion_are_refused(tmp_path):
    make_wavlm(tmp_path, large=False)
    edit_json(tmp_path / "config.json", lambda c: c.update(num_labels=10**9))
    with pytest.raises(CheckpointError, match=r"num_labels in .*config\.json"):
        load_encoder("wavlm", tmp_path)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"conv_stride": [10**6] * 7}, r"conv_stride in .* from 1 to 4096"),
        ({"conv_stride": [0] * 7}, r"conv_stride in .* from 1 to 4096"),
        ({"conv_stride": [1] * 7}, r"frames of 30 s, .* to 3000; got 480000"),
        ({"conv_dim": [16] * 300}, r"cannot be loaded: "),
        ({"num_hidden_layers": 300}, r"layers in .* to 256"),
        ({"hidden_size": 10**9}, r"hidden_size .* to 10000000; got 1000000000"),
        ({"hidden_size": 10**7}, r"wrong shape: .* instead of \(10000000"),
        ({"max_bucket_distance": 0}, r"max_bucket_distance in .* from 81 to"),
    ],
)
def test_a_speech_configuration_is_not_believed(tmp_path, edit, message):
    make_wavlm(tmp_path, large=False)
    edit_json(tmp_path / "config.json", lambda c: c.update(edit))
    with pytest.raises(CheckpointError, match=message):
        load_encoder("wavlm", tmp_path)


def test_a_whisper_that_drops_units_by_a_negative_chance_is_refused(tmp_path):
    make_whisper(tmp_path)
    edit_json(tmp_path / "config.json", lambda c: c.update(activation_dropout=-1.0))
    with pytest.raises(CheckpointError, match=r"activation_dropout in .* from 0 to 1"):
        load_encoder("whisper", tmp_path)


def test_a_whisper_of_too_many_layers_is_refused(tmp_path):
    make_whisper(tmp_path)
    edit_json(tmp_path / "config.json", lambda c: c.update(encoder_layers=1000))
    with pytest.raises(CheckpointError, match=r"encoder_layers in .* to 256; got 1000"):
        load_encoder("whisper", tmp_path)


def test_ids_written_as_text_do_not_order_a_vocabulary(tmp_path):
    make_ctc(tmp_path)
    path = tmp_path / "vocab.json"
    ids = json.loads(path.read_text())
    path.write_text(json.dumps({token: str(i) for token, i in ids.items()}))
    with pytest.raises(
        CheckpointError, match=r"each of the model's 12 tokens to its id"
    ):
        load_encoder("ctc", tmp_path)


@pytest.mark.parametrize(
    ("cfg", "message"),
    [
        ({"max_distance": "x"}, "max_distance in the 'cfg' .* must be an integer"),
        ({"max_distance": 1}, "20 buckets of distances up to 1 patches"),
        ({"conv_pos_groups": 0}, "conv_pos_groups in the 'cfg' .* from 1"),
        ({"conv_pos_groups": 7}, "cannot be loaded: ValueError"),
        ({"gru_rel_pos": torch.ones(2)}, "has gru_rel_pos=tensor"),
    ],
)
def test_what_a_beats_file_says_of_itself_is_checked(
    beats_content, tmp_path, cfg, message
):
    content = beats_content | {"cfg": beats_content["cfg"] | cfg}
    with pytest.raises(CheckpointError, match=message):
        load_encoder("beats", save_beats(content, tmp_path))


@pytest.mark.parametrize("frames", [-1, "x", 10**9, 0, 64.5])
def test_frames_without_positions_are_refused(eat_tensors, tmp_path, frames):
    save_eat(tmp_path, eat_tensors, img_size=[frames, 128])
    with pytest.raises(CheckpointError, match=r"frames \(img_size\) of .* must be"):
        load_encoder("eat", tmp_path)


def test_a_name_that_claims_a_billion_layers_builds_none(beats_content, tmp_path):
    name = "encoder.layers.999999999.fc1.weight"
    tensors = beats_content["model"] | {name: torch.ones(1)}
    content = beats_content | {"model": tensors}
    with pytest.raises(CheckpointError, match=rf"unexpected: {name}"):
        load_encoder("beats", save_beats(content, tmp_path))


def test_thousands_of_layers_are_refused(eat_tensors, tmp_path):
    more = {f"model.blocks.{i}.norm1.weight": torch.ones(64) for i in range(500)}
    save_eat(tmp_path, eat_tensors | more)
    with pytest.raises(CheckpointError, match=r"Number of modules named .* got 500"):
        load_encoder("eat", tmp_path)


def test_a_tokenizer_with_an_id_beyond_the_tower_is_refused(laion_folders, copy_of):
    folder = copy_of(laion_folders[False])
    vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    last = max(vocabulary, key=vocabulary.get)
    vocabulary[last] = 10**6
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    with pytest.raises(CheckpointError, match="with ids up to 1000000"):
        load_encoder("laion", folder)


@pytest.mark.parametrize(
    "setting",
    [
        {"gguf_file": "{pipe}"},
        {"tokenizer_file": "{pipe}"},
        {"vocab_file": "{pipe}", "merges_file": "{pipe}"},
        {"init_inputs": ["{pipe}", "{pipe}"]},
        {"fast_tokenizer_files": ["../tokenizer.1.0.json"]},
    ],
    ids=lambda setting: next(iter(setting)),
)
def test_no_file_that_a_tokenizer_names_is_read(laion_folders, copy_of, setting):
    folder = copy_of(laion_folders[False])
    before = load_encoder("laion", laion_folders[False], device="cpu")
    pipe = folder.parent / "pipe"  # whoever opens it waits
    os.mkfifo(pipe)
    (folder.parent / "tokenizer.1.0.json").write_text("not read")
    said = json.loads(json.dumps(setting).replace("{pipe}", str(pipe)))
    edit_json(folder / "tokenizer_config.json", lambda c: c.update(said))
    after = load_encoder("laion", folder, device="cpu")
    np.testing.assert_array_equal(after.encode_text(["a"]), before.encode_text(["a"]))


@pytest.mark.parametrize(
    "normalizer",
    [
        {
            "type": "Sequence",
            "normalizers": [
                {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
            ]
            * 40,
        },
        {"type": "Prepend", "prepend": "a" * 10_000},
    ],
    ids=["doubled", "prepended"],
)
def test_a_tokenizer_that_lengthens_texts_is_refused(tmp_path, normalizer):
    content = {"normalizer": normalizer, "model": {"type": "BPE"}}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(
        CheckpointError, match=r"tokenizer\.json lengthens texts more than 1000 times"
    ):
        read_tokenizer(tmp_path, "roberta")


def test_a_model_that_does_not_fit_a_gpu_is_no_damaged_file(places):
    with pytest.raises((RuntimeError, ValueError), match="device") as caught:
        load_encoder("laion", places["laion_pt"], device="cuda:99")
    assert not isinstance(caught.value, CheckpointError)


def test_a_tensor_in_a_shard_of_another_folder_is_not_read(tmp_path):
    save_file({"a": torch.ones(1)}, tmp_path / "outside.safetensors")
    folder = tmp_path / "folder"
    folder.mkdir()
    index = folder / "model.safetensors.index.json"
    for shard in ("../outside.safetensors", str(tmp_path / "outside.safetensors")):
        index.write_text(json.dumps({"weight_map": {"a": shard}}))
        with pytest.raises(
            CheckpointError, match="not a file of weights in its folder"
        ):
            read_tensors(index)


def test_a_panic_of_the_tokenizers_library_is_an_error_of_the_checkpoint():
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = Split(Regex("(a+)+$"), "isolated")
    with (
        pytest.raises(
            CheckpointError, match="'folder' cannot be loaded: PanicException"
        ),
        guarded("folder"),
    ):
        tokenizer.encode("a" * 40 + "b")
