"""
Test whether one model predicts better than another
===================================================

Is a stack better than its best single model, or is it luck? Both predict the same
pairs, so a paired bootstrap of the difference answers the question. Listeners are
simulated, and the CLAP models are the small bundled checkpoints.

Read more in the :ref:`User Guide <metrics>`.
"""

# %%
# Fit
# ---

import tempfile

import matplotlib.pyplot as plt
import pandas as pd

from clapstack import make_system
from clapstack.datasets import load_xacle, make_simulated_xacle
from clapstack.metrics import compare_report, score_report

folder = tempfile.mkdtemp()
root = make_simulated_xacle(folder, n_train=150, n_validation=0, n_test=60)
train, test = load_xacle(root, "train"), load_xacle(root, "test")

names = ["laion-unfused", "msclap", "clap-rank-ensemble", "3-clap-stack"]
scores = {}
for name in names:
    system = make_system(name, checkpoints="bundled")
    scores[name] = system.fit(train.X, train.y).predict(test.X)

# %%
# One by one
# ----------
# With 60 pairs the intervals are wide and overlap.

reports = [score_report(test.y, scores[name], n_resamples=500) for name in names]
columns = ["srcc", "srcc_low", "srcc_high", "mse"]
print(pd.DataFrame(reports, index=names)[columns].round(3).to_string())

# %%
# Paired
# ------
# The interval of a difference is narrower than the two single intervals suggest,
# because a hard pair is hard for both systems. If it contains zero, these pairs do not
# show which system is better.

others = names[:-1]
gains = {
    name: compare_report(test.y, scores["3-clap-stack"], scores[name], n_resamples=500)
    for name in others
}
figure, panels = plt.subplots(2, 1, figsize=(6, 4.2), layout="constrained")
for axes, metric in zip(panels, ["srcc", "mse"], strict=True):
    for row, name in enumerate(others):
        gain = gains[name][metric]
        axes.plot([gain.low, gain.high], [row, row], color="C0", linewidth=2)
        axes.plot(gain.difference, row, "o", color="C0")
    axes.axvline(0, color="0.6", linewidth=1)
    axes.set_yticks(range(len(others)), labels=others)
    axes.margins(y=0.3)
    axes.set(xlabel=f"{metric.upper()} of 3-clap-stack minus that of the other system")
figure.suptitle("95 % paired bootstrap intervals, 60 simulated test pairs")
plt.show()
