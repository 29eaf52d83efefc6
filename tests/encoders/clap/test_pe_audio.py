"""Perception Encoder Audio with random weights: tests of the code only."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
import transformers
from numpy.testing import assert_allclose, assert_array_equal
from safetensors.torch import save_file

from clapstack.encoders import load_encoder
from clapstack.exceptions import CheckpointError
from clapstack.features import PeAudioPairFeatures
from tests.checkpoints import TEXTS, edit_json, make_pe_audio, read_tensors

RATE = 48_000
HAS_PE_AUDIO = hasattr(transformers, "PeAudioModel")
pytestmark = pytest.mark.filterwarnings(
    "ignore::clapstack.exceptions.CollapsedTowerWarning"
)


def load(checkpoint):
    return load_encoder("pe-audio", checkpoint, device="cpu")


def unit(rows):
    return np.divide(rows, np.linalg.norm(rows, axis=-1, keepdims=True))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders and the library's own models, with and without frames."""
    if not HAS_PE_AUDIO:
        pytest.skip("transformers 4 has no PE Audio")
    made = {}
    for frame_level in (False, True):
        folder = tmp_path_factory.mktemp("pe-audio")
        made[frame_level] = folder, make_pe_audio(folder, frame_level=frame_level)
    return made


@pytest.fixture
def folder(models, tmp_path):
    """A copy of the frame-level model to change."""
    return shutil.copytree(models[True][0], tmp_path / "copy")


@pytest.fixture
def own(models):
    """Return the output of transformers' own processor and model: frames or a row."""

    def embed(frame_level, clip):
        folder, model = models[frame_level]
        extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
        inputs = extractor(clip, sampling_rate=RATE, return_tensors="pt")
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # what the library returns depends on their number
        try:
            with torch.inference_mode():
                return model.get_audio_embeds(**inputs)[0].numpy()
        finally:
            torch.set_num_threads(threads)

    return embed


@pytest.mark.parametrize("n_samples", [700, RATE, 100_001])
def test_clips_are_embedded_as_by_the_library(models, own, hiss, n_samples):
    clip = hiss(n_samples)
    whole = load(models[False][0]).encode_audio([clip])[0]
    assert_allclose(whole, unit(own(False, clip)), rtol=0, atol=1e-6)
    mean = load(models[True][0]).encode_audio([clip])[0]
    assert_allclose(mean, unit(own(True, clip).mean(axis=0)), rtol=0, atol=1e-6)


def test_frames_are_those_of_the_library(models, own, hiss):
    encoder = load(models[True][0])
    clip = hiss(100_001)
    (frames,) = encoder.encode_frames([clip])
    assert (encoder.frame_rate, len(frames)) == (25.0, 53)
    assert_allclose(frames, unit(own(True, clip)), rtol=0, atol=3e-6)


def test_frames_of_a_long_clip_are_those_of_pieces_of_whole_frames(models, hiss):
    encoder = load(models[True][0])
    clip = hiss(31 * RATE + 5)
    frames, short = encoder.encode_frames([clip, clip[:3000]], batch_size=1)
    assert (len(frames), len(short)) == (776, 2)
    halves = encoder.encode_frames([clip[: 388 * 1920], clip[388 * 1920 :]])
    assert_array_equal(frames, np.concatenate(halves))


def test_a_model_of_whole_clips_has_no_frames(models, hiss):
    with pytest.raises(ValueError, match=r"with whole clips, not with frames.*PE-A-F"):
        load(models[False][0]).encode_frames([hiss(3000)])


def test_texts_are_embedded_before_the_last_norm_as_by_the_authors(models):
    """From transformers 5.1 on, the library applies the final norm."""
    folder, model = models[True]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    states = []
    hook = model.text_model.final_norm.register_forward_pre_hook(
        lambda _, inputs: states.append(inputs[0].reshape(-1, 32)[0])
    )
    with hook, torch.inference_mode():
        for text in TEXTS:
            ids = tokenizer([text], return_tensors="pt")["input_ids"]
            model.text_model(input_ids=ids, attention_mask=torch.ones_like(ids))
        expected = model.text_audio_head(torch.stack(states)).numpy()
    embeddings = load(folder).encode_text(TEXTS)
    assert_allclose(embeddings, unit(expected), rtol=0, atol=1e-6)


@pytest.mark.parametrize("seconds", [15, 45])
def test_repeats_of_a_long_clip_give_the_same_bits(models, hiss, seconds):
    encoder = load(models[True][0])
    clip = hiss(seconds * RATE)
    first = encoder.encode_audio([clip])
    assert_array_equal(encoder.encode_audio([hiss(900), clip])[1:], first)


def test_a_longer_neighbour_does_not_matter(models, hiss, monkeypatch):
    encoder = load(models[True][0])
    monkeypatch.setattr(encoder, "_at_once", 8)  # as on a GPU
    clips = [hiss(n) for n in (700, 700, 90_000, 700, 2000)]
    alone = np.concatenate([encoder.encode_audio([clip]) for clip in clips])
    assert_allclose(encoder.encode_audio(clips), alone, rtol=0, atol=1e-6)
    alone = np.concatenate([encoder.encode_text([text]) for text in TEXTS])
    assert_allclose(encoder.encode_text(TEXTS), alone, rtol=0, atol=1e-6)


def test_features_are_those_of_a_pair(models, hiss):
    X = [[(hiss(8000), RATE), "a dog barks"], [(hiss(9000), RATE), "birds sing"]]
    features = PeAudioPairFeatures(models[True][0], device="cpu", cache=None)
    found = features.fit_transform(X)
    assert found.shape == (2, 5 * 32 + 1)
    dots = np.sum(found[:, :32] * found[:, 32:64], axis=1)
    assert_allclose(found[:, -1], dots, rtol=0, atol=1e-6)


def test_pe_av_gives_its_towers_of_audio_and_text(models, tmp_path, hiss):
    folder, _ = models[False]
    copy = shutil.copytree(folder, tmp_path / "av")
    video = {
        "video_model.video_head.proj.weight": torch.ones(2, 2),
        "audio_video_encoder.norm.weight": torch.ones(2),
        "audio_plus_text_head.proj.weight": torch.ones(2, 2),
        "text_audio_video_logit_bias": torch.ones(1),
    }
    own = {
        name if name.startswith("text_model.") else f"audio_model.{name}": tensor
        for name, tensor in read_tensors(folder).items()
    }
    save_file(own | video, copy / "model.safetensors")

    def as_pe_av(config):
        config["audio_video_config"] = {"audio_config": config.pop("audio_config")}
        config["model_type"] = "pe_audio_video"
        config["architectures"] = ["PeAudioVideoModel"]

    edit_json(copy / "config.json", as_pe_av)
    clip = hiss(5000)
    encoder, of_parts = load(folder), load(copy)
    assert_array_equal(of_parts.encode_audio([clip]), encoder.encode_audio([clip]))
    assert_array_equal(of_parts.encode_text(TEXTS), encoder.encode_text(TEXTS))


@pytest.mark.parametrize(
    "change",
    [
        {"architectures": ["PeAudioModel"]},
        {"audio_config": {"rms_norm_eps": 1e-3}},
        {
            "audio_config": {
                "rope_parameters": {"rope_theta": 10, "rope_type": "default"}
            }
        },
        {"text_config": {"local_attention": 8}},
        {"text_config": {"hidden_activation": "relu"}},
        {"text_config": {"layer_types": ["sliding_attention"] * 4}},
    ],
)
def test_what_the_weights_do_not_show_is_part_of_the_fingerprint(
    models, folder, change
):
    def apply(config):
        for name, value in change.items():
            part = config[name]
            config[name] = part | value if isinstance(value, dict) else value

    edit_json(folder / "config.json", apply)
    assert load(folder).fingerprint != load(models[True][0]).fingerprint


def test_the_window_stays_within_whole_frames(models):
    encoder = load(models[True][0])
    assert encoder.window == 30 * RATE
    assert encoder.window % encoder.frame_samples == 0


def without_processor(folder):
    (folder / "preprocessor_config.json").unlink()


def set_config(**values):
    return lambda folder: edit_json(folder / "config.json", lambda c: c.update(values))


def drop_merges(folder):
    edit_json(folder / "tokenizer.json", lambda c: c["model"].update(dropout=0.5))


def set_hop_length(folder):
    def change(config):
        config["audio_config"]["dac_config"]["hop_length"] = 960

    edit_json(folder / "config.json", change)


def set_extractor(**values):
    def change(folder):
        edit_json(folder / "preprocessor_config.json", lambda c: c.update(values))

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (set_config(model_type="clap"), r"of type 'clap'; one of type 'pe_audio'"),
        (set_config(architectures=None), r"architectures=None; it must be \['PeAudioF"),
        (
            set_config(text_config={"model_type": "bert", "auto_map": {"A": "x.py"}}),
            r"of type 'bert'; one of type 'modernbert'",
        ),
        (set_extractor(hop_length=960), r"feature_size=1 and hop_length=1920"),
        (set_extractor(feature_size=2), r"feature_size=1 and hop_length=1920"),
        (set_hop_length, r"config\.json has hop_length=960; only 1920"),
        (drop_merges, r"tokenizer in .* skips merges at random .*dropout=0\.5"),
        (without_processor, r"processor_config\.json cannot be read"),
        (lambda f: (f / "tokenizer.json").unlink(), r"lacks tokenizer\.json"),
        (lambda f: (f / "model.safetensors").unlink(), r"lacks model\.safetensors"),
    ],
)
def test_a_folder_of_another_kind_is_named(folder, change, said):
    change(folder)
    with pytest.raises(CheckpointError, match=said):
        load(folder)


@pytest.mark.skipif(HAS_PE_AUDIO, reason="transformers 5 has PE Audio")
def test_an_older_transformers_is_named_with_the_version_that_is_needed(tmp_path):
    with pytest.raises(ImportError, match=r"PeAudioPairFeatures needs transformers 5"):
        load(tmp_path)
