"""How well listener models predict ratings kept apart, on human ratings.

Run it as ``python tests/bench/bench_listeners.py FOLDER``, where FOLDER has RELATE's
``REL.csv``, or a part of it, somewhere below. In each draw one rating of every pair
with three or more is held out, and predicted from the others; differences come with
95 % paired bootstrap intervals over the pairs.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd

from clapstack.listeners import ListenerModel
from clapstack.metrics import mse, noise_ceiling, paired_bootstrap, srcc

BEST = "predict (listener known)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--split", choices=("train", "validation"), default=None)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--prior-ratings", type=float, default=6)
    options = parser.parse_args()
    ratings = read(options.folder, options.split)
    print(f"{len(ratings)} ratings, {ratings['listener_id'].nunique()} listeners")
    found, wins = [], []
    for draw in range(options.draws):
        kept, held = hold_out(ratings, np.random.default_rng(draw))
        begin = time.process_time()
        model = ListenerModel(prior_ratings=options.prior_ratings).fit(kept)
        spent = time.process_time() - begin
        print(f"draw {draw}: {len(held)} held out, {spent:.2f} CPU s", model.variances_)
        predicted = predictions(model, kept, held)
        true = held["score"].to_numpy(float)
        for name, values in predicted.items():
            found.append((name, srcc(true, values), mse(true, values)))
        for other in ("plain mean", "empirical Bayes"):
            for metric in (srcc, mse):
                gain = paired_bootstrap(metric, true, predicted[BEST], predicted[other])
                wins.append((f"{BEST} - {other}", metric.__name__, draw, *gain))
    table = pd.DataFrame(found, columns=["prediction", "SRCC", "MSE"])
    print(table.groupby("prediction", sort=False).mean().round(4).to_string())
    print(pd.DataFrame(wins).round(4).to_string(index=False, header=False))


def read(folder: Path, split: str | None) -> pd.DataFrame:
    file = next(folder.rglob("REL*.csv"))
    table = pd.read_csv(file, dtype={"listener_id": str})
    if split is not None:
        table = table[table["in RELATE dataset"] == split]
    pair = table.groupby(["wavname", "text"], sort=False).ngroup()
    return table[["score", "listener_id"]].assign(pair=pair).reset_index(drop=True)


def hold_out(
    ratings: pd.DataFrame, rng: np.random.Generator
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the ratings but one of each pair with three or more, and those ones."""
    shuffled = ratings.iloc[rng.permutation(len(ratings))]
    n_ratings = shuffled.groupby("pair")["pair"].transform("size")
    held = ~shuffled.duplicated("pair") & (n_ratings >= 3)
    return shuffled[~held], shuffled[held]


def predictions(
    model: ListenerModel, kept: pd.DataFrame, held: pd.DataFrame
) -> dict[str, np.ndarray]:
    by_pair = kept.groupby("pair")["score"]
    plain, count = by_pair.mean().to_numpy(), by_pair.size().to_numpy()
    # One-way empirical Bayes: listeners are part of the noise.
    ceiling = noise_ceiling(kept["pair"], kept["score"], n_raters=1)
    between = ceiling.reliability * ceiling.mse / (1 - ceiling.reliability)
    trust = between / (between + ceiling.mse / count)
    bayes = trust * plain + (1 - trust) * kept["score"].mean()
    pair = held["pair"].to_numpy()
    return {
        "plain mean": plain[pair],
        "empirical Bayes": bayes[pair],
        "scores_": model.scores_[pair],
        "shrunk_scores_": model.shrunk_scores_[pair],
        BEST: model.predict(held),
    }


if __name__ == "__main__":
    main()
