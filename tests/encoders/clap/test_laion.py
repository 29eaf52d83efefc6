"""LAION CLAP checkpoints with random weights: tests of the code only."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from transformers import ClapModel, ClapProcessor

from clapstack.encoders import load_encoder
from clapstack.exceptions import AudioError, CheckpointError
from tests.checkpoints import edit_json, edit_tensors, read_tensors

TEXTS = [
    "a dog barks",
    "rain falls on a tin roof while thunder rolls far away",
    "birds",
]
WINDOW = 8000


@pytest.fixture(params=[False, True], ids=["unfused", "fused"])
def folder(request, laion_folders):
    return laion_folders[request.param]


@pytest.fixture
def encoder(folder):
    return load_encoder("laion", str(folder), device="cpu")


@pytest.fixture
def clips(noise):
    """Clips shorter than the window, equal to it, less than a hop longer, and long."""
    return [noise(n) for n in (300, 3000, 5000, WINDOW, WINDOW + 50, 12_000, 31_000)]


def official_audio(folder, clips, **inputs):
    model = ClapModel.from_pretrained(folder).eval()
    processor = ClapProcessor.from_pretrained(folder)
    made = processor(audio=clips, sampling_rate=8000, return_tensors="pt") | inputs
    text = processor(text=["a"], return_tensors="pt")
    with torch.inference_mode():
        return model(**made, **text).audio_embeds.numpy()


def test_a_short_clip_is_embedded_as_transformers_does(folder, encoder, clips):
    short = [clip for clip in clips if len(clip) <= WINDOW]
    # Without long clips, the official processor marks a random one as long.
    expected = official_audio(folder, short, is_longer=torch.zeros(len(short), 1))
    assert_allclose(encoder.encode_audio(short), expected, rtol=0, atol=1e-5)


def test_a_fused_long_clip_is_one_of_the_draws_of_transformers(
    laion_folders, clips, monkeypatch
):
    long = [clip for clip in clips if len(clip) > WINDOW + 80]
    monkeypatch.setattr(np.random, "choice", lambda places: places[len(places) // 2])
    expected = official_audio(laion_folders[True], long)
    encoder = load_encoder("laion", str(laion_folders[True]), device="cpu")
    assert_allclose(encoder.encode_audio(long), expected, rtol=0, atol=1e-5)


def test_a_text_is_embedded_as_transformers_does(folder, encoder):
    model = ClapModel.from_pretrained(folder).eval()
    tokens = ClapProcessor.from_pretrained(folder)(
        text=TEXTS, padding=True, return_tensors="pt"
    )
    with torch.inference_mode():
        pooled = model.text_model(**tokens).pooler_output
        projected = model.text_projection(pooled)
    expected = torch.nn.functional.normalize(projected)
    assert_allclose(encoder.encode_text(TEXTS), expected, rtol=0, atol=1e-5)


def test_embeddings_are_float32_of_unit_norm_and_differ(encoder, clips):
    for embeddings in (encoder.encode_audio(clips[:4]), encoder.encode_text(TEXTS)):
        assert embeddings.dtype == np.float32
        assert embeddings.shape == (len(embeddings), encoder.projection_dim)
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
    texts = [*TEXTS, "a", TEXTS[0]]
    together = encoder.encode_text(texts)
    alone = [encoder.encode_text([text])[0] for text in texts]
    assert_allclose(together, alone, rtol=0, atol=1e-6)
    assert_allclose(together, encoder.encode_text(texts, batch_size=2), atol=1e-6)


def test_equal_texts_get_equal_bits(encoder):
    first, _, again = encoder.encode_text(["a dog barks", "birds", "a dog barks"])
    assert_array_equal(first, again)


def test_a_second_call_gives_the_same_bits(encoder, clips):
    assert_array_equal(encoder.encode_audio(clips), encoder.encode_audio(clips))


def test_encoding_leaves_the_global_random_state_alone(folder, clips):
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 the official extractor draws from this one
    load_encoder("laion", str(folder), device="cpu").encode_audio(clips)
    drawn = torch.rand(()), np.random.uniform()  # noqa: NPY002
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    assert drawn == (torch.rand(()), np.random.uniform())  # noqa: NPY002


def test_windows_of_an_unfused_long_clip_are_averaged(laion_folders, noise):
    encoder = load_encoder("laion", str(laion_folders[False]), device="cpu")
    clip = noise(2 * WINDOW)
    first, second = encoder.encode_audio([clip[:WINDOW], clip[WINDOW:]])
    mean = first + second
    assert_allclose(
        encoder.encode_audio([clip])[0], mean / np.linalg.norm(mean), atol=1e-6
    )


@pytest.mark.parametrize(("crop", "start"), [("start", 0), ("center", 1000)])
def test_one_window_of_a_long_clip_is_embedded_alone(encoder, noise, crop, start):
    clip = noise(WINDOW + 2000)
    window = clip[start : start + WINDOW]
    assert_allclose(
        encoder.encode_audio([clip], crop=crop),
        encoder.encode_audio([window]),
        atol=1e-6,
    )


@pytest.mark.parametrize("n_samples", [300, 20_000])
def test_an_unknown_crop_is_refused(encoder, noise, n_samples):
    with pytest.raises(ValueError, match=r"crop must be .* got 'middle'"):
        encoder.encode_audio([noise(n_samples)], crop="middle")


def test_a_long_text_is_cut_and_keeps_its_end_token(encoder):
    (ids,) = encoder._tokens(["rain falls on a tin roof " * 20])
    end = encoder._tokenizer.eos_token_id
    assert len(ids) == encoder.max_tokens
    assert ids[-1] == end
    assert end not in ids[:-1]
    assert np.isfinite(encoder.encode_text(["rain falls on a tin roof " * 20])).all()


def test_empty_input_gives_empty_output(encoder):
    assert encoder.encode_audio([]).shape == (0, encoder.projection_dim)
    assert encoder.encode_text([]).shape == (0, encoder.projection_dim)


@pytest.mark.parametrize(
    "waveform",
    [np.zeros(0), np.zeros((2, 9)), np.array([0, np.nan]), np.array([np.inf])],
    ids=["empty", "stereo", "nan", "infinite"],
)
def test_an_unusable_waveform_is_named(encoder, noise, waveform):
    with pytest.raises(AudioError, match="Waveform 1 must be"):
        encoder.encode_audio([noise(500), waveform])


def test_finite_samples_with_infinite_squares_are_accepted(encoder, noise):
    loud = noise(500) * np.float32(1e30)
    assert np.isfinite(encoder.encode_audio([loud])).all()


def test_a_text_that_is_no_string_is_named(encoder):
    with pytest.raises(TypeError, match="must be strings; got float: nan"):
        encoder.encode_text(["a dog", float("nan")])


def test_a_missing_tensor_is_named(laion_folders, copy_of):
    folder = copy_of(laion_folders[False])
    edit_tensors(folder, lambda tensors: tensors.pop("audio_projection.linear1.weight"))
    with pytest.raises(
        CheckpointError, match=r"missing: audio_projection\.linear1\.weight\."
    ):
        load_encoder("laion", str(folder))


def test_an_unexpected_tensor_is_named(laion_folders, copy_of):
    folder = copy_of(laion_folders[False])
    edit_tensors(folder, lambda tensors: tensors.update(adapter=torch.ones(2)))
    with pytest.raises(CheckpointError, match=r"unexpected: adapter\."):
        load_encoder("laion", str(folder))


def test_a_tensor_of_wrong_shape_is_named(laion_folders, copy_of):
    folder = copy_of(laion_folders[False])
    edit_tensors(folder, lambda tensors: tensors.update(logit_scale_a=torch.ones(2)))
    with pytest.raises(CheckpointError, match=r"logit_scale_a \(2,\) instead of \(\)"):
        load_encoder("laion", str(folder))


def test_weights_of_another_size_are_refused(laion_folders, copy_of):
    folder = copy_of(laion_folders[False])
    edit_json(
        folder / "config.json",
        lambda config: config["audio_config"].update(depths=[2, 4]),
    )
    with pytest.raises(CheckpointError, match=r"missing: .* and \d+ more"):
        load_encoder("laion", str(folder))


@pytest.mark.parametrize(
    "name",
    [
        "text_model.embeddings.position_ids",
        "audio_model.audio_encoder.layers.0.blocks.0.attention.self"
        ".relative_position_index",
    ],
)
def test_a_derived_buffer_may_be_there_or_not(laion_folders, copy_of, name):
    before = load_encoder("laion", str(laion_folders[False])).fingerprint
    folder = copy_of(laion_folders[False])
    edit_tensors(folder, lambda tensors: tensors.pop(name, None))
    assert load_encoder("laion", str(folder)).fingerprint == before
    edit_tensors(folder, lambda tensors: tensors.update({name: torch.ones(1, 2)}))
    assert load_encoder("laion", str(folder)).fingerprint == before


def test_half_precision_on_disk_is_loaded_as_float32(laion_folders, copy_of, clips):
    folder = copy_of(laion_folders[True])
    edit_tensors(folder, halve)
    encoder = load_encoder("laion", str(folder), device="cpu")
    assert {p.dtype for p in encoder._model.parameters()} == {torch.float32}
    expected = load_encoder("laion", str(laion_folders[True])).encode_audio(clips)
    assert_allclose(encoder.encode_audio(clips), expected, rtol=0, atol=5e-3)


def test_bfloat16_is_close_to_float32_and_another_identity(encoder, folder, clips):
    fast = load_encoder("laion", str(folder), device="cpu", dtype="bfloat16")
    embeddings = fast.encode_audio(clips)
    assert embeddings.dtype == np.float32
    cosines = (embeddings * encoder.encode_audio(clips)).sum(axis=1)
    assert cosines.min() > 0.99
    text_cosines = (fast.encode_text(TEXTS) * encoder.encode_text(TEXTS)).sum(axis=1)
    assert text_cosines.min() > 0.99
    assert fast.identity != encoder.identity
    assert fast.fingerprint == encoder.fingerprint


def test_another_precision_of_products_is_another_identity(encoder, monkeypatch):
    exact = encoder.identity
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "high")
    assert encoder.identity == f"{exact}-high"


def test_encoding_leaves_the_settings_of_convolutions_alone(encoder, clips):
    names = ("enabled", "benchmark", "deterministic", "allow_tf32")
    before = [getattr(torch.backends.cudnn, name) for name in names]
    encoder.encode_audio(clips[:1])
    assert [getattr(torch.backends.cudnn, name) for name in names] == before


def test_a_pickled_file_of_weights_is_read(laion_folders, copy_of, clips):
    folder = copy_of(laion_folders[False])
    tensors = read_tensors(folder)
    torch.save(tensors, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    encoder = load_encoder("laion", str(folder), device="cpu")
    expected = load_encoder("laion", str(laion_folders[False]))
    assert_array_equal(encoder.encode_audio(clips), expected.encode_audio(clips))


def test_an_embedding_without_length_is_an_error(laion_folders, copy_of, noise):
    folder = copy_of(laion_folders[False])
    edit_tensors(
        folder,
        lambda tensors: [
            tensors[f"audio_projection.linear2.{part}"].zero_()
            for part in ("weight", "bias")
        ],
    )
    encoder = load_encoder("laion", str(folder), device="cpu")
    with pytest.raises(CheckpointError, match=r"embedding of waveform 0 has norm 0\.0"):
        encoder.encode_audio([noise(500)])


def test_front_end_settings_have_no_default(laion_folders, copy_of):
    folder = copy_of(laion_folders[False])
    edit_json(
        folder / "preprocessor_config.json", lambda config: config.pop("frequency_min")
    )
    with pytest.raises(CheckpointError, match=r"lacks frequency_min; .* safe default"):
        load_encoder("laion", str(folder))


def test_a_front_end_of_the_other_kind_is_refused(laion_folders, copy_of):
    folder = copy_of(laion_folders[True])
    edit_json(
        folder / "preprocessor_config.json",
        lambda config: config.update(truncation="rand_trunc"),
    )
    with pytest.raises(CheckpointError, match=r"'rand_trunc', .* enable_fusion=True"):
        load_encoder("laion", str(folder))


def test_settings_may_stand_in_the_processors_configuration(laion_folders, copy_of):
    folder = copy_of(laion_folders[False])
    extractor = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").unlink()
    (folder / "processor_config.json").write_text(
        json.dumps({"feature_extractor": extractor})
    )
    assert load_encoder("laion", str(folder)).sample_rate == 8000


def halve(tensors):
    for name, tensor in tensors.items():
        tensors[name] = tensor.half() if tensor.is_floating_point() else tensor
