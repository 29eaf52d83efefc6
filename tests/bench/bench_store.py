"""A warm store against ``np.load``: 7,500 pairs, three encoders, then φ.

Run it as ``python tests/bench/bench_store.py``. The left side starts from texts and
audio keys and ends with the pair features, all rows checked against their checksums;
the right side loads the same embeddings from ``.npy`` files and builds the same pair
features. Both read from the page cache. The two alternate; medians are printed.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from clapstack.features import pair_features
from clapstack.store import EmbeddingStore, embedding_key, text_key

WIDTHS = {"unfused": 512, "fused": 512, "msclap": 1024}
SIDES = ("audio", "text")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=7_500)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    texts = [f"prompt {i} of a benchmark" for i in range(options.pairs)]
    contents = {
        "audio": [text_key(f"clip {i}") for i in range(options.pairs)],
        "text": [text_key(text) for text in texts],
    }
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        store = EmbeddingStore(root / "store")
        write_s = 0.0
        for name, width in WIDTHS.items():
            for side in SIDES:
                rows = rng.standard_normal((options.pairs, width), dtype=np.float32)
                rows /= np.linalg.norm(rows, axis=1, keepdims=True)
                np.save(root / f"{name}-{side}.npy", rows)
                keys = [embedding_key(c, f"{name} {side}") for c in contents[side]]
                start = time.perf_counter()
                for first in range(0, options.pairs, 32):
                    batch = slice(first, first + 32)
                    store.put(dict(zip(keys[batch], rows[batch], strict=True)))
                write_s += time.perf_counter() - start
        store.close()

        def from_store(name: str, side: str) -> np.ndarray:
            known = contents[side] if side == "audio" else map(text_key, texts)
            keys = [embedding_key(key, f"{name} {side}") for key in known]
            found = store.get(keys)
            return np.stack([found[key] for key in keys])

        def from_files(name: str, side: str) -> np.ndarray:
            return np.load(root / f"{name}-{side}.npy")

        readers = {"store": from_store, "np.load": from_files}
        for name in WIDTHS:
            for side in SIDES:
                a, b = (read(name, side) for read in readers.values())
                np.testing.assert_array_equal(a, b)
        taken = {(what, who): [] for what in ("read", "read + φ") for who in readers}
        for _ in range(options.runs):
            for who, read in readers.items():
                taken["read", who].append(timed(lambda read=read: pairs_of(read)))
                taken["read + φ", who].append(timed(lambda read=read: features(read)))
                store.close()
        stats = store.stats()
        store.close()
    n_bytes = sum(2 * 4 * options.pairs * width for width in WIDTHS.values())
    print(
        f"{stats.n_entries:,} rows, {n_bytes / 1e6:.0f} MB of floats, "
        f"{stats.n_bytes / 1e6:.0f} MB on disk, written in {write_s:.2f} s "
        f"by 32; medians of {options.runs} alternating runs, wall (processor) seconds"
    )
    for what in ("read", "read + φ"):
        sides = [medians(taken[what, who]) for who in readers]
        ratios = [ours / theirs for ours, theirs in zip(*sides, strict=True)]
        print(
            f"{what:9s} store {sides[0][0]:.3f} ({sides[0][1]:.3f})   "
            f"np.load {sides[1][0]:.3f} ({sides[1][1]:.3f})   "
            f"ratio {ratios[0]:.2f} ({ratios[1]:.2f})"
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
