"""
See where a model errs, and why a pair got its score
====================================================

Six pictures of a fitted stack: its predictions and errors, the contribution of each
encoder, and the explanation of a single score. Listeners are simulated, and the CLAP
models are the small bundled checkpoints: the pictures show what to look at, not how
good clapstack is.

Read more in the :ref:`User Guide <pictures>`.
"""

# %%
# Fit a stack
# -----------

# sphinx_gallery_thumbnail_number = 6
import tempfile
from textwrap import fill

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
# Predictions
# -----------
# Each point is a pair that the model has not seen. The band is the prediction interval,
# averaged over pairs with similar predictions. The title reports how many pairs lie in
# their own interval.

display = PredictionDisplay.from_estimator(model, test.X, test.y)
print(fill(display.describe(), 80))

# %%
# Errors and calibration need no new pairs, because a stack keeps the out-of-fold
# predictions of its training pairs. ``ax=`` draws on existing axes.

stack = model[-1]
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.6), layout="constrained")
ResidualsDisplay.from_predictions(stack.y_train_, stack.oof_scores_, ax=left)
CalibrationCurveDisplay.from_predictions(stack.y_train_, stack.oof_scores_, ax=right)

# %%
# Families
# --------
# Each row is one family of features alone, and the stack combines them. With 150 pairs
# the intervals overlap. Two families whose predictions agree less complement each other
# more.

FamilyScoresDisplay.from_estimator(model)
FamilyAgreementDisplay.from_estimator(model)

# %%
# One pair
# --------
# The first picture shows the text and the clip, the second how each family moved the
# score away from the average.

pair = test.X.iloc[[0]]
SpectrogramDisplay.from_estimator(model, pair)
ExplanationDisplay.from_estimator(model, pair)

plt.show()
