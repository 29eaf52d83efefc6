"""The preset "best" against "paper" at the size of the challenge.

Run it as ``python tests/bench/bench_best.py FOLDER``; ``--scale 0.2`` for a quick look.
The table is that of ``bench_stacking.py``, written to FOLDER once. Each preset's stack
fits 7,500 pairs of 11,064 columns and predicts 3,000, in a fresh process on one thread;
the presets take turns, and medians of CPU seconds are printed, with the size of a
pickle and the SRCC.
"""

from __future__ import annotations

import argparse
import json
import pickle
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from bench_stacking import write_table
from threadpoolctl import threadpool_limits

from clapstack import ClapStackingRegressor
from clapstack.metrics import srcc
from clapstack.systems._presets import PRESETS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scale", type=float, default=1.0, help="of rows and columns")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--preset", choices=PRESETS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.preset:
        run_one(options.preset, options.folder)
        return
    if not (options.folder / "names.json").exists():
        options.folder.mkdir(parents=True, exist_ok=True)
        write_table(options.folder, options.scale)
    runs: dict[str, list] = {preset: [] for preset in PRESETS}
    for _ in range(options.runs):
        for preset, of_preset in runs.items():
            command = [sys.executable, __file__, str(options.folder)]
            done = subprocess.run(
                [*command, "--preset", preset], check=True, capture_output=True
            )
            of_preset.append(json.loads(done.stdout))
            print(preset, of_preset[-1], flush=True)
    seconds = {
        preset: statistics.median(run["fit"] + run["predict"] for run in of_preset)
        for preset, of_preset in runs.items()
    }
    for preset, total in seconds.items():
        print(f"{preset:8} {total:6.1f} CPU s  {total / seconds['paper']:.2f} x paper")


def run_one(preset: str, folder: Path) -> None:
    names, n_train = json.loads((folder / "names.json").read_text())
    X, y = np.load(folder / "X.npy"), np.load(folder / "y.npy")
    train, test = (
        pd.DataFrame(part, columns=names, copy=False)
        for part in (X[:n_train], X[n_train:])
    )
    with threadpool_limits(limits=1):
        start = time.process_time()
        stack = ClapStackingRegressor(**PRESETS[preset](0)).fit(train, y[:n_train])
        fitted = time.process_time()
        scores = stack.predict(test)
        done = time.process_time()
    figures = {
        "fit": round(fitted - start, 1),
        "predict": round(done - fitted, 1),
        "peak MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "pickle MB": round(len(pickle.dumps(stack)) / 2**20, 1),
        "srcc": round(srcc(y[n_train:], scores), 4),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
