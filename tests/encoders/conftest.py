"""Tiny checkpoints in the published formats. Their weights are random: they exercise
code, and say nothing about sound."""

from __future__ import annotations

import json
import math
import shutil

import numpy as np
import pytest
import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import (
    ClapAudioConfig,
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    ClapTextConfig,
    GPT2Config,
)

from clapstack.encoders import _laion_official, clear_encoders
from clapstack.encoders._frontends import mel_bank
from clapstack.encoders._msclap import MsClapModel, to_official

TEXTS = [
    "a dog barks",
    "rain falls on a tin roof while thunder rolls far away",
    "birds sing, then a car passes by",
    "a dog barks!",
]
SAMPLE_RATE = 8000
WINDOW = SAMPLE_RATE
MAX_TOKENS = 60


def fill(tensors, seed):
    """Fill tensors, by name, so that a model's outputs depend on its inputs."""
    rng = np.random.RandomState(seed)  # its stream is fixed for all time
    for name in sorted(tensors):
        tensor = tensors[name]
        if not tensor.is_floating_point() or name.endswith("melW"):
            continue
        noise = torch.from_numpy(rng.standard_normal(tuple(tensor.shape)))
        if name.endswith("running_var"):
            tensor.copy_(100 + 10 * noise)
        elif name.endswith("running_mean"):
            tensor.copy_(-30 + 10 * noise)
        elif tensor.ndim > 1:
            tensor.copy_(noise / math.sqrt(tensor[0].numel()))
        elif name.endswith("weight"):
            tensor.copy_(1 + 0.1 * noise)
        else:
            tensor.copy_(0.1 * noise)


@pytest.fixture(autouse=True)
def _no_network_and_no_loaded_encoder(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    clear_encoders()


@pytest.fixture
def noise():
    rng = np.random.default_rng(0)

    def make(n_samples, rate=SAMPLE_RATE):
        tone = np.sin(2 * np.pi * rng.uniform(200, 2000) * np.arange(n_samples) / rate)
        return (0.3 * tone + 0.1 * rng.standard_normal(n_samples)).astype(np.float32)

    return make


@pytest.fixture(scope="session")
def laion_folders(tmp_path_factory):
    return {
        fused: make_laion(tmp_path_factory.mktemp("laion"), fused=fused)
        for fused in (False, True)
    }


def make_laion(folder, *, fused):
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(
        TEXTS, vocab_size=320, special_tokens=specials, show_progress=False
    )
    tokenizer.save_model(str(folder))
    settings = {"tokenizer_class": "RobertaTokenizer", "model_max_length": MAX_TOKENS}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    ClapFeatureExtractor(
        sampling_rate=SAMPLE_RATE,
        max_length_s=1,
        hop_length=80,
        fft_window_size=256,
        frequency_min=50,
        frequency_max=3600,
        truncation="fusion" if fused else "rand_trunc",
    ).save_pretrained(folder)
    config = ClapConfig(
        text_config=ClapTextConfig(
            vocab_size=tokenizer.get_vocab_size(),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=MAX_TOKENS + 2,
            projection_dim=16,
        ).to_dict(),
        audio_config=ClapAudioConfig(
            spec_size=128,
            patch_embeds_hidden_size=8,
            hidden_size=16,
            depths=[2, 2],
            num_attention_heads=[2, 4],
            num_hidden_layers=2,
            projection_dim=16,
            enable_fusion=fused,
            fusion_type="aff_2d" if fused else None,
        ).to_dict(),
        projection_dim=16,
    )
    model = ClapModel(config)
    fill(model.state_dict(), seed=int(fused))
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def msclap_unused():
    return unused_tensors()


@pytest.fixture(scope="session")
def msclap_official(msclap_unused):
    """The tensors of a small model under the authors' names, all of them."""
    model = MsClapModel(
        ClapAudioConfig(
            num_mel_bins=16,
            spec_size=128,
            patch_embeds_hidden_size=8,
            hidden_size=16,
            depths=[2, 2],
            num_attention_heads=[2, 4],
            num_hidden_layers=2,
        ),
        GPT2Config(vocab_size=300, n_positions=80, n_embd=64, n_layer=2, n_head=1),
        projection_dim=24,
    )
    bank = mel_bank(1024, 16, sample_rate=32000, f_min=50, f_max=14000)
    model.mel_bank.copy_(torch.from_numpy(bank))
    official = to_official(model.state_dict())
    fill(official, seed=2)
    return official | msclap_unused


@pytest.fixture(scope="session")
def msclap_folder(tmp_path_factory, msclap_official):
    folder = tmp_path_factory.mktemp("msclap")
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(TEXTS, vocab_size=299, show_progress=False)
    tokenizer.save_model(str(folder))
    vocab = json.loads((folder / "vocab.json").read_text())
    vocab["<|endoftext|>"] = len(vocab)
    (folder / "vocab.json").write_text(json.dumps(vocab))
    torch.save({"model": msclap_official}, folder / "CLAP_weights_2023.pth")
    return folder


@pytest.fixture(scope="session")
def laion_unused():
    return unused_in_htsat("audio_branch.") | unused_in_laion()


@pytest.fixture(scope="session")
def laion_official(laion_unused):
    """Tensors of a small model, fused or not, under the authors' names, all of them."""
    return {fused: make_laion_official(fused) | laion_unused for fused in (False, True)}


def make_laion_official(fused):
    config = ClapConfig(
        text_config=ClapTextConfig(
            vocab_size=320,
            hidden_size=64,
            num_hidden_layers=2,
            num_attention_heads=1,
            intermediate_size=96,
            max_position_embeddings=90,
            layer_norm_eps=1e-5,
        ).to_dict(),
        audio_config=ClapAudioConfig(
            num_mel_bins=16,
            spec_size=128,
            patch_embeds_hidden_size=8,
            hidden_size=16,
            depths=[2, 2],
            num_attention_heads=[2, 4],
            num_hidden_layers=2,
            enable_fusion=fused,
            fusion_type="aff_2d" if fused else None,
        ).to_dict(),
        projection_dim=24,
    )
    official = _laion_official.to_official(ClapModel(config).state_dict())
    fill(official, seed=3 + fused)
    return official


@pytest.fixture(scope="session")
def laion_files(tmp_path_factory, laion_official):
    """Training checkpoints, in folders that hold a tokenizer."""
    return {
        fused: make_laion_file(tmp_path_factory.mktemp("laion") / "best.pt", official)
        for fused, official in laion_official.items()
    }


def make_laion_file(path, official):
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(
        TEXTS, vocab_size=320, special_tokens=specials, show_progress=False
    )
    tokenizer.save_model(str(path.parent))
    save_training_checkpoint(path, official)
    return path


def save_training_checkpoint(path, official):
    """Save what the authors' training saves, as they run it: on several devices."""
    rates = [{"lr": np.float64(1e-4), "betas": (0.9, 0.99)}]
    content = {
        "epoch": 45,
        "name": "a run",
        "state_dict": {f"module.{name}": t for name, t in official.items()},
        "optimizer": {"state": {0: {"step": 3}}, "param_groups": rates},
    }
    torch.save(content, path)


def unused_tensors():
    """Name all that MS-CLAP's file holds and no embedding depends on."""
    tensors = unused_in_htsat("audio_encoder.base.htsat.")
    for layer in (0, 1):
        attention = f"caption_encoder.base.h.{layer}.attn."
        tensors[f"{attention}bias"] = torch.ones(1, 1, 80, 80, dtype=torch.bool)
        tensors[f"{attention}masked_bias"] = torch.tensor(-1e4)
    return tensors


def unused_in_laion():
    bank = mel_bank(1024, 16, sample_rate=48_000, f_min=50, f_max=14_000)
    tensors = {
        "audio_branch.logmel_extractor.melW": torch.from_numpy(bank).float(),
        "text_branch.embeddings.position_ids": torch.arange(90)[None],
    }
    for tower in ("audio", "text"):
        for layer in (0, 3):
            name = f"{tower}_transform.sequential.{layer}."
            tensors[f"{name}weight"] = torch.ones(24, 24)
            tensors[f"{name}bias"] = torch.ones(24)
    return tensors


def unused_in_htsat(htsat):
    tensors = {
        f"{htsat}spectrogram_extractor.stft.conv_real.weight": torch.ones(513, 1, 1024),
        f"{htsat}spectrogram_extractor.stft.conv_imag.weight": torch.ones(513, 1, 1024),
        f"{htsat}bn0.num_batches_tracked": torch.tensor(7),
        f"{htsat}tscam_conv.weight": torch.ones(5, 16, 2, 3),
        f"{htsat}tscam_conv.bias": torch.ones(5),
        f"{htsat}head.weight": torch.ones(5, 5),
        f"{htsat}head.bias": torch.ones(5),
    }
    for stage in (0, 1):
        n_windows = (32 >> stage) ** 2 // 64
        shifted = f"{htsat}layers.{stage}.blocks.1."
        tensors[f"{shifted}attn_mask"] = torch.zeros(n_windows, 64, 64)
        for block in (0, 1):
            index = f"{htsat}layers.{stage}.blocks.{block}.attn.relative_position_index"
            tensors[index] = torch.zeros(64, 64, dtype=torch.long)
    return tensors


@pytest.fixture
def copy_of(tmp_path):
    """Copy a checkpoint, so that a test may break it."""

    def copy(folder):
        return shutil.copytree(folder, tmp_path / "checkpoint")

    return copy


@pytest.fixture(scope="session")
def hiss():
    """A tone in noise at 16 kHz, by its length in samples."""

    def make(n_samples):
        rng = np.random.RandomState(n_samples)
        tone = np.sin(2 * np.pi * rng.uniform(200, 2000) * np.arange(n_samples) / 16000)
        return (0.3 * tone + 0.1 * rng.standard_normal(n_samples)).astype(np.float32)

    return make


def tensors_of(shapes, seed):
    tensors = {name: torch.empty(shape) for name, shape in shapes.items()}
    fill(tensors, seed)
    return tensors


def dense(name, n_out, n_in):
    return {f"{name}.weight": (n_out, n_in), f"{name}.bias": (n_out,)}


def norm(name, width):
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def vit_block(name, width, hidden):
    """Shapes of a block under timm's names."""
    return (
        norm(f"{name}.norm1", width)
        | dense(f"{name}.attn.qkv", 3 * width, width)
        | dense(f"{name}.attn.proj", width, width)
        | norm(f"{name}.norm2", width)
        | dense(f"{name}.mlp.fc1", hidden, width)
        | dense(f"{name}.mlp.fc2", width, hidden)
    )


@pytest.fixture(scope="session")
def beats_content():
    """A small file of BEATs, fine-tuned, under the authors' names."""
    width, hidden, n_heads = 64, 96, 4
    shapes = {
        "patch_embedding.weight": (32, 1, 16, 16),
        "encoder.pos_conv.0.bias": (width,),
        "encoder.pos_conv.0.weight_g": (1, 1, 16),
        "encoder.pos_conv.0.weight_v": (width, width // 4, 16),
    }
    shapes |= norm("layer_norm", 32) | dense("post_extract_proj", width, 32)
    shapes |= norm("encoder.layer_norm", width) | dense("predictor", 11, width)
    for layer in ("encoder.layers.0", "encoder.layers.1"):
        attention = f"{layer}.self_attn"
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= dense(f"{attention}.{part}", width, width)
        shapes |= dense(f"{attention}.grep_linear", 8, width // n_heads)
        shapes[f"{attention}.grep_a"] = (1, n_heads, 1, 1)
        shapes[f"{attention}.relative_attention_bias.weight"] = (20, n_heads)
        shapes |= norm(f"{layer}.self_attn_layer_norm", width)
        shapes |= norm(f"{layer}.final_layer_norm", width)
        shapes |= dense(f"{layer}.fc1", hidden, width)
        shapes |= dense(f"{layer}.fc2", width, hidden)
    tensors = tensors_of(shapes, seed=4)
    # All layers share one table, which the file holds under the name of each.
    table = "encoder.layers.{}.self_attn.relative_attention_bias.weight"
    tensors[table.format(0)] = tensors[table.format(1)]
    config = {
        "conv_pos_groups": 4,
        "max_distance": 50,
        "relative_position_embedding": True,
        "gru_rel_pos": True,
        "deep_norm": True,
        "layer_norm_first": False,
        "activation_fn": "gelu",
    }
    return {"cfg": config, "model": tensors}


@pytest.fixture(scope="session")
def eat_tensors():
    """Tensors of a small EAT, under the names of the hub."""
    width = 64
    shapes = {
        "model.extra_tokens": (1, 1, width),
        "model.fixed_positional_encoder.positions": (1, 20 * 8, width),
        "model.local_encoder.proj.weight": (width, 1, 16, 16),
        "model.local_encoder.proj.bias": (width,),
    }
    shapes |= norm("model.pre_norm", width)
    for block in range(2):
        shapes |= vit_block(f"model.blocks.{block}", width, 4 * width)
    return tensors_of(shapes, seed=5)


@pytest.fixture(scope="session")
def m2d_tensors():
    """Tensors of a small M2D-CLAP, under the authors' names."""
    width, hidden = 64, 96
    shapes = {
        "backbone.cls_token": (1, 1, width),
        "backbone.pos_embed": (1, 1 + 5 * 62, width),
        "backbone.patch_embed.proj.weight": (width, 1, 16, 16),
        "backbone.patch_embed.proj.bias": (width,),
        "backbone.norm_stats": (2,),
        "backbone.audio_proj.sem_token": (1, 1, width),
    }
    shapes |= norm("backbone.norm", width) | norm("backbone.audio_proj.norm", width)
    for block in range(2):
        shapes |= vit_block(f"backbone.blocks.{block}", width, hidden)
    shapes |= vit_block("backbone.audio_proj.sem_blocks.0", width, width)
    bert = "text_encoder.text_encoder"
    for name, n_rows in (("word", 24), ("position", 40), ("token_type", 2)):
        shapes[f"{bert}.embeddings.{name}_embeddings.weight"] = (n_rows, width)
    shapes |= norm(f"{bert}.embeddings.LayerNorm", width)
    shapes |= dense(f"{bert}.pooler.dense", width, width)
    for layer in (f"{bert}.encoder.layer.0", f"{bert}.encoder.layer.1"):
        for part in ("query", "key", "value"):
            shapes |= dense(f"{layer}.attention.self.{part}", width, width)
        shapes |= dense(f"{layer}.attention.output.dense", width, width)
        shapes |= norm(f"{layer}.attention.output.LayerNorm", width)
        shapes |= dense(f"{layer}.intermediate.dense", hidden, width)
        shapes |= dense(f"{layer}.output.dense", width, hidden)
        shapes |= norm(f"{layer}.output.LayerNorm", width)
    tensors = tensors_of(shapes, seed=6)
    tensors["backbone.norm_stats"] = torch.tensor([-7.26, 4.35])
    return tensors


@pytest.fixture(scope="session")
def filled():
    """Fill a model so that its outputs depend on its inputs, and return it."""

    def fill_model(model, seed=0):
        fill(model.state_dict(), seed)
        return model.eval()

    return fill_model


@pytest.fixture(scope="session")
def statistics():
    """Pool the states of one clip, in plain steps."""

    def pooled(states):
        states = states.double().numpy()
        parts = [states.mean(axis=0), states.std(axis=0), states.max(axis=0)]
        return np.concatenate(parts)

    return pooled
