"""From pairs to embeddings: look up, read and encode what is missing, store it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from itertools import chain
from typing import Any, Protocol

import numpy as np
import pandas as pd

from clapstack._batched import batched
from clapstack._optional import progress
from clapstack.audio import (
    READING_VERSION,
    FileState,
    audio_key,
    describe_audio,
    file_state,
    read_keyed_audio,
)
from clapstack.exceptions import AudioError, BadPair, BadPairsError
from clapstack.features._shared import SharedClips, shared_bytes
from clapstack.pairs import bad_texts
from clapstack.store import EmbeddingStore, embedding_key, open_store, text_key

__all__ = ["PairEncoder", "embed_pairs", "one_bad_pair_per_row"]

_READERS = min(16, os.cpu_count() or 1)
_SOURCES_PER_TASK = 64  # a task of one source would cost more than its lookup
_SHARED = SharedClips(shared_bytes())


class PairEncoder(Protocol):
    """What `embed_pairs` needs of an encoder with two towers."""

    sample_rate: int
    projection_dim: int
    fingerprint: str | None
    identity: str | None

    def encode_audio(
        self, waveforms: Sequence[np.ndarray], *, crop: str | None, batch_size: int
    ) -> np.ndarray:
        """Return unit embeddings of mono float32 clips at `sample_rate`."""

    def encode_text(self, texts: Sequence[str], *, batch_size: int) -> np.ndarray:
        """Return unit embeddings of texts."""


def embed_pairs(
    pairs: pd.DataFrame,
    encoder: PairEncoder,
    *,
    crop: str | None,
    batch_size: int,
    cache: str | os.PathLike[str] | None,
    verbose: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Embed both sides of every pair, each distinct clip and text at most once.

    Parameters
    ----------
    pairs : DataFrame of shape (n_pairs, 2)
        As from `check_pairs`.
    encoder : PairEncoder
        The frozen encoder. Nothing is stored if its identity is None.
    crop : str or None
        Handed to the encoder, and part of the key of an audio embedding.
    batch_size : int
        Clips or texts per forward pass, and clips per transaction of the store.
    cache : {"auto"}, path-like or None
        As for `open_store`.
    verbose : bool
        Whether to show progress bars.

    Returns
    -------
    audio, text : ndarray of shape (n_pairs, projection_dim)
        float32 embeddings, in the order of `pairs`.

    Raises
    ------
    BadPairsError
        If a row cannot be used. It names every such row; all the others are encoded
        and stored by then.
    """
    store = open_store(cache) if encoder.identity is not None else None
    bad = bad_texts(pairs)
    unreadable = {row.position for row in bad}
    with closing(store) if store is not None else nullcontext():
        clips = _embed_clips(
            pairs["audio"].tolist(), encoder, store, crop, batch_size, verbose
        )
        texts = _embed_texts(
            [text for i, text in enumerate(pairs["text"]) if i not in unreadable],
            encoder,
            store,
            batch_size,
            verbose,
        )
    rows = zip(pairs.index, pairs["audio"], clips, strict=True)
    for position, (index, source, clip) in enumerate(rows):
        if isinstance(clip, AudioError):
            bad.append(BadPair(position, index, describe_audio(source), str(clip)))
    if bad:
        raise BadPairsError(one_bad_pair_per_row(bad), len(pairs))
    return np.stack(clips), np.stack(texts)


def one_bad_pair_per_row(bad: Iterable[BadPair]) -> list[BadPair]:
    """Join the faults of the same row, so that a count of faults counts rows."""
    rows: dict[int, BadPair] = {}
    for fault in bad:
        other = rows.get(fault.position)
        if other is not None:
            fault = other._replace(
                source=f"{other.source} and {fault.source}",
                reason=f"{other.reason} Also: {fault.reason}",
            )
        rows[fault.position] = fault
    return list(rows.values())


class _Shelf:
    """The part of the store that belongs to one encoder and one kind of input."""

    def __init__(self, store: EmbeddingStore | None, scope: str):
        self.store = store
        self.scope = scope

    def get(self, keys: Iterable[str]) -> dict[str, Any]:
        if self.store is None:
            return {}
        content = {embedding_key(key, self.scope): key for key in keys}
        return {content[at]: row for at, row in self.store.get(content).items()}

    def put(self, keys: Iterable[str], embeddings: np.ndarray) -> None:
        if self.store is not None:
            places = [embedding_key(key, self.scope) for key in keys]
            self.store.put(dict(zip(places, embeddings, strict=True)))


def _embed_clips(
    sources: list[Any],
    encoder: PairEncoder,
    store: EmbeddingStore | None,
    crop: str | None,
    batch_size: int,
    verbose: bool,
) -> list[Any]:
    """Return, for every clip, its embedding or what is wrong with it."""
    rate = encoder.sample_rate
    shelf = _Shelf(store, f"{encoder.identity}\naudio {rate} {crop} {READING_VERSION}")
    keys = _audio_keys(sources, store)
    distinct = {
        key: source
        for key, source in zip(keys, sources, strict=True)
        if isinstance(key, str)
    }
    _SHARED.keep_only(distinct)
    done = shelf.get(distinct)
    missing = {key: source for key, source in distinct.items() if key not in done}
    with _bar(len(missing), "clip", verbose) as bar:
        for batch in _read_ahead(missing, rate, batch_size):
            done.update((key, clip) for key, clip, _ in batch)
            good = [row for row in batch if not isinstance(row[1], AudioError)]
            if good:
                clip_keys, waveforms, read_keys = zip(*good, strict=True)
                embeddings = _checked(
                    encoder.encode_audio(waveforms, crop=crop, batch_size=batch_size),
                    len(good),
                    encoder,
                )
                shelf.put(read_keys, embeddings)
                done.update(zip(clip_keys, embeddings, strict=True))
            bar.update(len(batch))
    return [done[key] if isinstance(key, str) else key for key in keys]


def _embed_texts(
    texts: list[str],
    encoder: PairEncoder,
    store: EmbeddingStore | None,
    batch_size: int,
    verbose: bool,
) -> list[np.ndarray]:
    """Return the embedding of every text."""
    shelf = _Shelf(store, f"{encoder.identity}\ntext")
    keys = [text_key(text) for text in texts]
    distinct = dict(zip(keys, texts, strict=True))
    done = shelf.get(distinct)
    missing = [key for key in distinct if key not in done]
    # Texts of like length together, so that little is padded; the longest first, so
    # that the time left is overrated rather than underrated.
    missing.sort(key=lambda key: len(distinct[key]), reverse=True)
    with _bar(len(missing), "text", verbose) as bar:
        for batch in batched(missing, batch_size):
            embeddings = _checked(
                encoder.encode_text(
                    [distinct[key] for key in batch], batch_size=batch_size
                ),
                len(batch),
                encoder,
            )
            shelf.put(batch, embeddings)
            done.update(zip(batch, embeddings, strict=True))
            bar.update(len(batch))
    return [done[key] for key in keys]


def _audio_keys(
    sources: list[Any], store: EmbeddingStore | None
) -> list[str | AudioError]:
    """Return the content key of every source, or what is wrong with it.

    A file that is as it was when the store noted its key is not read for it.
    """

    def states_of(some: list[Any]) -> list[FileState | None]:
        return [file_state(source) for source in some]

    def keys_of(some: list[Any]) -> list[str | AudioError]:
        return [_attempt(audio_key, source) for source in some]

    with ThreadPoolExecutor(_READERS) as pool:

        def spread(function: Callable[..., Any], items: list[Any]) -> list[Any]:
            parts = pool.map(function, batched(items, _SOURCES_PER_TASK))
            return list(chain.from_iterable(parts))

        # Taken before any file is read: one that changes meanwhile has another state.
        states = spread(states_of, sources)
        known = {} if store is None else store.recall_files(filter(None, set(states)))
        new = [i for i, state in enumerate(states) if state not in known]
        keys: list[Any] = [known.get(state) for state in states]
        for i, key in zip(new, spread(keys_of, [sources[i] for i in new]), strict=True):
            keys[i] = key
    if store is not None:
        found = {states[i]: keys[i] for i in new if isinstance(keys[i], str)}
        found.pop(None, None)
        store.remember_files(found)
    return keys


def _read_ahead(
    sources: dict[str, Any], sample_rate: int, batch_size: int
) -> Iterator[list[tuple[str, np.ndarray | AudioError, str]]]:
    """Yield batches of (key, samples or fault, key of what was read).

    While one batch is encoded the next is read, so that two are held at most, besides
    the clips that are shared.
    """

    def read(key: str) -> tuple[str, np.ndarray | AudioError, str]:
        shared = _SHARED.get(key, sample_rate)
        if shared is not None:
            return key, shared, key
        clip = _attempt(read_keyed_audio, sources[key], sample_rate)
        if isinstance(clip, AudioError):
            return key, clip, key
        samples, read_key = clip
        _SHARED.put(read_key, sample_rate, samples)
        return key, samples, read_key

    with ThreadPoolExecutor(_READERS) as pool:
        upcoming: list[Any] = []
        for batch in chain(batched(sources, batch_size), [[]]):
            current = upcoming
            upcoming = [pool.submit(read, key) for key in batch]
            if current:
                yield [future.result() for future in current]


def _attempt(function: Callable[..., Any], source: Any, *args: Any) -> Any:
    """Call a reader; return its AudioError, without the name of the source."""
    try:
        return function(source, *args)
    except AudioError as error:
        return AudioError(str(error).removeprefix(f"{describe_audio(source)}: "))


def _checked(embeddings: Any, n_rows: int, encoder: PairEncoder) -> np.ndarray:
    """Refuse what must not be stored: a wrong shape, NaN, infinities."""
    embeddings = np.asarray(embeddings, dtype=np.float32)
    expected = (n_rows, encoder.projection_dim)
    if embeddings.shape != expected or not np.isfinite(embeddings).all():
        msg = (
            f"{type(encoder).__name__} must return finite embeddings of shape "
            f"{expected}; got shape {embeddings.shape} with "
            f"{np.count_nonzero(~np.isfinite(embeddings))} values that are not finite."
        )
        raise ValueError(msg)
    return embeddings


def _bar(total: int, unit: str, verbose: bool) -> Any:
    return progress(
        total=total,
        desc=f"encoding {unit}s",
        unit=unit,
        verbose=verbose and total > 0,
    )
