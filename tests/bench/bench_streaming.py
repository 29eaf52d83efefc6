"""The training stage on a table that is never held whole: time and memory.

Run it as ``python tests/bench/bench_stacking.py --stream 60000``. Embeddings of the
paper's width are simulated and written to a temporary folder (18 kB a pair), and mapped
from there. Every stage is a fresh process on one thread, which prints CPU seconds and
the peak of its anonymous memory beyond what it took before the stage. Mapped pages of
the embeddings are not counted: they are the system's file cache, and go when others
need the memory.

agreement
    ``CrossAgreement().fit``.
ridges
    ``ClapStackingRegressor(boosting=False).fit`` on the features and their agreement.
whole
    The same with boosted trees.
predict
    The fitted ridges of 7,500 pairs predict all.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from sklearn.model_selection import KFold
from threadpoolctl import threadpool_limits

from clapstack import ClapStackingRegressor, CrossAgreement
from clapstack.streaming import StreamedFeatures

STAGES = ("agreement", "ridges", "whole", "predict")
DIMS = {"laion_fused": 512, "laion_unfused": 512, "msclap": 1024}
N_EVENTS = 527
CHUNK = 5000
SAMPLE = 7500
FOLDS = KFold(3, shuffle=True, random_state=0)


def run(n_pairs: int, stages: list[str]) -> None:
    """Write embeddings of `n_pairs`, and print what each stage takes."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_embeddings(folder, n_pairs)
        for stage in stages:
            command = [sys.executable, __file__, stage, str(folder)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found = json.loads(done.stdout)
            seconds, peak = found["seconds"], found["peak"]
            print(f"{stage:10} {n_pairs:8,} pairs {seconds:8.1f} CPU s {peak:6.0f} MB")


def write_embeddings(folder: Path, n_pairs: int) -> None:
    """Write simulated embeddings of unit norm, numbers and scores, chunk by chunk."""
    rng = np.random.default_rng(0)
    spectrum = np.arange(1, 257)[:, np.newaxis] ** -0.7
    mix = {f: rng.standard_normal((256, d)) * spectrum for f, d in DIMS.items()}
    centre = {f: rng.standard_normal((2, d)) for f, d in DIMS.items()}
    events = rng.standard_normal((256, N_EVENTS)) * spectrum
    shapes = {f"{f}_{side}": d for f, d in DIMS.items() for side in ("audio", "text")}
    files = {
        name: np.lib.format.open_memmap(
            folder / f"{name}.npy", "w+", np.float32, (n_pairs, width)
        )
        for name, width in {**shapes, "beats": N_EVENTS}.items()
    }
    y = np.empty(n_pairs)
    for start in range(0, n_pairs, CHUNK):
        rows = slice(start, min(start + CHUNK, n_pairs))
        n_rows = rows.stop - start
        match = rng.uniform(size=(n_rows, 1))
        scene = rng.standard_normal((n_rows, 256))
        text = match * scene + np.sqrt(1 - match**2) * rng.standard_normal(scene.shape)
        for family, dim in DIMS.items():
            for side, latent, at in zip(
                ("audio", "text"), (scene, text), centre[family], strict=True
            ):
                out = latent @ mix[family]
                out += rng.standard_normal((n_rows, dim)) + 2 * at
                out /= np.linalg.norm(out, axis=1, keepdims=True)
                files[f"{family}_{side}"][rows] = out
        files["beats"][rows] = scene @ events
        noise = 0.8 * rng.standard_normal(n_rows)
        y[rows] = np.round(40 / (1 + np.exp(-3 * (match[:, 0] - 0.5) - noise))) / 4
    np.save(folder / "y.npy", y)


def read_features(folder: Path, stop: int | None = None) -> StreamedFeatures:
    files = {
        path.stem: np.load(path, mmap_mode="r")[:stop] for path in folder.glob("*.npy")
    }
    pairs = {f: (files[f"{f}_audio"], files[f"{f}_text"]) for f in DIMS}
    return StreamedFeatures(pairs, {"beats": files["beats"]})


def run_stage(stage: str, folder: Path) -> dict[str, float]:
    X, y = read_features(folder), np.load(folder / "y.npy")
    sample = read_features(folder, SAMPLE)
    agreement = CrossAgreement()
    if stage != "agreement":
        agreement.fit(sample)
    if stage == "agreement":
        return measure(lambda: agreement.fit(X))
    stack = ClapStackingRegressor(boosting=stage == "whole", cv=FOLDS)
    table = agreement.transform(X)
    if stage == "predict":
        stack.fit(agreement.transform(sample), y[:SAMPLE])
        return measure(lambda: stack.predict(table))
    return measure(lambda: stack.fit(table, y))


def measure(work) -> dict[str, float]:
    """Return CPU seconds, and by how many MB the anonymous memory rose at its peak."""
    done = threading.Event()
    before = anonymous_mb()
    seen = [before]

    def watch():
        while not done.wait(0.05):
            seen.append(anonymous_mb())

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.process_time()
    try:
        work()
    finally:
        seconds = time.process_time() - start
        done.set()
        watcher.join()
    return {"seconds": seconds, "peak": max(seen) - before}


def anonymous_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    msg = "RssAnon is not in /proc/self/status; this benchmark needs Linux."
    raise RuntimeError(msg)


if __name__ == "__main__":
    with threadpool_limits(limits=1):
        print(json.dumps(run_stage(sys.argv[1], Path(sys.argv[2]))))
