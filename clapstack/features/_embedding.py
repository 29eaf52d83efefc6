"""Embeddings of pairs, looked up in the store or encoded and stored."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import PurePath
from typing import Any, Protocol

import numpy as np
import pandas as pd

from clapstack._compat import batched
from clapstack._numerics.collapse import warn_if_collapsed
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
from clapstack.features._clip_cache import ClipCache, clip_cache_bytes
from clapstack.pairs import bad_texts
from clapstack.store import EmbeddingStore, open_store, text_key

__all__ = [
    "ClipEncoder",
    "Clips",
    "PairEncoder",
    "check_embeddings",
    "embed_clips",
    "embed_pairs",
    "embed_texts",
    "embed_together",
    "opened_store",
    "refuse_bad_pairs",
]

_READERS = min(16, os.cpu_count() or 1)
_SOURCES_PER_TASK = 256  # a task of one source would cost more than its lookup
_FEW_SOURCES = 4  # so few are read in the calling thread
_SLOW_S = 2e-4  # per file status; a local disk needs a hundredth of it
# Number of distinct inputs that suffice to detect a collapsed tower.
_ENOUGH_INPUTS = 1000
# Content keys of the files that this process has seen; about 0.5 kB each.
_KEYS: dict[Any, str] = {}
_MOST_KEYS = 100_000
_CLIPS = ClipCache(clip_cache_bytes())


class PairEncoder(Protocol):
    """Interface of the two-tower encoders that `embed_pairs` accepts."""

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


class ClipEncoder(Protocol):
    """Interface of the encoders that `embed_clips` accepts."""

    sample_rate: int
    embedding_dim: int
    identity: str | None

    def encode_audio(
        self, waveforms: Sequence[np.ndarray], *, crop: str | None, batch_size: int
    ) -> np.ndarray:
        """Return one row of `embedding_dim` values per mono float32 clip."""


def embed_clips(
    pairs: pd.DataFrame,
    encoder: ClipEncoder,
    *,
    crop: str | None,
    batch_size: int,
    cache: str | os.PathLike[str] | None,
    verbose: bool,
) -> np.ndarray:
    """Embed the clip of every pair, each distinct one at most once.

    Like `embed_pairs`, but for an audio-only encoder. Unusable texts are errors here
    too, so that all encoders reject the same rows.
    """
    with opened_store(cache, encoder) as store:
        clips, bad = _embed_clips(
            pairs["audio"].tolist(), encoder, store, crop, batch_size, verbose
        )
    refuse_bad_pairs([*bad, *bad_texts(pairs)], pairs)
    return clips


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
        Passed to the encoder, and part of the store key of audio embeddings.
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
        If some rows are unusable. The error lists all of them; the other rows are
        encoded and stored first.
    """
    bad = bad_texts(pairs)
    unusable = {row.position for row in bad}
    texts = [t for i, t in enumerate(pairs["text"].tolist()) if i not in unusable]
    with opened_store(cache, encoder) as store:
        clips, bad_clips = _embed_clips(
            pairs["audio"].tolist(), encoder, store, crop, batch_size, verbose
        )
        embedded = embed_texts(texts, encoder, store, batch_size, verbose)
    refuse_bad_pairs([*bad, *bad_clips], pairs)
    return clips, embedded


def embed_together(
    pairs: pd.DataFrame,
    encoder: Any,
    *,
    crop: str | None,
    batch_size: int,
    cache: str | os.PathLike[str] | None,
    verbose: bool,
) -> np.ndarray:
    """Embed each distinct (clip, text) pair jointly, at most once.

    Like `embed_pairs`, but for an encoder with ``encode_pairs(waveforms, texts, *,
    crop)``. Call `embed_pairs` first, which rejects unusable pairs.
    """
    rate = encoder.sample_rate
    scope = f"{_text_identity(encoder)}\npair {rate} {crop} {READING_VERSION}"
    sources, texts = pairs["audio"].tolist(), pairs["text"].tolist()
    with opened_store(cache, encoder) as store:
        clips = _audio_keys(sources, store)
        keys = [text_key(f"{clip} {t}") for clip, t in zip(clips, texts, strict=True)]
        place = {key: row for row, key in enumerate(dict.fromkeys(keys))}
        found, rows = _look_up(store, scope, list(place), _width(encoder))
        missing: dict[Any, dict[str, str]] = {}
        for key, clip, text in zip(keys, clips, texts, strict=True):
            if not found[place[key]]:
                missing.setdefault(clip, {})[key] = text
        where = dict(zip(clips, sources, strict=True))
        with _bar(sum(map(len, missing.values())), "pair", encoder, verbose) as bar:
            wanted = {clip: where[clip] for clip in missing}
            for batch in _read_ahead(wanted, rate, batch_size):
                for clip, samples, read_key in batch:
                    if read_key != clip or isinstance(samples, AudioError):
                        name = describe_audio(where[clip])
                        msg = f"{name} changed while it was read. Run this again."
                        raise AudioError(msg)
                    some = missing[clip]
                    rows[[place[key] for key in some]] = _stored(
                        encoder.encode_pairs(
                            [samples] * len(some), list(some.values()), crop=crop
                        ),
                        encoder,
                        store,
                        scope,
                        list(some),
                    )
                    bar.update(len(some))
    return rows[[place[key] for key in keys]]


@contextmanager
def opened_store(
    cache: str | os.PathLike[str] | None, encoder: PairEncoder | ClipEncoder
) -> Iterator[EmbeddingStore | None]:
    """Open the store and close it at the end; None if nothing is stored."""
    store = open_store(cache) if encoder.identity is not None else None
    try:
        yield store
    finally:
        if store is not None:
            store.close()


def refuse_bad_pairs(bad: Iterable[BadPair], pairs: pd.DataFrame) -> None:
    """Raise BadPairsError if there are faults, merged into one per row."""
    rows: dict[int, BadPair] = {}
    for fault in bad:
        other = rows.get(fault.position)
        if other is not None:
            fault = other._replace(
                source=f"{other.source} and {fault.source}",
                reason=f"{other.reason} Also: {fault.reason}",
            )
        rows[fault.position] = fault._replace(index=pairs.index[fault.position])
    if rows:
        raise BadPairsError(list(rows.values()), len(pairs))


def _embed_clips(
    sources: list[Any],
    encoder: PairEncoder | ClipEncoder,
    store: EmbeddingStore | None,
    crop: str | None,
    batch_size: int,
    verbose: bool,
) -> tuple[np.ndarray, list[BadPair]]:
    """Return one row per clip (zeros if unusable) and the list of unusable clips."""
    rate = encoder.sample_rate
    scope = f"{encoder.identity}\naudio {rate} {crop} {READING_VERSION}"
    clips = Clips(sources, store)
    place = {key: row for row, key in enumerate(clips.distinct)}
    found, rows = _look_up(store, scope, list(place), _width(encoder))
    missing = [key for key, row in place.items() if not found[row]]
    for keys, waveforms, read_keys in clips.read(missing, encoder, batch_size, verbose):
        rows[[place[key] for key in keys]] = _stored(
            encoder.encode_audio(waveforms, crop=crop, batch_size=batch_size),
            encoder,
            store,
            scope,
            read_keys,
        )
    _check_collapse("audio", rows, encoder)
    return _in_order(rows, [place.get(key, -1) for key in clips.keys]), clips.bad()


class Clips:
    """Distinct clips of a table, and the errors of unusable ones.

    Attributes
    ----------
    keys : list of str or AudioError
        Content key of each source, or its error.
    distinct : dict of str to object
        One source per key, in table order.
    faults : dict of str or AudioError to AudioError
        Error of each unusable clip; decoding errors are added during reading.
    """

    def __init__(self, sources: list[Any], store: EmbeddingStore | None):
        self._sources = sources
        self.keys = _audio_keys(sources, store)
        self.faults: dict[Any, AudioError] = {
            key: key for key in self.keys if isinstance(key, AudioError)
        }
        self.distinct: dict[Any, Any] = dict(zip(self.keys, sources, strict=True))
        for fault in self.faults:
            del self.distinct[fault]
        _CLIPS.keep_only(self.distinct)

    def read(
        self, keys: Iterable[str], encoder: Any, batch_size: int, verbose: bool
    ) -> Iterator[tuple[tuple[str, ...], tuple[np.ndarray, ...], tuple[str, ...]]]:
        """Yield batches of keys, samples and keys of the content that was read."""
        missing = {key: self.distinct[key] for key in keys}
        with _bar(len(missing), "clip", encoder, verbose) as bar:
            for batch in _read_ahead(missing, encoder.sample_rate, batch_size):
                good = []
                for key, clip, read_key in batch:
                    if isinstance(clip, AudioError):
                        self.faults[key] = clip
                    else:
                        good.append((key, clip, read_key))
                if good:
                    read, waveforms, read_keys = zip(*good, strict=True)
                    yield read, waveforms, read_keys
                bar.update(len(batch))

    def bad(self) -> list[BadPair]:
        """Return the rows with unusable clips."""
        return [
            BadPair(i, i, describe_audio(self._sources[i]), str(self.faults[key]))
            for i, key in enumerate(self.keys)
            if key in self.faults
        ]


def embed_texts(
    texts: list[str],
    encoder: PairEncoder,
    store: EmbeddingStore | None,
    batch_size: int,
    verbose: bool,
) -> np.ndarray:
    """Return one embedding per text; texts may repeat."""
    scope = f"{_text_identity(encoder)}\ntext"
    place = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    keys = [text_key(text) for text in place]
    found, rows = _look_up(store, scope, keys, _width(encoder))
    missing = [text for text, row in place.items() if not found[row]]
    # Batches of similar length need little padding. With the longest first, the
    # progress bar overestimates the remaining time rather than underestimating it.
    missing.sort(key=len, reverse=True)
    with _bar(len(missing), "text", encoder, verbose) as bar:
        for batch in batched(missing, batch_size):
            where = [place[text] for text in batch]
            rows[where] = _stored(
                encoder.encode_text(batch, batch_size=batch_size),
                encoder,
                store,
                scope,
                [keys[row] for row in where],
            )
            bar.update(len(batch))
    _check_collapse("text", rows, encoder)
    return _in_order(rows, [place[text] for text in texts])


def _text_identity(encoder: Any) -> str | None:
    """Return the identity of an encoder's texts; a custom encoder has only one."""
    return getattr(encoder, "text_identity", encoder.identity)


def _check_collapse(tower: str, rows: np.ndarray, encoder: Any) -> None:
    """Warn once if a tower maps the distinct inputs of a table to one embedding.

    The check needs the whole table, stored embeddings included; an encoder sees only
    batches of new inputs.
    """
    collapsed = getattr(encoder, "collapsed", None)  # an audio-only encoder has none
    if collapsed is None or tower in collapsed:
        return
    rows = rows[:_ENOUGH_INPUTS]
    rows = rows[rows.any(axis=1)]  # without unusable clips
    if warn_if_collapsed(tower, encoder.source, rows, None):
        collapsed.add(tower)


def _look_up(
    store: EmbeddingStore | None, scope: str, keys: list[str], width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return which keys are stored, and their rows; zeros for the others."""
    if store is None:
        return np.zeros(len(keys), bool), np.zeros((len(keys), width), np.float32)
    return store.get(scope, keys, width)


def _in_order(rows: np.ndarray, order: list[int]) -> np.ndarray:
    """Return rows in the given order; zeros for -1."""
    if order == list(range(len(rows))):
        return rows
    out = np.zeros((len(order), rows.shape[1]), rows.dtype)
    places = np.array(order, dtype=np.intp)
    known = places >= 0
    out[known] = rows[places[known]]
    return out


def _audio_keys(
    sources: list[Any], store: EmbeddingStore | None
) -> list[str | AudioError]:
    """Return the content key of every source, or its error.

    Files unchanged since the store recorded their key are not read.
    """
    # Taken before any file is read, so that a change during reading is detected.
    states = _states(sources)
    keys: list[Any] = [_KEYS.get(state) for state in states]
    new = [i for i, key in enumerate(keys) if key is None]
    if store is not None and new:
        recalled: dict[Any, str] = store.recall_files(
            {state for i in new if (state := states[i])}
        )
        _KEYS.update(recalled)
        for i in new:
            keys[i] = recalled.get(states[i])
        new = [i for i in new if keys[i] is None]
    # A clip in memory may occur in many rows, and hashing it is slow.
    once = {id(sources[i]): sources[i] for i in new}
    read = _spread(partial(_attempt, audio_key), list(once.values()))
    by_id = dict(zip(once, read, strict=True))
    for i in new:
        keys[i] = by_id[id(sources[i])]
    found = {
        state: keys[i] for i in new if (state := states[i]) and isinstance(keys[i], str)
    }
    if store is not None:
        store.remember_files(found)
    if len(_KEYS) > _MOST_KEYS:
        _KEYS.clear()
    _KEYS.update(found)
    return keys


def _states(sources: list[Any]) -> list[FileState | None]:
    """Return the file state of every source; None for sources without one."""
    start = time.perf_counter()
    first = [file_state(source) for source in sources[:_SOURCES_PER_TASK]]
    # On a fast disk, use this thread only: several would wait for each other, not for
    # the disk.
    if time.perf_counter() - start < _SLOW_S * len(first):
        return first + [file_state(source) for source in sources[len(first) :]]
    return first + _spread(file_state, sources[len(first) :])


def _spread(function: Callable[[Any], Any], items: list[Any]) -> list[Any]:
    """Apply a function to each item, in several threads if there are many."""
    if len(items) <= _FEW_SOURCES:
        return [function(item) for item in items]
    with ThreadPoolExecutor(_READERS) as pool:
        parts = pool.map(
            lambda some: [function(item) for item in some],
            batched(items, _SOURCES_PER_TASK),
        )
        return list(chain.from_iterable(parts))


def _read_ahead(
    sources: dict[str, Any], sample_rate: int, batch_size: int
) -> Iterator[list[tuple[str, np.ndarray | AudioError, str]]]:
    """Yield batches of (key, samples or error, key of the content that was read).

    The next batch is read while the current one is encoded, so at most two are in
    memory, besides the shared clips.
    """

    def read(key: str) -> tuple[str, np.ndarray | AudioError, str]:
        shared = _CLIPS.get(key, sample_rate)
        if shared is not None:
            return key, shared, key
        clip = _attempt(read_keyed_audio, sources[key], sample_rate)
        if isinstance(clip, AudioError):
            return key, clip, key
        samples, read_key = clip
        return key, samples, read_key

    for clips in _ahead(read, sources, batch_size):
        # In order, so that thread timing does not decide which clips are cached.
        for _, samples, read_key in clips:
            if not isinstance(samples, AudioError):
                _CLIPS.put(read_key, sample_rate, samples)
        yield clips


def _ahead(
    read: Callable[[str], Any], keys: Collection[str], batch_size: int
) -> Iterator[list[Any]]:
    """Yield batches of results of `read`; the next batch is read in the background."""
    if len(keys) <= min(_FEW_SOURCES, batch_size):
        if keys:
            yield [read(key) for key in keys]
        return
    with ThreadPoolExecutor(_READERS) as pool:
        upcoming: list[Any] = []
        for batch in chain(batched(keys, batch_size), [[]]):
            current = upcoming
            upcoming = [pool.submit(read, key) for key in batch]
            if current:
                yield [future.result() for future in current]


def _attempt(function: Callable[..., Any], source: Any, *args: Any) -> Any:
    """Call a reader; return an AudioError instead of raising it, without the source."""
    try:
        return function(source, *args)
    except AudioError as error:
        return AudioError(str(error).removeprefix(f"{describe_audio(source)}: "))


def _stored(
    embeddings: Any,
    encoder: PairEncoder | ClipEncoder,
    store: EmbeddingStore | None,
    scope: str,
    keys: Sequence[str],
) -> np.ndarray:
    """Check, store and return embeddings."""
    embeddings = check_embeddings(embeddings, len(keys), encoder)
    if store is not None:
        store.put(scope, keys, embeddings)
    return embeddings


def check_embeddings(
    embeddings: Any, n_rows: int, encoder: Any, what: str = "inputs"
) -> np.ndarray:
    """Return embeddings as float32; reject a wrong shape, NaN and infinities."""
    embeddings = np.asarray(embeddings, dtype=np.float32)
    expected = (n_rows, _width(encoder))
    if embeddings.shape != expected or not np.isfinite(embeddings).all():
        msg = (
            f"{type(encoder).__name__} must return finite embeddings of shape "
            f"{expected} for {n_rows} {what}; got shape {embeddings.shape} with "
            f"{np.count_nonzero(~np.isfinite(embeddings))} non-finite values."
        )
        raise ValueError(msg)
    return embeddings


def _width(encoder: PairEncoder | ClipEncoder) -> int:
    """Return the length of an audio embedding."""
    if hasattr(encoder, "projection_dim"):
        return encoder.projection_dim
    return encoder.embedding_dim


def _bar(total: int, unit: str, encoder: Any, verbose: bool) -> Any:
    return progress(
        total=total,
        desc=f"{_short_name(encoder)}, encoding {unit}s",
        unit=unit,
        verbose=verbose and total > 0,
    )


def _short_name(encoder: Any) -> str:
    """Return the checkpoint's name, or the encoder's class name, for a progress bar."""
    path = PurePath(getattr(encoder, "source", type(encoder).__name__))
    named = [part for part in path.parts if part.startswith("models--")]
    if named:  # models--<owner>--<name> in the hub's cache
        return named[-1].split("--")[-1]
    generic = path.name.startswith(("model", "pytorch_model"))
    return path.parent.name if generic else path.name
