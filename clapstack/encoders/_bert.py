"""BERT and RoBERTa text towers, with sizes inferred from their tensors."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from transformers import BertConfig

from clapstack.encoders._finding import check_vocabulary, read_tokenizer
from clapstack.encoders._pretrained import Tensors, count_modules, count_text_heads


def infer_bert(
    tensors: Tensors, prefix: str, config_class: Any = BertConfig, **settings: Any
) -> Any:
    """Infer the configuration of a text tower from the shapes of its tensors.

    `prefix` is the prefix of their names. `config_class` is a class of transformers, in
    which RoBERTa's modules have the same names; `settings` are its further arguments.
    """
    # The shapes reveal all sizes except the number of heads, which are 64 wide.
    embeddings, layers = f"{prefix}embeddings.", f"{prefix}encoder.layer."
    vocabulary, width = tensors[f"{embeddings}word_embeddings.weight"].shape
    return config_class(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=count_modules(tensors, rf"{re.escape(layers)}(\d+)\."),
        num_attention_heads=count_text_heads(width, tensors.source),
        intermediate_size=len(tensors[f"{layers}0.intermediate.dense.weight"]),
        max_position_embeddings=len(tensors[f"{embeddings}position_embeddings.weight"]),
        type_vocab_size=len(tensors[f"{embeddings}token_type_embeddings.weight"]),
        **settings,
    )


def read_bert_tokenizer(folder: Path, config: BertConfig) -> Any:
    """Read BERT's tokenizer and check that the tower has all its tokens."""
    tokenizer = read_tokenizer(folder, "bert")
    check_vocabulary(tokenizer, folder, config.vocab_size)
    return tokenizer
