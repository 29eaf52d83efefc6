"""``clapstack score`` of stored pairs against reading their arrays and predicting.

Run it as ``python tests/bench/bench_score.py``. Both sides are processes of their own,
with one thread, which load the same model of the bundled checkpoints and return scores,
intervals and, with the preset "best", in_domain. One reads a table and the store, and
writes a table; the other reads six ``.npy`` files and builds φ. They take turns; the
medians of their processor time are printed. Clips and ratings are simulated, and all
clips are encoded first (about 4 minutes).
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile as sf

RATE = 16_000  # Hz
FITTED = 800  # pairs
FAMILIES = ("laion_unfused", "laion_fused", "msclap")

SAVE = """
import sys, numpy as np, pandas as pd
from clapstack import load_model
union = load_model(sys.argv[1])[0]
X = pd.read_csv("clips.csv")[["audio", "text"]]
for name, encoder in union.transformer_list:
    table = np.asarray(encoder.transform(X))
    dim = (table.shape[1] - 1) // 5
    np.save(f"{name}-audio.npy", table[:, :dim])
    np.save(f"{name}-text.npy", table[:, dim : 2 * dim])
np.save("names.npy", union.get_feature_names_out().astype(str))
"""
ARRAYS = """
import sys, numpy as np, pandas as pd
from clapstack import load_model
from clapstack.features import pair_features
model = load_model(sys.argv[1])
sides = [[np.load(f"{f}-{s}.npy") for s in ("audio", "text")] for f in sys.argv[2:]]
table = np.hstack([pair_features(*pair) for pair in sides])
table = model[1:-1].transform(pd.DataFrame(table, columns=np.load("names.npy")))
scores, ends = model[-1].predict(table), model[-1].predict_interval(table)
known = model[-1].in_domain(table) if model[-1].knows_domain_ else None
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=7_500)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder), options.pairs, options.runs)


def run(root: Path, n_pairs: int, n_runs: int) -> None:
    write_pairs(root, n_pairs)
    command = [sys.executable, "-m", "clapstack"]
    for preset in ("paper", "best"):
        fit = ["fit", "rated.csv", "--preset", preset, "--checkpoints", "bundled"]
        run_in(root, [*command, *fit, "--folds", "0", "--out", preset, "--quiet"])
        run_in(root, [sys.executable, "-c", SAVE, preset])
        ways = {
            "score": [*command, "score", preset, "clips.csv", "--quiet"],
            "arrays": [sys.executable, "-c", ARRAYS, preset, *FAMILIES],
        }
        taken: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(n_runs):
            for way, line in ways.items():
                taken[way].append(run_in(root, line))
        score, arrays = (statistics.median(taken[way]) for way in ways)
        print(
            f"{n_pairs:,} stored pairs, preset {preset}: score {score:.2f} CPU s, "
            f"arrays {arrays:.2f}, ratio {score / arrays:.2f}"
        )


def write_pairs(root: Path, n_pairs: int) -> None:
    rng = np.random.default_rng(0)
    for number in range(n_pairs):
        noise = rng.normal(0, 0.1, RATE // 4)
        sf.write(root / f"{number}.wav", noise, RATE, "PCM_16")
    pairs = pd.DataFrame(
        {
            "audio": [f"{number}.wav" for number in range(n_pairs)],
            "text": [f"prompt {number} of a benchmark" for number in range(n_pairs)],
            "score": rng.uniform(0, 10, n_pairs),
        }
    )
    pairs.to_csv(root / "clips.csv", index=False)
    pairs[:FITTED].to_csv(root / "rated.csv", index=False)


def run_in(root: Path, command: list[str]) -> float:
    """Run a command in a folder; return the processor time that it took, in seconds."""
    one = {"OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(root / "cache")}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        command,
        cwd=root,
        env={**os.environ, **one},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
