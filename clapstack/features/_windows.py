"""Embeddings of short windows of clips, looked up or encoded and stored."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from clapstack.audio import READING_VERSION, short_window_starts
from clapstack.features._embedding import (
    Clips,
    PairEncoder,
    check_embeddings,
    opened_store,
)
from clapstack.store import EmbeddingStore

__all__ = ["ClipWindows", "embed_windows"]

# Increment when a change here or in an encoder's windows alters the stored values.
_VERSION = "1"
# Values stored after each embedding: start, stop and power.
_N_MORE = 3


class ClipWindows(NamedTuple):
    """Short windows of a clip.

    Attributes
    ----------
    embeddings : ndarray of shape (n_windows, projection_dim), float32
        Rows of unit norm.
    starts, stops : ndarray of shape (n_windows,), float32
        Times in seconds, ascending; the last stop is the end of the clip.
    power : ndarray of shape (n_windows,), float32
        Mean square of the samples, at the encoder's rate.
    """

    embeddings: np.ndarray
    starts: np.ndarray
    stops: np.ndarray
    power: np.ndarray


def embed_windows(
    sources: list[Any],
    encoder: PairEncoder,
    *,
    length: float,
    hop: float,
    method: str,
    batch_size: int,
    cache: str | os.PathLike[str] | None,
    verbose: bool,
) -> list[ClipWindows | None]:
    """Embed short windows of clips, each distinct clip at most once.

    Parameters
    ----------
    sources : list
        Clips, as in the column ``audio`` of a table.
    encoder : PairEncoder
        Without a method ``encode_windows``, it receives windows as separate clips.
    length, hop : float
        Length of a window and time between the starts of two, in seconds.
    method : {"tiled", "dense"}
        As for ``ClapEncoder.encode_windows``.
    batch_size : int
        Clips per transaction of the store.
    cache : {"auto"}, path-like or None
        As for `open_store`.
    verbose : bool
        Whether to show a progress bar.

    Returns
    -------
    windows : list of ClipWindows or None
        One per source; None for an unusable clip, which `embed_pairs` reports.

    Raises
    ------
    ValueError
        If an encoder returns embeddings of the wrong shape or with non-finite values.
    """
    rate = encoder.sample_rate
    scope = (
        f"{encoder.identity}\nwindows {length!r} {hop!r} {method} {_VERSION} {rate} "
        f"{READING_VERSION}"
    )
    with opened_store(cache, encoder) as store:
        clips = Clips(sources, store)
        shelf = _Shelf(store, scope, encoder.projection_dim + _N_MORE)
        found = shelf.get(list(clips.distinct))
        missing = [key for key in clips.distinct if key not in found]
        for keys, waveforms, read_keys in clips.read(
            missing, encoder, batch_size, verbose
        ):
            starts = [
                short_window_starts(len(waveform) / rate, length, hop)
                for waveform in waveforms
            ]
            embedded = [
                check_embeddings(units, len(begins), encoder, "windows")
                for units, begins in zip(
                    _encode(encoder, waveforms, starts, length, method),
                    starts,
                    strict=True,
                )
            ]
            rows = [
                _row(waveform, begins, units, rate, length)
                for waveform, begins, units in zip(
                    waveforms, starts, embedded, strict=True
                )
            ]
            shelf.put(read_keys, rows)
            found.update(zip(keys, rows, strict=True))
    windows: dict[Any, ClipWindows] = {
        key: ClipWindows(table[:, :-_N_MORE], *table[:, -_N_MORE:].T)
        for key, table in found.items()
    }
    return [windows.get(key) for key in clips.keys]


def _encode(
    encoder: Any,
    waveforms: Sequence[np.ndarray],
    starts: Sequence[Sequence[float]],
    length: float,
    method: str,
) -> Sequence[np.ndarray]:
    """Return the unit embeddings of each waveform's windows."""
    if getattr(encoder, "cuts_windows", hasattr(encoder, "encode_windows")):
        return encoder.encode_windows(waveforms, starts, length, method=method)
    if method != "tiled":
        msg = (
            f"{type(encoder).__name__} has no method encode_windows, which {method!r} "
            "windows require. Use 'tiled', which encodes windows as separate clips."
        )
        raise ValueError(msg)
    size = round(length * encoder.sample_rate)
    pieces = [
        waveform[begin : begin + size]
        for waveform, begins in zip(waveforms, starts, strict=True)
        for begin in (round(start * encoder.sample_rate) for start in begins)
    ]
    units = encoder.encode_audio(pieces, crop="windows", batch_size=32)
    return np.split(units, np.cumsum([len(begins) for begins in starts])[:-1])


def _row(
    waveform: np.ndarray,
    starts: Sequence[float],
    units: np.ndarray,
    rate: int,
    length: float,
) -> np.ndarray:
    """Return a clip's stored table: embedding, start, stop and power of each window."""
    stops = [min(start + length, len(waveform) / rate) for start in starts]
    powers = [
        np.mean(np.square(waveform[round(a * rate) : round(b * rate)], dtype=float))
        for a, b in zip(starts, stops, strict=True)
    ]
    return np.column_stack([units, starts, stops, powers]).astype(np.float32)


class _Shelf:
    """Tables of one width and any length in the store.

    A lookup in the store returns rows of one width. Each table is therefore stored as
    one row, under a scope that contains its length. The length itself is a row of one
    number under another scope, which is looked up first. It is stored last, so that an
    interruption never leaves a length without its table.
    """

    def __init__(self, store: EmbeddingStore | None, scope: str, width: int):
        self._store = store
        self._scope = scope
        self._width = width

    def get(self, keys: list[str]) -> dict[str, np.ndarray]:
        """Return the stored tables, by key."""
        if self._store is None:
            return {}
        tables: dict[str, np.ndarray] = {}
        found, lengths = self._store.get(self._scope, keys, 1)
        lengths = lengths[:, 0].astype(int)
        for length in np.unique(lengths[found]).tolist():
            of_length = [
                key
                for key, is_there, own in zip(keys, found, lengths, strict=True)
                if is_there and own == length
            ]
            there, rows = self._store.get(
                f"{self._scope}\n{length}", of_length, length * self._width
            )
            tables.update(
                (key, row.reshape(length, self._width))
                for key, row, is_whole in zip(of_length, rows, there, strict=True)
                if is_whole
            )
        return tables

    def put(self, keys: Sequence[str], tables: Sequence[np.ndarray]) -> None:
        """Store tables; existing ones stay unchanged."""
        if self._store is None:
            return
        lengths = np.array([len(table) for table in tables])
        for length in np.unique(lengths).tolist():
            some = np.flatnonzero(lengths == length).tolist()
            self._store.put(
                f"{self._scope}\n{length}",
                [keys[i] for i in some],
                np.stack([tables[i].ravel() for i in some]),
            )
        self._store.put(self._scope, keys, lengths[:, None])
