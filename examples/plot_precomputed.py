"""
Use embeddings that you have already computed
=============================================

If another program has computed the embeddings, clapstack looks them up by path and text
and needs no audio. The embeddings of two models and the scores are simulated here.

Read more in the :ref:`User Guide <own_encoder>`.
"""

# %%
# The files
# ---------
# Each model has one file with the embeddings of clips and one with those of texts. In
# this simulation a clip matches its text to some degree, and each model sees that
# degree with its own noise.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.pipeline import FeatureUnion, Pipeline

from clapstack import ClapStackingRegressor, CrossAgreement, PrecomputedPairFeatures
from clapstack.metrics import srcc

rng = np.random.default_rng(0)
n_pairs, dim = 600, 32
X = pd.DataFrame(
    {
        "audio": [f"clip{i:03}.wav" for i in range(n_pairs)],
        "text": [f"prompt {i:03}" for i in range(n_pairs)],
    }
)
alignment = rng.uniform(0, 1, n_pairs)
y = np.clip(10 * alignment + rng.normal(0, 1.5, n_pairs), 0, 10)

folder = Path(tempfile.mkdtemp())
for model, noise in {"first": 0.8, "second": 1.2}.items():
    texts = rng.normal(size=(n_pairs, dim))
    sounds = alignment[:, None] * texts + noise * rng.normal(size=(n_pairs, dim))
    np.savez(folder / f"{model}_audio.npz", keys=X["audio"].tolist(), embeddings=sounds)
    np.savez(folder / f"{model}_text.npz", keys=X["text"].tolist(), embeddings=texts)
print(*sorted(path.name for path in folder.iterdir()))

# %%
# The stack
# ---------
# Embeddings are normalised to unit length. A pair without an embedding raises an error
# that names it.


def features(model):
    return PrecomputedPairFeatures(
        folder / f"{model}_audio.npz", folder / f"{model}_text.npz"
    )


pipeline = Pipeline(
    [
        ("features", FeatureUnion([(m, features(m)) for m in ("first", "second")])),
        ("agreement", CrossAgreement(n_components=8)),
        ("stack", ClapStackingRegressor(boosting=False)),
    ]
).set_output(transform="pandas")

train, test = slice(0, 400), slice(400, None)
scores = {"both": pipeline.fit(X[train], y[train]).predict(X[test])}
for model, other in [("first", "second"), ("second", "first")]:
    alone = pipeline.set_params(**{f"features__{other}": "drop"})
    scores[model] = alone.fit(X[train], y[train]).predict(X[test])
    pipeline.set_params(**{f"features__{other}": features(other)})
figures = {name: srcc(y[test], s) for name, s in scores.items()}
print({name: round(value, 3) for name, value in figures.items()})

# %%
# Compare
# -------
# Both models together order the pairs better than either alone.

figure, panels = plt.subplots(
    1, 3, figsize=(7.5, 3.4), sharex=True, sharey=True, layout="constrained"
)
for axes, name in zip(panels, ["first", "second", "both"], strict=True):
    axes.scatter(y[test], scores[name], s=10, alpha=0.6)
    axes.set(title=f"{name}: SRCC {figures[name]:.2f}", xlabel="simulated score")
panels[0].set_ylabel("predicted score")
plt.show()
