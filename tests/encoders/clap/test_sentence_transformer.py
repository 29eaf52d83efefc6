"""Folders of sentence-transformers with random weights, against the library."""

from __future__ import annotations

import json
import shutil
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import transformers
from numpy.testing import assert_allclose, assert_array_equal
from safetensors.torch import load_file, save_file

import clapstack
from clapstack.encoders import load_encoder
from clapstack.exceptions import CheckpointError, CollapsedTowerWarning
from clapstack.features import EventFeatures, SentenceTransformerPairFeatures
from tests.checkpoints import (
    AST_FRAMES,
    SAMPLE_RATE,
    edit_json,
    edit_tensors,
    make_gemma,
    make_laion,
    make_omni,
    make_routed,
    read_tensors,
    write_tensors,
)

library = pytest.importorskip("sentence_transformers")
modules = library.sentence_transformer.modules
BUNDLED = Path(clapstack.__file__).parent / "bundled"
TEXTS = ["a dog barks", "rain on a tin roof while thunder rolls far", "a car", "rain"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory, laion_folders):
    """Return folders by architecture: two towers, a single one, a router of two."""
    return {
        "clap": laion_folders[False],
        "omni": make_omni(tmp_path_factory.mktemp("omni")),
        "routed": make_routed(tmp_path_factory.mktemp("routed")),
    }


@pytest.fixture(params=["clap", "omni", "routed", "gemma"])
def folder(request, folders, tmp_path):
    if request.param != "gemma":
        return folders[request.param]
    # Which PyPI has for CUDA alone: beside a CPU build of torch it cannot be imported.
    pytest.importorskip("torchvision", exc_type=ImportError)
    return make_gemma(tmp_path)


@pytest.fixture
def copy_of(tmp_path):
    """Copy a folder, so that a test may change it."""
    return lambda folder: shutil.copytree(folder, tmp_path / "copy")


def load(folder, **settings):
    return load_encoder("sentence-transformer", folder, device="cpu", **settings)


def as_the_library_has_it(folder, items):
    """Return the library's embedding of each item alone."""
    model = library.SentenceTransformer(
        str(folder), device="cpu", model_kwargs={"dtype": torch.float32}
    )
    return np.concatenate([model.encode([i], normalize_embeddings=True) for i in items])


def clip_of(waveform, encoder):
    return {"audio": {"array": waveform, "sampling_rate": encoder.sample_rate}}


def clips_for(encoder, *shares):
    rng = np.random.default_rng(0)
    sizes = [int(share * encoder.window) for share in shares]
    return [0.1 * rng.standard_normal(size).astype(np.float32) for size in sizes]


def test_inputs_up_to_the_window_are_embedded_as_by_the_library(folder):
    encoder = load(folder)
    clips = clips_for(encoder, 0.2, 0.5, 1)
    expected = as_the_library_has_it(folder, [clip_of(c, encoder) for c in clips])
    assert_allclose(encoder.encode_audio(clips), expected, rtol=0, atol=1e-6)
    expected = as_the_library_has_it(folder, TEXTS)
    assert_allclose(encoder.encode_text(TEXTS), expected, rtol=0, atol=1e-6)
    assert abs(expected[0] - expected[1]).max() > 1e-2


def test_a_long_clip_is_heard_to_its_end_and_always_alike(folder):
    encoder = load(folder)
    for share in (1.5, 4.5):
        (clip,) = clips_for(encoder, share)
        ending = clip.copy()
        ending[-encoder.window // 4 :] = 0
        first, again, other = encoder.encode_audio([clip, clip, ending])
        assert_array_equal(first, again)
        assert abs(first - other).max() > 1e-4


def test_repeats_differ_in_the_library_and_not_here():
    encoder = load("bundled:laion-unfused")
    for seconds in (15, 45):
        (clip,) = clips_for(encoder, seconds / 10)
        first, again = as_the_library_has_it(
            BUNDLED / "laion-unfused", [clip_of(clip, encoder)] * 2
        )
        assert abs(first - again).max() > 1e-4
        assert_array_equal(encoder.encode_audio([clip]), encoder.encode_audio([clip]))


def test_a_fused_model_takes_short_clips_for_short_ones(laion_folders):
    folder = laion_folders[True]
    encoder = load(folder)
    clips = clips_for(encoder, 0.3, 0.6)
    embedded = encoder.encode_audio(clips)
    ours = load_encoder("laion", folder, device="cpu")
    assert_allclose(embedded, ours.encode_audio(clips), rtol=0, atol=1e-6)
    model = library.SentenceTransformer(str(folder), device="cpu")
    # Of two clips its front end marks one, drawn at random, as long.
    together = model.encode(
        [clip_of(clip, encoder) for clip in clips], normalize_embeddings=True
    )
    apart = abs(together - embedded).max(axis=1)
    assert min(apart) < 1e-6 < 1e-3 < max(apart)


def test_neighbours_and_order_do_not_matter(folder):
    encoder = load(folder)
    clips = clips_for(encoder, 0.1, 1, 0.4)
    alone = np.concatenate([encoder.encode_audio([clip]) for clip in clips])
    assert_array_equal(encoder.encode_audio(clips[::-1])[::-1], alone)
    alone = np.concatenate([encoder.encode_text([text]) for text in TEXTS])
    assert_array_equal(encoder.encode_text(TEXTS[::-1])[::-1], alone)


def test_half_precision_is_near(folder):
    encoder, half = load(folder), load(folder, dtype="bfloat16")
    clips = clips_for(encoder, 0.5)
    cosine = np.sum(encoder.encode_audio(clips) * half.encode_audio(clips))
    assert 0.99 < cosine < 1 - 1e-9


def test_a_text_that_names_a_file_or_an_address_is_a_text(
    folders, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("rain.wav").write_bytes(b"no sound")
    texts = ["rain.wav", "https://example.org/dog.png", "data:image/png;base64,AA"]
    embedded = load(folders["omni"]).encode_text([*texts, "a dog"])
    # Words that it does not know, each of the three; and one that it does.
    assert np.isfinite(embedded).all()
    assert abs(embedded[0] - embedded[3]).max() > 1e-3


def test_a_clip_shorter_than_any_frame_is_filled_up(folder):
    assert np.isfinite(load(folder).encode_audio([np.ones(1, np.float32)])).all()


def test_a_text_that_the_library_cannot_take_is_named(folders):
    with pytest.raises(ValueError, match=r"omni cannot embed 'a <\|AUDIO\|>': "):
        load(folders["omni"]).encode_text(["a <|AUDIO|>"])


def test_texts_that_are_cut_are_counted(folders):
    with pytest.warns(UserWarning, match=r"1 of 2 texts .* more than 40 tokens"):
        load(folders["routed"]).encode_text(["a dog", "a dog " * 30])


def test_a_prompt_before_texts_counts_among_their_tokens(folders, copy_of):
    copy = copy_of(folders["routed"])
    prompts = {"prompts": {"query": "a dog " * 10}, "default_prompt_name": "query"}
    change("config_sentence_transformers.json", **prompts)(copy)
    with pytest.warns(UserWarning, match=r"1 of 2 texts .* more than 20 tokens"):
        load(copy).encode_text(["a dog", "a dog " * 10])


def test_the_window_is_what_the_front_end_sees(folders):
    assert load(folders["clap"]).window == SAMPLE_RATE
    assert load(folders["omni"]).window == 2 * 16_000
    assert load(folders["routed"]).window == AST_FRAMES * 160


def test_joint_features_are_those_of_the_library(folders):
    encoder = load(folders["omni"])
    clips = clips_for(encoder, 0.3, 1.5)
    X = [[(clips[row], 16_000), text] for row, text in ((0, "a dog"), (1, "rain"))]
    X.append([X[0][0], "rain"])
    features = SentenceTransformerPairFeatures(
        folders["omni"], joint="both", cache=None, device="cpu"
    )
    made = features.fit_transform(X)
    names = list(features.get_feature_names_out())
    assert (names[-33], names[-32:]) == ("cosine", [f"joint{i}" for i in range(32)])
    items = [
        {**clip_of(clip, encoder), "text": text}
        for clip, text in ((clips[0], "a dog"), (clips[0], "rain"))
    ]
    expected = as_the_library_has_it(folders["omni"], items)
    assert_allclose(made[[0, 2], -32:], expected, rtol=0, atol=1e-6)
    assert abs(expected[0] - expected[1]).max() > 1e-3
    assert_allclose(np.linalg.norm(made[:, -32:], axis=1), 1, atol=1e-5)


def test_joint_features_are_stored(folders, tmp_path, monkeypatch):
    X = [[(clip, 16_000), "rain"] for clip in clips_for(load(folders["omni"]), 0.3)]
    features = SentenceTransformerPairFeatures(
        folders["omni"], joint="both", cache=tmp_path / "store", device="cpu"
    ).fit(X)
    made = features.transform(X)
    monkeypatch.setattr(torch.nn.Module, "__call__", None)  # no model can run
    assert_array_equal(features.transform(X), made)


def test_two_towers_have_no_joint_embedding():
    features = SentenceTransformerPairFeatures("bundled:laion-unfused", joint="both")
    with pytest.raises(CheckpointError, match=r"not embed audio and text together"):
        features.fit([["a.wav", "a dog"]])


def test_the_fingerprint_is_of_weights_and_settings(folders, copy_of):
    before = load(folders["omni"]).fingerprint
    copy = copy_of(folders["omni"])
    edit_json(copy / "config.json", lambda c: c.update(transformers_version="4.0"))
    (copy / "README.md").write_text("Another text")
    assert load(copy).fingerprint == before
    change("1_Pooling/config.json", pooling_mode="max")(copy)
    other = load(copy).fingerprint
    edit_tensors(
        copy, lambda tensors: tensors["multi_modal_projector.linear.bias"].add_(1)
    )
    assert len({before, other, load(copy).fingerprint}) == 3


@pytest.mark.parametrize("place", ["0_Router", "parts/0_Router"])
def test_modules_in_deeper_folders_are_loaded_anew(folders, tmp_path, place):
    router = shutil.copytree(folders["routed"], tmp_path / place)
    for name in ("modules.json", "config_sentence_transformers.json"):
        shutil.move(router / name, tmp_path)
    edit_json(tmp_path / "modules.json", lambda content: content[0].update(path=place))
    before = load(tmp_path)
    assert load(tmp_path) is before
    edit_tensors(
        router / "text_2_Dense", lambda tensors: tensors["linear.bias"].add_(1)
    )
    assert load(tmp_path).fingerprint != before.fingerprint


def test_a_tokenizer_that_skips_merges_at_random_is_refused(copy_of):
    copy = copy_of(BUNDLED / "laion-unfused")
    edit_json(copy / "tokenizer_config.json", as_plain_tokenizer)
    edit_json(copy / "tokenizer.json", lambda c: c["model"].update(dropout=0.5))
    with pytest.raises(CheckpointError, match=r"skips merges at random"):
        load(copy)


def as_plain_tokenizer(config):
    config["tokenizer_class"] = "PreTrainedTokenizerFast"


def test_embeddings_are_stored_under_the_versions_of_the_libraries(folders):
    assert f"-st{library.__version__}-tf" in load(folders["omni"]).identity


def test_code_in_a_folder_does_not_run(folders, copy_of):
    copy = copy_of(folders["clap"])
    ran = copy / "ran"
    for name in ("modeling_own.py", "sitecustomize.py", "__init__.py"):
        (copy / name).write_text(f"open({str(ran)!r}, 'w').close()\n")
    own = {"AutoModel": "modeling_own.Own", "AutoConfig": "modeling_own.Own"}
    edit_json(copy / "config.json", lambda c: c.update(auto_map=own))
    edit_json(copy / "tokenizer_config.json", lambda c: c.update(auto_map=own))
    assert load(copy).fingerprint == load(folders["clap"]).fingerprint
    assert not ran.exists()


def change(name, **settings):
    return lambda folder: edit_json(folder / name, lambda c: c.update(settings))


@pytest.mark.parametrize("name", ["omni", "routed"])
@pytest.mark.parametrize(
    "settings",
    [
        {"truncate_dim": 8},
        {"truncate_dim": 4000},
        {"prompts": {"query": "a dog "}},
        {"prompts": {"query": "a dog "}, "default_prompt_name": "query"},
    ],
)
def test_settings_of_the_library_are_applied_as_by_the_library(
    folders, copy_of, name, settings
):
    copy = copy_of(folders[name])
    change("config_sentence_transformers.json", **settings)(copy)
    encoder = load(copy)
    clips = clips_for(encoder, 0.5)
    expected = as_the_library_has_it(copy, [clip_of(c, encoder) for c in clips])
    assert_allclose(encoder.encode_audio(clips), expected, rtol=0, atol=1e-6)
    expected = as_the_library_has_it(copy, TEXTS)
    assert_allclose(encoder.encode_text(TEXTS), expected, rtol=0, atol=1e-6)
    assert encoder.projection_dim == expected.shape[1]


def test_unrelated_files_in_a_folder_are_ignored(folders, copy_of):
    copy = copy_of(folders["omni"])
    (copy / "data_config.json").write_text('[{"name": "train"}]')
    (copy / "trainer_state.json").write_text('{"loss": NaN, "num_steps": 10000000}')
    (copy / "eval.json").write_text("{")
    (copy / "LICENSE.txt").write_text("MIT")
    assert load(copy).fingerprint == load(folders["omni"]).fingerprint


def in_half_precision(folder):
    path = folder / "model.safetensors"
    half = {name: tensor.bfloat16() for name, tensor in load_file(path).items()}
    save_file(half, path, {"format": "pt"})


def in_shards(folder):
    model = transformers.AutoModel.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="20KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 2


def as_a_pickle(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def in_a_folder_of_its_own(folder):
    (folder / "0_Transformer").mkdir()
    for path in folder.glob("*.*"):
        if path.name not in ("modules.json", "config_sentence_transformers.json"):
            path.rename(folder / "0_Transformer" / path.name)
    edit_modules(folder, lambda modules: modules[0].update(path="0_Transformer"))


def as_older_versions_wrote_it(folder):
    def rename(modules):
        for module in modules:
            name = module["type"].rpartition(".")[2]
            module["type"] = f"sentence_transformers.models.{name}"

    edit_modules(folder, rename)
    pooling = {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))


def without_norm(folder):
    edit_modules(folder, lambda modules: modules.pop())


def edit_modules(folder, edit):
    modules = json.loads((folder / "modules.json").read_text())
    edit(modules)
    (folder / "modules.json").write_text(json.dumps(modules))


@pytest.mark.parametrize(
    "rewrite",
    [
        in_half_precision,
        in_shards,
        as_a_pickle,
        in_a_folder_of_its_own,
        as_older_versions_wrote_it,
        without_norm,
    ],
)
def test_other_layouts_of_a_folder_are_read(folders, copy_of, rewrite):
    copy = copy_of(folders["omni"])
    rewrite(copy)
    encoder = load(copy)
    clips = clips_for(encoder, 0.5)
    expected = as_the_library_has_it(copy, [clip_of(c, encoder) for c in clips])
    assert_allclose(encoder.encode_audio(clips), expected, rtol=0, atol=1e-6)
    expected = as_the_library_has_it(copy, TEXTS)
    assert_allclose(encoder.encode_text(TEXTS), expected, rtol=0, atol=1e-6)


def own_class(folder):
    edit_modules(folder, lambda modules: modules[1].update(type="modeling_own.Pooling"))


def place_outside(folder):
    edit_modules(folder, lambda modules: modules[1].update(path="../other"))


class Code:
    def __reduce__(self):
        return exec, ("raise SystemExit('code was run')",)


def code_among_the_weights(folder):
    (folder / "model.safetensors").unlink()
    torch.save({"weight": Code()}, folder / "pytorch_model.bin")


def damage(tensors):
    tensors["multi_modal_projector.linear.bias"] = torch.ones(3)


def method_of_choice(folder):
    params = {"method": "push_to_hub", "method_output_name": None}
    change("sentence_bert_config.json", modality_config={"text": params})(folder)


BERT_CONFIG = "sentence_bert_config.json"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (own_class, r"modules\.json names the class 'modeling_own\.Pooling'.*not run"),
        (place_outside, r"names a path outside its folder: '\.\./other'"),
        (method_of_choice, r"embeds text with the method 'push_to_hub'"),
        (
            change("config.json", auto_map={"AutoModel": "a.B"}, model_type="own"),
            r"config\.json requires its own code \(auto_map, for 'own'\)",
        ),
        (
            change(BERT_CONFIG, tokenizer_name_or_path="some/where"),
            r"has tokenizer_name_or_path=some/where, which may download",
        ),
        (
            change(BERT_CONFIG, model_args={"gguf_file": "a.gguf"}),
            r"has model_args=.*gguf_file",
        ),
        (
            change("config_sentence_transformers.json", model_type="CrossEncoder"),
            r"describes a CrossEncoder, not a SentenceTransformer",
        ),
        (
            lambda f: (f / "adapter_config.json").write_text("{}"),
            r"is a PEFT adapter.*merge_and_unload",
        ),
        (
            lambda f: (f / "model.safetensors").unlink(),
            r"by sentence-transformers: OSError: .* no file named model\.safetensors.*"
            r"/copy\.",
        ),
        (code_among_the_weights, r"contains an object of .*exec, which could run code"),
        (
            lambda f: (f / "model.safetensors").write_bytes(b""),
            r"model\.safetensors cannot be read: its header claims 0 bytes of 0",
        ),
        (
            lambda f: (f / "1_Pooling" / "config.json").unlink(),
            r"lacks 1_Pooling/config\.json, which Pooling needs",
        ),
        (
            change("config_sentence_transformers.json", truncate_dim=0),
            r"truncate_dim in .*\.json must be an integer from 1",
        ),
        (
            lambda f: edit_tensors(f, damage),
            r"Tensors of wrong shape: multi_modal_projector\.linear\.bias",
        ),
        (
            lambda f: (f / "tokenizer.json").write_text("{"),
            r"tokenizer\.json cannot be",
        ),
        (
            lambda f: edit_tensors(f, lambda t: t.pop("audio_tower.conv1.weight")),
            r"Tensors missing: audio_tower\.conv1\.weight",
        ),
    ],
)
def test_a_folder_that_points_elsewhere_or_is_incomplete_is_refused(
    folders, copy_of, edit, message
):
    copy = copy_of(folders["omni"])
    edit(copy)
    with pytest.raises(CheckpointError, match=message):
        load(copy)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        (
            "audio_2_Dense/config.json",
            {"activation_function": "os.system"},
            r"names 'os\.system' as its activation function",
        ),
        (
            "router_config.json",
            {"types": {"text_0_Transformer": "own.Transformer"}},
            r"router_config\.json names the class 'own\.Transformer'",
        ),
    ],
)
def test_a_router_is_checked_to_its_ends(folders, copy_of, name, settings, message):
    copy = copy_of(folders["routed"])
    edit_json(copy / name, lambda content: content.update(settings))
    with pytest.raises(CheckpointError, match=message):
        load(copy)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("router_config.json", r"router_config\.json cannot be read"),
        (
            "text_2_Dense/model.safetensors",
            r"Could not find 'model\.safe.* in .*/copy\.",
        ),
        (
            "text_2_Dense/config.json",
            r"lacks text_2_Dense/config\.json, which Dense needs",
        ),
    ],
)
def test_a_file_that_a_router_lacks_is_named(folders, copy_of, name, message):
    copy = copy_of(folders["routed"])
    (copy / name).unlink()
    with pytest.raises(CheckpointError, match=message):
        load(copy)


def test_weights_that_are_no_numbers_are_called_damaged(folders, copy_of):
    copy = copy_of(folders["omni"])
    bias = "multi_modal_projector.linear.bias"
    edit_tensors(copy, lambda tensors: tensors[bias].fill_(torch.nan))
    with pytest.raises(CheckpointError, match=r"norm nan.*probably damaged"):
        load(copy).encode_audio([np.ones(9000, np.float32)])


def test_a_model_without_audio_is_refused(folders):
    bert = folders["routed"].parent / "bert"
    with pytest.raises(CheckpointError, match=r"bert embeds text; .*audio and text"):
        load(bert)


def test_a_front_end_that_crops_unseen_is_refused(folders, copy_of):
    copy = copy_of(folders["omni"])
    change(BERT_CONFIG, processing_kwargs={"common": {"max_length": 16_000}})(copy)
    with pytest.raises(CheckpointError, match=r"ignores the end of a clip of 2 s, but"):
        load(copy)


def test_a_front_end_that_draws_is_refused(laion_folders, tmp_path):
    transformer = modules.Transformer(
        str(laion_folders[False]), processing_kwargs={"common": {"max_length": 4000}}
    )
    model = library.SentenceTransformer(modules=[transformer], device="cpu")
    model.save_pretrained(tmp_path / "drawn")
    with pytest.raises(
        CheckpointError, match=r"different embeddings for the same clip: its front"
    ):
        load(tmp_path / "drawn")


def test_an_untrained_projection_is_seen(tmp_path):
    folder = make_laion(tmp_path, fused=False)
    tensors = read_tensors(folder)
    rng = torch.Generator().manual_seed(0)
    for name, tensor in tensors.items():
        if name.startswith("text_projection."):
            is_weight = name.endswith("weight")
            drawn = 0.02 * torch.randn(tensor.shape, generator=rng)
            tensors[name] = drawn if is_weight else torch.zeros_like(tensor)
    write_tensors(folder, tensors)
    with pytest.warns(CollapsedTowerWarning, match="text projection .* never trained"):
        load(folder)


def test_loading_is_quiet_and_leaves_the_library_as_it_was(folders, capfd):
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(folders["omni"])
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
    assert capfd.readouterr().err == ""


def test_places_without_a_model_are_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"lacks modules\.json and config\.json"):
        load(tmp_path)
    with pytest.raises(CheckpointError, match=r"is a file; it must be a folder"):
        load(Path(__file__))
    with pytest.raises(
        CheckpointError, match=r"could not be downloaded.*Without a netw"
    ):
        load("nobody/nothing")


def test_the_missing_library_is_named_with_its_extra(folders, monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ImportError, match=r"clapstack\[sentence-transformers\]"):
        load(folders["omni"])


def test_an_old_library_is_named(folders, monkeypatch):
    monkeypatch.setattr(library, "__version__", "5.4.1")
    with pytest.raises(ImportError, match=r"6\.2 or later; 5\.4\.1 is installed"):
        load(folders["omni"])


def test_events_take_windows_as_clips_of_their_own(folder):
    """Without clapstack's front end, windows cannot be cut from a spectrogram."""
    noise = np.random.default_rng(0).normal(size=96_000) / 10
    pairs = pd.DataFrame(
        {"audio": [(noise, 48_000)], "text": ["a dog barks then a bell rings"]}
    )
    events = EventFeatures([SentenceTransformerPairFeatures(folder, cache=None)])
    columns = events.set_output(transform="pandas").fit_transform(pairs)
    assert columns.filter(like="n_clauses").iloc[0, 0] == 2
    assert np.isfinite(columns.to_numpy()).all()
