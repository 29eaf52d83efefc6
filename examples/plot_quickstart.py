"""
Build a stack and score clips
=============================

From sound files to scores with three frozen CLAP models, step by step. Listeners are
simulated, and the CLAP models are the small bundled checkpoints; with the published
ones, only the checkpoint names change.

Read more in the :ref:`User Guide <stacking>`.
"""

# %%
# The data
# --------
# A folder in the layout of the XACLE challenge has clips, captions, and four ratings of
# each pair from 0 to 10. This one is simulated. ``X`` is a data frame with the columns
# ``audio`` (here paths) and ``text``, and ``y`` is the mean rating.

import tempfile

import matplotlib.pyplot as plt
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import FeatureUnion, Pipeline

from clapstack import (
    ClapStackingRegressor,
    CrossAgreement,
    LaionClapPairFeatures,
    MsClapPairFeatures,
)
from clapstack.datasets import load_xacle, make_simulated_xacle
from clapstack.metrics import score_report, srcc, srcc_scorer

folder = tempfile.mkdtemp()
root = make_simulated_xacle(folder, n_train=150, n_validation=0, n_test=60)
train = load_xacle(root, "train")
test = load_xacle(root, "test")
print(train.X.head(3).assign(score=train.y[:3]).to_string(max_colwidth=40))

# %%
# The stack
# ---------
# Each encoder is a transformer, and so is their agreement. The regressor learns from
# out-of-fold predictions which encoder to trust. It finds the columns of each encoder
# by their names, ``family__feature``. :func:`clapstack.make_clap_stack` builds the same
# pipeline in one call.

pipeline = Pipeline(
    [
        (
            "features",
            FeatureUnion(
                [
                    ("laion_unfused", LaionClapPairFeatures("bundled:laion-unfused")),
                    ("laion_fused", LaionClapPairFeatures("bundled:laion-fused")),
                    ("msclap", MsClapPairFeatures("bundled:msclap")),
                ]
            ),
        ),
        ("agreement", CrossAgreement()),
        ("stack", ClapStackingRegressor()),
    ]
).set_output(transform="pandas")

pipeline.fit(train.X, train.y)
scores = pipeline.predict(test.X)
print({name: round(value, 3) for name, value in score_report(test.y, scores).items()})

# %%
# Tune it
# -------
# The pipeline is a scikit-learn estimator, so a grid search works. Embeddings come from
# the store: no clip is encoded again for another fold or candidate.

fused = LaionClapPairFeatures("bundled:laion-fused")
search = GridSearchCV(
    pipeline,
    {
        "agreement__n_components": [8, 16],
        "features__laion_fused": ["drop", fused],
        "stack__boosting": [False],
    },
    scoring=srcc_scorer,
    cv=KFold(3),
)
search.fit(train.X, train.y)
print(search.best_params_, round(search.best_score_, 3))

# %%
# Look at the predictions
# -----------------------
# Each point is a pair that the model has not seen. On the line, prediction and rating
# are equal.

figure, axes = plt.subplots(figsize=(4.5, 4.5), layout="constrained")
axes.scatter(test.y, scores, s=16, alpha=0.7)
axes.plot([0, 10], [0, 10], color="0.6", linewidth=1)
axes.set(
    xlim=(-0.3, 10.3),
    ylim=(-0.3, 10.3),
    xlabel="mean of four simulated ratings",
    ylabel="predicted score",
    title=f"SRCC {srcc(test.y, scores):.2f} on {len(scores)} new pairs",
)
plt.show()
