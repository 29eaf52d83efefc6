"""What BERT is, told by the names and shapes of its tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from transformers import BertConfig

from clapstack.encoders._htsat import count_modules

_HEAD_WIDTH = 64  # in all published sizes


def infer_bert(tensors: Mapping[str, torch.Tensor], prefix: str) -> BertConfig:
    """Infer the configuration of a BERT text tower.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        Of a file of weights.
    prefix : str
        What stands before the names of BERT's own tensors.

    Raises
    ------
    KeyError
        If a tensor that tells a size is missing.
    """
    embeddings, layers = f"{prefix}embeddings.", f"{prefix}encoder.layer."
    vocabulary, width = tensors[f"{embeddings}word_embeddings.weight"].shape
    return BertConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=count_modules(tensors, rf"{re.escape(layers)}(\d+)\."),
        num_attention_heads=width // _HEAD_WIDTH,
        intermediate_size=len(tensors[f"{layers}0.intermediate.dense.weight"]),
        max_position_embeddings=len(tensors[f"{embeddings}position_embeddings.weight"]),
        type_vocab_size=len(tensors[f"{embeddings}token_type_embeddings.weight"]),
    )
