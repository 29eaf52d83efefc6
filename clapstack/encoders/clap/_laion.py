"""LAION CLAP: an HTS-AT audio tower and a RoBERTa text tower."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import ClapConfig, ClapModel

from clapstack.encoders._base import unusual
from clapstack.encoders._finding import check_vocabulary, find_laion, read_tokenizer
from clapstack.encoders._mel import LogMel, fuse, mel_bank
from clapstack.encoders._pretrained import (
    Tensors,
    build_checked,
    check_supported,
    read_config,
)
from clapstack.encoders._reading import (
    DERIVED,
    MOST_LAYERS,
    check_number,
    is_derived,
    read_extractor,
    read_tensors,
)
from clapstack.encoders.clap._base import apart
from clapstack.encoders.clap._htsat import HtsatClapEncoder
from clapstack.encoders.clap._htsat_names import check_image
from clapstack.encoders.clap._laion_official import build_laion, front_end_settings
from clapstack.encoders.clap._projections import warn_if_untrained
from clapstack.exceptions import CheckpointError

# By the width of the text tower: of the published files, and of the bundled ones.
_TEXT_HEADS = {768: 12, 128: 4, 96: 3}


class LaionClapEncoder(HtsatClapEncoder):
    """LAION CLAP, unfused or fused.

    An unfused model processes one window at a time. A fused one (``enable_fusion`` in
    its configuration) processes a long clip in one pass, as the whole clip shrunk to a
    window and three chunks of it; a short clip enters as four equal spectrograms,
    unfused.

    A checkpoint in transformers' format uses the front end that its configuration
    describes: the Slaney mel bank, or with ``truncation="fusion"`` the HTK one.
    transformers' extractor draws chunks at random and, in a batch without long clips,
    marks a random clip as long. Here chunks have fixed positions and every clip is
    marked correctly.

    A checkpoint in the authors' format (``.pt``) uses the front end of their package,
    which also rounds samples to 16 bits and truncates texts to 77 tokens. Rounding adds
    noise to nearly silent bands, where the two formats of the same weights differ by up
    to 1e-2. Their fingerprints always differ.
    """

    def __init__(self, **parts: Any):
        super().__init__(**parts)
        self._pad_id = self._model.config.text_config.pad_token_id

    @classmethod
    def _read(cls, checkpoint: str, revision: str | None) -> partial[Any]:
        """Read a checkpoint; see :func:`find_laion` for its forms."""
        folder, weights = find_laion(checkpoint, revision)
        read = _read_official if weights.suffix == ".pt" else _read_transformers
        model, settings, tokenizer = read(folder, weights)
        text = model.config.text_config
        check_vocabulary(tokenizer, folder, text.vocab_size)
        frames = settings["window"] // settings["hop_length"] + 1
        check_image(model.config.audio_config, frames, weights)
        heads = {"audio": model.audio_projection, "text": model.text_projection}
        warn_if_untrained(heads, weights, model)
        # RoBERTa's positions start after the padding's.
        n_positions = text.max_position_embeddings - text.pad_token_id - 1
        settings["max_tokens"] = min(settings["max_tokens"], n_positions)
        check_number(settings["max_tokens"], 2, n_positions, f"tokens of {weights}")
        bank = mel_bank(
            settings["n_fft"],
            settings["n_mels"],
            sample_rate=settings["sample_rate"],
            f_min=settings["f_min"],
            f_max=settings["f_max"],
            scale=settings["mel_scale"],
        )
        return partial(
            cls,
            model=model,
            tokenizer=tokenizer,
            log_mel=LogMel(bank, hop_length=settings["hop_length"]),
            projection_dim=model.config.projection_dim,
            settings=settings,
            source=str(weights),
        )

    def _prepared(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        return round_to_int16(waveform) if self._settings["int16"] else waveform

    def _pieces(
        self, waveform: NDArray[np.float32], crop: str
    ) -> Iterator[tuple[NDArray[np.float32], bool]]:
        waveform = self._prepared(waveform)
        if self._settings["fused"] and crop == "windows":
            # A clip less than a hop longer than the window has no additional frame.
            hop_length = self._settings["hop_length"]
            longer = len(waveform) // hop_length > self.window // hop_length
            yield waveform, longer
        else:
            yield from super()._pieces(waveform, crop)

    def _mels(
        self, pieces: Sequence[NDArray[np.float32]], longer: Sequence[bool]
    ) -> torch.Tensor:
        if all(len(piece) <= self.window for piece in pieces):
            return super()._mels(pieces, longer)
        return torch.cat(
            [self._mel_of_any(*both) for both in zip(pieces, longer, strict=True)]
        )

    def _mel_of_any(self, piece: NDArray[np.float32], longer: bool) -> torch.Tensor:
        """Return the four spectrograms of a piece of any length."""
        if len(piece) <= self.window:
            return super()._mels([piece], [longer]).expand(1, 4, -1, -1)
        waveform = torch.tensor(piece).to(self._log_mel.bank.device)
        whole = self._log_mel(waveform[None])
        if not longer:
            return whole[:, None].expand(1, 4, -1, -1)
        chunk = self.window // self._settings["hop_length"] + 1
        return fuse(whole[0], chunk)[None]

    def _embed_audio(self, mels: torch.Tensor, longer: torch.Tensor) -> torch.Tensor:
        if not longer.any():
            mels = mels[:, :1]  # the model uses only the first of four equal ones
        return super()._embed_audio(mels, longer)

    def _embed_text(self, tokens: list[list[int]]) -> torch.Tensor:
        input_ids, attention_mask = self._pad_tokens(tokens)
        tower = self._model.text_model
        states = tower(input_ids=input_ids, attention_mask=attention_mask)

        def head(first: torch.Tensor) -> torch.Tensor:
            return self._model.text_projection(tower.pooler(first))

        return apart(head, states.last_hidden_state[:, :1])


def round_to_int16(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    """Clip to [-1, 1] and round towards zero to steps of 1 / 32767."""
    steps = (np.clip(waveform, -1, 1) * 32767).astype(np.int16)
    return (steps / 32767).astype(np.float32)


def _read_official(folder: Path, weights: Path) -> tuple[Any, dict[str, Any], Any]:
    """Return model, settings and tokenizer of a file in the authors' format."""
    model = build_laion(read_tensors(weights), weights)
    settings = front_end_settings(model.config.audio_config)
    return model, settings, read_tokenizer(folder, "roberta")


def _read_transformers(folder: Path, weights: Path) -> tuple[Any, dict[str, Any], Any]:
    """Return model, settings and tokenizer of a folder in transformers' format."""
    config = read_config(folder, ClapConfig)
    audio = config.audio_config
    settings = _extractor_settings(folder, fused=audio.enable_fusion)
    if settings["n_mels"] != audio.num_mel_bins:
        msg = (
            f"The extractor in {folder} produces {settings['n_mels']} mel bands "
            f"(feature_size); the audio tower needs {audio.num_mel_bins} "
            f"(num_mel_bins). Compare both with the publisher's files."
        )
        raise CheckpointError(msg)
    place = f"audio_config in {folder / 'config.json'}"
    check_supported(audio.to_dict(), {"flatten_patch_embeds": True}, place)
    tensors = Tensors(read_tensors(weights), weights)
    for said in (config.text_config.num_hidden_layers, sum(audio.depths)):
        check_number(said, 0, MOST_LAYERS, f"layers of a tower in {folder}")
    model = build_checked(lambda: ClapModel(config), tensors, unused=DERIVED)
    tokenizer = read_tokenizer(folder)
    settings["max_tokens"] = tokenizer.model_max_length
    if differing := _unusual(config):
        settings["architecture"] = differing
    # Buffers derived by the constructor are kept.
    weights_alone = {k: v for k, v in tensors.items() if not is_derived(k)}
    model.load_state_dict(weights_alone, strict=False)
    return model, settings, tokenizer


def _unusual(config: Any) -> dict[str, Any]:
    """Return what no tensor shows and is not as in the published files."""
    text, audio = config.text_config, config.audio_config
    usual = {
        "text": {
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-12,
            "num_attention_heads": _TEXT_HEADS.get(text.hidden_size),
            "pad_token_id": 1,
            "projection_hidden_act": "relu",
        },
        "audio": {
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-5,
            "patch_stride": [audio.patch_size] * 2,
            "projection_hidden_act": "relu",
            "spec_size": 4 * audio.num_mel_bins,
        },
    }
    parts = {"text": unusual(text, usual["text"])}
    parts["audio"] = unusual(audio, usual["audio"])
    return {part: differing for part, differing in parts.items() if differing}


def _extractor_settings(folder: Path, *, fused: bool) -> dict[str, Any]:
    """Translate the configuration of transformers' extractor."""
    names = {
        "sample_rate": "sampling_rate",
        "n_fft": "fft_window_size",
        "hop_length": "hop_length",
        "n_mels": "feature_size",
        "f_min": "frequency_min",
        "f_max": "frequency_max",
        "seconds": "max_length_s",
        "padding": "padding",
        "truncation": "truncation",
    }
    settings = read_extractor(folder, names)
    truncation, padding = settings.pop("truncation"), settings["padding"]
    if truncation != ("fusion" if fused else "rand_trunc"):
        msg = (
            f"The extractor in {folder} has truncation {truncation!r}, but config.json "
            f"has enable_fusion={fused}: a fused model requires 'fusion', an unfused "
            f"one 'rand_trunc'."
        )
        raise CheckpointError(msg)
    if padding not in ("repeatpad", "repeat", "pad"):
        msg = (
            f"The extractor in {folder} has padding {padding!r}; it must be "
            f"'repeatpad', 'repeat' or 'pad'."
        )
        raise CheckpointError(msg)
    settings["window"] = int(settings.pop("seconds") * settings["sample_rate"])
    settings["mel_scale"] = "htk" if fused else "slaney"
    settings["fused"] = fused
    settings["int16"] = False
    settings["suffix"] = ""
    return settings
