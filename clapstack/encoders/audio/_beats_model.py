"""The network of BEATs, with modules named after the authors' tensors."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from clapstack.encoders._pretrained import Tensors, count_modules

_POSITIONS = "encoder.pos_conv.0.parametrizations.weight.original1"
_BIAS = "encoder.layers.0.self_attn.relative_attention_bias.weight"


class BeatsModel(nn.Module):
    """The transformer of BEATs over patches of a filter bank.

    Parameters
    ----------
    tensors : Tensors
        Tensors of the file, whose shapes determine the sizes.
    residual_scale : float
        Weight of the residual around each part of a layer (DeepNorm's α).
    max_distance : int
        Distance of two patches, in patches, beyond which all are treated alike.
    conv_groups : int
        Groups of the positional convolution.
    """

    def __init__(
        self,
        tensors: Tensors,
        *,
        residual_scale: float,
        max_distance: int,
        conv_groups: int,
    ):
        super().__init__()
        patch_width, _, patch, _ = tensors["patch_embedding.weight"].shape
        width = len(tensors["encoder.layer_norm.weight"])
        self.patch = patch
        self.patch_embedding = nn.Conv2d(
            1, patch_width, patch, patch, bias="patch_embedding.bias" in tensors
        )
        self.layer_norm = nn.LayerNorm(patch_width)
        self.post_extract_proj: nn.Module = nn.Identity()
        if patch_width != width:
            self.post_extract_proj = nn.Linear(patch_width, width)
        self.encoder = _Encoder(
            tensors,
            residual_scale=residual_scale,
            max_distance=max_distance,
            conv_groups=conv_groups,
        )
        self.predictor: nn.Linear | None = None
        if "predictor.weight" in tensors:
            self.predictor = nn.Linear(width, len(tensors["predictor.weight"]))

    def forward(self, mels: torch.Tensor) -> torch.Tensor:
        """Map (n, n_frames, n_mels) to the final states, (n, n_patches, width).

        Patches are ordered by time, then by frequency. Frames beyond a multiple of
        `patch` are dropped.
        """
        patches = self.patch_embedding(mels[:, None]).flatten(2).transpose(1, 2)
        return self.encoder(self.post_extract_proj(self.layer_norm(patches)))


class _Encoder(nn.Module):
    def __init__(
        self,
        tensors: Tensors,
        *,
        residual_scale: float,
        max_distance: int,
        conv_groups: int,
    ):
        super().__init__()
        width = len(tensors["encoder.layer_norm.weight"])
        kernel = tensors[_POSITIONS].shape[2]
        n_buckets, n_heads = tensors[_BIAS].shape
        if width % n_heads or not 4 <= n_buckets < 4 * max_distance:
            msg = (
                f"attention of {width} channels cannot have {n_heads} heads and "
                f"{n_buckets} buckets of distances up to {max_distance} patches"
            )
            raise ValueError(msg)
        convolution = nn.Conv1d(
            width, width, kernel, padding=kernel // 2, groups=conv_groups
        )
        self.pos_conv = nn.Sequential(weight_norm(convolution, dim=2), nn.GELU())
        self.layer_norm = nn.LayerNorm(width)
        hidden = len(tensors["encoder.layers.0.fc1.weight"])
        # All layers share one table, which the file has under a name for each.
        table = nn.Embedding(n_buckets, n_heads)
        self.layers = nn.ModuleList(
            _Layer(width, hidden, table, residual_scale)
            for _ in range(count_modules(tensors, r"encoder\.layers\.(\d+)\."))
        )
        self.max_distance = max_distance

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        n_patches = states.shape[1]
        # An even kernel yields one extra position at the end.
        position = self.pos_conv(states.transpose(1, 2))[..., :n_patches]
        states = self.layer_norm(states + position.transpose(1, 2))
        bias = self._position_bias(n_patches, states.device)
        for layer in self.layers:
            states = layer(states, bias)
        return states

    def _position_bias(self, n_patches: int, device: torch.device) -> torch.Tensor:
        """Return the attention bias, of shape (n_heads, n_patches, n_patches)."""
        first: Any = self.layers[0]
        table = first.self_attn.relative_attention_bias
        place = torch.arange(n_patches)
        buckets = position_buckets(
            place - place[:, None],
            n_buckets=table.num_embeddings,
            max_distance=self.max_distance,
        )
        return table(buckets.to(device)).permute(2, 0, 1)


class _Layer(nn.Module):
    def __init__(
        self, width: int, hidden: int, table: nn.Embedding, residual_scale: float
    ):
        super().__init__()
        self.self_attn = _GatedAttention(width, table)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)
        self.final_layer_norm = nn.LayerNorm(width)
        self.residual_scale = residual_scale

    def forward(self, states: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        heard = self.self_attn(states, bias)
        states = self.self_attn_layer_norm(self.residual_scale * states + heard)
        mapped = self.fc2(nn.functional.gelu(self.fc1(states)))
        return self.final_layer_norm(self.residual_scale * states + mapped)


class _GatedAttention(nn.Module):
    """Self-attention with a position bias that each query scales by a gate."""

    def __init__(self, width: int, table: nn.Embedding):
        super().__init__()
        self.n_heads = n_heads = table.embedding_dim
        self.relative_attention_bias = table
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)
        self.grep_linear = nn.Linear(width // n_heads, 8)
        self.grep_a = nn.Parameter(torch.ones(1, n_heads, 1, 1))

    def forward(self, states: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        query, key, value = (
            part(states).unflatten(2, (self.n_heads, -1)).transpose(1, 2)
            for part in (self.q_proj, self.k_proj, self.v_proj)
        )
        # As in WavLM: eight numbers per query, summed in fours, form two gates. If the
        # first is closed, the bias counts twice.
        gates = self.grep_linear(query).unflatten(3, (2, 4)).sum(dim=4).sigmoid()
        update, reset = gates.chunk(2, dim=3)
        gate = update * (reset * self.grep_a - 1) + 2
        heard = nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=gate * bias
        )
        return self.out_proj(heard.transpose(1, 2).flatten(2))


def position_buckets(
    distances: torch.Tensor, *, n_buckets: int, max_distance: int
) -> torch.Tensor:
    """Sort distances into buckets, as T5 does.

    A distance is the position of the key minus that of the query. Each sign has half of
    the `n_buckets`. Half of these contain one distance each; the others become wider up
    to `max_distance`, beyond which the last contains all distances.
    """
    n_each = n_buckets // 2
    n_exact = n_each // 2
    size = distances.abs()
    share = torch.log(size.float() / n_exact) / math.log(max_distance / n_exact)
    # log(0), for distance 0, is not used.
    wide = n_exact + (share.clamp(min=0) * (n_each - n_exact)).long()
    bucket = torch.where(size < n_exact, size, wide.clamp(max=n_each - 1))
    return bucket + n_each * (distances > 0)
