"""What each idea adds to the paper's stack, on the simulated challenge.

Run it as ``python tests/bench/ablation.py FOLDER``. For every seed it makes a simulated
challenge (800 pairs to fit on, 500 to score, unless ``--sizes`` says otherwise), embeds
it with the bundled checkpoints, fits the first levels that the rows of the table share,
and scores the rows. What is done for a seed stays in FOLDER. A row's mean SRCC and MSE
over the seeds are printed, with the 95 % interval of its difference to the paper's
stack: pairs are drawn within each seed, the same for both, and differences are averaged
over the seeds.

With ``--part N`` only the first N training pairs are fitted on. Seeds 5 to 9 at the
default sizes and seed 20 at ``--sizes 7500 3000`` are those that the preset "best" was
made on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.special import softmax
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.model_selection import KFold
from threadpoolctl import threadpool_limits

from clapstack import ClapStackingRegressor, CrossAgreement, make_clap_stack
from clapstack.datasets import load_xacle, make_simulated_xacle
from clapstack.listeners import ListenerModel
from clapstack.metrics import mse, noise_ceiling, srcc
from clapstack.metrics._bootstrap import _percentiles, _resampled
from clapstack.stacking import BlendRidge, RbfSvr
from clapstack.stacking._final import FinalLevel
from clapstack.systems._presets import ALPHAS

SEEDS = (0, 1, 2, 3, 4, 10, 11, 12, 13, 14)
SIZES = (800, 500)
N_RESAMPLES = 1000
# What the gate listens to: cosines, and their differences.
SIGNALS = r"^cross__.*cosine"

# First levels that are fitted once: keywords of the stack.
FIRST_LEVELS = {
    "paper": {},
    "chosen": {"alphas": ALPHAS, "boosting": False},
    "svr": {"base_estimators": RbfSvr(), "boosting": False},
    "svr, 5 folds": {"base_estimators": RbfSvr(), "boosting": False, "cv": 5},
    "paper, listeners": {},
}

# What a row takes of them, whether it leaves out the trees, and its final level.
ROWS = {
    "paper": ("paper", True, None),
    "paper, calibrated": ("paper", True, "calibrated"),
    "paper without trees": ("paper", False, None),
    "paper, equal weights": ("paper", True, "mean"),
    "paper, blend": ("paper", True, BlendRidge()),
    "paper, gate": ("paper", True, "gate"),
    "chosen penalties": ("chosen+trees", True, None),
    "chosen penalties, blend": ("chosen+trees", True, BlendRidge()),
    "ridge + SVR": ("paper+svr", True, None),
    "ridge + SVR, blend": ("paper+svr", True, BlendRidge()),
    "ridge + SVR, equal weights": ("paper+svr", True, "mean"),
    "best": ("chosen+trees+svr", True, BlendRidge()),
    "best, ridge": ("chosen+trees+svr", True, None),
    "best, equal weights": ("chosen+trees+svr", True, "mean"),
    "best without trees": ("chosen+svr", False, BlendRidge()),
    "SVR": ("svr", False, None),
    "SVR, blend": ("svr", False, BlendRidge()),
    "SVR, equal weights": ("svr", False, "mean"),
    "SVR, gate": ("svr", False, "gate"),
    "SVR, five folds, blend": ("svr, 5 folds", False, BlendRidge()),
    "SVR, five folds, equal weights": ("svr, 5 folds", False, "mean"),
    "paper, listener model": ("paper, listeners", True, None),
}


class Gate(RegressorMixin, BaseEstimator):
    """Weights that depend on the pair: a softmax of what the families agree on.

    The last `n_signals` columns are signals g, the others predictions p; the score is
    ``a + b * sum_k softmax(T g)_k p_k``, by least squares with a penalty on T. T = 0
    is equal weights.
    """

    def __init__(self, n_signals=6, alpha=50.0):
        self.n_signals = n_signals
        self.alpha = alpha

    def fit(self, X, y):
        p, g = X[:, : -self.n_signals], X[:, -self.n_signals :]
        shape = (g.shape[1], p.shape[1])
        centred = y - y.mean()

        def loss(flat):
            matrix = flat[1:].reshape(shape)
            weight = softmax(g @ matrix, axis=1)
            mixed = np.sum(weight * p, axis=1)
            rest = flat[0] * mixed - centred
            back = weight * (p - mixed[:, np.newaxis]) * (flat[0] * rest)[:, np.newaxis]
            slope = np.append(rest @ mixed, (g.T @ back + self.alpha * matrix).ravel())
            return (rest @ rest + self.alpha * np.sum(matrix**2)) / 2, slope

        start = np.zeros(1 + g.shape[1] * p.shape[1])
        self.found_ = minimize(loss, start, jac=True, method="L-BFGS-B").x
        self.matrix_ = self.found_[1:].reshape(shape)
        self.mean_ = y.mean()
        return self

    def predict(self, X):
        p, g = X[:, : -self.n_signals], X[:, -self.n_signals :]
        weight = softmax(g @ self.matrix_, axis=1)
        return self.mean_ + self.found_[0] * np.sum(weight * p, axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--sizes", nargs=2, type=int, default=SIZES)
    parser.add_argument("--part", type=int)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    options = parser.parse_args()
    with threadpool_limits(limits=1):
        runs = [
            Run(options.folder, seed, *options.sizes, options.part)
            for seed in options.seeds
        ]
        report(runs, options.rows)


class Run:
    """One seed: its data, and first levels that are fitted when they are needed."""

    def __init__(self, folder: Path, seed: int, n_train: int, n_test: int, part=None):
        self.seed = seed
        self._made = folder / f"seed{seed}-{n_train}"
        self._fitted = self._made / str(part or n_train)
        self._fitted.mkdir(parents=True, exist_ok=True)
        root = self._made / "challenge"
        if not (root / "simulated_truth.csv").exists():
            sizes = {"n_train": n_train, "n_validation": 10, "n_test": n_test}
            make_simulated_xacle(root, **sizes, random_state=seed)
        self.train, self.test = load_xacle(root, "train"), load_xacle(root, "test")
        self.y = self.train.y[:part]
        self._store = folder / "store"
        self._features = None

    def predict(self, row: str):
        """Return the test predictions of a row."""
        names, trees, final = ROWS[row]
        parts, keep = [], []
        for name in names.split("+"):
            part = self._first_level("paper" if name == "trees" else name)
            boosted = np.char.startswith(part["names"], "boosting")
            parts.append(part)
            keep.append(boosted if name == "trees" else trees | ~boosted)
        level = self._level(final)
        inputs, new = (
            np.hstack([p[side][:, k] for p, k in zip(parts, keep, strict=True)])
            for side in ("held_out", "test")
        )
        if final == "gate":
            inputs = np.hstack([inputs, parts[0]["signals"]])
            new = np.hstack([new, parts[0]["test_signals"]])
        folds = int(parts[0]["n_folds"])
        splits = list(KFold(folds, shuffle=True, random_state=0).split(self.y))
        y, weight = self.y, None
        if "listeners" in names:
            y, weight = self._listeners()
        return level.fit(inputs, y, weight, splits).predict(new)

    def _level(self, final):
        if final == "gate":
            return FinalLevel(Gate(), "score")
        if final == "calibrated":
            return FinalLevel(None, "auto", calibration=True)
        return FinalLevel(final, "auto")

    def _listeners(self):
        listeners = ListenerModel().fit(self.train.ratings)
        part = slice(len(self.y))
        return listeners.scores_[part], listeners.sample_weight_[part]

    def _first_level(self, name: str):
        path = self._fitted / f"{name}.npz"
        if not path.exists():
            np.savez(path, **self._fit(name))
        return np.load(path)

    def _agreement(self):
        """Return the features of both splits, agreement included."""
        if self._features is None:
            path = self._made / "features.npz"
            if not path.exists():
                union = make_clap_stack("bundled", cache=str(self._store))[:1]
                train = union.fit_transform(self.train.X)
                test = union.transform(self.test.X)
                np.savez(path, train=train, test=test, names=list(train.columns))
            held = np.load(path)
            train, test = (
                pd.DataFrame(held[side], columns=held["names"])
                for side in ("train", "test")
            )
            train = train.iloc[: len(self.y)]
            agreement = CrossAgreement().set_output(transform="pandas")
            self._features = agreement.fit_transform(train), agreement.transform(test)
        return self._features

    def _fit(self, name: str):
        train, test = self._agreement()
        stack = ClapStackingRegressor(**FIRST_LEVELS[name])
        if name == "paper, listeners":
            y, weight = self._listeners()
            stack.fit(train, y, sample_weight=weight)
        else:
            stack.fit(train, self.y)
        return {
            "names": np.array(stack.first_level_names_),
            "held_out": stack.oof_predictions_,
            "test": stack.transform(test),
            "signals": train.filter(regex=SIGNALS).to_numpy(),
            "test_signals": test.filter(regex=SIGNALS).to_numpy(),
            "n_folds": stack.cv,
        }


def report(runs: list[Run], rows: list[str]) -> None:
    paper = [run.predict("paper") for run in runs]
    print(f"seeds {[run.seed for run in runs]}")
    for row in rows:
        scores = [run.predict(row) for run in runs]
        line = f"{row:36}"
        for metric, digits in ((srcc, 3), (mse, 2)):
            values = [
                metric(run.test.y, s) for run, s in zip(runs, scores, strict=True)
            ]
            low, high = interval(metric, runs, scores, paper)
            mean = np.mean(values)
            before = [metric(run.test.y, s) for run, s in zip(runs, paper, strict=True)]
            line += f"  {mean:.{digits}f}  {mean - np.mean(before):+.{digits}f}"
            line += f" [{low:+.{digits}f}, {high:+.{digits}f}]"
        print(line, flush=True)
    ceilings = [
        noise_ceiling(run.test.ratings["pair"], run.test.ratings["score"])
        for run in runs
    ]
    lcc, error = np.mean([(c.lcc, c.mse) for c in ceilings], axis=0)
    print(f"noise ceiling: LCC {lcc:.3f}, MSE {error:.2f}")


def interval(metric, runs, scores, paper):
    """Return the interval of the mean difference, pairs drawn within each seed."""
    drawn = [
        [_resampled(metric, run.test.y, score, N_RESAMPLES, run.seed) for score in both]
        for run, *both in zip(runs, scores, paper, strict=True)
    ]
    return _percentiles(np.mean([first - other for first, other in drawn], 0), 0.95)


if __name__ == "__main__":
    main()
