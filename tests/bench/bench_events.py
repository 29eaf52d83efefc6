"""Features of events on the simulated challenge, with the bundled checkpoints.

Run it as ``python tests/bench/bench_events.py FOLDER``. For each seed it makes a
challenge of 800 training and 500 test pairs in FOLDER, unless it is there, and prints,
with intervals of 95 % over pairs:

- how well single columns tell right captions from each kind of wrong one (AUC);
- what the family adds to the stack, against the stack and against one that knows the
  number of clauses and whether an order is claimed (control), for each seed and over
  all; to prompts of one sound, which it should not harm; and to scores without ratings;
- how often explanations name the missing sound and the broken order;
- what the features cost (``--cost``).

The same follows with captions of another wording, with recordings that the checkpoints
never heard, and with both (``--tests`` chooses).

All of it is simulated: no human rated these pairs. Embeddings go to the usual store.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata
from sklearn.pipeline import FeatureUnion

from clapstack import ClapStackingRegressor, CrossAgreement, EventFeatures
from clapstack.datasets import (
    load_xacle,
    make_simulated_xacle,
    simulate_caption,
    simulate_scene,
    sound_classes,
)
from clapstack.inspection import explain_events
from clapstack.metrics import mse, srcc
from clapstack.scoring.tables import CosineScorer, EventScorer
from clapstack.systems import CLAP_FAMILIES, make_union
from clapstack.systems._presets import PRESETS

N_TRAIN, N_TEST = 800, 500
# The test split's number in the seed of a pair.
_TEST = 2
_RESAMPLES = 1000
_CLIPS_TO_TIME = 20

TESTS = ("as trained", "other words", "unheard sounds", "other words, unheard sounds")

# Another wording than the generator's: passives, participles, subordinate clauses.
_SAID = (
    "{}",
    "{} sounding",
    "the noise of {}",
    "{} being heard",
    "what sounds like {}",
    "{} in the distance",
)
_FREE = {
    (1, "sequence"): ("there is {}", "one can make out {}", "a recording of {}"),
    (1, "mixture"): ("there is {}", "one can make out {}", "a recording of {}"),
    (2, "sequence"): (
        "first {}, later {}",
        "{} before {}",
        "after {}, {}",
        "{} gives way to {}",
        "{}; a moment later {}",
    ),
    (2, "mixture"): (
        "{} as {} goes on",
        "{} with {} in the background",
        "{} while {} is heard",
        "{} over {}",
    ),
    (3, "sequence"): (
        "first {}, next {}, and in the end {}",
        "{} before {} and then {}",
        "{}, after which {} is heard, then {}",
    ),
    (3, "mixture"): (
        "{} and {} with {} in the background",
        "{} while {} and {} are heard",
        "{} as well as {} and {}",
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[*range(201, 206)])
    parser.add_argument("--preset", choices=PRESETS, default="paper")
    parser.add_argument("--windows", choices=["dense", "tiled"], default="dense")
    parser.add_argument("--tests", nargs="+", choices=TESTS, default=list(TESTS))
    parser.add_argument("--cost", action="store_true", help="only what it costs")
    parser.add_argument("--explained", type=int, default=1000, help="pairs per seed")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print("SIMULATED scenes and listeners, bundled checkpoints")
    if options.cost:
        print_cost(options.folder, options.seeds[0], options.windows)
        return
    by_name: dict[str, list[Test]] = {name: [] for name in options.tests}
    for seed in options.seeds:
        models = Models(challenge(options.folder, seed), options)
        for name, tests in by_name.items():
            tests.append(Test(seed, name, models, options.folder))
    for name, tests in by_name.items():
        print(f"\n{options.preset}, {name}")
        print_auc(tests)
        print_gains(tests)
        # In other words no table says which clause is of which sound.
        if "other words" not in name:
            print_explanations(tests, options.explained)


class Models:
    """The stacks of one seed: without events, with the control, and with events."""

    def __init__(self, root: Path, options: argparse.Namespace):
        self.features = events(options.windows)
        train = load_xacle(root, "train")
        X, E = self.tables(train.X)
        control = [
            name
            for name in E
            if name.endswith(("_cosine", "n_clauses", "claims_order"))
            and "__all_" not in name
        ]
        self._arms = {}
        for arm, names in {
            "without": [],
            "control": control,
            "with": list(E),
        }.items():
            agreement = CrossAgreement().set_output(transform="pandas")
            phi = agreement.fit_transform(pd.concat([X, E[names]], axis=1))
            stack = ClapStackingRegressor(**PRESETS[options.preset](0))
            self._arms[arm] = names, agreement, stack.fit(phi, train.y)

    def tables(self, pairs: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return pair features and features of events."""
        union = encoders().set_output(transform="pandas")
        family = FeatureUnion([("events", self.features)])
        family.set_output(transform="pandas")
        return union.fit_transform(pairs), family.fit_transform(pairs)

    def predictions(self, X: pd.DataFrame, E: pd.DataFrame) -> dict[str, np.ndarray]:
        """Return the predictions of each stack."""
        return {
            arm: stack.predict(agreement.transform(pd.concat([X, E[names]], axis=1)))
            for arm, (names, agreement, stack) in self._arms.items()
        }


class Test:
    """Test pairs of one seed: truth, features, and predictions."""

    __test__ = False

    def __init__(self, seed: int, name: str, models: Models, folder: Path):
        root = challenge(folder, seed, held_out="unheard" in name)
        test = load_xacle(root, "test")
        self.y, self.pairs = test.y, test.X
        truth = pd.read_csv(root / "simulated_truth.csv")
        self.edit = truth.loc[truth["split"] == "test", "edit"].to_numpy()
        self.sounds = truth.loc[truth["split"] == "test", "sounds"].to_list()
        if "other words" in name:
            texts = [in_other_words(seed, i) for i in range(len(test.X))]
            self.pairs = test.X.assign(text=texts)
        self.seed, self.features = seed, models.features
        X, self.columns = models.tables(self.pairs)
        self.predictions = models.predictions(X, self.columns)
        self.predictions |= without_ratings(self.pairs, self.features)
        self.has_one_sound = self.columns["events__n_clauses"].to_numpy() == 1
        shown = {k: round(srcc(self.y, p), 3) for k, p in self.predictions.items()}
        print(seed, name, shown, flush=True)


def challenge(folder: Path, seed: int, *, held_out: bool = False) -> Path:
    """Return the folder of a seed's challenge; make it if it is not there."""
    root = folder / (f"{seed}-unheard" if held_out else f"{seed}")
    if not root.exists():
        n_train = 1 if held_out else N_TRAIN
        make_simulated_xacle(
            root,
            n_train=n_train,
            n_validation=1,
            n_test=N_TEST,
            random_state=seed,
            held_out=True if held_out else None,
        )
    return root


def encoders(**settings: Any) -> FeatureUnion:
    """Return the bundled CLAP models' pair features."""
    return make_union("bundled", CLAP_FAMILIES, device="cpu", **settings)


def events(windows: str, **settings: Any) -> EventFeatures:
    """Return features of events through the same models."""
    return EventFeatures(encoders(**settings), windows=windows)


def in_other_words(seed: int, number: int) -> str:
    """Return the caption of a test pair, in words that the generator does not use."""
    rng = np.random.default_rng([seed, _TEST, number])
    caption = simulate_caption(simulate_scene(rng), rng)
    classes = sound_classes()

    def pick(options: Any) -> str:
        return options[int(rng.integers(len(options)))]

    said = [pick(_SAID).format(pick(classes[name].words)) for name in caption.names]
    return pick(_FREE[len(said), caption.relation]).format(*said)


def without_ratings(
    pairs: pd.DataFrame, features: EventFeatures
) -> dict[str, np.ndarray]:
    """Return scores of clapstack score --unsupervised, without and with events."""
    union = make_union("bundled", CLAP_FAMILIES, ["cosine"], device="cpu")
    scores = {}
    for name, scorer in {
        "cosines": CosineScorer(union),
        "cosines and events": EventScorer(union, features),
    }.items():
        values = scorer.values(pairs).tolist()
        finish = scorer.finish(iter(values))
        scores[name] = np.array([finish(row)[0] for row in values])
    return scores


def print_auc(tests: list[Test]) -> None:
    """Print the columns that separate right captions from wrong ones."""
    edits = np.concatenate([test.edit for test in tests])
    columns = pd.concat([test.columns for test in tests], ignore_index=True)
    columns = columns.rename(columns=lambda name: name.removeprefix("events__"))
    whole = columns["all_cosine"].to_numpy()
    print("AUC, right captions against   whole cosine   best column of events")
    for edit in ("swap", "add", "drop", "replace"):
        some = np.isin(edits, ["right", edit])
        is_right = edits[some] == "right"
        values = {
            name: auc(is_right, columns[name].to_numpy()[some]) for name in columns
        }
        best = max(values, key=lambda name: values[name])
        low, high = interval(
            lambda rows, best=best, some=some, is_right=is_right: auc(
                is_right[rows], columns[best].to_numpy()[some][rows]
            ),
            [len(is_right)],
        )
        before = auc(is_right, whole[some])
        print(
            f"  {edit:8} {np.sum(~is_right):4} pairs   {before:.3f}        "
            f"{values[best]:.3f} [{low:.3f}, {high:.3f}]  {best}"
        )


def auc(is_right: np.ndarray, values: np.ndarray) -> float:
    """Return the share of (right, wrong) pairs in which the right one is higher."""
    n_right = is_right.sum()
    ranks = rankdata(values)[is_right].sum() - n_right * (n_right + 1) / 2
    return float(ranks / (n_right * (len(values) - n_right)))


def print_gains(tests: list[Test]) -> None:
    """Print what the family adds: for each seed, and means over seeds."""
    for test in tests:
        print_gain([test], srcc, "with", "without", f"seed {test.seed}")
    for metric in (srcc, mse):
        for other in ("without", "control"):
            print_gain(tests, metric, "with", other)
    for metric in (srcc, mse):
        print_gain(tests, metric, "with", "without", "prompts of one sound")
    print_gain(tests, srcc, "cosines and events", "cosines", "no ratings")


def print_gain(
    tests: list[Test], metric: Any, arm: str, other: str, note: str = "all"
) -> None:
    """Print by how much one arm's predictions are better than another's."""
    chosen = [
        np.flatnonzero(test.has_one_sound | ("one sound" not in note)) for test in tests
    ]
    sizes = [len(rows) for rows in chosen]

    def gain(drawn: np.ndarray) -> float:
        parts = np.split(drawn, np.cumsum(sizes)[:-1])
        return float(
            np.mean(
                [
                    metric(test.y[rows[part]], test.predictions[arm][rows[part]])
                    - metric(test.y[rows[part]], test.predictions[other][rows[part]])
                    for test, rows, part in zip(tests, chosen, parts, strict=True)
                ]
            )
        )

    value = gain(np.concatenate([np.arange(size) for size in sizes]))
    low, high = interval(gain, sizes)
    print(
        f"{metric.__name__:4} {arm}, less {other:7}: {value:+.3f} "
        f"[{low:+.3f}, {high:+.3f}]  {note}, {sum(sizes)} pairs",
        flush=True,
    )


def interval(value: Any, sizes: list[int]) -> tuple[float, float]:
    """Return the ends of a bootstrap interval; rows are drawn within each set."""
    rng = np.random.default_rng(0)
    drawn = [
        value(np.concatenate([rng.integers(0, size, size) for size in sizes]))
        for _ in range(_RESAMPLES)
    ]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def print_explanations(tests: list[Test], n_pairs: int) -> None:
    """Print how often explanations are right."""
    words = {w: name for name, c in sound_classes().items() for w in c.words}
    named, clean, broken, kept, extra, full = ([] for _ in range(6))
    for test in tests:
        features = test.features.fit(test.pairs)
        rows = list(zip(test.pairs.itertuples(), test.edit, test.sounds, strict=True))
        for pair, edit, sounds in rows[:n_pairs]:
            if edit not in ("right", "add", "swap", "drop"):
                continue
            found = explain_events(pair.audio, pair.text, features)
            if edit == "add":
                absent = [
                    one.text
                    for one in found.clauses
                    if words.get(one.text, "") not in sounds.split()
                ]
                named.append(set(absent) <= set(found.missing))
            elif edit == "swap":
                broken.append(found.order_holds is False)
            elif edit == "drop":
                extra.append(bool(found.unexplained))
            else:
                clean.append(not found.missing)
                full.append(not found.unexplained)
                if found.order_holds is not None:
                    kept.append(found.order_holds)
    for what, listed in {
        "added sounds named as missing": named,
        "right captions without a missing sound": clean,
        "swapped captions whose order does not hold": broken,
        "right captions whose order holds": kept,
        "dropped sounds that leave something unexplained": extra,
        "right captions that leave nothing unexplained": full,
    }.items():
        if listed:
            print(f"{np.mean(listed):.0%} of {len(listed)} {what}")


def print_cost(folder: Path, seed: int, windows: str) -> None:
    """Print CPU time of a clip's embeddings, and of its windows', nothing stored."""
    pairs = load_xacle(challenge(folder, seed), "test").X
    pairs = pairs.drop_duplicates("text").iloc[: _CLIPS_TO_TIME + 1]
    union = encoders(cache=None).fit(pairs)
    features = events(windows, cache=None).fit(pairs)
    union.transform(pairs.iloc[:1])
    features.transform(pairs.iloc[:1])
    taken = {"clip": [], "both": []}
    for row in range(1, len(pairs)):
        pair = pairs.iloc[[row]]
        for name, transformer in (("clip", union), ("both", features)):
            start = time.process_time()
            transformer.transform(pair)
            taken[name].append(time.process_time() - start)
    clip, both = (1000 * np.median(taken[name]) for name in ("clip", "both"))
    # Features of events need the embedding of the whole clip too, which is stored.
    print(
        f"pair features {clip:.1f} ms a pair; features of events {both - clip:.1f} ms "
        f"more ({(both - clip) / clip:.2f} times)"
    )


if __name__ == "__main__":
    main()
