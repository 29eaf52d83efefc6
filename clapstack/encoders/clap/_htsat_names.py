"""The HTS-AT audio tower: the authors' names of its tensors and transformers' names.

Both families of checkpoints hold this tower under a prefix of their own. Its sizes are
inferred from the tensors; what they do not tell is the same in all published files.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from transformers import ClapAudioConfig

from clapstack.encoders._reading import MOST_LAYERS, check_number
from clapstack.exceptions import CheckpointError

_IMAGE_SIZE = 256
# Of published models the image has 256 x 256 pixels, and the attention of one block
# adds 4 MB for the places of its patches.
_LARGEST_IMAGE = 1024
_MOST_PLACES = 1 << 26
_BLOCK = ".blocks."
# Inside a block, authors' name → transformers' name.
_IN_BLOCKS = {
    ".norm1.": ".layernorm_before.",
    ".norm2.": ".layernorm_after.",
    ".attn.relative_": ".attention.self.relative_",
    ".attn.proj.": ".attention.output.dense.",
    ".mlp.fc1.": ".intermediate.dense.",
    ".mlp.fc2.": ".output.dense.",
}
_QKV = ".attn.qkv."
_SPLIT_QKV = [f".attention.self.{part}." for part in ("query", "key", "value")]

# Tensors of the tower that no embedding depends on: AudioSet's class head, the discrete
# Fourier transform as a convolution, masks and indices that follow from the shapes.
UNUSED_IN_HTSAT = (
    r"(spectrogram_extractor\.stft\.conv_(real|imag)\.weight"
    r"|tscam_conv\.(weight|bias)|head\.(weight|bias)|(.+\.)?num_batches_tracked"
    r"|layers\.\d+\.blocks\.\d+\.(attn_mask|attn\.relative_position_index))"
)


def rename_tensors(
    official: Mapping[str, torch.Tensor], prefixes: Mapping[str, str]
) -> dict[str, torch.Tensor]:
    """Rename the tensors of an authors' file as transformers names them.

    Parameters
    ----------
    official : mapping of str to Tensor
        Only tensors that transformers' model holds too.
    prefixes : mapping of str to str
        Authors' prefix → ours. A longer prefix stands before one that it extends.

    Returns
    -------
    state : dict of str to Tensor
        The joint query, key and value of an attention are split in three.
    """
    state = {}
    for name, tensor in official.items():
        name = _rename(name, prefixes)
        if _BLOCK in name:
            name = _rename(name, _IN_BLOCKS)
        if _QKV in name:
            for part, third in zip(_SPLIT_QKV, tensor.chunk(3), strict=True):
                state[name.replace(_QKV, part)] = third
        else:
            state[name] = tensor
    return state


def restore_names(
    state: Mapping[str, torch.Tensor], prefixes: Mapping[str, str]
) -> dict[str, torch.Tensor]:
    """Undo :func:`rename_tensors`."""
    official = {}
    query, *others = _SPLIT_QKV
    for name, tensor in state.items():
        if _BLOCK in name:
            if any(part in name for part in others):
                continue
            if query in name:
                parts = [state[name.replace(query, part)] for part in _SPLIT_QKV]
                name, tensor = name.replace(query, _QKV), torch.cat(parts)
            name = _rename(name, {ours: theirs for theirs, ours in _IN_BLOCKS.items()})
        name = _rename(name, {ours: theirs for theirs, ours in prefixes.items()})
        official[name] = tensor
    return official


def infer_htsat(
    official: Mapping[str, torch.Tensor], prefix: str, **settings: Any
) -> ClapAudioConfig:
    """Infer the sizes of the tower from its tensors.

    Depths are the numbers of blocks; heads and the attention window come from the
    tables of relative positions, which have (2 window - 1)² rows and a column for each
    head; patches do not overlap. The image is 256 pixels wide, as the authors' code
    fixes it, unless the mask of the first shifted block, with a row for each attention
    window of the image, says otherwise.

    Parameters
    ----------
    official : mapping of str to Tensor
        With the authors' names.
    prefix : str
        Of the tower's names.
    **settings : Any
        Further arguments of ClapAudioConfig.

    Raises
    ------
    KeyError
        With the name of a tensor that is missing.
    """
    n_stages = count_modules(official, rf"{re.escape(prefix)}layers\.(\d+)\.")
    depths = [
        count_modules(official, rf"{re.escape(prefix)}layers\.{stage}\.blocks\.(\d+)\.")
        for stage in range(n_stages)
    ]
    tables = [
        official[f"{prefix}layers.{stage}.blocks.0.attn.relative_position_bias_table"]
        for stage in range(n_stages)
    ]
    width, _, patch, _ = official[f"{prefix}patch_embed.proj.weight"].shape
    hidden = official[f"{prefix}layers.0.blocks.0.mlp.fc1.weight"]
    window = (math.isqrt(len(tables[0])) + 1) // 2 if tables else 0
    mask = official.get(f"{prefix}layers.0.blocks.1.attn_mask")
    image = _IMAGE_SIZE if mask is None else math.isqrt(len(mask)) * window * patch
    return ClapAudioConfig(
        num_mel_bins=len(official[f"{prefix}bn0.weight"]),
        spec_size=image,
        window_size=window,
        patch_size=patch,
        patch_stride=[patch, patch],
        patch_embeds_hidden_size=width,
        hidden_size=width * 2 ** (n_stages - 1),
        depths=depths,
        num_attention_heads=[table.shape[1] for table in tables],
        num_hidden_layers=n_stages,
        mlp_ratio=len(hidden) / width,
        hidden_dropout_prob=0.0,
        **settings,
    )


def check_image(config: Any, n_frames: int, source: Any) -> None:
    """Refuse a tower whose image cannot take the spectrogram of a window.

    Parameters
    ----------
    config : ClapAudioConfig
        Of the tower.
    n_frames : int
        Of a window.
    source : Path
        Where the configuration came from, for the message.

    Raises
    ------
    CheckpointError
        If the spectrogram is larger than the image, or the image than any supported.
    """
    size, n_mels = config.spec_size, config.num_mel_bins
    parts = size // n_mels  # in so many pieces time is folded into the image
    if not parts or n_frames > size * parts:
        msg = (
            f"The audio tower of {source} takes {size * parts} frames of {n_mels} mel "
            f"bands (spec_size={size}); a window has {n_frames}. The length of the "
            f"window (max_length_s) or the tower's sizes are not the publisher's."
        )
        raise CheckpointError(msg)
    patches = (size // min(config.patch_stride)) ** 2
    places = patches * config.window_size**2 * max(config.num_attention_heads)
    if size > _LARGEST_IMAGE or places > _MOST_PLACES:
        msg = (
            f"The audio tower of {source} has an image of {size} pixels (spec_size), "
            f"{patches} patches in windows of {config.window_size}: that takes more "
            f"memory than any published model. Compare it with the publisher's."
        )
        raise CheckpointError(msg)


def count_modules(names: Iterable[str], pattern: str) -> int:
    """Count numbered modules; the group of `pattern` is the number.

    Numbers that are there are counted, since one forged name would claim a billion.

    Raises
    ------
    CheckpointError
        If there are more than any model has.
    """
    found = (re.match(pattern, name) for name in names)
    n_modules = len({match[1] for match in found if match})
    check_number(n_modules, 0, MOST_LAYERS, f"Modules of the names {pattern!r}")
    return n_modules


def _rename(name: str, table: Mapping[str, str]) -> str:
    for old, new in table.items():
        if old in name:
            return name.replace(old, new, 1)
    return name
