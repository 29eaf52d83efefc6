"""One small fitted model of every kind that can be saved.

``python -m tests.sharing.models FOLDER`` writes their files, and what they predict.
Those that a release has written are kept in ``files/``, so that later releases are
tested to read them.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from clapstack import ClapStackingRegressor, CrossAgreement, save_model
from clapstack.features import pair_feature_names, pair_features
from clapstack.stacking import KernelRegressor, StandardizedRidge
from clapstack.stacking._trees import BoostedTrees
from clapstack.systems import RankEnsembleRegressor, make_clap_stack

FAMILIES = ("laion_unfused", "laion_fused", "msclap")
N_PAIRS = 40
DIM = 2


def simulated_table():
    """Return (X, y): pair features of three CLAP models, and simulated scores."""
    rng = np.random.default_rng(0)
    parts = []
    for family in FAMILIES:
        sides = rng.normal(size=(2, N_PAIRS, DIM)).astype(np.float32)
        sides /= np.linalg.norm(sides, axis=2, keepdims=True)
        names = [f"{family}__{name}" for name in pair_feature_names(DIM)]
        parts.append(pd.DataFrame(pair_features(*sides), columns=names))
    X = pd.concat(parts, axis=1)
    noise = rng.normal(scale=0.3, size=N_PAIRS)
    cosines = X["laion_unfused__cosine"] + X["msclap__cosine"]
    return X, 5 + 2 * cosines + noise


def models():
    """Return fitted models by name."""
    X, y = simulated_table()
    trees = {"boosting": BoostedTrees(max_iter=2), "n_components": 3, "cv": 2}
    paper = Pipeline(
        [
            ("agreement", CrossAgreement(n_components=2)),
            ("stack", ClapStackingRegressor(calibration=True, **trees)),
        ]
    )
    best = Pipeline(
        [
            ("agreement", CrossAgreement(n_components=2)),
            (
                "stack",
                ClapStackingRegressor(
                    alphas=(0.5, 5.0),
                    base_estimators=["ridge", StandardizedRidge()],
                    kernel=KernelRegressor(n_tuning=20, n_components=4),
                    final_target="rank",
                    **trees,
                ),
            ),
        ]
    )
    mean = ClapStackingRegressor(
        boosting=False,
        cv=2,
        final_estimator="mean",
        random_state=np.random.RandomState(0),
    )
    made = {
        "paper": paper.set_output(transform="pandas"),
        "best": best.set_output(transform="pandas"),
        "rank_ensemble": RankEnsembleRegressor(cv=2),
        "mean": mean,
    }
    made = {name: model.fit(X, y) for name, model in made.items()}
    pairs = pd.DataFrame({"audio": ["dog.wav"], "text": ["a dog"]})
    union = make_clap_stack("bundled")["features"].set_output(transform="pandas")
    return {**made, "encoders": union.fit(pairs)}


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    X, _ = simulated_table()
    scores = {}
    for name, model in models().items():
        save_model(model, folder / f"{name}.clapstack")
        if hasattr(model, "predict"):
            scores[name] = model.predict(X).tolist()
    (folder / "scores.json").write_text(json.dumps(scores))
