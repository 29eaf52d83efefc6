"""Exceptions that callers catch separately."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

__all__ = [
    "AudioError",
    "BadPair",
    "BadPairsError",
    "BadRowsError",
    "CheckpointError",
    "CollapsedTowerWarning",
    "FingerprintMismatchError",
    "ModelFileError",
    "TableError",
    "UnstableEncoderWarning",
    "UntrustedTypesError",
]


class AudioError(ValueError):
    """One clip cannot be used; the message says what arrived and what to do."""


class CheckpointError(ValueError):
    """A checkpoint cannot be found, read or matched to its model."""


class CollapsedTowerWarning(UserWarning):
    """A tower gives distinct inputs one embedding, or its projection is untrained."""


class UnstableEncoderWarning(UserWarning):
    """An encoder of one's own embeds one input in two ways."""


class FingerprintMismatchError(ValueError):
    """The weights at hand are not the weights that made the fitted features."""


class ModelFileError(ValueError):
    """A model file is damaged, altered, too new, or does not predict as it did."""


class TableError(ValueError):
    """A table cannot be read; the message names the file, the line and the remedy."""


class BadRowsError(TableError):
    """A table was read, and some of its rows cannot be used; they are named."""


class UntrustedTypesError(ModelFileError):
    """A model file names types that neither clapstack nor the user trusts.

    Parameters
    ----------
    path : str
        The file.
    types : sequence of str
        Full names of the types.

    Attributes
    ----------
    types : list of str
        Full names of the types, sorted.
    """

    def __init__(self, path: str, types: Sequence[str]):
        self.path = path
        self.types = sorted(types)
        super().__init__(
            f"{path!r} holds types that are not trusted: {', '.join(self.types)}. "
            "Nothing of it was loaded. If you know their code and want it to run, name "
            f"them: load_model(path, trusted={self.types!r}), or on the command line "
            f"{' '.join(map(_as_option, self.types))}."
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path, self.types)


def _as_option(name: str) -> str:
    """Return the option that trusts a type; one of a script has no module to name."""
    module, _, short = name.rpartition(".")
    module = "MODULE" if module == "__main__" else module
    return f"--trust-encoder {module}:{short}"


class BadPair(NamedTuple):
    """One row that could not be used.

    Attributes
    ----------
    position : int
        Row number, from zero.
    index : object
        Index label of the row.
    source : str
        The path or a description of the audio, or the text.
    reason : str
        What is wrong and what to do about it.
    """

    position: int
    index: Any
    source: str
    reason: str


class BadPairsError(ValueError):
    """Some pairs cannot be used; every one is named.

    Parameters
    ----------
    rows : sequence of BadPair
        Every row that failed.
    n_pairs : int
        How many rows were given.

    Attributes
    ----------
    rows : list of BadPair
        Every row that failed, in order of position.
    """

    _shown = 20

    def __init__(self, rows: Sequence[BadPair], n_pairs: int):
        self.rows = sorted(rows, key=lambda row: row.position)
        self.n_pairs = n_pairs
        lines = [
            f"  row {row.position} (index {row.index!r})"
            f"{row.source and f', {row.source}'}: {row.reason}"
            for row in self.rows[: self._shown]
        ]
        if len(self.rows) > self._shown:
            lines.append(
                f"  … and {len(self.rows) - self._shown} more, in the .rows attribute"
            )
        super().__init__(
            f"{len(self.rows)} of {n_pairs} pairs cannot be used:\n" + "\n".join(lines)
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.rows, self.n_pairs)
