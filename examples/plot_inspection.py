"""
Pictures of a model
===================

What a fitted stack gets right, where it errs, what its families add, and why a pair got
its score. The listeners are simulated and the CLAP models are the bundled mini
checkpoints: the pictures show what to look at, not how good clapstack is.
"""

# %%
# A fitted stack
# --------------

import tempfile

import matplotlib.pyplot as plt

from clapstack import make_clap_stack
from clapstack.datasets import load_xacle, make_simulated_xacle
from clapstack.inspection import (
    CalibrationCurveDisplay,
    ExplanationDisplay,
    FamilyAgreementDisplay,
    FamilyScoresDisplay,
    PredictionDisplay,
    ResidualsDisplay,
    SpectrogramDisplay,
)

folder = tempfile.mkdtemp()
root = make_simulated_xacle(folder, n_train=150, n_validation=0, n_test=60)
train = load_xacle(root, "train")
test = load_xacle(root, "test")
model = make_clap_stack("bundled").fit(train.X, train.y)

# %%
# Predicted and human scores
# --------------------------
# New pairs first. The band is the prediction interval, averaged among pairs of like
# prediction; the title says how many pairs lie in their own.

display = PredictionDisplay.from_estimator(model, test.X, test.y)
print(display.describe())

# %%
# Errors and calibration need no new pairs: a stack keeps what it predicted of its
# training pairs while they were held out. Here both go on axes of our own.

stack = model[-1]
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.6), layout="constrained")
ResidualsDisplay.from_predictions(stack.y_train_, stack.oof_scores_, ax=left)
CalibrationCurveDisplay.from_predictions(stack.y_train_, stack.oof_scores_, ax=right)

# %%
# Families
# --------
# Each is a family of features alone; the stack is all of them. Where families agree
# less, there is more to gain from having both.

FamilyScoresDisplay.from_estimator(model)
FamilyAgreementDisplay.from_estimator(model)

# %%
# One pair
# --------
# What was asked, what was heard, and what made the score.

pair = test.X.iloc[[0]]
SpectrogramDisplay.from_estimator(model, pair)
ExplanationDisplay.from_estimator(model, pair)

plt.show()
