"""Tiny checkpoints in the published formats, with random weights, to test the code."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import ClapAudioConfig, GPT2Config

from clapstack.encoders import clear_encoders
from clapstack.encoders._mel import mel_bank
from clapstack.encoders.clap._msclap_2023 import MsClap2023Model, to_official
from tests.checkpoints import (
    SAMPLE_RATE,
    TEXTS,
    fill,
    make_beats_content,
    make_eat_tensors,
    make_laion,
    make_laion_official,
    make_m2d_tensors,
    make_mga_tensors,
)


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


@pytest.fixture(scope="session")
def msclap_unused():
    return unused_tensors()


@pytest.fixture(scope="session")
def msclap_official(msclap_unused):
    """Return all tensors of a small model, under the authors' names."""
    model = MsClap2023Model(
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
    """Return all tensors of a small model, fused or not, under the authors' names."""
    return {fused: make_laion_official(fused) | laion_unused for fused in (False, True)}


def unused_tensors():
    """Return the tensors of MS-CLAP's file that no embedding depends on."""
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
    """Return a tone in noise at 16 kHz, given its length in samples."""

    def make(n_samples):
        rng = np.random.RandomState(n_samples)
        tone = np.sin(2 * np.pi * rng.uniform(200, 2000) * np.arange(n_samples) / 16000)
        return (0.3 * tone + 0.1 * rng.standard_normal(n_samples)).astype(np.float32)

    return make


@pytest.fixture(scope="session")
def beats_content():
    return make_beats_content()


@pytest.fixture(scope="session")
def eat_tensors():
    return make_eat_tensors()


@pytest.fixture(scope="session")
def m2d_tensors():
    return make_m2d_tensors()


@pytest.fixture(scope="session")
def mga_tensors():
    return make_mga_tensors()


@pytest.fixture(scope="session")
def filled():
    """Fill a model so that its outputs depend on its inputs, and return it."""

    def fill_model(model, seed=0):
        fill(model.state_dict(), seed)
        return model.eval()

    return fill_model
