"""Encoders that run the authors' own model classes, for comparison.

Inputs are the same as for the encoders that these replace: windows, crops, fused
spectrograms and tokens. Checkpoints are read equally strictly and safely. The weights
are then loaded, under the authors' names, into the model classes of the packages
laion-clap and msclap.

Only the modules that define these classes are imported. Their parent packages would
download tokenizers on import (laion_clap) or silence all warnings of the process
(msclap). The constructors of whole models download a text tower from the hub just to
overwrite its weights, so the parts are built one by one.
"""

from __future__ import annotations

import importlib
import re
import sys
from abc import abstractmethod
from collections.abc import Mapping
from importlib.machinery import ModuleSpec
from importlib.metadata import version
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import nn
from transformers import BertModel, GPT2Model, RobertaConfig, RobertaModel

from clapstack._optional import import_optional
from clapstack.encoders._base import FrozenEncoder
from clapstack.encoders._reading import check_tensors
from clapstack.encoders.clap import _laion_official, _msclap, _msclap_2022, _msclap_2023
from clapstack.encoders.clap._htsat_names import UNUSED_IN_HTSAT
from clapstack.encoders.clap._laion import LaionClapEncoder

_LAION = "laion_clap"
_MSCLAP = "msclap"

# Tensors that the authors' models additionally contain and derive, see _htsat.
_DERIVED = re.compile(
    rf"^((audio_branch|audio_encoder\.base\.htsat)\.{UNUSED_IN_HTSAT}"
    r"|audio_branch\.logmel_extractor\.melW"
    r"|text_branch\.embeddings\.(position_ids|token_type_ids)"
    r"|caption_encoder\.base\.h\.\d+\.attn\.(bias|masked_bias)"
    r"|logit_scale(_[at])?)$"
    rf"|{_msclap_2022.UNUSED.pattern}"
)
# Settings of a text tower that RobertaModel needs.
_ROBERTA_SIZES = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
    "layer_norm_eps",
    "pad_token_id",
)


class LaionReferenceEncoder(LaionClapEncoder):
    """LAION CLAP in the classes of the package laion-clap.

    An unfused model receives waveforms and computes spectrograms itself; a fused one
    receives ours, whose chunks have fixed positions.
    """

    _at_once_on_cpu = 1
    has_dense_windows = False

    def __init__(self, *, model: Any, settings: Mapping[str, Any], **others: Any):
        super().__init__(model=model, settings=settings, **others)
        with torch.random.fork_rng(devices=[]):
            self._model = _frozen(build_laion_clap(model, settings), self.device)
        if not settings["fused"]:
            self._log_mel = _Waveforms().to(self.device)  # type: ignore[assignment]
        self._version += f"-{_LAION}-{version(_LAION)}"

    @classmethod
    def load(
        cls, checkpoint: str, *, revision: str | None, device: str, dtype: str
    ) -> FrozenEncoder:
        """Load a checkpoint, as :class:`LaionClapEncoder` does."""
        _prepare(_LAION, "clap_module.model", dtype)
        return super().load(checkpoint, revision=revision, device=device, dtype=dtype)

    def _window_mels(self, *args: Any) -> torch.Tensor:
        mels = super()._window_mels(*args)
        # Their fused model needs four spectrograms, equal ones for a short clip.
        return mels.expand(-1, 4, -1, -1) if self._settings["fused"] else mels

    def _embed_audio(self, mels: torch.Tensor, longer: torch.Tensor) -> torch.Tensor:
        heard = {"waveform": mels.flatten(1)}
        if self._settings["fused"]:
            heard = {"mel_fusion": mels, "longer": longer[:, None].to(self.device)}
        embedded = self._model.encode_audio(heard, device=self.device)["embedding"]
        return self._model.audio_projection(embedded)

    def _embed_text(self, tokens: list[list[int]]) -> torch.Tensor:
        input_ids, attention_mask = self._pad_tokens(tokens)
        text = {"input_ids": input_ids, "attention_mask": attention_mask}
        return self._model.encode_text(text, device=self.device)


class MsClapReferenceEncoder(_msclap.MsClapEncoder):
    """MS-CLAP in the classes of the package msclap, which receive waveforms."""

    _at_once_on_cpu = 1
    has_dense_windows = False

    def __init__(self, *, model: Any, **others: Any):
        super().__init__(model=model, **others)
        with torch.random.fork_rng(devices=[]):
            self._model = _frozen(self._build(model), self.device)
        self._log_mel = _Waveforms().to(self.device)  # type: ignore[assignment]
        self._version += f"-{_MSCLAP}-{version(_MSCLAP)}"

    @classmethod
    def load(
        cls, checkpoint: str, *, revision: str | None, device: str, dtype: str
    ) -> FrozenEncoder:
        """Load a checkpoint, as :class:`MsClapEncoder` does."""
        _prepare(_MSCLAP, "models.clap", dtype)
        return super().load(checkpoint, revision=revision, device=device, dtype=dtype)

    @classmethod
    def _versions(cls) -> Mapping[str, type[_msclap.MsClapEncoder]]:
        return {"2022": _MsClap2022Reference, "2023": _MsClap2023Reference}

    @staticmethod
    @abstractmethod
    def _build(model: Any) -> nn.Module:
        """Build the package's model of this version."""

    def _embed_audio(self, mels: torch.Tensor, longer: torch.Tensor) -> torch.Tensor:
        embedded, _ = self._model.audio_encoder(mels.flatten(1))
        return embedded

    def _embed_text(self, tokens: list[list[int]]) -> torch.Tensor:
        input_ids, attention_mask = self._pad_tokens(tokens)
        return self._model.caption_encoder(
            {"input_ids": input_ids, "attention_mask": attention_mask}
        )


class _MsClap2023Reference(MsClapReferenceEncoder, _msclap_2023.MsClap2023Encoder):
    @staticmethod
    def _build(model: Any) -> nn.Module:
        return build_msclap_2023(model)


class _MsClap2022Reference(MsClapReferenceEncoder, _msclap_2022.MsClap2022Encoder):
    @staticmethod
    def _build(model: Any) -> nn.Module:
        return build_msclap_2022(model)


class _Waveforms(nn.Module):
    """Stand-in for the spectrogram, for models that compute their own."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("bank", torch.empty(0))  # determines the device

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        """Return the waveforms unchanged."""
        return waveforms


def build_laion_clap(model: Any, settings: Mapping[str, Any]) -> nn.Module:
    """Build laion-clap's CLAP with the weights of a ClapModel on the CPU.

    The encoder's `settings` configure the spectrograms of an unfused model.
    """
    theirs = import_part(_LAION, "clap_module.model")
    htsat = import_part(_LAION, "clap_module.htsat")
    audio, text = model.config.audio_config, model.config.text_config
    width = model.config.projection_dim
    clap = _without_constructor(theirs.CLAP)
    spectrogram = SimpleNamespace(
        sample_rate=settings["sample_rate"],
        window_size=settings["n_fft"],
        hop_size=settings["hop_length"],
        mel_bins=settings["n_mels"],
        fmin=settings["f_min"],
        fmax=settings["f_max"],
    )
    clap.audio_branch = _build_htsat(
        htsat,
        audio,
        spectrogram,
        enable_fusion=audio.enable_fusion,
        fusion_type=audio.fusion_type,
    )
    sizes = {name: getattr(text, name) for name in _ROBERTA_SIZES}
    clap.text_branch = RobertaModel(RobertaConfig(**sizes))
    clap.text_branch_type = "roberta"
    clap.audio_projection = _projection(audio.hidden_size, width)
    clap.text_projection = _projection(text.hidden_size, width)
    return _loaded(clap, _laion_official.to_official(model.state_dict()), _LAION)


def build_msclap_2023(model: _msclap_2023.MsClap2023Model) -> nn.Module:
    """Build msclap's CLAP with the weights of ours, on the CPU."""
    theirs = import_part(_MSCLAP, "models.clap")
    htsat = import_part(_MSCLAP, "models.htsat")
    audio, text = model.audio_model.config, model.text_model.config
    width = len(model.audio_projection.linear1.weight)
    # A module of constants, which override all arguments for the spectrogram.
    constants = vars(import_part(_MSCLAP, "models.config"))
    spectrogram = SimpleNamespace(**constants | {"mel_bins": audio.num_mel_bins})
    clap = _without_constructor(theirs.CLAP)
    clap.audio_encoder = _without_constructor(theirs.AudioEncoder)
    clap.audio_encoder.base = _without_constructor(htsat.HTSATWrapper)
    clap.audio_encoder.base.htsat = _build_htsat(htsat, audio, spectrogram)
    clap.audio_encoder.projection = theirs.Projection(audio.hidden_size, width)
    clap.caption_encoder = _without_constructor(theirs.TextEncoder)
    clap.caption_encoder.text_model = "gpt2"
    clap.caption_encoder.base = GPT2Model(text)
    clap.caption_encoder.projection = theirs.Projection(text.n_embd, width)
    return _loaded(clap, _msclap_2023.to_official(model.state_dict()), _MSCLAP)


def build_msclap_2022(model: _msclap_2022.MsClap2022Model) -> nn.Module:
    """Build msclap's CLAP of 2022 with the weights of ours, on the CPU.

    They must have the published widths, which are fixed in the authors' class.
    """
    theirs = import_part(_MSCLAP, "models.clap")
    cnn14 = import_part(_MSCLAP, "models.audio").Cnn14
    n_frequencies, n_mels = model.mel_bank.shape
    head = model.audio_encoder.get_submodule("projection.linear1")
    width, n_pooled = head.get_parameter("weight").shape
    bert: Any = model.caption_encoder["base"].config
    clap = _without_constructor(theirs.CLAP)
    clap.audio_encoder = _without_constructor(theirs.AudioEncoder)
    clap.audio_encoder.base = cnn14(
        sample_rate=_msclap.SAMPLE_RATE,
        window_size=2 * (n_frequencies - 1),
        hop_size=_msclap.HOP_LENGTH,
        mel_bins=n_mels,
        fmin=0,  # the file's bank replaces the one computed from these
        fmax=_msclap.SAMPLE_RATE // 2,
        classes_num=1,  # for a head that no embedding depends on
        out_emb=n_pooled,
    )
    clap.audio_encoder.projection = theirs.Projection(n_pooled, width)
    clap.caption_encoder = _without_constructor(theirs.TextEncoder)
    clap.caption_encoder.text_model = "bert-base-uncased"
    clap.caption_encoder.base = BertModel(bert)
    clap.caption_encoder.projection = theirs.Projection(bert.hidden_size, width)
    return _loaded(clap, model.state_dict(), _MSCLAP)


def import_part(package: str, name: str) -> ModuleType:
    """Import a module of a package without running its parent packages.

    `name` has two dotted parts, relative to the package. The module runs unchanged
    under another name, so that normal imports of the package are not affected. Raises
    ImportError if the package or a dependency is not installed or does not load.
    """
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        return import_optional(
            package, extra="reference", caller=f"backend={package!r}"
        )
    folder, module = name.split(".")
    alias = f"{__name__}.{package}_{folder}"
    if alias not in sys.modules:
        spec = ModuleSpec(alias, None, is_package=True)
        places = found.submodule_search_locations
        spec.submodule_search_locations = [str(Path(p, folder)) for p in places]
        sys.modules[alias] = module_from_spec(spec)
    try:
        return importlib.import_module(f"{alias}.{module}")
    # A torchvision built for another torch raises RuntimeError.
    except (ImportError, OSError, RuntimeError) as error:
        msg = (
            f"backend={package!r} needs {package} and its dependencies, which cannot "
            f"be imported: {error}. Install them in a separate environment with: "
            f'pip install "clapstack[reference]"'
        )
        raise ImportError(msg) from error


def _prepare(package: str, name: str, dtype: str) -> None:
    """Reject unsupported settings before a large file is read."""
    if dtype != "float32":
        msg = (
            f"backend={package!r} computes spectrograms in the model and requires "
            f"dtype='float32'; got {dtype!r}. Use backend='clapstack' for it."
        )
        raise ValueError(msg)
    import_part(package, name)


def _without_constructor(module_class: Any) -> Any:
    """Create an empty module of a class, to which parts are added later."""
    module = module_class.__new__(module_class)
    nn.Module.__init__(module)
    return module


def _build_htsat(
    theirs: ModuleType, audio: Any, spectrogram: SimpleNamespace, **fusion: Any
) -> nn.Module:
    return theirs.HTSAT_Swin_Transformer(
        spec_size=audio.spec_size,
        patch_size=audio.patch_size,
        patch_stride=tuple(audio.patch_stride),
        embed_dim=audio.patch_embeds_hidden_size,
        depths=audio.depths,
        num_heads=audio.num_attention_heads,
        window_size=audio.window_size,
        mlp_ratio=audio.mlp_ratio,
        config=spectrogram,
        **fusion,
    )


def _projection(width: int, projection_dim: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(width, projection_dim),
        nn.ReLU(),
        nn.Linear(projection_dim, projection_dim),
    )


def _loaded(
    clap: nn.Module, official: Mapping[str, torch.Tensor], package: str
) -> nn.Module:
    """Load the tensors strictly, except for derived and unused ones."""
    source = Path(package)
    check_tensors(official, clap.state_dict(), source=source, unused=_DERIVED)
    clap.load_state_dict(official, strict=False)
    return clap


def _frozen(model: nn.Module, device: torch.device) -> nn.Module:
    return model.eval().requires_grad_(False).to(device)
