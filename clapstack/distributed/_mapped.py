"""Files of rows as one array, read on demand."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

_MOST_OPEN = 16  # each open map uses one of a process's roughly 1,000 file handles


class MappedRows:
    """Vertically stacked arrays in ``.npy`` files, never fully in memory.

    It implements the part of the array interface that `StreamedFeatures` needs. A
    pickle contains only the paths.

    Parameters
    ----------
    paths : sequence of path-like
        Files of float32 arrays of shape (n_rows, width).
    n_rows : sequence of int
        Number of rows of each file.
    width : int
        Number of columns of each file.

    Attributes
    ----------
    shape : tuple of (n_rows, width)
        Shape of the whole.
    """

    dtype = np.dtype(np.float32)
    ndim = 2

    def __init__(
        self,
        paths: Sequence[str | os.PathLike[str]],
        n_rows: Sequence[int],
        width: int,
    ):
        held = [i for i, count in enumerate(n_rows) if count]  # empty files cannot map
        self._paths = [os.fspath(paths[i]) for i in held]
        self._n_rows = [n_rows[i] for i in held]
        self._stops = np.cumsum(self._n_rows, dtype=np.intp)
        self.shape = (sum(n_rows), width)
        self._map = lru_cache(_MOST_OPEN)(self._open)

    def __reduce__(self):
        return type(self), (self._paths, self._n_rows, self.shape[1])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | np.ndarray) -> npt.NDArray[np.float32]:
        """Return rows, given a slice or numbers from zero."""
        if isinstance(rows, slice):
            start, stop, step = rows.indices(self.shape[0])
            if step == 1:
                return self._run(start, stop)
            rows = np.arange(start, stop, step)
        out = np.empty((len(rows), self.shape[1]), self.dtype)
        files = np.searchsorted(self._stops, rows, side="right")
        for number in np.unique(files):
            here = files == number
            out[here] = self._map(number)[rows[here] - self._first(number)]
        return out

    def _run(self, start, stop):
        """Return consecutive rows, as a memory map if they are in one file."""
        parts = []
        number = int(np.searchsorted(self._stops, start, side="right"))
        while start < stop:
            first, end = self._first(number), min(stop, int(self._stops[number]))
            parts.append(self._map(number)[start - first : end - first])
            start, number = end, number + 1
        if not parts:
            return np.empty((0, self.shape[1]), self.dtype)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _first(self, number):
        return int(self._stops[number]) - self._n_rows[number]

    def _open(self, number):
        mapped = np.load(self._paths[number], mmap_mode="r", allow_pickle=False)
        expected = (self._n_rows[number], self.shape[1])
        if mapped.shape != expected or mapped.dtype != self.dtype:
            msg = (
                f"{self._paths[number]} must contain a float32 array of shape "
                f"{expected}; it contains {mapped.dtype} of shape {mapped.shape}. Run "
                "write_features again."
            )
            raise ValueError(msg)
        return mapped
