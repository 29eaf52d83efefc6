"""Perception Encoder Audio: PE-A-Frame, and the audio and text towers of PE-AV."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from clapstack._compat import batched
from clapstack.encoders._base import unusual
from clapstack.encoders._finding import (
    check_vocabulary,
    find_pretrained,
    read_tokenizer,
)
from clapstack.encoders._pretrained import check_supported, config_from, load_model
from clapstack.encoders._reading import check_number, read_extractor, read_json
from clapstack.encoders.clap._frames import FrameClapEncoder
from clapstack.exceptions import CheckpointError

try:
    from transformers import PeAudioConfig, PeAudioFrameLevelModel, PeAudioModel
except ImportError as error:
    msg = (
        f"PeAudioPairFeatures needs transformers 5.0 or later; "
        f"{transformers.__version__} is installed. Update it with: pip install "
        f'"transformers>=5"'
    )
    raise ImportError(msg) from error

# The memory of attention grows with the square of the length; the convolutions take
# 1.5 GB for 30 s.
WINDOW_SECONDS = 30
MAX_TOKENS = 512  # as in the authors' text transform

_FILES = ["config.json", "tokenizer.json", "tokenizer_config.json"]
_SETTINGS = {
    "sample_rate": "sampling_rate",
    "hop_length": "hop_length",
    "channels": "feature_size",
}
# Settings that embeddings depend on and tensors do not reveal.
_ARCHITECTURE = {
    "text": ("num_attention_heads", "local_attention", "norm_eps", "rope_parameters"),
    "audio": (
        "num_attention_heads",
        "num_key_value_heads",
        "rms_norm_eps",
        "hidden_act",
    ),
}
_ROPE = {"rope_theta": 20_000, "rope_type": "default"}  # of the audio tower
# Logit scales, and in PE-AV everything that audio and text do not need.
_UNUSED = re.compile(
    r"^(text_audio_logit_(scale|bias)"
    r"|(video_model|audio_video_encoder|(audio|video)_plus_text_head"
    r"|(text_)?audio_video_head)\..+"
    r"|((text_)?audio_video|(audio|video)_plus_text)_logit_(scale|bias))$"
)


class PeAudioEncoder(FrameClapEncoder):
    """PE-A-Frame, or PE-AV without video.

    PE-A-Frame compares texts with frames of 40 ms. A clip's embedding is the mean of
    its frames, so that its product with a text is the mean of theirs. PE-AV compares
    whole clips. The last frame is filled by mirroring samples, as in transformers.
    Clips are not padded because of others in a pass, which would alter embeddings by
    2e-5.
    """

    _at_once_on_gpu: ClassVar[int] = 8

    def __init__(self, **parts: Any):
        super().__init__(**parts)
        self._frame_level: bool = self._settings["frame_level"]
        self.frame_samples = self._settings["hop_length"]

    @classmethod
    def _read(cls, checkpoint: str, revision: str | None) -> partial[Any]:
        """Read a checkpoint in transformers' format."""
        folder, weights = find_pretrained(checkpoint, revision, _FILES, extractor=True)
        path = folder / "config.json"
        content = read_json(path)
        frame_level = _is_frame_level(content, path)
        if content.get("model_type") == "pe_audio_video":
            parts = content.get("audio_video_config")
            audio = parts.get("audio_config") if isinstance(parts, dict) else None
            content = {**content, "model_type": "pe_audio", "audio_config": audio}
        config = config_from(content, PeAudioConfig, path)
        settings = _settings(folder, config)
        model_class = PeAudioFrameLevelModel if frame_level else PeAudioModel
        model = load_model(
            lambda _: model_class(config),
            weights,
            prefix=re.compile(r"audio_model\."),
            unused=_UNUSED,
        )
        text = config.text_config
        tokenizer = read_tokenizer(folder)
        check_vocabulary(tokenizer, folder, text.vocab_size)
        max_tokens = min(tokenizer.model_max_length, text.max_position_embeddings)
        max_tokens = min(max_tokens, MAX_TOKENS)
        check_number(max_tokens, 3, MAX_TOKENS, f"tokens of {weights}")
        # The authors use the output of the 22nd of ModernBERT's 28 layers as text
        # state. transformers' tower has these 22 layers, and a final norm that belongs
        # after the 28th. Like the authors, transformers 5.0 omits it; 5.1 applies it.
        model.text_model.final_norm = torch.nn.Identity()
        return partial(
            cls,
            model=model,
            tokenizer=tokenizer,
            log_mel=None,
            projection_dim=text.hidden_size,
            settings={
                **settings,
                "frame_level": frame_level,
                "max_tokens": max_tokens,
                "suffix": "",
            },
            source=str(weights),
        )

    @property
    def frame_rate(self) -> float:
        """Number of frames per second; ValueError if texts compare with clips only."""
        if not self._frame_level:
            msg = (
                f"{self.source} compares texts with whole clips, not with frames. Use "
                f"PE-A-Frame, such as 'facebook/pe-a-frame-base'."
            )
            raise ValueError(msg)
        return super().frame_rate

    def _batches(self, pieces: Iterable[Any], at_once: int) -> Iterable[Any]:
        for _, alike in groupby(pieces, key=lambda piece: len(piece[1])):
            yield from batched(alike, at_once)

    def _mels(
        self, pieces: Sequence[NDArray[np.float32]], longer: Sequence[bool]
    ) -> torch.Tensor:
        """Return the samples themselves, extended to whole frames."""
        missing = -len(pieces[0]) % self.frame_samples
        samples = [np.pad(piece, (0, missing), "reflect") for piece in pieces]
        return torch.from_numpy(np.stack(samples))[:, None]

    def _embed_frames(self, inputs: torch.Tensor) -> torch.Tensor:
        # There is no padding, but without a mask the tower uses another normalisation
        # formula than with transformers' processor (2.5e-7 apart, measured).
        mask = torch.ones_like(inputs[:, 0], dtype=torch.long)
        return self._model.get_audio_embeds(inputs, mask)

    def _embed_audio(self, mels: torch.Tensor, longer: torch.Tensor) -> torch.Tensor:
        embeddings = self._embed_frames(mels)
        return embeddings.mean(dim=1) if self._frame_level else embeddings

    def _embed_text(self, tokens: list[list[int]]) -> torch.Tensor:
        input_ids, attention_mask = self._pad_tokens(tokens)
        # The model's get_text_audio_embeds fails (transformers 5.0 to 5.24), because it
        # uses states that it does not request.
        states = self._model.text_model(
            input_ids=input_ids, attention_mask=attention_mask
        ).last_hidden_state
        return self._model.text_audio_head(states[:, 0])


def _is_frame_level(content: dict[str, Any], path: Path) -> bool:
    """Return whether, by its configuration, a model compares texts with frames."""
    kind, names = content.get("model_type"), content.get("architectures")
    frame_level = names == ["PeAudioFrameLevelModel"]
    if kind == "pe_audio" and not frame_level and names != ["PeAudioModel"]:
        msg = (
            f"{path} has architectures={names!r}; it must be ['PeAudioFrameLevelModel']"
            f" (PE-A-Frame) or ['PeAudioModel'] (whole clips)."
        )
        raise CheckpointError(msg)
    return frame_level


def _settings(folder: Path, config: Any) -> dict[str, Any]:
    """Translate the extractor's configuration, which must fit the model's."""
    settings = read_extractor(folder, _SETTINGS)
    hop_length = math.prod(config.audio_config.dac_config.downsampling_ratios)
    if settings.pop("channels") != 1 or settings["hop_length"] != hop_length:
        msg = (
            f"The extractor in {folder} must have feature_size=1 and hop_length="
            f"{hop_length}, like the audio tower. Compare both with the publisher's "
            f"files."
        )
        raise CheckpointError(msg)
    place = f"dac_config in {folder / 'config.json'}"
    dac = config.audio_config.dac_config.to_dict()
    check_supported(dac, {"hop_length": hop_length}, place)
    window = WINDOW_SECONDS * settings["sample_rate"]
    parts = {"text": config.text_config, "audio": config.audio_config}
    return {
        **settings,
        # In whole frames, so that long clips are cut between frames.
        "window": window - window % hop_length,
        "architecture": {
            f"{part}_{name}": getattr(parts[part], name)
            for part, names in _ARCHITECTURE.items()
            for name in names
        }
        | _unusual(config),
    }


def _unusual(config: Any) -> dict[str, Any]:
    """Return further such settings that are not as in the published files."""
    text, audio = config.text_config, config.audio_config
    every_third = ["full_attention", "sliding_attention", "sliding_attention"]
    layers = [every_third[i % 3] for i in range(text.num_hidden_layers)]
    differing = unusual(text, {"hidden_activation": "gelu", "layer_types": layers})
    rope = {name: audio.rope_parameters[name] for name in _ROPE}
    if rope != _ROPE:
        differing["rope"] = rope
    return differing
