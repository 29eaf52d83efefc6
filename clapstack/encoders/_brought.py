"""Checkpoints that are nowhere on the hub: the user brings them."""

from __future__ import annotations

from pathlib import Path

from clapstack.encoders._finding import bert_tokenizer_beside
from clapstack.exceptions import CheckpointError


def find_file(checkpoint: str, what: str) -> Path:
    """Locate a file of weights that is nowhere on the hub.

    Parameters
    ----------
    checkpoint : str
        Path of the file.
    what : str
        What the file is and who has it, for the message.

    Raises
    ------
    CheckpointError
        If there is no such file.
    """
    path = Path(checkpoint).expanduser()
    if not path.is_file():
        msg = (
            f"There is no file {str(path)!r} (looked for {path.absolute()}). The "
            f"checkpoint must be {what}. It is not fetched by itself: put it anywhere "
            f"on this machine and pass its path."
        )
        raise CheckpointError(msg)
    return path


def find_bert_tokenizer(weights: Path) -> Path:
    """Return the folder of the tokenizer of a file whose text tower is BERT.

    Parameters
    ----------
    weights : Path
        The file; the tokenizer is beside it, or in ``tokenizer/`` beside it.

    Raises
    ------
    CheckpointError
        If it is in neither place.
    """
    folder = bert_tokenizer_beside(weights)
    if folder is not None:
        return folder
    msg = (
        f"There is no tokenizer beside {weights}. Put the tokenizer of "
        f"'google-bert/bert-base-uncased' on the Hugging Face hub (tokenizer.json, or "
        f"vocab.txt) into {weights.parent} or into tokenizer/ there."
    )
    raise CheckpointError(msg)
