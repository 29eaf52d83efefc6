"""Feature families: the transformer, the published checkpoint and its files."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

__all__ = ["CLAP_FAMILIES", "FAMILIES", "Family"]


@dataclass(frozen=True)
class Family:
    """One source of features.

    Attributes
    ----------
    name : str
        What stands before the first ``__`` of its columns.
    transformer : str
        Name of its transformer in :mod:`clapstack.features`.
    published : str
        The published checkpoint: a hub id, or the name of a file to bring.
    files : str
        What the checkpoint consists of.
    bundled : str or None
        The bundled mini checkpoint, where there is one.
    """

    name: str
    transformer: str
    published: str
    files: str
    bundled: str | None = None

    def make(self, checkpoint: str, **settings: Any) -> Any:
        """Return its transformer with a checkpoint.

        Parameters
        ----------
        checkpoint : str
            As the transformer takes it.
        **settings
            Further parameters of the transformer.

        Returns
        -------
        transformer : estimator
            Unfitted; it loads nothing until it is fitted.
        """
        features = importlib.import_module("clapstack.features")
        return getattr(features, self.transformer)(checkpoint, **settings)


_TOKENIZER = "tokenizer.json (or vocab.json and merges.txt)"
_HF_CLAP = (
    f"config.json, preprocessor_config.json, model.safetensors (or pytorch_model.bin), "
    f"{_TOKENIZER}"
)
_HF_AUDIO = (
    "config.json, preprocessor_config.json, model.safetensors (or pytorch_model.bin)"
)
_FAMILIES = (
    Family(
        "laion_unfused",
        "LaionClapPairFeatures",
        "laion/clap-htsat-unfused",
        _HF_CLAP,
        "bundled:laion-unfused",
    ),
    Family(
        "laion_fused",
        "LaionClapPairFeatures",
        "laion/clap-htsat-fused",
        _HF_CLAP,
        "bundled:laion-fused",
    ),
    Family(
        "laion_larger_general",
        "LaionClapPairFeatures",
        "laion/larger_clap_general",
        _HF_CLAP,
    ),
    Family(
        "msclap",
        "MsClapPairFeatures",
        "microsoft/msclap",
        f"CLAP_weights_2023.pth, and gpt2's {_TOKENIZER}",
        "bundled:msclap",
    ),
    Family(
        "m2d_clap",
        "M2dClapPairFeatures",
        "m2d_clap_vit_base-80x1001p16x16p16kpBpTI-2025/checkpoint-30.pth",
        "checkpoint-30.pth of NTT's project m2d, and bert-base-uncased's "
        "tokenizer.json (or vocab.txt) beside it",
    ),
    Family(
        "mga_clap",
        "MgaClapPairFeatures",
        "model.pt",
        "model.pt, to which the page of Ming-er/MGA-CLAP links, and "
        "bert-base-uncased's tokenizer.json (or vocab.txt) beside it",
    ),
    Family(
        "pe_audio",
        "PeAudioPairFeatures",
        "facebook/pe-a-frame-base",
        "config.json, processor_config.json, model.safetensors, tokenizer.json, "
        "tokenizer_config.json; transformers 5.0 or later",
    ),
    Family(
        "beats",
        "BeatsFeatures",
        "BEATs_iter3_plus_AS2M_finetuned_on_AS2M_cpt2.pt",
        "that file, of Microsoft's project unilm",
    ),
    Family("wavlm", "WavLmFeatures", "microsoft/wavlm-large", _HF_AUDIO),
    Family(
        "audiomae",
        "AudioMaeFeatures",
        "gaunernst/vit_base_patch16_1024_128.audiomae_as2m",
        "config.json, model.safetensors (or pytorch_model.bin)",
    ),
    Family(
        "eat",
        "EatFeatures",
        "worstchan/EAT-base_epoch30_pretrain",
        "config.json, model.safetensors (or pytorch_model.bin)",
    ),
    Family("whisper", "WhisperFeatures", "openai/whisper-base", _HF_AUDIO),
    Family(
        "ctc",
        "CtcFeatures",
        "facebook/wav2vec2-base-960h",
        f"{_HF_AUDIO}, vocab.json, tokenizer_config.json",
    ),
)

#: Every family that a system may have, by name.
FAMILIES: dict[str, Family] = {family.name: family for family in _FAMILIES}

#: The CLAP models of the paper's 3-CLAP stack.
CLAP_FAMILIES = ("laion_unfused", "laion_fused", "msclap")
