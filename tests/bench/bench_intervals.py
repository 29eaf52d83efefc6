"""Coverage and width of prediction intervals, beside CV+ with the whole stack refitted.

Run it as ``python tests/bench/bench_intervals.py``; ``--seeds 5`` gives a quick look.
Every seed draws new pairs: three families of twelve normal columns, and scores that
either do not depend on them (noise) or on one column of each family (signal). The
scores have no bounds, so that no clipped end helps. A stack is fitted on some pairs and
its intervals are judged on 1,000 others; so are those of CV+ as it is published, which
fits the whole stack again without each fold. The errors of the coverages are standard
errors over the seeds.
"""

from __future__ import annotations

import argparse
import time
from itertools import chain
from unittest.mock import patch

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.model_selection import KFold

from clapstack import ClapStackingRegressor
from clapstack.stacking._intervals import cross_conformal_interval

N_NEW = 1_000
KINDS = {"scaled": True, "unscaled": False}
REFITTED = "CV+, refitted"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, nargs="+", default=[20, 40, 100, 800])
    parser.add_argument("--cv", type=int, nargs="+", default=[3, 5, 10])
    parser.add_argument("--coverage", type=float, default=0.9)
    parser.add_argument("--seeds", type=int, default=60)
    parser.add_argument("--final-target", default="auto")
    parser.add_argument("--calibration", action="store_true")
    parser.add_argument("--boosting", action="store_true")
    parser.add_argument("--alphas", type=float, nargs="+", default=[1.5])
    parser.add_argument("--skip-refitted", action="store_true")
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    stack = ClapStackingRegressor(
        boosting=options.boosting,
        alphas=options.alphas,
        final_target=options.final_target,
        calibration=options.calibration,
    )
    print(stack)
    print(f"intervals of {options.coverage:.0%}, {options.seeds} seeds")
    for n_pairs in options.pairs:
        for cv in options.cv:
            for signal in (False, True):
                drawn = Parallel(options.jobs)(
                    delayed(measure)(
                        clone(stack).set_params(cv=cv),
                        *draw(seed, n_pairs, signal),
                        n_pairs,
                        options.coverage,
                        not options.skip_refitted,
                    )
                    for seed in range(options.seeds)
                )
                show(n_pairs, cv, signal, pd.DataFrame(list(chain(*drawn))))


def draw(seed: int, n_pairs: int, signal: bool) -> tuple[pd.DataFrame, np.ndarray]:
    """Return features and scores of the pairs to fit on and of the new ones."""
    rng = np.random.default_rng(seed)
    names = [f"{family}__{i}" for family in "abc" for i in [*range(11), "cosine"]]
    X = pd.DataFrame(rng.normal(size=(n_pairs + N_NEW, len(names))), columns=names)
    y = rng.normal(size=len(X))
    if signal:
        y += X["a__0"] + X["b__1"] + 0.7 * X["c__cosine"]
    return X, 50 + 10 * np.asarray(y)


def measure(stack, X, y, n_pairs, coverage, refitted) -> list[dict]:
    """Return a row per kind of interval: covered, width and CPU seconds of the fit."""
    train, new = X.iloc[:n_pairs], X.iloc[n_pairs:]
    started = time.process_time()
    try:
        fitted = clone(stack).fit(train, y[:n_pairs])
    except ValueError as error:
        # Noise has no order that ranks could be mapped back by: such a fit is refused.
        if "final_target='rank'" not in str(error):
            raise
        return []
    seconds = time.process_time() - started
    intervals = {
        kind: (fitted.predict_interval(new, coverage, scaled=scaled), seconds)
        for kind, scaled in KINDS.items()
    }
    if refitted:
        started = time.process_time()
        interval = refitted_interval(stack, train, y[:n_pairs], new, coverage)
        intervals[REFITTED] = (interval, time.process_time() - started)
    return [
        {"kind": kind, **judge(interval, y[n_pairs:]), "seconds": seconds}
        for kind, (interval, seconds) in intervals.items()
    ]


def refitted_interval(stack, X, y, new, coverage) -> np.ndarray:
    """Return intervals of CV+ that fits the whole stack without each fold."""
    predictions, residuals = [], []
    for train, test in KFold(stack.cv, shuffle=True, random_state=0).split(X):
        fitted = clone(stack)
        # The refits give scores alone: what their own intervals need is left out.
        with patch("clapstack.stacking._regressor.nesting_pays", return_value=False):
            try:
                fitted.fit(X.iloc[train], y[train])
            except ValueError as error:
                if "final_target='rank'" not in str(error):
                    raise
                fitted.set_params(final_target="score").fit(X.iloc[train], y[train])
        predictions.append(fitted.predict(new))
        residuals.append(np.abs(y[test] - fitted.predict(X.iloc[test])))
    return cross_conformal_interval(
        np.array(predictions), residuals, np.ones(len(new)), coverage
    )


def judge(interval: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Return the share of scores inside, and the mean width."""
    low, high = interval.T
    return {"covered": np.mean((low <= y) & (y <= high)), "width": np.mean(high - low)}


def show(n_pairs: int, cv: int, signal: bool, rows: pd.DataFrame) -> None:
    """Print a line per kind of interval."""
    for kind, part in rows.groupby("kind", sort=False):
        error = part["covered"].std() / np.sqrt(len(part))
        print(
            f"n={n_pairs:<4d} cv={cv:<3d} {'signal' if signal else 'noise':7s}"
            f"{kind:14s} covered {part['covered'].mean():6.1%} ± {error:.1%}, "
            f"width {part['width'].mean():5.1f}, {part['seconds'].mean():.2f} CPU s, "
            f"{len(part)} fits",
            flush=True,
        )


if __name__ == "__main__":
    main()
