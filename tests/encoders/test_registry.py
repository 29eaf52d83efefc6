from __future__ import annotations

import logging
import os
import threading

import pytest

from clapstack.encoders import clear_encoders, load_encoder
from tests.checkpoints import edit_json, read_tensors, write_tensors


@pytest.fixture
def loads(caplog):
    """Return how often a model was loaded since the test began."""
    caplog.set_level(logging.INFO, logger="clapstack")
    return lambda: sum("Loaded" in record.message for record in caplog.records)


def test_a_checkpoint_is_loaded_once(laion_folders, loads):
    first = load_encoder("laion", str(laion_folders[False]))
    assert load_encoder("laion", str(laion_folders[False])) is first
    assert loads() == 1


def test_threads_share_one_load(laion_folders, loads):
    encoders, start = [], threading.Barrier(6)

    def ask():
        start.wait()
        encoders.append(load_encoder("laion", str(laion_folders[False])))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(encoders) == 6
    assert len(set(map(id, encoders))) == 1
    assert loads() == 1


def test_threads_may_encode_at_once(laion_folders, noise):
    encoder = load_encoder("laion", str(laion_folders[True]), device="cpu")
    clips = [noise(n) for n in (900, 12_000)]
    expected = (
        encoder.encode_audio(clips),
        encoder.encode_text(["a dog", "birds " * 50]),
    )
    wrong = []

    def encode():
        for _ in range(3):
            audio = encoder.encode_audio(clips)
            text = encoder.encode_text(["a dog", "birds " * 50])
            if not ((audio == expected[0]).all() and (text == expected[1]).all()):
                wrong.append((audio, text))

    threads = [threading.Thread(target=encode) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_devices_name_and_its_default_are_one_encoder(laion_folders, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    by_default = load_encoder("laion", str(laion_folders[False]))
    assert load_encoder("laion", str(laion_folders[False]), device="cpu") is by_default


def test_a_relative_path_means_the_folder_that_it_names_now(
    laion_folders, monkeypatch, tmp_path
):
    for fused in (False, True):
        (tmp_path / str(fused)).mkdir()
        (tmp_path / str(fused) / "model").symlink_to(laion_folders[fused])
    monkeypatch.chdir(tmp_path / "False")
    unfused = load_encoder("laion", "model").fingerprint
    monkeypatch.chdir(tmp_path / "True")
    assert load_encoder("laion", "model").fingerprint != unfused


def test_only_the_last_ten_stay_loaded(laion_folders, loads):
    folder = str(laion_folders[False])
    for revision in "abcdefghijk":  # a local folder has none, and is loaded for each
        load_encoder("laion", folder, revision=revision)
    assert loads() == 11
    load_encoder("laion", folder, revision="b")
    assert loads() == 11
    load_encoder("laion", folder, revision="a")
    assert loads() == 12


def test_clearing_releases_encoders(laion_folders, loads):
    load_encoder("laion", str(laion_folders[False]))
    clear_encoders()
    load_encoder("laion", str(laion_folders[False]))
    assert loads() == 2


def test_a_checkpoint_that_was_rewritten_is_loaded_anew(laion_folders, copy_of):
    folder = copy_of(laion_folders[False])
    before = load_encoder("laion", str(folder)).fingerprint
    change_one_weight(folder)
    assert load_encoder("laion", str(folder)).fingerprint != before


def test_a_checkpoint_of_the_same_size_and_time_is_loaded_anew(laion_folders, copy_of):
    folder = copy_of(laion_folders[False])
    path = folder / "model.safetensors"
    stat = path.stat()
    before = load_encoder("laion", str(folder)).fingerprint
    change_one_weight(folder)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_size == stat.st_size
    assert load_encoder("laion", str(folder)).fingerprint != before


def test_a_fingerprint_does_not_depend_on_the_place(laion_folders, copy_of):
    here = load_encoder("laion", str(laion_folders[False]))
    there = load_encoder("laion", str(copy_of(laion_folders[False])))
    assert here is not there
    assert here.fingerprint == there.fingerprint
    assert here.identity == there.identity


@pytest.mark.parametrize(
    ("file", "edit"),
    [
        ("preprocessor_config.json", lambda content: content.update(hop_length=81)),
        ("vocab.json", lambda content: content.update(a=content["b"], b=content["a"])),
        ("config.json", lambda content: content["audio_config"].update(spec_size=256)),
        (
            "config.json",
            lambda content: content["audio_config"].update(hidden_act="relu"),
        ),
        (
            "config.json",
            lambda content: content["text_config"].update(num_attention_heads=4),
        ),
        (
            "config.json",
            lambda content: content["text_config"].update(layer_norm_eps=0.1),
        ),
    ],
    ids=["front end", "vocabulary", "image", "activation", "heads", "norm"],
)
def test_a_fingerprint_changes_with_what_embeddings_depend_on(
    laion_folders, copy_of, file, edit
):
    before = load_encoder("laion", str(laion_folders[False])).fingerprint
    folder = copy_of(laion_folders[False])
    edit_json(folder / file, edit)
    assert load_encoder("laion", str(folder)).fingerprint != before


@pytest.mark.parametrize(
    ("file", "edit"),
    [
        ("merges.txt", lambda text: text.replace("a r\n", "")),
        (
            "tokenizer_config.json",
            lambda text: text.replace("{", '{"add_prefix_space": true, '),
        ),
        (
            "tokenizer_config.json",
            lambda text: text.replace("{", '{"split_special_tokens": true, '),
        ),
    ],
    ids=["merges", "space before a text", "special tokens in texts"],
)
def test_what_only_texts_depend_on_is_part_of_their_identity(
    laion_folders, copy_of, file, edit
):
    before = load_encoder("laion", str(laion_folders[False]))
    folder = copy_of(laion_folders[False])
    text = (folder / file).read_text()
    (folder / file).write_text(edit(text))
    assert (folder / file).read_text() != text
    after = load_encoder("laion", str(folder))
    assert after.identity == before.identity
    assert after.text_identity != before.text_identity


@pytest.mark.filterwarnings("ignore:1 of 2 texts")
def test_the_identity_of_texts_does_not_depend_on_earlier_texts(laion_folders):
    encoder = load_encoder("laion", str(laion_folders[False]))
    encoder.encode_text(["a dog barks", "rain " * 100])
    clear_encoders()
    again = load_encoder("laion", str(laion_folders[False]))
    assert again.text_identity == encoder.text_identity


@pytest.mark.parametrize(
    ("name", "fingerprint"),
    [("laion-fused", "7be182e3a4e594c2"), ("laion-unfused", "db53fc8afc0779dc")],
)
def test_a_fingerprint_stays_what_models_were_fitted_with(name, fingerprint):
    encoder = load_encoder("laion", f"bundled:{name}")
    assert encoder.fingerprint.startswith(fingerprint)


@pytest.mark.parametrize(
    ("name", "given", "known"),
    [
        ("kind", "clap", r"\[.*'laion', .*'msclap', .*\]"),
        ("dtype", "float16", r"\['bfloat16', 'float32'\]"),
    ],
)
def test_an_unknown_choice_is_named(laion_folders, name, given, known):
    arguments = {"kind": "laion", "checkpoint": str(laion_folders[False]), name: given}
    with pytest.raises(
        ValueError, match=f"{name} must be one of {known}; got '{given}'"
    ):
        load_encoder(**arguments)


def change_one_weight(folder):
    path = folder / "model.safetensors"
    stat = path.stat()
    tensors = read_tensors(folder)
    tensors["audio_projection.linear1.weight"][0, 0] += 1e-3
    write_tensors(folder, tensors)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
