from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from transformers import Wav2Vec2FeatureExtractor

from clapstack.encoders import load_encoder
from clapstack.encoders.audio._speech import standardized
from clapstack.exceptions import CheckpointError
from tests.checkpoints import edit_json, make_wavlm, read_tensors, write_tensors

RATE = 16_000


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folder and model, with and without the architecture of WavLM Large."""
    folders = {large: tmp_path_factory.mktemp("wavlm") for large in (True, False)}
    return {
        large: (folder, make_wavlm(folder, large=large))
        for large, folder in folders.items()
    }


def load(folder, **options):
    return load_encoder("wavlm", str(folder), device="cpu", **options)


@pytest.fixture
def clips(noise):
    return [noise(n, RATE) for n in (8_000, 5_000, 8_000, 400)]


@pytest.mark.parametrize("large", [True, False])
def test_features_are_those_of_transformers(models, clips, statistics, large):
    folder, model = models[large]
    extractor = Wav2Vec2FeatureExtractor.from_pretrained(folder)
    features = load(folder).encode_audio(clips)
    assert features.shape == (4, 3 * 32)
    for clip, row in zip(clips, features, strict=True):
        inputs = extractor(clip, sampling_rate=RATE, return_tensors="pt")
        with torch.inference_mode():
            states = model(inputs.input_values).last_hidden_state[0]
        assert_allclose(row, statistics(states), atol=1e-5)
    assert features.std(axis=0).max() > 0.1


@pytest.mark.parametrize("large", [True, False])
def test_a_row_does_not_depend_on_the_batch(models, clips, large):
    encoder = load(models[large][0])
    alone = np.concatenate([encoder.encode_audio([clip]) for clip in clips])
    assert_array_equal(encoder.encode_audio(clips), alone)
    assert_array_equal(encoder.encode_audio(clips[::-1], batch_size=1), alone[::-1])
    encoder._at_once = 100  # as on a GPU
    assert_allclose(encoder.encode_audio(clips), alone, atol=1e-5)


def test_bfloat16_is_close(models, clips):
    exact, fast = (
        load(models[True][0], dtype=dtype).encode_audio(clips)
        for dtype in ("float32", "bfloat16")
    )
    for one, other in zip(exact, fast, strict=True):
        assert one @ other / np.linalg.norm(one) / np.linalg.norm(other) > 0.995


def test_another_architecture_is_another_fingerprint(models, copy_of):
    folder, _ = models[True]
    other = copy_of(folder)
    edit_json(other / "config.json", lambda c: c.update(max_bucket_distance=100))
    assert load(other).fingerprint != load(folder).fingerprint


def test_another_precision_of_products_is_another_identity(models, monkeypatch):
    encoder = load(models[True][0])
    before = encoder.identity
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "high")
    assert encoder.identity != before


def test_a_clip_is_heard_whole_up_to_half_a_minute(models):
    assert load(models[True][0]).window == 30 * RATE


def test_standardized_matches_the_extractor(noise):
    clip = noise(9_000, RATE) + np.float32(0.2)
    expected = Wav2Vec2FeatureExtractor(do_normalize=True)(clip, sampling_rate=RATE)
    assert_allclose(standardized(clip), expected.input_values[0], atol=1e-5)
    assert_array_equal(standardized(np.full(9, 0.5, dtype=np.float32)), 0)


def rewrite(folder, target, change):
    """Copy a checkpoint, with other tensors."""
    shutil.copytree(folder, target)
    write_tensors(target, change(read_tensors(target)))
    return target


def old_names(tensors):
    names = {"original0": "weight_g", "original1": "weight_v"}
    return {
        name.replace(f"parametrizations.weight.{last}", names[last])
        if (last := name.rpartition(".")[2]) in names
        else name: tensor
        for name, tensor in tensors.items()
    }


@pytest.mark.parametrize(
    "change",
    [
        old_names,
        lambda tensors: {f"wavlm.{name}": t for name, t in tensors.items()},
        lambda tensors: {k: t for k, t in tensors.items() if "masked_spec" not in k},
    ],
    ids=["old names of the normalised weight", "prefix", "no mask embedding"],
)
def test_files_of_any_age_give_the_same_model(models, tmp_path, change):
    folder = models[True][0]
    tensors = read_tensors(folder)
    assert tensors.keys() != change(tensors).keys()
    other = rewrite(folder, tmp_path / "other", change)
    assert load(other).fingerprint == load(folder).fingerprint


def test_the_old_file_format_serves_too(models, copy_of):
    folder = copy_of(models[True][0])
    torch.save(read_tensors(folder), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert load(folder).fingerprint == load(models[True][0]).fingerprint


def test_missing_and_unexpected_tensors_are_named(models, tmp_path):
    def change(tensors):
        tensors["lm_head.weight"] = torch.ones(3, 32)
        del tensors["encoder.layers.1.attention.k_proj.bias"]
        return tensors

    folder = rewrite(models[True][0], tmp_path / "other", change)
    with pytest.raises(
        CheckpointError,
        match=r"missing: encoder\.layers\.1\..*k_proj\.bias; unexpected: lm_head\.we",
    ):
        load(folder)


def test_a_model_of_another_type_is_refused(models, copy_of):
    folder = copy_of(models[True][0])
    edit(folder / "config.json", model_type="hubert")
    with pytest.raises(CheckpointError, match="type 'hubert'; one of type 'wavlm' is"):
        load(folder)


def test_an_adapter_is_refused(models, copy_of):
    folder = copy_of(models[True][0])
    edit(folder / "config.json", add_adapter=True)
    with pytest.raises(CheckpointError, match="ends in an unsupported adapter"):
        load(folder)


def test_without_an_extractor_nothing_is_guessed(models, copy_of):
    folder = copy_of(models[True][0])
    edit(folder / "preprocessor_config.json", do_normalize=None)
    with pytest.raises(CheckpointError, match="lacks do_normalize; these settings"):
        load(folder)
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(CheckpointError, match=r"processor_config\.json cannot be read"):
        load(folder)


def test_without_a_network_the_files_are_named():
    with pytest.raises(
        CheckpointError,
        match=r"'microsoft/wavlm-large' could not be downloaded .* put config\.json, "
        r"preprocessor_config\.json, model\.safetensors or pytorch_model\.bin into a "
        r"folder and pass the path",
    ):
        load_encoder("wavlm", "microsoft/wavlm-large")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_missing_file_is_named(models, copy_of, name):
    folder = copy_of(models[True][0])
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=f"lacks {name}.* The checkpoint needs"):
        load(folder)


def test_a_file_is_no_checkpoint(models):
    with pytest.raises(CheckpointError, match="is a file; it must be a folder with"):
        load(models[True][0] / "model.safetensors")


def edit(path, **changes):
    content = {**json.loads(path.read_text(encoding="utf-8")), **changes}
    kept = {name: value for name, value in content.items() if value is not None}
    path.write_text(json.dumps(kept), encoding="utf-8")
