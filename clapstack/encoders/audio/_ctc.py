"""wav2vec 2.0 with a CTC head: states, confidence and a greedy transcript."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

from clapstack.encoders._finding import find_pretrained
from clapstack.encoders._pretrained import load_model, read_config
from clapstack.encoders._reading import check_number, read_json
from clapstack.encoders.audio._base import POOLED, pool
from clapstack.encoders.audio._speech import UNUSED, SpeechEncoder, speech_settings
from clapstack.exceptions import CheckpointError

#: Maximum characters of a transcript in a row: a minute of fast speech.
TRANSCRIPT_LENGTH = 1024

# Tokens without text, by their names in the tokenizer's configuration.
_SPECIAL = {
    "pad_token": "<pad>",
    "unk_token": "<unk>",
    "bos_token": "<s>",
    "eos_token": "</s>",
}


class CtcEncoder(SpeechEncoder):
    """wav2vec 2.0 with a CTC head.

    A row contains, in this order: mean, standard deviation and maximum of the final
    states over time; mean and variance over time of the confidence, that is the
    probability of each frame's most probable token; the blank ratio, that is the share
    of frames whose most probable token is the blank; the number of characters of the
    greedy transcript; and the transcript itself as code points, cut or zero-padded to
    1,024. (float32 represents each code point exactly.)

    Clips of up to 30 s are encoded whole. For a longer clip, the numbers of its pieces
    are averaged and their transcripts joined by a space.

    The group normalisation of the base model computes statistics over a whole clip,
    which padding would change: only clips of equal length share a batch.
    """

    @classmethod
    def _read(cls, checkpoint: str, revision: str | None) -> partial[Any]:
        """Read a checkpoint in transformers' format."""
        folder, weights = find_pretrained(
            checkpoint,
            revision,
            ["config.json", "vocab.json", "tokenizer_config.json"],
            extractor=True,
        )
        config = read_config(folder, Wav2Vec2Config)
        settings = speech_settings(folder, config)
        settings["symbols"] = read_symbols(folder, config.vocab_size)
        settings["blank"] = config.pad_token_id
        check_number(
            config.pad_token_id, 0, config.vocab_size - 1, f"pad_token_id in {folder}"
        )
        model = load_model(lambda _: Wav2Vec2ForCTC(config), weights, unused=UNUSED)
        numbers = ("confidence_mean", "confidence_variance", "blank_ratio")
        return partial(
            cls,
            model=model,
            settings=settings,
            blocks={
                **dict.fromkeys(POOLED, config.hidden_size),
                **dict.fromkeys(numbers, 1),
                "transcript_length": 1,
                "transcript": TRANSCRIPT_LENGTH,
            },
            source=str(weights),
        )

    def _embed(self, inputs: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
        states = self._model.wav2vec2(inputs).last_hidden_state
        # Always float32: near a confidence of 1, bfloat16 has steps of 0.004.
        logits = self._model.lm_head(states).float()
        confidence, tokens = logits.softmax(dim=2).max(dim=2)
        blank = self._settings["blank"]
        numbers = [
            confidence.mean(dim=1),
            confidence.var(dim=1, correction=0),
            (tokens == blank).float().mean(dim=1),
        ]
        texts = [
            greedy_text(ids, self._settings["symbols"], blank)
            for ids in tokens.tolist()
        ]
        return torch.cat(
            [pool(states).cpu(), torch.stack(numbers, dim=1).cpu(), _coded(texts)],
            dim=1,
        )

    def _join(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        if len(features) == 1:
            return features[0]
        # Statistics are averaged; characters are not.
        numbers = super()._join(features[:, : -TRANSCRIPT_LENGTH - 1])
        texts = [decoded(row[-TRANSCRIPT_LENGTH:]) for row in features]
        text = _coded([" ".join(filter(None, texts))])[0].numpy()
        return np.concatenate([numbers, text])


def read_symbols(folder: Path, vocab_size: int) -> list[str]:
    """Read the text of each token in a transcript, by token id.

    The word delimiter becomes a space, a special token nothing. Raises CheckpointError
    if ``vocab.json`` in `folder` does not map each of the model's tokens to its id.
    """
    vocabulary = read_json(folder / "vocab.json")
    config = read_json(folder / "tokenizer_config.json")
    ids = list(vocabulary.values())
    whole = all(type(i) is int for i in ids) and len(ids) == vocab_size
    if not whole or set(ids) != set(range(vocab_size)):
        msg = (
            f"{folder / 'vocab.json'} must map each of the model's {vocab_size} tokens "
            f"to its id; it has {len(vocabulary)} entries. If it contains several "
            f"languages, keep only one."
        )
        raise CheckpointError(msg)
    writes = {config.get("word_delimiter_token", "|"): " "}
    for name, default in _SPECIAL.items():
        token = config.get(name, default)
        writes[token["content"] if isinstance(token, Mapping) else token] = ""
    return [writes.get(t, t) for t in sorted(vocabulary, key=lambda t: vocabulary[t])]


def greedy_text(tokens: Sequence[int], symbols: Sequence[str], blank: int) -> str:
    """Decode the most probable token of each frame: merge repeats, drop blanks.

    Examples
    --------
    >>> from clapstack.encoders.audio._ctc import greedy_text
    >>> greedy_text([1, 1, 0, 1, 2, 3, 0], ["", "a", " ", "b"], blank=0)
    'aa b'
    """
    merged = (token for token, _ in groupby(tokens))
    return "".join(symbols[token] for token in merged if token != blank).strip()


def decoded(codes: NDArray[np.float32]) -> str:
    """Return the text of a zero-padded row of code points."""
    return "".join(map(chr, codes[codes > 0].astype(int)))


def _coded(texts: Sequence[str]) -> torch.Tensor:
    """Return the length of each text and its code points, cut or zero-padded."""
    rows: Any = torch.zeros(len(texts), 1 + TRANSCRIPT_LENGTH)
    for row, text in zip(rows, texts, strict=True):
        points = [ord(character) for character in text[:TRANSCRIPT_LENGTH]]
        row[0] = len(text)
        row[1 : 1 + len(points)] = torch.tensor(points)
    return rows
