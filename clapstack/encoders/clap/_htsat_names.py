"""HTS-AT's tensors: authors' and transformers' names, and the sizes of the tower.

LAION's and Microsoft's files contain this tower, each under its own prefix. Its sizes
are inferred from the tensors; all other settings are equal in all published files.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from transformers import ClapAudioConfig

from clapstack.encoders._pretrained import Tensors, build_checked, count_modules
from clapstack.exceptions import CheckpointError

_IMAGE_SIZE = 256
# In published models the image has 256 x 256 pixels, and the position bias of one block
# takes 4 MB.
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


@dataclass(frozen=True)
class AuthorsNames:
    """Names of the tensors of a whole model in the authors' files.

    Attributes
    ----------
    prefixes : mapping of str to str
        Authors' prefix → ours. A longer prefix precedes one that it extends.
    unused : Pattern
        Tensors of their files that no embedding depends on.
    """

    prefixes: Mapping[str, str]
    unused: re.Pattern[str]

    def from_official(
        self, official: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """Rename the tensors of a file, without the unused ones.

        The joint query, key and value of each attention are split in three. Pass the
        result to ``load_state_dict`` with ``strict=False``, because buffers derived by
        the constructor are missing.
        """
        state = {}
        for name, tensor in official.items():
            if self.unused.fullmatch(name):
                continue
            name = _rename(name, self.prefixes)
            if _BLOCK in name:
                name = _rename(name, _IN_BLOCKS)
            if _QKV in name:
                for part, third in zip(_SPLIT_QKV, tensor.chunk(3), strict=True):
                    state[name.replace(_QKV, part)] = third
            else:
                state[name] = tensor
        return state

    def to_official(self, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Undo `from_official`: rename the ``state_dict()`` of a model.

        Unused tensors are missing. For a model whose image is not 256 wide, add one of
        them, ``layers.0.blocks.1.attn_mask`` of the audio tower: the others do not
        reveal that width.
        """
        official = {}
        query, *others = _SPLIT_QKV
        for name, tensor in state.items():
            if _BLOCK in name:
                if any(part in name for part in others):
                    continue
                if query in name:
                    parts = [state[name.replace(query, part)] for part in _SPLIT_QKV]
                    name, tensor = name.replace(query, _QKV), torch.cat(parts)
                name = _rename(name, {new: old for old, new in _IN_BLOCKS.items()})
            name = _rename(name, {new: old for old, new in self.prefixes.items()})
            official[name] = tensor
        return {k: v for k, v in official.items() if not self.unused.fullmatch(k)}

    def load(self, build: Callable[[], Any], official: Tensors) -> Any:
        """Build a model and load the tensors of a file, which must fit it."""
        model = build_checked(
            build, official, unused=self.unused, named=self.to_official
        )
        model.load_state_dict(self.from_official(official), strict=False)
        return model


def infer_htsat(official: Tensors, prefix: str, **settings: Any) -> ClapAudioConfig:
    """Infer the sizes of the tower from its tensors, whose names begin with `prefix`.

    Depths are the numbers of blocks. Heads and the attention window follow from the
    tables of relative positions, which have (2 window - 1)² rows and one column per
    head. Patches do not overlap. The image is 256 pixels wide, as in the authors' code,
    unless the mask of the first shifted block, with one row per attention window of the
    image, implies another width. `settings` are further arguments of the result.
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
    """Reject a tower whose image is too small for a spectrogram of `n_frames`.

    An image that bands or patches do not fill, or larger than that of any supported
    model, is rejected too. `source` is for the message.
    """
    size, n_mels = config.spec_size, config.num_mel_bins
    parts = size // n_mels  # time is folded into the image in this many pieces
    if not parts or n_frames > size * parts:
        msg = (
            f"The audio tower of {source} accepts {size * parts} frames of {n_mels} "
            f"mel bands (spec_size={size}); a window has {n_frames}. Compare the "
            f"window's length (max_length_s) and the tower's sizes with the "
            f"publisher's files."
        )
        raise CheckpointError(msg)
    patch, strides = config.patch_size, config.patch_stride
    if (
        size % n_mels
        or [type(stride) for stride in strides] != [int, int]
        or not 0 < min(strides) <= max(strides) <= patch
        or any(_n_patches(size, patch, stride) != size // stride for stride in strides)
    ):
        msg = (
            f"The audio tower of {source} cannot fill its image of {size} pixels "
            f"(spec_size) with {n_mels} mel bands (num_mel_bins) or with patches of "
            f"{patch} pixels (patch_size) every {strides} pixels (patch_stride). "
            f"Compare these settings with the publisher's config.json."
        )
        raise CheckpointError(msg)
    patches = (size // min(strides)) ** 2
    places = patches * config.window_size**2 * max(config.num_attention_heads)
    if size > _LARGEST_IMAGE or places > _MOST_PLACES:
        msg = (
            f"The audio tower of {source} has an image of {size} pixels (spec_size), "
            f"{patches} patches in windows of {config.window_size}: that takes more "
            f"memory than any published model. Compare it with the publisher's file."
        )
        raise CheckpointError(msg)


def _n_patches(size: int, patch: int, stride: int) -> int:
    """Return how many patches the tower's convolution makes along one side."""
    padding = (patch - stride) // 2
    return (size + 2 * padding - patch) // stride + 1


def _rename(name: str, table: Mapping[str, str]) -> str:
    for old, new in table.items():
        if old in name:
            return name.replace(old, new, 1)
    return name
