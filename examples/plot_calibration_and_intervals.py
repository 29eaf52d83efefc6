"""
Calibration and intervals
=========================

A model that learned ranks orders well and has no scale; an increasing map gives it one
and keeps the order. An interval says how far a score may be off. Features and scores
are simulated.
"""

# %%
# A model without a scale
# -----------------------
# Scores pile up near ten, as human ratings do. The regressor learns their ranks, from 0
# to 1.

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
# Calibration
# -----------
# The map is fitted on predictions out of fold. SRCC stays to the last digit. A stack
# that learned ranks does the same by itself.

ranks = RankRidge().fit(X, y).predict(X_test)
held_out = cross_val_predict(RankRidge(), X, y, cv=5)
calibrated = IncreasingMap(on_scale=False).fit(held_out, y).predict(ranks)
for name, scores in {"ranks": ranks, "calibrated": calibrated}.items():
    report = score_report(y_test, scores)
    print(f"{name:<11} SRCC {report['srcc']:.4f}  MSE {report['mse']:.2f}")

# %%
# Intervals
# ---------
# The stack has what it takes: out-of-fold errors of its own fit.

stack = ClapStackingRegressor(boosting=False).fit(X, y)
interval = stack.predict_interval(X_test, coverage=0.9)
inside = (interval[:, 0] <= y_test) & (y_test <= interval[:, 1])
print(f"{inside.mean():.3f} of the test pairs are inside intervals of 90 %")

# %%
# The picture
# -----------
# Left: the order stays and the scale comes. Right: intervals are wider where the
# families disagree.

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
left.scatter(y_test, 10 * ranks, s=10, alpha=0.5, label="ranks, times ten")
left.scatter(y_test, calibrated, s=10, alpha=0.5, label="calibrated")
left.axline((0, 0), slope=1, color="0.6", linewidth=1)
left.set(xlabel="simulated score", ylabel="prediction")
left.legend(frameon=False)

order = np.argsort(stack.predict(X_test))[::8]
low, high = interval[order].T
places = np.arange(len(order))
right.vlines(places, low, high, color="C0", alpha=0.4)
right.scatter(places[inside[order]], y_test[order][inside[order]], s=12, color="C0")
right.scatter(
    places[~inside[order]], y_test[order][~inside[order]], s=16, color="C3", marker="x"
)
right.set(xlabel="pairs by predicted score", ylabel="score and interval of 90 %")
plt.show()
