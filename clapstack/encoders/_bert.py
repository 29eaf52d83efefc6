"""BERT as a text tower: what its tensors tell, and its tokenizer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import BertConfig

from clapstack.encoders._finding import check_vocabulary, read_tokenizer
from clapstack.encoders.clap._htsat_names import count_modules

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


def read_bert_tokenizer(folder: Path, config: BertConfig) -> Any:
    """Read the tokenizer of a text tower.

    Parameters
    ----------
    folder : Path
        Where its files are.
    config : BertConfig
        Of the tower.

    Raises
    ------
    CheckpointError
        If its files are damaged, or it has more tokens than the tower.
    """
    tokenizer = read_tokenizer(folder, bert=True)
    check_vocabulary(tokenizer, folder, config.vocab_size)
    return tokenizer
