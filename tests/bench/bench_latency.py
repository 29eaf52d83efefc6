"""Time the prediction of one new pair in a running process.

A stack of three CLAP models with boosted trees predicts pairs that it has not met, one
at a time, with the threads that libraries take by themselves and with
``OMP_NUM_THREADS=1``, on a quiet machine and beside a process that keeps a core busy.
The models are the bundled ones, which are small: what is timed is what surrounds them.

    python tests/bench/bench_latency.py
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings

import numpy as np
import pandas as pd

from clapstack import make_clap_stack
from clapstack.exceptions import CollapsedTowerWarning

RATE = 16_000
BUSY = "while True: pass"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=50, help="timed ones of a run")
    parser.add_argument("--runs", type=int, default=3, help="whose least is taken")
    parser.add_argument("--side", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(time_pairs(options.pairs)))
        return
    print(f"{os.cpu_count()} cores, {options.pairs} pairs, ms, least of {options.runs}")
    for state in ("quiet", "busy"):
        times: dict[str, list[list[float]]] = {
            "libraries' choice": [],
            "one thread": [],
        }
        for _ in range(options.runs):
            for name, runs in times.items():
                runs.append(time_side(name == "one thread", state == "busy", options))
        found = {
            name: [
                min(summary(run) for run in runs)
                for summary in (statistics.median, max)
            ]
            for name, runs in times.items()
        }
        many, one = found.values()
        found["ratio"] = [a / b for a, b in zip(many, one, strict=True)]
        for name, (median, worst) in found.items():
            print(f"{state:5} {name:18} median {median:7.2f}, worst {worst:7.2f}")


def time_side(one_thread: bool, busy: bool, options: argparse.Namespace) -> list[float]:
    """Return the milliseconds of each pair, timed in a process of its own."""
    environment = {
        k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")
    }
    if one_thread:
        environment["OMP_NUM_THREADS"] = "1"
    other = subprocess.Popen([sys.executable, "-c", BUSY]) if busy else None
    try:
        done = subprocess.run(
            [sys.executable, __file__, "--side", f"--pairs={options.pairs}"],
            env=environment,
            stdout=subprocess.PIPE,
            check=True,
        )
    finally:
        if other is not None:
            other.kill()
            other.wait()
    return json.loads(done.stdout)


def time_pairs(n_pairs: int) -> list[float]:
    """Fit a stack, then return the milliseconds that each of some new pairs takes."""
    # Noise may well look alike to models that know sounds.
    warnings.simplefilter("ignore", CollapsedTowerWarning)
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        pipe = make_clap_stack("bundled", device="cpu", cache=folder)
        pairs = draw_pairs(60, rng)
        pipe.fit(pairs, rng.uniform(0, 10, len(pairs)))
        pipe.predict(draw_pairs(1, rng))  # the first one loads what is loaded late
        times = []
        for pair in (draw_pairs(1, rng) for _ in range(n_pairs)):
            start = time.perf_counter()
            pipe.predict(pair)
            times.append(1e3 * (time.perf_counter() - start))
    return times


def draw_pairs(n_pairs: int, rng: np.random.Generator) -> pd.DataFrame:
    """Draw pairs of noise of 2 to 10 s and a caption; no two are the same."""
    clips = [
        (0.1 * rng.standard_normal(int(RATE * rng.uniform(2, 10))), RATE)
        for _ in range(n_pairs)
    ]
    texts = [
        f"a {rng.choice(['dog', 'bell', 'storm'])} number {rng.integers(1 << 40)}"
        for _ in range(n_pairs)
    ]
    return pd.DataFrame({"audio": clips, "text": texts})


if __name__ == "__main__":
    main()
