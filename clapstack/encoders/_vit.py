"""Parts of a vision transformer, named as in timm."""

from __future__ import annotations

import re
from collections import OrderedDict

import torch
from torch import nn

from clapstack.encoders._pretrained import Tensors, count_modules


class Patches(nn.Module):
    """Cuts spectrograms into patches and maps each to a token.

    Parameters
    ----------
    width : int
        Width of a token.
    patch : (int, int)
        Height and length of a patch.
    """

    def __init__(self, width: int, patch: tuple[int, int]):
        super().__init__()
        self.proj = nn.Conv2d(1, width, patch, stride=patch)

    def forward(self, mels: torch.Tensor) -> torch.Tensor:
        """Map spectrograms of shape (n, height, length) to (n, n_patches, width).

        Patches are ordered along the length first. Incomplete patches are dropped.
        """
        return self.proj(mels[:, None]).flatten(2).transpose(1, 2)


def with_first(token: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Prepend a learned token of shape (1, 1, width) to the tokens of every clip."""
    return torch.cat([token.expand(len(tokens), -1, -1), tokens], dim=1)


def vit_blocks(
    tensors: Tensors, name: str, *, n_heads: int, eps: float, norm_first: bool = True
) -> nn.Sequential:
    """Build the blocks whose tensors a file has under the names ``<name>.0.``, ….

    The other arguments are those of :class:`VitBlock`.
    """
    hidden, width = tensors[f"{name}.0.mlp.fc1.weight"].shape
    depth = count_modules(tensors, rf"{re.escape(name)}\.(\d+)\.")
    return nn.Sequential(
        *(
            VitBlock(width, hidden, n_heads=n_heads, eps=eps, norm_first=norm_first)
            for _ in range(depth)
        )
    )


class VitBlock(nn.Module):
    """Self-attention and a perceptron, each with a residual around it.

    Parameters
    ----------
    width : int
        Width of a token.
    hidden : int
        Width inside the perceptron.
    n_heads : int
        Number of attention heads.
    eps : float
        Epsilon of the layer norms.
    norm_first : bool, default=True
        Whether norms precede each part; if False, they follow each sum.
    """

    def __init__(
        self,
        width: int,
        hidden: int,
        *,
        n_heads: int,
        eps: float,
        norm_first: bool = True,
    ):
        super().__init__()
        if n_heads < 1 or width % n_heads:
            msg = f"{width} channels cannot be split into {n_heads} attention heads"
            raise ValueError(msg)
        self.norm_first = norm_first
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attn = _Attention(width, n_heads)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        layers = {
            "fc1": nn.Linear(width, hidden),
            "act": nn.GELU(),
            "fc2": nn.Linear(hidden, width),
        }
        self.mlp = nn.Sequential(OrderedDict(layers))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Transform tokens of shape (n, n_tokens, width)."""
        if self.norm_first:
            tokens = tokens + self.attn(self.norm1(tokens))
            return tokens + self.mlp(self.norm2(tokens))
        tokens = self.norm1(tokens + self.attn(tokens))
        return self.norm2(tokens + self.mlp(tokens))


class _Attention(nn.Module):
    def __init__(self, width: int, n_heads: int):
        super().__init__()
        self.n_heads = n_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        # timm computes query, key and value in one layer.
        heads = self.qkv(tokens).unflatten(2, (3, self.n_heads, -1))
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        seen = nn.functional.scaled_dot_product_attention(query, key, value)
        return self.proj(seen.transpose(1, 2).flatten(2))
