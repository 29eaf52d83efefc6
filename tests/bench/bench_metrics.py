"""Bootstrap intervals of all four metrics, and how Kendall's tau-b grows with n.

Run it as ``python tests/bench/bench_metrics.py``. The left side is
``score_report(..., n_resamples=...)``; the right side draws the same resamples and
calls the metric on each, as a loop would. The two alternate; medians of CPU seconds
are printed, and the largest difference between their intervals. Set one thread
(``OMP_NUM_THREADS=1``).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from clapstack.metrics import (
    bootstrap_interval,
    compare_report,
    ktau,
    lcc,
    mse,
    score_report,
    srcc,
)

METRICS = {"srcc": srcc, "lcc": lcc, "ktau": ktau, "mse": mse}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=3_000)
    parser.add_argument("--resamples", type=int, default=1_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    true, score = made_scores(options.pairs)
    settings = {"n_resamples": options.resamples}

    def together() -> dict[str, float]:
        return score_report(true, score, **settings)

    def one_by_one() -> dict[str, float]:
        report = {}
        for name, metric in METRICS.items():
            plain = plain_copy(metric)
            low, high = bootstrap_interval(plain, true, score, **settings)
            report |= {f"{name}_low": low, f"{name}_high": high}
        return report

    def compared() -> Any:
        return compare_report(true, score, score + true, **settings)

    sides = {"report": together, "loop": one_by_one, "compare": compared}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    results = {}
    for _ in range(options.runs):
        for name, side in sides.items():
            seconds[name].append(timed(side, results, name))
    median = {name: statistics.median(values) for name, values in seconds.items()}
    apart = max(abs(results["report"][k] - v) for k, v in results["loop"].items())
    print(f"{options.pairs:,} pairs, {options.resamples:,} resamples, all four metrics")
    print(f"  score_report    {median['report']:6.2f} CPU s")
    print(f"  a loop          {median['loop']:6.2f} CPU s")
    ratio = median["loop"] / median["report"]
    print(f"  ratio           {ratio:6.2f}, within {apart:.0e}")
    print(f"  compare_report  {median['compare']:6.2f} CPU s, two systems")
    for n_pairs in (10_000, 100_000, 1_000_000):
        true, score = made_scores(n_pairs)
        took = timed(lambda t=true, s=score: ktau(t, s), {}, "")
        print(f"  ktau of {n_pairs:9,} pairs {took:7.3f} CPU s")


def made_scores(n_pairs: int) -> tuple[np.ndarray, np.ndarray]:
    """Return means of four ratings, and predictions of them."""
    rng = np.random.default_rng(0)
    true = rng.integers(0, 41, n_pairs) / 4
    return true, true + rng.normal(0, 3, n_pairs)


def plain_copy(metric: Callable[..., float]) -> Callable[..., float]:
    """Return the metric as another object, which takes the way of any callable."""
    return lambda true, score: metric(true, score)


def timed(side: Callable[[], Any], results: dict[str, Any], name: str) -> float:
    start = time.process_time()
    results[name] = side()
    return time.process_time() - start


if __name__ == "__main__":
    main()
