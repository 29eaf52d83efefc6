"""How often prediction intervals hold the score, and how wide they are.

Run it as ``python tests/bench/bench_intervals.py``. A simulated challenge is made once;
every seed splits its pairs anew at random, so that they are exchangeable, fits the
stack on one part and predicts intervals for the other. Ratings are simulated
and the CLAP models are the bundled mini checkpoints.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.base import clone

from clapstack import make_clap_stack
from clapstack.datasets import load_xacle, make_simulated_xacle
from clapstack.systems._presets import PRESETS

COVERAGES = (0.8, 0.9, 0.95)
KINDS = {"scaled by disagreement": True, "of like width": False}
Z_95 = 1.96


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=1_300)
    parser.add_argument("--train", type=int, default=800)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--preset", choices=PRESETS, default="paper")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        features, y, stack = prepare(Path(folder), options.pairs, options.preset)
    rows = []
    for seed in range(options.seeds):
        order = np.random.default_rng(seed).permutation(len(y))
        train, test = order[: options.train], order[options.train :]
        fitted = clone(stack).fit(features.iloc[train], y[train])
        for coverage in COVERAGES:
            for kind, scaled in KINDS.items():
                interval = fitted.predict_interval(
                    features.iloc[test], coverage, scaled=scaled
                )
                rows.append((coverage, kind, *judge(interval, y[test])))
    table = pd.DataFrame(rows, columns=["coverage", "interval", "covered", "width"])
    print(
        f"{options.seeds} random splits of {len(y):,} simulated pairs, "
        f"{options.train:,} to fit on; scores spread by {y.std():.2f} (standard "
        "deviation)"
    )
    for (coverage, kind), part in table.groupby(["coverage", "interval"]):
        error = Z_95 * part["covered"].std() / np.sqrt(len(part))
        print(
            f"{coverage:.0%}  {kind:23s} covered {part['covered'].mean():.1%} "
            f"± {error:.1%}, mean width {part['width'].mean():.2f}"
        )


def prepare(folder: Path, n_pairs: int, preset: str):
    """Return features with agreement, scores, and an unfitted stack."""
    make_simulated_xacle(
        folder, n_train=n_pairs, n_validation=0, n_test=0, random_state=0
    )
    pairs = load_xacle(folder, "train")
    pipeline = make_clap_stack("bundled", preset=preset)
    return pipeline[:-1].fit_transform(pairs.X), pairs.y, pipeline[-1]


def judge(interval: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Return the share of scores inside, and the mean width."""
    low, high = interval.T
    return float(np.mean((low <= y) & (y <= high))), float(np.mean(high - low))


if __name__ == "__main__":
    main()
