"""LAION CLAP in the authors' format: training checkpoints, ``.pt``.

Such a file reveals the sizes of both towers, but not the front end, which is fixed here
as in the authors' package; the file's own mel bank must agree with it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import ClapConfig, ClapModel, ClapTextConfig

from clapstack.encoders._bert import infer_bert
from clapstack.encoders._mel import mel_bank
from clapstack.encoders._pretrained import Tensors
from clapstack.encoders.clap._htsat_names import (
    UNUSED_IN_HTSAT,
    AuthorsNames,
    infer_htsat,
)
from clapstack.exceptions import CheckpointError

SAMPLE_RATE = 48_000
WINDOW_SECONDS = 10
N_FFT = 1024
HOP_LENGTH = 480
F_MIN = 50
F_MAX = 14_000
MAX_TOKENS = 77

_HTSAT = "audio_branch."
_ROBERTA = "text_branch."

# Official name → transformers'. Longer prefixes precede those that they extend.
_PREFIXES = {
    f"{_HTSAT}bn0.": "audio_model.audio_encoder.batch_norm.",
    _HTSAT: "audio_model.audio_encoder.",
    _ROBERTA: "text_model.",
    "audio_projection.0.": "audio_projection.linear1.",
    "audio_projection.2.": "audio_projection.linear2.",
    "text_projection.0.": "text_projection.linear1.",
    "text_projection.2.": "text_projection.linear2.",
}

# Tensors of the file that no embedding depends on. The two transforms follow the
# embeddings and are used in training only; the mel bank is checked and rebuilt.
_MEL_BANK = f"{_HTSAT}logmel_extractor.melW"
_UNUSED = re.compile(
    rf"{re.escape(_HTSAT)}{UNUSED_IN_HTSAT}|{re.escape(_MEL_BANK)}"
    rf"|{re.escape(_ROBERTA)}embeddings\.(position_ids|token_type_ids)"
    r"|(audio|text)_transform\.sequential\.\d+\.(weight|bias)"
)


_NAMES = AuthorsNames(_PREFIXES, _UNUSED)
to_official, from_official = _NAMES.to_official, _NAMES.from_official


def build_laion(official: Mapping[str, torch.Tensor], source: Path) -> ClapModel:
    """Build the ClapModel that fits the tensors of an official file, and load them.

    They are the "state_dict" of the file `source`, without ``module.``, and determine
    whether the model is fused. Raises CheckpointError if they fit no such model, or if
    it was trained with another mel bank.
    """
    if not any(name.startswith(f"{_HTSAT}patch_embed.") for name in official):
        msg = (
            f"{source} contains no HTS-AT audio tower (names that start with "
            f"'{_HTSAT}patch_embed.'). Use one of LAION CLAP's files with HTS-AT and "
            f"RoBERTa towers, such as 630k-audioset-best.pt."
        )
        raise CheckpointError(msg)
    tensors = Tensors(official, source)
    config = _config(tensors)
    model = _NAMES.load(lambda: ClapModel(config), tensors)
    _check_mel_bank(tensors, source)
    return model


def front_end_settings(audio_config: Any) -> dict[str, Any]:
    """Return the settings of the authors' front end.

    Their package first rounds samples to 16 bits, hence "int16".
    """
    fused = audio_config.enable_fusion
    return {
        "sample_rate": SAMPLE_RATE,
        "window": SAMPLE_RATE * WINDOW_SECONDS,
        "int16": True,
        "n_fft": N_FFT,
        "hop_length": HOP_LENGTH,
        "n_mels": audio_config.num_mel_bins,
        "f_min": F_MIN,
        "f_max": F_MAX,
        "mel_scale": "htk" if fused else "slaney",
        "padding": "repeatpad",
        "fused": fused,
        "suffix": "",
        "max_tokens": MAX_TOKENS,
    }


def _config(official: Tensors) -> Any:
    fused = f"{_HTSAT}patch_embed.mel_conv2d.weight" in official
    audio = infer_htsat(
        official,
        _HTSAT,
        enable_fusion=fused,
        fusion_type="aff_2d" if fused else None,
    )
    # The epsilon of roberta-base, which the authors use; ClapTextConfig's is 1e-12.
    text = infer_bert(official, _ROBERTA, ClapTextConfig, layer_norm_eps=1e-5)
    return ClapConfig(
        text_config=text.to_dict(),
        audio_config=audio.to_dict(),
        projection_dim=len(official["audio_projection.0.weight"]),
    )


def _check_mel_bank(official: Mapping[str, torch.Tensor], source: Path) -> None:
    """Reject a file whose mel bank, if it contains one, is not the authors'.

    Every file contains Slaney's bank, even that of a fused model, which uses HTK's.
    """
    found = official.get(_MEL_BANK)
    if found is None:
        return
    n_mels = len(official[f"{_HTSAT}bn0.weight"])
    bank = mel_bank(N_FFT, n_mels, sample_rate=SAMPLE_RATE, f_min=F_MIN, f_max=F_MAX)
    # The bank has been converted to float32; from a bfloat16 file, its values are off
    # by 2 ** -9 (4e-5 at the peaks, near 0.02).
    rounded = torch.equal(found, found.bfloat16().float())
    rtol = 2**-8 if rounded else 2**-11
    if found.shape != bank.shape or not np.allclose(found, bank, rtol=rtol, atol=1e-5):
        msg = (
            f"The mel bank of {source}, {_MEL_BANK}, is not that of LAION CLAP: "
            f"{n_mels} bands from {F_MIN} to {F_MAX} Hz, {N_FFT} samples at "
            f"{SAMPLE_RATE} Hz. Models trained with another front end are not "
            f"supported."
        )
        raise CheckpointError(msg)
