"""Forward pass of HTS-AT with transformers' weights and fewer passes over memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from clapstack.audio import window_starts
from clapstack.encoders.clap._base import ClapEncoder, apart
from clapstack.exceptions import CheckpointError

# Activations of this many tokens fit into the caches of a CPU.
_TOKENS_AT_ONCE = 2048
# Clips per layer on a CPU; more would take memory without saving time.
CLIPS_AT_ONCE = 8


class AudioTower:
    """Forward pass of transformers' ``ClapAudioModel``, for evaluation only.

    The result is the module's, up to the rounding of float32 (some 1e-7 on unit
    embeddings), with fewer kernels and copies:

    - tokens are in the order of the attention windows, so that a block needs at most
      one gather where the module shifts, cuts, joins and shifts back;
    - the bias of relative positions and the mask of shifted windows are looked up and
      added once, not in each pass;
    - query, key and value are one product, scores to context one kernel;
    - residuals are added in place, and on a CPU a few windows at a time pass through a
      whole block.

    On a CPU, each layer processes one clip after another. No kernel sees two of them,
    so that the bits of one do not depend on the others, and the weights of the layer
    stay in the caches. The products of the last stage then have only 64 rows, for which
    transposed weights are faster. With both, clips take as long as if they shared
    kernels (within 4 %, measured).

    Parameters
    ----------
    model : ClapAudioModel
        In evaluation mode, with its weights on their device in their dtype. It keeps
        the weights: those of query, key and value become views of one tensor.
    source : str
        Origin of the weights, for error messages.

    Raises
    ------
    CheckpointError
        If the patches of a stage do not fill whole attention windows. Those of all
        published checkpoints do.
    """

    def __init__(self, model: Any, *, source: str):
        self._encoder = model.audio_encoder
        window = model.config.window_size
        sizes = self._encoder.input_resolutions
        for stage, (height, width) in enumerate(sizes):
            if height % window or width % window:
                msg = (
                    f"The audio tower of {source} has {height} x {width} patches in "
                    f"stage {stage}, which do not fill windows of {window} x {window}. "
                    f"The configuration is probably wrong (spec_size, patch_stride or "
                    f"window_size): compare it with the publisher's file."
                )
                raise CheckpointError(msg)
        self._blocks: list[list[_Block]] = []
        self._mergings: list[_Merging | None] = []
        self._n_parts = model.config.spec_size // model.config.num_mel_bins
        held = torch.arange(math.prod(sizes[0]))
        for layer, (height, width) in zip(self._encoder.layers, sizes, strict=True):
            self._blocks.append([])
            for i, block in enumerate(layer.blocks):
                # A single window cannot be shifted.
                shift = window // 2 if i % 2 and min(height, width) > window else 0
                order = window_order(height, width, window, shift)
                mask = shift_mask(height, width, window, shift) if shift else None
                self._blocks[-1].append(_prepare(block, _gather(held, order), mask))
                held = order
            self._mergings.append(None)
            if layer.downsample is not None:
                order = window_order(height // 2, width // 2, window, 0)
                quads = torch.argsort(held)[_quads(height, width)[order].flatten()]
                quads = quads.to(layer.downsample.reduction.weight.device)
                self._mergings[-1] = _Merging(quads, layer.downsample)
                _turn(layer.downsample.reduction)
                held = order
        self._image_order = torch.argsort(held).to(self._encoder.norm.weight.device)
        self._n_columns = sizes[-1][1]

    def __call__(
        self, mels: torch.Tensor, longer: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the module's ``pooler_output``.

        Parameters
        ----------
        mels : Tensor of shape (n, n_channels, n_frames, n_mels)
            In decibels.
        longer : Tensor of shape (n,), bool, or None
            For a fused model, which rows contain four spectrograms to fuse.

        Returns
        -------
        pooled : Tensor of shape (n, width)
        """
        norm = self._encoder.norm
        tokens = self._tokens(mels, longer, self._blocks)
        return torch.cat([norm(some).mean(dim=1) for some in tokens])

    def local_frames(self, mels: torch.Tensor) -> torch.Tensor:
        """Return the frames of MGA-CLAP's locality-aware last block.

        That block adds to each token its own projected value instead of attention to
        other tokens, and its normalised self instead of an MLP.

        Parameters
        ----------
        mels : Tensor of shape (n, 1, n_frames, n_mels)
            In decibels.

        Returns
        -------
        frames : Tensor of shape (n, n_stretches, width)
            Normalised, and averaged over frequency.
        """
        last = self._blocks[-1][-1]
        blocks = [*self._blocks[:-1], self._blocks[-1][:-1]]
        norm, order = self._encoder.norm, self._image_order
        frames = []
        for tokens in self._tokens(mels, None, blocks):
            local = norm(_stay_local(last, tokens)).index_select(1, order)
            n, n_tokens, width = local.shape
            side = math.isqrt(n_tokens)
            # Time is folded into the image: its rows are the bands of successive parts.
            parts = local.view(n, self._n_parts, -1, side, width)
            frames.append(parts.mean(dim=2).flatten(1, 2))
        return torch.cat(frames)

    def steps(self, mels: torch.Tensor) -> torch.Tensor:
        """Return the last states of spectrograms, in order of time.

        Parameters
        ----------
        mels : Tensor of shape (n, 1, n_frames, n_mels)
            In decibels.

        Returns
        -------
        states : Tensor of shape (n, n_steps, width)
            Means over frequency. Steps have equal length and cover the spectrogram;
            their mean is the result of a call.
        """
        norm = self._encoder.norm
        tokens = torch.cat(list(map(norm, self._tokens(mels, None, self._blocks))))
        tokens = tokens[:, self._image_order]
        # The image stacks parts of the clip vertically, each with all frequencies.
        n_parts, n_columns = self._encoder.freq_ratio, self._n_columns
        image = tokens.view(len(tokens), n_parts, -1, n_columns, tokens.shape[2])
        return image.mean(dim=2).flatten(1, 2)

    def _tokens(
        self,
        mels: torch.Tensor,
        longer: torch.Tensor | None,
        blocks: list[list[_Block]],
    ) -> list[torch.Tensor]:
        """Return the states after the given blocks; on a CPU, clip by clip."""
        if longer is None:
            longer = torch.zeros(len(mels), dtype=torch.bool)
        parts = [(mels, longer)]
        if mels.device.type == "cpu":
            # Only the first spectrogram of a clip that is not fused is used.
            parts = [
                (mel if flag else mel[:, :1], flag)
                for mel, flag in zip(mels.split(1), longer.split(1), strict=True)
            ]
        tokens = [self._patches(*part) for part in parts]
        for of_stage, merging in zip(blocks, self._mergings, strict=True):
            for block in of_stage:
                tokens = [_run(block, some) for some in tokens]
            if merging is not None:
                tokens = [_merge(merging, some) for some in tokens]
        return tokens

    def _patches(self, mels: torch.Tensor, longer: torch.Tensor) -> torch.Tensor:
        encoder = self._encoder
        normalised = encoder.batch_norm(mels.transpose(1, 3)).transpose(1, 3)
        rows = longer.nonzero()[:, 0]
        return encoder.patch_embed(encoder.reshape_mel2img(normalised), rows)


class HtsatClapEncoder(ClapEncoder):
    """A CLAP model with this tower as `audio_model`, and an `audio_projection`."""

    _at_once_on_cpu: ClassVar[int] = CLIPS_AT_ONCE
    has_dense_windows: ClassVar[bool] = True

    def __init__(self, **parts: Any):
        super().__init__(**parts)
        self._audio_tower = AudioTower(self._model.audio_model, source=self.source)

    def _embed_audio(self, mels: torch.Tensor, longer: torch.Tensor) -> torch.Tensor:
        return apart(self._model.audio_projection, self._audio_tower(mels, longer))

    def _embed_dense(
        self, waveform: NDArray[np.float32], starts: Sequence[float], size: int
    ) -> torch.Tensor:
        states, centres = [], []
        for first in window_starts(len(waveform), self.window, "windows"):
            piece = waveform[first : first + self.window]
            mels = self._mels([piece], [False]).to(self.device, self._dtype)
            states.append(self._audio_tower.steps(mels)[0])
            n_steps = len(states[-1])
            centres.append(first + (np.arange(n_steps) + 0.5) * self.window / n_steps)
        # After its end, a short clip is repeated.
        within = np.concatenate(centres) < len(waveform)
        kept = torch.cat(states)[torch.from_numpy(within).to(self.device)]
        middle = np.array(starts)[:, None] * self.sample_rate + size / 2
        distance = np.abs(np.concatenate(centres)[within] - middle)
        nearest = distance.min(axis=1, keepdims=True)
        inside = distance <= np.maximum(size / 2, nearest)
        weights = torch.from_numpy(inside / inside.sum(axis=1, keepdims=True)).to(kept)
        return apart(self._model.audio_projection, weights @ kept)


class _Block(NamedTuple):
    """A block and the order of its tokens.

    `gather` brings tokens into this order (None if they already are). `weight` and
    `qkv_bias` belong to query, key and value jointly. `bias`, of shape (1 or n_windows,
    n_heads, n_tokens, n_tokens), is added to the scores.
    """

    layer: Any
    gather: torch.Tensor | None
    weight: torch.Tensor
    qkv_bias: torch.Tensor | None
    bias: torch.Tensor


class _Merging(NamedTuple):
    gather: torch.Tensor
    layer: Any


def window_order(height: int, width: int, window: int, shift: int) -> torch.Tensor:
    """Return the patches of an image, attention window by attention window.

    Parameters
    ----------
    height, width : int
        Size of the image, in patches; multiples of `window`.
    window : int
        Side of a window.
    shift : int
        Patches by which the image is rolled up and to the left.

    Returns
    -------
    order : Tensor of shape (height * width,), int64

    Examples
    --------
    >>> window_order(2, 4, 2, 0)
    tensor([0, 1, 4, 5, 2, 3, 6, 7])
    >>> window_order(2, 4, 2, 1)
    tensor([5, 6, 1, 2, 7, 4, 3, 0])
    """
    image = torch.arange(height * width).view(height, width)
    return _cut(image.roll((-shift, -shift), (0, 1)), window).flatten()


def shift_mask(height: int, width: int, window: int, shift: int) -> torch.Tensor:
    """Return the mask that separates patches which only the shift brought together.

    Returns
    -------
    mask : Tensor of shape (n_windows, window ** 2, window ** 2), float32
        -100 for two patches that were not neighbours, else 0.
    """

    def regions(size: int) -> torch.Tensor:
        at = torch.arange(size)
        return (at >= size - window).long() + (at >= size - shift).long()

    image = 3 * regions(height)[:, None] + regions(width)
    windows = _cut(image, window)
    apart = windows[:, :, None] != windows[:, None]
    return torch.where(apart, -100.0, 0.0)


def _cut(image: torch.Tensor, window: int) -> torch.Tensor:
    """Cut (height, width) into (n_windows, window ** 2)."""
    height, width = image.shape
    parts = image.view(height // window, window, width // window, window)
    return parts.transpose(1, 2).reshape(-1, window * window)


def _quads(height: int, width: int) -> torch.Tensor:
    """Return the four patches that form each patch of the next stage."""
    image = torch.arange(height * width).view(height // 2, 2, width // 2, 2)
    return image.permute(0, 2, 3, 1).reshape(-1, 4)  # down first, then across


def _gather(held: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor | None:
    """Return the positions of the wanted tokens among those held; None if in order."""
    return None if torch.equal(held, wanted) else torch.argsort(held)[wanted]


def _prepare(
    layer: Any, gather: torch.Tensor | None, mask: torch.Tensor | None
) -> _Block:
    attention = layer.attention.self
    parts = (attention.query, attention.key, attention.value)
    weight = _join([part.weight for part in parts])
    for dense in (layer.attention.output, layer.intermediate, layer.output):
        _turn(dense.dense)
    has_bias = attention.query.bias is not None
    table = attention.relative_position_bias_table.detach()
    index = attention.relative_position_index
    bias = table[index.flatten()].view(*index.shape, -1).permute(2, 0, 1)[None]
    if mask is not None:
        bias = bias + mask[:, None].to(bias)
    return _Block(
        layer=layer,
        gather=None if gather is None else gather.to(weight.device),
        weight=weight,
        qkv_bias=_join([part.bias for part in parts]) if has_bias else None,
        bias=bias.contiguous(),
    )


def _join(parameters: list[Any]) -> torch.Tensor:
    """Join parameters into one tensor, of which they become views."""
    joint = _turned(torch.cat([parameter.data for parameter in parameters]))
    for parameter, view in zip(parameters, joint.chunk(len(parameters)), strict=True):
        parameter.data = view
    return joint


def _turn(dense: nn.Linear) -> None:
    dense.weight.data = _turned(dense.weight.data)


def _turned(weight: torch.Tensor) -> torch.Tensor:
    """Return equal values; on a CPU, a matrix in column-major order."""
    if weight.ndim != 2 or weight.device.type != "cpu":
        return weight
    return weight.T.contiguous().T


def _run(block: _Block, tokens: torch.Tensor) -> torch.Tensor:
    """Pass tokens of shape (n, n_tokens, width) through a block, maybe in place."""
    if block.gather is not None:
        tokens = tokens.index_select(1, block.gather)
    n, _, width = tokens.shape
    windows = tokens.view(n, -1, block.bias.shape[-1], width)
    for some, bias in _pieces(windows, block.bias):
        _attend(block, some, bias)
        _transform(block.layer, some.view(-1, width))
    return tokens


def _stay_local(block: _Block, tokens: torch.Tensor) -> torch.Tensor:
    """Pass tokens through a block without its attention and its MLP."""
    if block.gather is not None:
        tokens = tokens.index_select(1, block.gather)
    layer = block.layer
    value = layer.attention.self.value(layer.layernorm_before(tokens))
    local = tokens + layer.attention.output.dense(value)
    return local + layer.layernorm_after(local)


def _pieces(
    windows: torch.Tensor, bias: torch.Tensor
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield views of (n_windows, n_tokens, width) and the bias of their scores."""
    n_windows, n_tokens = windows.shape[1:3]
    if windows.device.type == "cpu":  # of one clip
        at_once = max(1, _TOKENS_AT_ONCE // n_tokens)
        for first in range(0, n_windows, at_once):
            some = slice(first, first + at_once)
            yield windows[0, some], bias[some] if len(bias) > 1 else bias
    else:
        repeated = bias if len(bias) == 1 else bias.repeat(len(windows), 1, 1, 1)
        yield windows.flatten(0, 1), repeated


def _attend(block: _Block, windows: torch.Tensor, bias: torch.Tensor) -> None:
    n, n_tokens, width = windows.shape
    n_heads = bias.shape[1]
    normed = block.layer.layernorm_before(windows)
    # One product for all three, whose weights `_join` joined.
    joint = nn.functional.linear(normed, block.weight, block.qkv_bias)
    query, key, value = joint.view(n, n_tokens, 3, n_heads, -1).permute(2, 0, 3, 1, 4)
    context = nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=bias
    )
    _add_linear(
        windows.view(-1, width),
        context.transpose(1, 2).reshape(-1, width),
        block.layer.attention.output.dense,
    )


def _transform(layer: Any, tokens: torch.Tensor) -> None:
    hidden = layer.intermediate(layer.layernorm_after(tokens))
    _add_linear(tokens, hidden, layer.output.dense)


def _add_linear(to: torch.Tensor, inputs: torch.Tensor, dense: nn.Linear) -> None:
    """Add the output of a linear layer to `to`, in place."""
    to.add_(dense.bias).addmm_(inputs, dense.weight.T)


def _merge(merging: _Merging, tokens: torch.Tensor) -> torch.Tensor:
    n, _, width = tokens.shape
    quads = tokens.index_select(1, merging.gather).view(n, -1, 4 * width)
    return merging.layer.reduction(merging.layer.norm(quads))
