"""
Tune a stack with grid search
=============================

How many components of each model should the agreement features compare? The pipeline is
a scikit-learn estimator, so a grid search answers this. Listeners are simulated, and
the CLAP models are the small bundled checkpoints.

Read more in the :ref:`User Guide <cross_agreement>`.
"""

# %%
# The pipeline
# ------------
# The boosted trees are left out to save time. Groups keep all pairs of one caption on
# the same side of every split, so that the search is not rewarded for known captions.

import tempfile

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import GridSearchCV, GroupKFold

from clapstack import make_clap_stack
from clapstack.datasets import load_xacle, make_simulated_xacle
from clapstack.metrics import srcc_scorer

folder = tempfile.mkdtemp()
root = make_simulated_xacle(folder, n_train=150, n_validation=0, n_test=60)
train = load_xacle(root, "train")
pipeline = make_clap_stack("bundled").set_params(stack__boosting=False)

# %%
# The search
# ----------
# Embeddings come from the store: each clip and each caption is encoded once, in the
# first fit, regardless of the number of candidates and folds.

widths = [2, 4, 8, 16, 32]
search = GridSearchCV(
    pipeline,
    {"agreement__n_components": widths},
    scoring=srcc_scorer,
    cv=GroupKFold(5),
)
search.fit(train.X, train.y, groups=train.X["text"])
print(search.best_params_, round(search.best_score_, 3))

# %%
# Is the difference real?
# -----------------------
# Each grey line is a fold. The folds differ far more than the widths do, so 150 pairs
# are too few to choose a width.

folds = np.array([search.cv_results_[f"split{k}_test_score"] for k in range(5)])
figure, axes = plt.subplots(figsize=(5, 3.5), layout="constrained")
axes.plot(widths, folds.T, color="0.75", linewidth=1)
axes.plot(widths, folds.mean(axis=0), marker="o", label="mean of five folds")
axes.set_xscale("log", base=2)
axes.set_xticks(widths, labels=widths)
axes.set(xlabel="components of each model", ylabel="SRCC, simulated listeners")
axes.legend(frameon=False)
plt.show()
