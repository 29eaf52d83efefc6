"""
Give predictions a scale and an interval
========================================

A model that learned ranks orders pairs well, but its predictions are not on the scale
of the ratings. Calibration restores the scale and keeps the order, and a prediction
interval shows how far a score may be off. Features and scores are simulated.

Read more in the User Guide, on :ref:`calibration` and :ref:`intervals`.
"""

# %%
# A model without a scale
# -----------------------
# Many scores are near ten, as with human ratings. The regressor learns their ranks,
# from 0 to 1.

# sphinx_gallery_thumbnail_number = 2
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.stats import rankdata
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import Ridge
from sklearn.model_selection import cross_val_predict

from clapstack import ClapStackingRegressor
from clapstack.calibration import IncreasingMap
from clapstack.metrics import score_report

rng = np.random.default_rng(0)


def simulate(n_pairs):
    """Return features of two families and scores; errors grow where they disagree."""
    shared = rng.normal(size=n_pairs)
    spread = rng.gamma(2, 0.3, n_pairs)
    columns = {
        f"{family}__{name}": shared + spread * rng.normal(size=n_pairs)
        for family in ("first", "second")
        for name in ("product0", "cosine")
    }
    noisy = shared + 0.5 * spread * rng.normal(size=n_pairs)
    return pd.DataFrame(columns), 10 / (1 + np.exp(-1.5 * noisy - 1))


class RankRidge(RegressorMixin, BaseEstimator):
    """A ridge on the ranks of the scores."""

    def fit(self, X, y):
        self.ridge_ = Ridge().fit(X, rankdata(y) / len(y))
        return self

    def predict(self, X):
        return self.ridge_.predict(X)


X, y = simulate(600)
X_test, y_test = simulate(400)

# %%
# Calibrate
# ---------
# The increasing map is fitted on out-of-fold predictions. It restores the scale and
# leaves SRCC unchanged. A stack that learned ranks does this by itself.

ranks = RankRidge().fit(X, y).predict(X_test)
held_out = cross_val_predict(RankRidge(), X, y, cv=5)
calibrated = IncreasingMap(on_scale=False).fit(held_out, y).predict(ranks)
for name, scores in {"ranks": ranks, "calibrated": calibrated}.items():
    report = score_report(y_test, scores)
    print(f"{name:<11} SRCC {report['srcc']:.4f}  MSE {report['mse']:.2f}")

figure, ax = plt.subplots(figsize=(5, 3.8), layout="constrained")
ax.scatter(y_test, 10 * ranks, s=10, alpha=0.5, label="ranks, times ten")
ax.scatter(y_test, calibrated, s=10, alpha=0.5, label="calibrated")
ax.axline((0, 0), slope=1, color="0.6", linewidth=1)
ax.set(xlabel="simulated score", ylabel="prediction")
ax.legend(frameon=False)

# %%
# Prediction intervals
# --------------------
# A stack computes intervals from its own out-of-fold errors.

stack = ClapStackingRegressor(boosting=False).fit(X, y)
interval = stack.predict_interval(X_test, coverage=0.9)
inside = (interval[:, 0] <= y_test) & (y_test <= interval[:, 1])
print(f"{inside.mean():.3f} of the test pairs are inside intervals of 90 %")

# %%
# Each line is the interval of a pair, and each mark its true score: a dot if the
# interval covers it, a cross if not. Intervals are wider where the families disagree.

order = np.argsort(stack.predict(X_test))[::8]
low, high = interval[order].T
places, covered = np.arange(len(order)), inside[order]
figure, ax = plt.subplots(figsize=(5.5, 3.8), layout="constrained")
ax.vlines(places, low, high, color="C0", alpha=0.4)
ax.scatter(places[covered], y_test[order][covered], s=12, color="C0")
ax.scatter(places[~covered], y_test[order][~covered], s=24, color="C1", marker="x")
ax.set(xlabel="pairs, sorted by predicted score", ylabel="score and 90 % interval")
plt.show()
