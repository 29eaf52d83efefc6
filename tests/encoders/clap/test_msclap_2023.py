"""MS-CLAP checkpoints with random weights: tests of the code only."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from clapstack.encoders import load_encoder
from clapstack.encoders.clap._msclap_2023 import (
    build_msclap,
    from_official,
    to_official,
)
from clapstack.exceptions import CheckpointError

GOLDEN = json.loads((Path(__file__).parent / "golden" / "msclap.json").read_text())
HTSAT = "audio_encoder.base.htsat."
WINDOW = 7 * 44_100


@pytest.fixture
def encoder(msclap_folder):
    return load_encoder("msclap", str(msclap_folder), device="cpu")


@pytest.fixture
def chirp():
    time = np.arange(WINDOW) / 44_100
    return (0.5 * np.sin(2 * np.pi * (200 + 300 * time) * time)).astype(np.float32)


@pytest.fixture
def clips(chirp, noise):
    return [chirp, chirp[:100_000], noise(WINDOW + 1, 44_100), noise(400_000, 44_100)]


def unit(rows):
    return np.divide(rows, np.linalg.norm(rows, axis=1, keepdims=True))


def edit_official(folder, edit):
    path = folder / "CLAP_weights_2023.pth"
    content = torch.load(path, weights_only=True)
    edit(content["model"])
    torch.save(content, path)


def test_short_audio_is_embedded_as_the_authors_do(encoder, chirp):
    expected = [GOLDEN["audio"]["seven seconds"], GOLDEN["audio"]["100000 samples"]]
    embeddings = encoder.encode_audio([chirp, chirp[:100_000]])
    # The authors' float32 spectra differ near the floor.
    assert_allclose(embeddings, unit(expected), rtol=0, atol=1e-5)


def test_token_ids_are_embedded_as_the_authors_do(encoder):
    embeddings = encoder._embed_text(GOLDEN["ids"]).detach().numpy()
    assert_allclose(unit(embeddings), unit(GOLDEN["text"]), rtol=0, atol=1e-6)


def test_renaming_there_and_back_changes_nothing(msclap_official):
    once = from_official(msclap_official)
    again = from_official(to_official(once))
    assert once.keys() == again.keys()
    assert all(torch.equal(once[name], again[name]) for name in once)


def test_only_tensors_known_to_be_unused_are_dropped(msclap_official, msclap_unused):
    kept = to_official(from_official(msclap_official))
    assert msclap_official.keys() - kept.keys() == msclap_unused.keys()
    assert all(torch.equal(kept[name], msclap_official[name]) for name in kept)


def test_unused_tensors_may_be_absent(encoder, msclap_folder, copy_of, chirp):
    folder = copy_of(msclap_folder)

    def keep_what_counts(official):
        kept = to_official(from_official(official))
        for name in official.keys() - kept.keys():
            # The mask has the size of the image, which is not the usual one here.
            if not name.endswith("attn_mask"):
                del official[name]

    edit_official(folder, keep_what_counts)
    lean = load_encoder("msclap", str(folder), device="cpu")
    assert lean.fingerprint == encoder.fingerprint
    assert_array_equal(lean.encode_audio([chirp]), encoder.encode_audio([chirp]))


def test_the_model_is_inferred_from_the_tensors(msclap_official):
    model = build_msclap(msclap_official, "a test")
    audio, text = model.audio_model.config, model.text_model.config
    assert (audio.depths, audio.num_attention_heads) == ([2, 2], [2, 4])
    assert (audio.spec_size, audio.num_mel_bins, audio.window_size) == (128, 16, 8)
    assert (audio.patch_size, audio.patch_embeds_hidden_size) == (4, 8)
    assert (text.n_layer, text.n_embd, text.n_head, text.n_positions) == (2, 64, 1, 80)


def test_the_image_is_256_wide_unless_a_mask_says_otherwise(msclap_official):
    official = {k: v for k, v in msclap_official.items() if "attn_mask" not in k}
    assert build_msclap(official, "a test").audio_model.config.spec_size == 256


def test_embeddings_are_float32_of_unit_norm_and_differ(encoder, clips):
    audio = encoder.encode_audio(clips)
    text = encoder.encode_text(["a dog barks", "birds sing", "rain"])
    for embeddings in (audio, text):
        assert embeddings.dtype == np.float32
        assert embeddings.shape == (len(embeddings), 24)
        assert_allclose(np.linalg.norm(embeddings, axis=1), 1, rtol=1e-6)
        assert np.ptp(embeddings, axis=0).max() > 1e-2


@pytest.mark.parametrize("crop", ["windows", "center", "start"])
def test_an_audio_embedding_does_not_depend_on_its_neighbours(encoder, clips, crop):
    together = encoder.encode_audio(clips, crop=crop)
    alone = [encoder.encode_audio([clip], crop=crop)[0] for clip in clips]
    backwards = encoder.encode_audio(clips[::-1], crop=crop, batch_size=3)[::-1]
    assert_allclose(together, alone, rtol=0, atol=1e-6)
    assert_allclose(together, backwards, rtol=0, atol=1e-6)


def test_a_text_embedding_does_not_depend_on_its_neighbours(encoder):
    texts = ["a", "a dog barks!", "rain falls on a tin roof", "birds"]
    together = encoder.encode_text(texts)
    alone = [encoder.encode_text([text])[0] for text in texts]
    assert_allclose(together, alone, rtol=0, atol=1e-6)
    assert_allclose(together, encoder.encode_text(texts, batch_size=2), atol=1e-6)


def test_a_text_ends_in_the_end_token(encoder):
    (ids,) = encoder._tokens(["a dog"])
    tokens = encoder._tokenizer.convert_ids_to_tokens(ids)
    assert tokens[-2:] == ["Ġ", "<|endoftext|>"]


def test_a_long_text_is_cut_and_keeps_its_end_token(encoder):
    (ids,) = encoder._tokens(["rain falls on a tin roof " * 20])
    end = encoder._tokenizer.convert_tokens_to_ids("<|endoftext|>")
    assert len(ids) == 77
    assert ids[-1] == end
    assert end not in ids[:-1]


def test_an_exclamation_mark_is_a_padding_token_as_with_the_authors(encoder):
    (ids,) = encoder._tokens(["a dog! !!"])
    assert ids.count(0) == 3


def test_a_missing_tensor_is_named(msclap_folder, copy_of):
    folder = copy_of(msclap_folder)
    name = "caption_encoder.projection.linear2.weight"
    edit_official(folder, lambda official: official.pop(name))
    with pytest.raises(CheckpointError, match=f"missing: {name}"):
        load_encoder("msclap", str(folder))


def test_a_missing_tensor_that_determines_the_shape_is_named(msclap_folder, copy_of):
    folder = copy_of(msclap_folder)
    name = f"{HTSAT}logmel_extractor.melW"
    edit_official(folder, lambda official: official.pop(name))
    with pytest.raises(CheckpointError, match=f"missing: {name}"):
        load_encoder("msclap", str(folder))


def test_an_unexpected_tensor_is_named(msclap_folder, copy_of):
    folder = copy_of(msclap_folder)
    edit_official(folder, lambda official: official.update(adapter=torch.ones(2)))
    with pytest.raises(CheckpointError, match=r"unexpected: adapter\."):
        load_encoder("msclap", str(folder))


def test_an_empty_file_of_weights_is_refused(msclap_folder, copy_of):
    folder = copy_of(msclap_folder)
    torch.save({"model": {}}, folder / "CLAP_weights_2023.pth")
    with pytest.raises(CheckpointError, match=r"neither .* HTS-AT .* nor the"):
        load_encoder("msclap", str(folder))


def test_a_text_tower_of_unknown_heads_is_refused(msclap_folder, copy_of):
    folder = copy_of(msclap_folder)
    name = "caption_encoder.base.wte.weight"
    edit_official(folder, lambda official: official.update({name: torch.ones(300, 70)}))
    with pytest.raises(
        CheckpointError, match=r"has width 70\. .* not a multiple of 64"
    ):
        load_encoder("msclap", str(folder))


def test_a_tokenizer_of_another_model_is_refused(msclap_folder, copy_of):
    folder = copy_of(msclap_folder)
    vocab = json.loads((folder / "vocab.json").read_text())
    shifted = {token: (i + 1) % len(vocab) for token, i in vocab.items()}
    (folder / "vocab.json").write_text(json.dumps(shifted))
    with pytest.raises(CheckpointError, match="needs '!' to have id 0"):
        load_encoder("msclap", str(folder))


def test_the_tokenizer_may_lie_in_a_folder_of_its_own(msclap_folder, copy_of, encoder):
    folder = copy_of(msclap_folder)
    (folder / "tokenizer").mkdir()
    for name in ("vocab.json", "merges.txt"):
        (folder / name).rename(folder / "tokenizer" / name)
    assert load_encoder("msclap", str(folder)).fingerprint == encoder.fingerprint


def test_the_path_of_the_file_is_a_checkpoint_too(msclap_folder, encoder):
    path = msclap_folder / "CLAP_weights_2023.pth"
    assert load_encoder("msclap", str(path)).fingerprint == encoder.fingerprint


def test_half_precision_on_disk_is_loaded_as_float32(msclap_folder, copy_of, encoder):
    folder = copy_of(msclap_folder)
    edit_official(
        folder,
        lambda official: official.update(
            {k: v.half() for k, v in official.items() if v.is_floating_point()}
        ),
    )
    half = load_encoder("msclap", str(folder), device="cpu")
    assert {p.dtype for p in half._model.parameters()} == {torch.float32}
    texts = ["a dog barks"]
    assert_allclose(half.encode_text(texts), encoder.encode_text(texts), atol=5e-3)


def test_bfloat16_is_close_to_float32(msclap_folder, encoder, chirp):
    fast = load_encoder("msclap", str(msclap_folder), device="cpu", dtype="bfloat16")
    cosine = (fast.encode_audio([chirp]) * encoder.encode_audio([chirp])).sum()
    assert cosine > 0.99
