"""Coverage of the intervals of compare_systems over simulated studies.

Run it as ``python tests/bench/bench_systems.py``. A study has three systems, 20 or 200
prompts and 1 to 4 clips of each system for each prompt: effects of prompts, of prompts
on systems and of clips, all normal, skewed (exponential) or heavy-tailed (Student's t,
three degrees of freedom). Printed is how often intervals of 95 % of means and of paired
differences cover the truth: those of ``compare_systems``, of a bootstrap over clips, as
if they were independent, and of a bootstrap over prompts.

Then the same for correlations with ratings, of 4 to 24 systems, beside a bootstrap over
prompts: its means are noisier than the observed ones, so its correlations are too low.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable

import numpy as np
import pandas as pd

from clapstack.metrics import compare_systems

EFFECTS = np.array([0.0, 0.3, 0.5])
SHAPES: dict[str, Callable[..., np.ndarray]] = {
    "normal": lambda rng, size: rng.normal(size=size),
    "skewed": lambda rng, size: rng.exponential(size=size) - 1,
    "heavy-tailed": lambda rng, size: rng.standard_t(3, size) / np.sqrt(3),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--studies", type=int, default=500)
    parser.add_argument("--resamples", type=int, default=500)
    options = parser.parse_args()
    print(f"{options.studies} studies: share of intervals of 95 % that cover the truth")
    for shape in SHAPES:
        for n_prompts in (20, 200):
            rng = np.random.default_rng(0)
            held = defaultdict(list)
            for _ in range(options.studies):
                table = made_study(rng, SHAPES[shape], EFFECTS, n_prompts)
                for name, inside in judged(table, rng, options.resamples):
                    held[name].append(inside)
            shares = "  ".join(f"{k} {100 * np.mean(v):.1f}" for k, v in held.items())
            print(f"  {shape:<13}{n_prompts:4} prompts  {shares}", flush=True)
    print("intervals of correlations that cover the truth")
    for n_systems in (4, 6, 10, 24):
        held = defaultdict(list)
        rng = np.random.default_rng(0)
        for _ in range(options.studies):
            for name, inside in judged_correlations(rng, n_systems, 50):
                held[name].append(inside)
        shares = "  ".join(f"{k} {100 * np.mean(v):.1f}" for k, v in held.items())
        print(f"  {n_systems:2} systems, 50 prompts  {shares}", flush=True)


def made_study(rng, draw, effects, n_prompts) -> pd.DataFrame:
    """Return a row per clip: system, text and score."""
    n_systems = len(effects)
    counts = rng.integers(1, 5, size=(n_systems, n_prompts))
    cells = 5 + effects[:, None] + draw(rng, n_prompts)
    cells = cells + 0.7 * draw(rng, (n_systems, n_prompts))
    system, prompt = np.divmod(np.repeat(np.arange(cells.size), counts.flat), n_prompts)
    scores = cells[system, prompt] + draw(rng, len(system))
    return pd.DataFrame({"system": system, "text": prompt, "score": scores})


def judged(table: pd.DataFrame, rng, n_resamples: int):
    """Yield by figure and method whether each interval covers the truth."""

    def bootstrapped(sample):
        drawn = rng.integers(0, len(sample), size=(n_resamples, len(sample)))
        return np.asarray(sample)[drawn].mean(axis=1)

    result = compare_systems(table)
    clips = {system: part["score"] for system, part in table.groupby("system")}
    prompts = table.pivot_table(index="text", columns="system", values="score")
    for system, row in result.means.iterrows():
        truth = 5 + EFFECTS[system]
        yield "means", row["low"] <= truth <= row["high"]
        yield "(clips)", between(truth, bootstrapped(clips[system]))
        yield "(prompts)", between(truth, bootstrapped(prompts[system]))
    for (first, second), row in result.differences.iterrows():
        truth = EFFECTS[first] - EFFECTS[second]
        yield "differences", row["low"] <= truth <= row["high"]
        apart = bootstrapped(clips[first]) - bootstrapped(clips[second])
        yield " (clips)", between(truth, apart)
        paired = prompts[first] - prompts[second]
        yield " (prompts)", between(truth, bootstrapped(paired))


def between(truth: float, drawn: np.ndarray) -> bool:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return low <= truth <= high


def judged_correlations(rng, n_systems: int, n_prompts: int):
    """Yield by metric whether its interval covers the truth, of all such systems."""
    spread, noise = 0.6, np.sqrt(0.5 / n_prompts + 1.0 / n_prompts)
    quality = spread * rng.normal(size=(n_systems, 1))
    shape = (n_systems, n_prompts)
    prompts = rng.exponential(size=n_prompts)
    scores = quality + prompts + np.sqrt(1.5) * rng.normal(size=shape)
    own = 0.8 * quality + 0.6 * spread * rng.normal(size=(n_systems, 1))
    ratings = own + 0.5 * prompts + np.sqrt(1.5) * rng.normal(size=shape)
    result = compare_systems(
        scores.ravel(),
        system=np.repeat(np.arange(n_systems), n_prompts),
        prompt=np.tile(np.arange(n_prompts), n_systems),
        ratings=ratings.ravel(),
    ).agreement
    # Of normal means that correlate by rho, with the noise of so many prompts.
    rho = 0.8 * spread**2 / (spread**2 + noise**2)
    truths = {
        "srcc": 6 / np.pi * np.arcsin(rho / 2),
        "lcc": rho,
        "ktau": 2 / np.pi * np.arcsin(rho),
    }
    times = rng.multinomial(n_prompts, np.full(n_prompts, 1 / n_prompts), size=200)
    pairs = zip(times @ scores.T, times @ ratings.T, strict=True)
    drawn = [np.corrcoef(*pair)[0, 1] for pair in pairs]
    for name, truth in truths.items():
        low, high = result.loc[name, ["low", "high"]]
        if np.isfinite(low):
            yield name.upper(), low <= truth <= high
    true_means = np.corrcoef(quality[:, 0], own[:, 0])[0, 1]
    yield "LCC (prompts)", between(true_means, np.array(drawn))


if __name__ == "__main__":
    main()
