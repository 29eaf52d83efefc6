"""A warm store against ``np.load``: 7,500 pairs, three encoders, then φ.

Run it as ``python tests/bench/bench_store.py``. Three ways to the same pair features:

- store: from content keys and texts, through lookups that check every block;
- transform: from a table of paths and texts, as a pipeline does it, files looked at;
- np.load: from one ``.npy`` file per encoder and side.

All read from the page cache. The ways take turns; medians are printed. Embeddings are
random.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile as sf

from clapstack import PairFeatures
from clapstack.audio import audio_key
from clapstack.features import pair_features
from clapstack.store import EmbeddingStore, text_key

WIDTHS = {"unfused": 512, "fused": 512, "msclap": 1024}
SIDES = ("audio", "text")
RATE = 16_000  # Hz
SETTLED_S = 2.1  # a file that changed just now is read again


class RandomEncoder:
    """Random unit rows, each by its input."""

    sample_rate = RATE

    def __init__(self, name: str, width: int):
        self.identity = name
        self.projection_dim = width

    def encode_audio(self, waveforms):
        return self._rows(waveform.tobytes() for waveform in waveforms)

    def encode_text(self, texts):
        return self._rows(text.encode() for text in texts)

    def _rows(self, inputs):
        seeds = (zlib.crc32(one, len(self.identity)) for one in inputs)
        rows = [
            np.random.default_rng(seed).standard_normal(self.projection_dim, np.float32)
            for seed in seeds
        ]
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=7_500)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder), options.pairs, options.runs)


def run(root: Path, n_pairs: int, n_runs: int) -> None:
    X = write_clips(root, n_pairs)
    transformers, write_s = [], 0.0
    for name, width in WIDTHS.items():
        encoder = RandomEncoder(name, width)
        transformer = PairFeatures(encoder, cache=root / "store").fit(X)
        start = time.perf_counter()
        transformer.transform(X)
        write_s += time.perf_counter() - start
        transformers.append(transformer)
    store = EmbeddingStore(root / "store")
    contents = [audio_key(path) for path in X["audio"]]
    scopes = scopes_of(store)

    def from_store(name: str, side: str) -> np.ndarray:
        keys = contents if side == "audio" else [text_key(text) for text in X["text"]]
        found, rows = store.get(scopes[name, side], keys, WIDTHS[name])
        assert found.all()
        return rows

    def from_files(name: str, side: str) -> np.ndarray:
        return np.load(root / f"{name}-{side}.npy")

    for name in WIDTHS:
        for side in SIDES:
            np.save(root / f"{name}-{side}.npy", from_store(name, side))
    ways = {
        "store": lambda: features(from_store),
        "transform": lambda: [one.transform(X) for one in transformers],
        "np.load": lambda: features(from_files),
    }
    results = [way() for way in ways.values()]
    for others in results[:2]:
        for ours, theirs in zip(others, results[2], strict=True):
            np.testing.assert_array_equal(ours, theirs)
    del results, others, ours, theirs
    taken = {way: [] for way in ways}
    reading = {"store": [], "np.load": []}
    for _ in range(n_runs):
        for name, way in ways.items():
            taken[name].append(timed(way))
            store.close()
        for name, read in (("store", from_store), ("np.load", from_files)):
            reading[name].append(timed(lambda read=read: pairs_of(read)))
            store.close()
    stats = store.stats()
    store.close()
    n_bytes = sum(2 * 4 * n_pairs * width for width in WIDTHS.values())
    print(
        f"{stats.n_entries:,} rows, {n_bytes / 1e6:.0f} MB of floats, "
        f"{stats.n_bytes / 1e6:.0f} MB on disk, clips read and rows written in "
        f"{write_s:.1f} s by 32; medians of {n_runs} alternating runs, wall "
        "(processor) seconds, and their ratios to np.load"
    )
    show("embeddings alone", reading)
    show("embeddings and φ", taken)


def write_clips(root: Path, n_pairs: int) -> pd.DataFrame:
    (root / "wav").mkdir()
    rng = np.random.default_rng(0)
    paths = [str(root / "wav" / f"{number:05}.wav") for number in range(n_pairs)]
    for path in paths:
        sf.write(path, rng.uniform(-0.5, 0.5, 400), RATE, "PCM_16")
    time.sleep(SETTLED_S)
    texts = [f"prompt {number} of a benchmark" for number in range(n_pairs)]
    return pd.DataFrame({"audio": paths, "text": texts})


def scopes_of(store: EmbeddingStore) -> dict[tuple[str, str], str]:
    """Return the scope of every encoder and side, as the transformers named them."""
    store.stats()  # opens it
    names = [
        name for (name,) in store._session.connection.execute("SELECT name FROM scopes")
    ]
    found = {}
    for scope in map(bytes.decode, names):
        encoder, kind = scope.split("\n")
        found[encoder, kind.split()[0]] = scope
    return found


def show(what: str, taken: dict[str, list[tuple[float, float]]]) -> None:
    theirs = medians(taken["np.load"])
    for way, runs in taken.items():
        ours = medians(runs)
        print(
            f"{what}  {way:10s} {ours[0]:.3f} ({ours[1]:.3f})   "
            f"ratio {ours[0] / theirs[0]:.2f} ({ours[1] / theirs[1]:.2f})"
        )


def pairs_of(read: Callable[[str, str], np.ndarray]) -> list[np.ndarray]:
    return [read(name, side) for name in WIDTHS for side in SIDES]


def features(read: Callable[[str, str], np.ndarray]) -> list[np.ndarray]:
    return [pair_features(read(name, "audio"), read(name, "text")) for name in WIDTHS]


def timed(work: Callable[[], list[np.ndarray]]) -> tuple[float, float]:
    wall, processor = time.perf_counter(), time.process_time()
    result = work()  # held until the clock is read, as a pipeline holds it
    taken = time.perf_counter() - wall, time.process_time() - processor
    del result
    return taken


def medians(runs: list[tuple[float, float]]) -> tuple[float, ...]:
    return tuple(statistics.median(column) for column in zip(*runs, strict=True))


if __name__ == "__main__":
    main()
