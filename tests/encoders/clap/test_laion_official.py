"""LAION CLAP files with random weights: tests of the code only."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from transformers import ClapAudioConfig, ClapConfig, ClapModel

from clapstack import LaionClapPairFeatures
from clapstack.encoders import load_encoder
from clapstack.encoders._reading import read_tensors
from clapstack.encoders.clap._laion import round_to_int16
from clapstack.encoders.clap._laion_official import (
    build_laion,
    from_official,
    to_official,
)
from clapstack.exceptions import CheckpointError
from tests.checkpoints import edit_json

GOLDEN = json.loads((Path(__file__).parent / "golden" / "laion.json").read_text())
HTSAT = "audio_branch."
WINDOW = 480_000
TEXTS = ["a dog barks", "rain falls on a tin roof while thunder rolls", "birds"]


@pytest.fixture(params=[False, True], ids=["unfused", "fused"])
def fused(request):
    return request.param


@pytest.fixture
def file(fused, laion_files):
    return laion_files[fused]


@pytest.fixture
def official(fused, laion_official):
    return laion_official[fused]


@pytest.fixture
def golden(fused):
    return GOLDEN["fused" if fused else "unfused"]


@pytest.fixture
def encoder(file):
    return load_encoder("laion", str(file), device="cpu")


@pytest.fixture
def chirp():
    time = np.arange(WINDOW) / 48_000
    return (0.5 * np.sin(2 * np.pi * (200 + 300 * time) * time)).astype(np.float32)


@pytest.fixture
def edited(laion_files, copy_of):
    """Save a file with other tensors, with its tokenizer next to it."""

    def save(tensors):
        path = copy_of(laion_files[False].parent) / "best.pt"
        torch.save({"state_dict": tensors}, path)
        return str(path)

    return save


def test_audio_is_embedded_as_the_authors_do(encoder, golden, chirp):
    clips = {
        "ten seconds": chirp,
        "100000 samples": chirp[:100_000],
        "three times as loud": 3 * chirp,
    }
    embeddings = encoder.encode_audio([clips[name] for name in golden["audio"]])
    # The authors' float32 spectra differ near the floor.
    assert_allclose(embeddings, [*golden["audio"].values()], rtol=0, atol=1e-5)


def test_token_ids_are_embedded_as_the_authors_do(encoder, golden):
    with torch.inference_mode():
        embedded = encoder._embed_text(GOLDEN["ids"])
    units = torch.nn.functional.normalize(embedded)
    assert_allclose(units, golden["text"], rtol=0, atol=1e-6)


def test_a_model_survives_the_authors_names(encoder, official):
    state = encoder._model.state_dict()
    renamed = from_official(to_official(state))
    assert renamed.keys() == from_official(official).keys()
    assert all(torch.equal(renamed[name], state[name]) for name in renamed)


def test_a_saved_clap_model_gives_its_embeddings_again(encoder, edited, chirp):
    saved = to_official(encoder._model.state_dict())
    mask = torch.zeros(16, 64, 64)  # has the size of the image, not the usual one
    again = load_encoder(
        "laion", edited(saved | {f"{HTSAT}layers.0.blocks.1.attn_mask": mask})
    )
    assert again.fingerprint == encoder.fingerprint
    assert_array_equal(again.encode_audio([chirp]), encoder.encode_audio([chirp]))
    assert_array_equal(again.encode_text(TEXTS), encoder.encode_text(TEXTS))


def test_only_tensors_known_to_be_unused_are_dropped(official, laion_unused):
    kept = to_official(from_official(official))
    assert official.keys() - kept.keys() == laion_unused.keys()
    assert all(torch.equal(kept[name], official[name]) for name in kept)


@pytest.mark.parametrize(
    ("width", "depths"),
    [(96, [2, 2, 6, 2]), (128, [2, 2, 12, 2])],
    ids=["tiny", "base"],
)
def test_published_sizes_are_inferred(width, depths, fused):
    audio = ClapAudioConfig(
        patch_embeds_hidden_size=width,
        hidden_size=8 * width,
        depths=depths,
        enable_fusion=fused,
        fusion_type="aff_2d" if fused else None,
    )
    config = ClapConfig(audio_config=audio.to_dict())
    with torch.device("meta"):
        official = to_official(ClapModel(config).state_dict())
        built = build_laion(official, Path("a test")).config
    found, text = built.audio_config, built.text_config
    assert (found.depths, found.num_attention_heads) == (depths, [4, 8, 16, 32])
    assert (found.patch_embeds_hidden_size, found.spec_size) == (width, 256)
    assert found.enable_fusion is fused
    assert (text.num_hidden_layers, text.num_attention_heads) == (12, 12)
    assert (text.vocab_size, text.max_position_embeddings) == (50265, 514)
    assert built.projection_dim == 512


def test_samples_are_rounded_to_16_bits_as_the_authors_do():
    step = np.float32(1 / 32767)
    waveform = np.array([0.9 * step, -1.9 * step, 7, -7], dtype=np.float32)
    assert_array_equal(round_to_int16(waveform), np.float32([0, -step, 1, -1]))


def test_details_below_16_bits_are_ignored(encoder, chirp):
    faint = np.full(WINDOW, 1e-5, dtype=np.float32) * np.sign(chirp)
    loud, silent = encoder.encode_audio([faint, np.zeros(WINDOW, dtype=np.float32)])
    assert_array_equal(loud, silent)


def test_a_clip_shorter_than_the_window_is_repeated_whole_then_padded(encoder, chirp):
    clip = chirp[:200_000]
    filled = np.concatenate([clip, clip, np.zeros(80_000, dtype=np.float32)])
    clips = encoder.encode_audio([clip, filled])
    assert_allclose(clips[0], clips[1], rtol=0, atol=1e-6)


def test_an_embedding_does_not_depend_on_its_neighbours(encoder, chirp):
    clips = [chirp, chirp[:9000], np.tile(chirp, 2)[: WINDOW + 5000]]
    alone = [encoder.encode_audio([clip])[0] for clip in clips]
    assert_allclose(encoder.encode_audio(clips), alone, rtol=0, atol=1e-6)
    alone = [encoder.encode_text([text])[0] for text in TEXTS]
    assert_allclose(encoder.encode_text(TEXTS), alone, rtol=0, atol=1e-6)


def test_a_text_is_cut_at_77_tokens_and_keeps_its_end_token(encoder):
    (ids,) = encoder._tokens(["rain falls on a tin roof " * 20])
    end = encoder._tokenizer.eos_token_id
    assert len(ids) == 77
    assert (ids[0], ids[-1]) == (encoder._tokenizer.bos_token_id, end)
    assert end not in ids[:-1]


def test_the_prefix_of_parallel_training_may_be_absent(encoder, official, edited):
    path = edited(official)
    assert load_encoder("laion", path).fingerprint == encoder.fingerprint


def test_half_precision_on_disk_is_loaded_as_float32(encoder, official, edited):
    halves = {k: v.half() if v.is_floating_point() else v for k, v in official.items()}
    half = load_encoder("laion", edited(halves), device="cpu")
    assert {p.dtype for p in half._model.parameters()} == {torch.float32}
    assert_allclose(half.encode_text(TEXTS), encoder.encode_text(TEXTS), atol=5e-3)


def test_every_used_tensor_is_needed(official, edited):
    name = f"{HTSAT}layers.0.downsample.norm.weight"
    without = {key: tensor for key, tensor in official.items() if key != name}
    with pytest.raises(CheckpointError, match=f"missing: {name}"):
        load_encoder("laion", edited(without))


@pytest.mark.parametrize(
    "name",
    [
        f"{HTSAT}bn0.weight",
        f"{HTSAT}patch_embed.proj.weight",
        "text_branch.embeddings.word_embeddings.weight",
        "audio_projection.0.weight",
    ],
)
def test_a_missing_tensor_that_determines_the_shape_is_named(laion_official, name):
    official = {k: v for k, v in laion_official[False].items() if k != name}
    official[f"{HTSAT}patch_embed.norm.weight"] = torch.ones(8)
    with pytest.raises(CheckpointError, match=f"missing: {name}"):
        build_laion(official, Path("a test"))


def test_an_unexpected_tensor_is_named(official, edited):
    with pytest.raises(CheckpointError, match=r"unexpected: adapter\."):
        load_encoder("laion", edited(official | {"adapter": torch.ones(2)}))


def test_fusion_tensors_in_part_are_refused(laion_official, edited):
    part = {k: v for k, v in laion_official[True].items() if "fusion_model" not in k}
    with pytest.raises(CheckpointError, match=r"missing: .*fusion_model.* more"):
        load_encoder("laion", edited(part))


def test_fusion_tensors_without_their_convolution_are_refused(laion_official, edited):
    part = {k: v for k, v in laion_official[True].items() if "mel_conv2d" not in k}
    with pytest.raises(CheckpointError, match=r"unexpected: .*fusion_model.* more"):
        load_encoder("laion", edited(part))


def test_another_text_tower_is_refused(laion_official, edited):
    bert = {k: v for k, v in laion_official[False].items() if "text_branch" not in k}
    with pytest.raises(CheckpointError, match=r"missing: text_branch\.embeddings"):
        load_encoder("laion", edited(bert))


def test_another_audio_tower_is_refused(edited):
    with pytest.raises(CheckpointError, match=r"contains no HTS-AT audio tower"):
        load_encoder(
            "laion", edited({f"{HTSAT}conv_block1.conv1.weight": torch.ones(1)})
        )


def test_a_text_tower_of_unknown_heads_is_refused(laion_official):
    name = "text_branch.embeddings.word_embeddings.weight"
    official = laion_official[False] | {name: torch.ones(320, 70)}
    with pytest.raises(
        CheckpointError, match=r"has width 70\. .* not a multiple of 64"
    ):
        build_laion(official, Path("a test"))


def test_another_mel_bank_is_refused(official, edited):
    name = f"{HTSAT}logmel_extractor.melW"
    with pytest.raises(CheckpointError, match=r"mel bank of .* is not that of LAION"):
        load_encoder("laion", edited(official | {name: official[name].roll(1, 0)}))


def test_the_files_are_not_those_of_msclap(msclap_official, edited):
    with pytest.raises(CheckpointError, match="contains no HTS-AT audio tower"):
        load_encoder("laion", edited(msclap_official))


def test_the_optimizers_state_is_passed_over(file, official):
    tensors = read_tensors(file)
    assert tensors.keys() == official.keys()


def test_the_tokenizer_may_lie_in_a_folder_of_its_own(laion_files, copy_of):
    folder = copy_of(laion_files[False].parent)
    (folder / "tokenizer").mkdir()
    for name in ("vocab.json", "merges.txt"):
        (folder / name).rename(folder / "tokenizer" / name)
    there = load_encoder("laion", str(folder / "best.pt"))
    assert (
        there.fingerprint == load_encoder("laion", str(laion_files[False])).fingerprint
    )


@pytest.mark.parametrize("place", ["", "tokenizer"])
def test_weights_whose_tokenizer_was_rewritten_are_loaded_anew(
    laion_files, copy_of, place
):
    folder = copy_of(laion_files[False].parent)
    for name in ("vocab.json", "merges.txt"):
        (folder / place).mkdir(exist_ok=True)
        (folder / name).rename(folder / place / name)
    before = load_encoder("laion", str(folder / "best.pt")).fingerprint
    edit_json(
        folder / place / "vocab.json",
        lambda content: content.update(a=content["b"], b=content["a"]),
    )
    after = load_encoder("laion", str(folder / "best.pt")).fingerprint
    assert after != before


def test_without_a_tokenizer_the_message_says_what_to_put_where(
    laion_files, copy_of, monkeypatch, tmp_path
):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    folder = copy_of(laion_files[False].parent)
    (folder / "vocab.json").unlink()
    message = (
        rf"'FacebookAI/roberta-base' could not .* put .*vocab.json.* into {folder}"
    )
    with pytest.raises(CheckpointError, match=message):
        load_encoder("laion", str(folder / "best.pt"))


def test_a_tokenizer_larger_than_the_text_tower_is_refused(laion_files, copy_of):
    folder = copy_of(laion_files[False].parent)
    vocab = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    vocab |= {f"more{i}": len(vocab) + i for i in range(60)}
    (folder / "vocab.json").write_text(json.dumps(vocab), encoding="utf-8")
    with pytest.raises(
        CheckpointError, match=r"does not match the text tower: it has \d+"
    ):
        load_encoder("laion", str(folder / "best.pt"))


def test_a_file_on_the_hub_is_fetched_by_its_name(laion_files, monkeypatch):
    fetched = []

    def fetch(repository, *, revision, allow_patterns):
        fetched.append((repository, revision, allow_patterns))
        return str(laion_files[False].parent)

    monkeypatch.setattr("clapstack.encoders._finding.snapshot_download", fetch)
    load_encoder("laion", "lukewys/laion_clap/best.pt", revision="main")
    assert fetched == [("lukewys/laion_clap", "main", ["best.pt"])]


def test_a_file_that_is_not_on_the_hub_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(
        "clapstack.encoders._finding.snapshot_download", lambda *a, **k: str(tmp_path)
    )
    with pytest.raises(CheckpointError, match=r"has no file 'worst\.pt'"):
        load_encoder("laion", "lukewys/laion_clap/worst.pt")


def test_without_a_network_a_file_on_the_hub_is_asked_for(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        CheckpointError,
        match=r"'lukewys/laion_clap' could not .* local copy of best\.pt",
    ):
        load_encoder("laion", "lukewys/laion_clap/best.pt")


def test_pair_features_take_the_file(file, encoder, chirp):
    pairs = pd.DataFrame({"audio": [(chirp, 48_000)], "text": ["a dog barks"]})
    features = LaionClapPairFeatures(file, device="cpu", cache=None)
    columns = features.fit_transform(pairs)
    assert features.fingerprint_ == encoder.fingerprint
    assert columns.shape == (1, 5 * 24 + 1)
