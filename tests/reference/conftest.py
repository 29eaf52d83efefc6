"""Checkpoints of the published audio towers with random weights and small text towers:
code only, no sound is known to them."""

from __future__ import annotations

import math
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    ClapAudioConfig,
    ClapConfig,
    ClapModel,
    ClapTextConfig,
    GPT2Config,
)

import clapstack
from clapstack.encoders import clear_encoders
from clapstack.encoders._mel import mel_bank
from clapstack.encoders.clap import _laion_official, _msclap_2023
from tests.checkpoints import make_msclap_2022_tensors, save_msclap_2022

BUNDLED = Path(clapstack.__file__).parent / "bundled"
SIZES = {"tiny": (96, [2, 2, 6, 2]), "base": (128, [2, 2, 12, 2])}


@pytest.fixture(autouse=True)
def _no_network_and_no_loaded_encoder(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    clear_encoders()


@pytest.fixture(scope="session")
def needs():
    """Skip a test where a package of the authors is missing."""

    def package(name):
        if find_spec(name) is None:
            pytest.skip(f"{name} is not installed: pip install 'clapstack[reference]'")

    return package


@pytest.fixture(scope="session")
def laion_file(tmp_path_factory):
    """Write a file as LAION's authors do, of a size of theirs."""

    def write(size, *, fused):
        folder = tmp_path_factory.mktemp("laion")
        copy_tokenizer("laion-unfused", folder)
        text = ClapTextConfig(
            vocab_size=520,
            hidden_size=64,
            num_hidden_layers=2,
            num_attention_heads=1,
            intermediate_size=96,
            max_position_embeddings=514,
            layer_norm_eps=1e-5,
        )
        fusion = {"enable_fusion": fused, "fusion_type": "aff_2d" if fused else None}
        model = ClapModel(
            ClapConfig(
                text_config=text.to_dict(),
                audio_config=audio_config(size, **fusion).to_dict(),
                projection_dim=512,
            )
        )
        official = _laion_official.to_official(model.state_dict())
        fill(official, seed=1)
        path = folder / f"{size}.pt"
        torch.save({"state_dict": official}, path)
        return path

    return write


@pytest.fixture(scope="session")
def msclap_file(tmp_path_factory):
    """A file as MS-CLAP's authors write it, of the size of theirs."""
    folder = tmp_path_factory.mktemp("msclap")
    copy_tokenizer("msclap", folder)
    text = GPT2Config(vocab_size=481, n_embd=64, n_layer=2, n_head=1)
    model = _msclap_2023.MsClap2023Model(
        audio_config("tiny"), text, projection_dim=1024
    )
    bank = mel_bank(1024, 64, sample_rate=32_000, f_min=50, f_max=14_000)
    model.mel_bank.copy_(torch.from_numpy(bank))
    official = _msclap_2023.to_official(model.state_dict())
    fill(official, seed=2)
    path = folder / "CLAP_weights_2023.pth"
    torch.save({"model": official}, path)
    return path


@pytest.fixture(scope="session")
def msclap_2022_file(tmp_path_factory):
    """A file as MS-CLAP's authors wrote it in 2022, with a text tower of two layers."""
    widths = (64, 128, 256, 512, 1024, 2048)
    tensors = make_msclap_2022_tensors(widths, n_mels=64, n_out=1024)
    return save_msclap_2022(tmp_path_factory.mktemp("msclap-2022"), tensors)


def audio_config(size, **settings):
    width, depths = SIZES[size]
    return ClapAudioConfig(
        patch_embeds_hidden_size=width,
        hidden_size=8 * width,
        depths=depths,
        **settings,
    )


def copy_tokenizer(name, folder):
    for file in BUNDLED.joinpath(name).glob("tokenizer*.json"):
        shutil.copy(file, folder)


def fill(tensors, seed):
    """Fill tensors, by name, so that a model's outputs depend on its inputs."""
    generator = torch.Generator().manual_seed(seed)
    for name in sorted(tensors):
        tensor = tensors[name]
        if not tensor.is_floating_point() or name.endswith("melW"):
            continue
        tensor.normal_(generator=generator)
        if name.endswith("running_var"):
            tensor.mul_(10).add_(100)
        elif name.endswith("running_mean"):
            tensor.mul_(10).sub_(30)
        elif tensor.ndim > 1:
            tensor.div_(math.sqrt(tensor[0].numel()))
        elif name.endswith("weight"):
            tensor.mul_(0.1).add_(1)
        else:
            tensor.mul_(0.1)


@pytest.fixture
def sweep():
    """Return a noisy sweep of some seconds."""

    def make(seconds, rate):
        rng = np.random.default_rng(int(100 * seconds))
        time = np.arange(int(seconds * rate)) / rate
        tone = np.sin(2 * np.pi * (200 + 300 * time) * time)
        return (0.4 * tone + 0.05 * rng.standard_normal(len(time))).astype(np.float32)

    return make
