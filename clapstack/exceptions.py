"""Exceptions and warnings that callers can handle separately."""

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
    "MissingCheckpointError",
    "ModelFileError",
    "TableError",
    "UnstableEncoderWarning",
    "UntrustedTypesError",
]


class AudioError(ValueError):
    """A clip is unusable; the message describes it and the remedy."""


class CheckpointError(ValueError):
    """A checkpoint cannot be found, read or matched to its model."""


class MissingCheckpointError(CheckpointError):
    """A checkpoint is neither on this machine nor available from the hub."""


class CollapsedTowerWarning(UserWarning):
    """A tower maps distinct inputs to one embedding, or its projection is untrained."""


class UnstableEncoderWarning(UserWarning):
    """A custom encoder embeds the same input in two ways."""


class FingerprintMismatchError(ValueError):
    """The weights differ from those that the model was fitted with."""


class ModelFileError(ValueError):
    """A model file is damaged, altered or too new, or predicts differently here."""


class TableError(ValueError):
    """A table cannot be read; the message names the file, line and remedy."""


class BadRowsError(TableError):
    """A table was read, but some rows are unusable; the message names them."""


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
            f"{path!r} contains types that are not trusted: {', '.join(self.types)}. "
            "Nothing was loaded. If you know their code and want it to run, name them: "
            f"load_model(path, trusted={self.types!r}), or on the command line "
            f"{' '.join(map(_as_option, self.types))}."
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path, self.types)


def _as_option(name: str) -> str:
    """Return the option that trusts a type; types of a script have no module name."""
    module, _, short = name.rpartition(".")
    module = "MODULE" if module == "__main__" else module
    return f"--trust-encoder {module}:{short}"


class BadPair(NamedTuple):
    """An unusable row of a table of pairs.

    Attributes
    ----------
    position : int
        Row number, from zero.
    index : object
        Index label of the row.
    source : str
        The path or a description of the audio, or the text. Empty if there is none.
    reason : str
        The fault and its remedy.
    """

    position: int
    index: Any
    source: str
    reason: str


class BadPairsError(ValueError):
    """Some pairs are unusable; the message names the first 20.

    Parameters
    ----------
    rows : sequence of BadPair
        All unusable rows.
    n_pairs : int
        Number of rows in the table.

    Attributes
    ----------
    rows : list of BadPair
        All unusable rows, in order of position.
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
