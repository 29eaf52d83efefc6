"""What the stacks are worth: on human scores, and on the simulated challenge.

Run it as ``python tests/bench/bench_quality.py FOLDER sick.npz mlqe_ro_en.npz`` with
human scores of pairs of texts, and with ``--simulated 30 31`` for simulated challenges
of those seeds (800 pairs to fit on and 500 to score, through the bundled checkpoints).
A file holds ``<space>_a_<split>`` and ``<space>_b_<split>``, embeddings of the two
sides of every pair, and ``y_<split>``, for the splits train, dev and test.

Every row is fitted on ``--sizes`` pairs, drawn ``--draws`` times, and predicts the test
split (or ``--split dev``, which choices are made on). What is done stays in FOLDER.
Printed are means over the draws of SRCC, MSE and the coverage of 90 % intervals, and
the difference of "best" to every other row with its paired 95 % interval: pairs of the
test split are drawn, the same for both rows and for all draws.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.decomposition import TruncatedSVD
from sklearn.ensemble import HistGradientBoostingRegressor, StackingRegressor
from sklearn.linear_model import LinearRegression, Ridge, RidgeCV
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from clapstack import ClapStackingRegressor, CrossAgreement, make_clap_stack
from clapstack.datasets import load_xacle, make_simulated_xacle
from clapstack.families import families_of
from clapstack.features import pair_feature_names, pair_features
from clapstack.metrics import mse, srcc
from clapstack.metrics._bootstrap import _resampled, percentiles
from clapstack.stacking import KernelRegressor, StandardizedRidge
from clapstack.systems._presets import PRESETS

N_RESAMPLES = 1000
FOLDS = KFold(3, shuffle=True, random_state=0)


def bare_cosine(X, y, new):
    """The cosine that orders the training pairs best, on a straight line to scores."""
    cosines = [name for name in X if name.endswith("__cosine") and "cross" not in name]
    best = max(cosines, key=lambda name: srcc(y, X[name]))
    return LinearRegression().fit(X[[best]], y).predict(new[[best]])


def single_space(X, y, new):
    """The ridge of the space that orders the training pairs best out of fold."""
    chosen = []
    for name, columns in families_of(X.columns).items():
        if name != "cross":
            own = X.columns[columns]
            held_out = cross_val_predict(StandardizedRidge(), X[own], y, cv=FOLDS)
            chosen.append((srcc(y, held_out), own))
    _, own = max(chosen, key=lambda pair: pair[0])
    return StandardizedRidge().fit(X[own], y).predict(new[own])


def scikit_learn(X, y, new):
    """The paper's recipe, as a careful user of scikit-learn would write it."""
    models = []
    for name, columns in families_of(X.columns).items():
        ridge = RidgeCV(np.logspace(1, 6, 11))
        own = make_column_transformer((StandardScaler(), list(X.columns[columns])))
        models.append((name, make_pipeline(own, ridge)))
    width = min(128, min(X.shape) - 1, len(X) // 2)
    compression = TruncatedSVD(width, random_state=0)
    trees = HistGradientBoostingRegressor(random_state=0)
    models.append(("trees", make_pipeline(StandardScaler(), compression, trees)))
    final = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-1, 4, 11)))
    return StackingRegressor(models, final, cv=FOLDS).fit(X, y).predict(new)


def kernel_alone(X, y, new):
    return KernelRegressor().fit(X, y).predict(new)


BEST = PRESETS["best"](0)
STACKS = {
    "paper": {},
    "best": BEST,
    "paper without trees": {"boosting": False},
    "best with trees": {**BEST, "boosting": True},
    "best, final ridge from zero": {**BEST, "final_estimator": Ridge(alpha=18)},
    "best, scores alone": {**BEST, "targets": ["score"], "final_target": "score"},
}
ROWS = {
    "bare cosine": bare_cosine,
    "single space": single_space,
    "scikit-learn": scikit_learn,
    "kernel alone": kernel_alone,
    **STACKS,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("files", type=Path, nargs="*")
    parser.add_argument("--simulated", type=int, nargs="*", default=[])
    parser.add_argument(
        "--sizes", nargs="+", default=["50", "100", "200", "800", "all"]
    )
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--split", choices=["dev", "test"], default="test")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    options = parser.parse_args()
    sources = [*options.files, *options.simulated]
    with threadpool_limits(limits=1):
        for source in sources:
            judged = Judged(options.folder, source, options.split)
            for size in options.sizes:
                judged.report(size, options.draws, options.rows)


class Judged:
    """A set of scored pairs, and what the rows predict for those kept apart."""

    def __init__(self, folder: Path, source: Path | int, split: str):
        simulated = isinstance(source, int)
        self.name = f"simulated{source}" if simulated else source.stem
        self._folder = folder / f"{self.name}-{split}"
        self._folder.mkdir(parents=True, exist_ok=True)
        read = (
            read_simulated(folder, source) if simulated else read_texts(source, split)
        )
        self.X, self.y, self.new, self.truth = read

    def report(self, size: str, draws: int, rows: list[str]) -> None:
        n_pairs = len(self.y)
        count = n_pairs if size == "all" else int(size)
        draws = 1 if count == n_pairs else draws
        made = {
            row: [self._made(row, count, draw) for draw in range(draws)] for row in rows
        }
        print(f"{self.name}, {count} pairs, {draws} draws")
        for row, runs in made.items():
            line = f"  {row:30}"
            for metric, digits in ((srcc, 4), (mse, 4 if self.truth.max() < 20 else 1)):
                value = np.mean([metric(self.truth, run["score"]) for run in runs])
                line += f" {value:.{digits}f}"
                if row != "best" and "best" in made:
                    less = self._differences(metric, made["best"], runs)
                    line += f" ({np.mean(less):+.{digits}f}"
                    low, high = percentiles(less, 0.95)
                    line += f" [{low:+.{digits}f}, {high:+.{digits}f}])"
            if "interval" in runs[0]:
                held = [self._covered(run["interval"]) for run in runs]
                line += f"  holds {np.mean(held):.3f}"
            print(
                f"{line}  {np.mean([run['seconds'] for run in runs]):.1f} CPU s",
                flush=True,
            )

    def _differences(self, metric, best, runs):
        """Return resamples of the mean over draws of "best" less another row."""
        drawn = [
            [
                _resampled(metric, self.truth, run["score"], None, N_RESAMPLES, 0)
                for run in pair
            ]
            for pair in zip(best, runs, strict=True)
        ]
        return np.mean([first - other for first, other in drawn], axis=0)

    def _covered(self, interval):
        return np.mean((interval[:, 0] <= self.truth) & (self.truth <= interval[:, 1]))

    def _made(self, row: str, count: int, draw: int):
        path = self._folder / f"{row}-{count}-{draw}.npz"
        if not path.exists():
            rng = np.random.default_rng(draw)
            rows = np.sort(rng.permutation(len(self.y))[:count])
            np.savez(path, **self._predict(row, self.X.iloc[rows], self.y[rows]))
        return np.load(path)

    def _predict(self, row, X, y):
        agreement = CrossAgreement().set_output(transform="pandas")
        X = agreement.fit_transform(X.reset_index(drop=True))
        new = agreement.transform(self.new)
        start = time.process_time()
        if row not in STACKS:
            score = ROWS[row](X, y, new)
            return {"score": score, "seconds": time.process_time() - start}
        stack = ClapStackingRegressor(**STACKS[row]).fit(X, y)
        score, seconds = stack.predict(new), time.process_time() - start
        interval = stack.predict_interval(new)
        return {"score": score, "seconds": seconds, "interval": interval}


def read_texts(path: Path, split: str):
    """Return features and scores of the training pairs and of those of a split."""
    held = np.load(path)
    ends = "_a_train"
    spaces = sorted(key.removesuffix(ends) for key in held if key.endswith(ends))
    read = []
    for part in ("train", split):
        tables = []
        for space in spaces:
            a, b = (held[f"{space}_{side}_{part}"].astype(np.float32) for side in "ab")
            names = [f"{space}__{name}" for name in pair_feature_names(a.shape[1])]
            phi = pair_features(unit_rows(a), unit_rows(b))
            tables.append(pd.DataFrame(phi, columns=names))
        read += [pd.concat(tables, axis=1), held[f"y_{part}"].astype(float)]
    return read


def unit_rows(side):
    """Return embeddings of unit norm; a text without any known word has none."""
    side = np.array(side)
    side[~side.any(axis=1), 0] = 1.0
    return side / np.linalg.norm(side, axis=1, keepdims=True)


def read_simulated(folder: Path, seed: int):
    """Return the same of a simulated challenge, through the bundled checkpoints."""
    root = folder / f"challenge{seed}"
    if not (root / "simulated_truth.csv").exists():
        sizes = {"n_train": 800, "n_validation": 10, "n_test": 500}
        make_simulated_xacle(root, **sizes, random_state=seed)
    union = make_clap_stack("bundled", cache=str(folder / "store"))[:1]
    train, test = load_xacle(root, "train"), load_xacle(root, "test")
    return union.fit_transform(train.X), train.y, union.transform(test.X), test.y


if __name__ == "__main__":
    main()
