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

import numpy as np

from clapstack import make_clap_stack

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
    print(f"{os.cpu_count()} cores, {options.pairs} pairs, the least of {options.runs}")
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
        for name, (median, worst) in found.items():
            print(f"{state:6} {name:18} median {median:7.1f} ms, worst {worst:7.1f} ms")
        ratios = [many / one for many, one in zip(*found.values(), strict=True)]
        print(
            f"{state:6} ratio              median {ratios[0]:7.2f}     worst {ratios[1]:7.2f}"
        )


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
    rng = np.random.default_rng(0)
    pipe = make_clap_stack(
        {
            "laion_unfused": "bundled:laion-unfused",
            "laion_fused": "bundled:laion-fused",
            "msclap": "bundled:msclap",
        }
    )
