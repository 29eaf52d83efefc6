"""
Learn a score from "A is better than B"
=======================================

People choose which of two clips satisfies a prompt better, and a model learns a score
from their answers. The embeddings and the people are simulated here.

Read more in the :ref:`User Guide <preferences>`.
"""

# %%
# Comparisons
# -----------
# There are two hundred prompts with three clips each. In this simulation, preferences
# partly follow the cosine, but one direction of the embeddings matters more.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from clapstack.features import pair_feature_names, pair_features
from clapstack.metrics import pair_accuracy
from clapstack.stacking import PreferenceRegressor

rng = np.random.default_rng(0)
n_prompts, n_clips, dim = 200, 3, 16
n_rows = n_prompts * n_clips
prompts = np.repeat(np.arange(n_prompts), n_clips)
text = rng.normal(size=(n_prompts, dim))[prompts]
audio = rng.normal(size=(n_rows, dim)) + rng.normal(size=(n_rows, 1)) * text
text /= np.linalg.norm(text, axis=1, keepdims=True)
audio /= np.linalg.norm(audio, axis=1, keepdims=True)
names = [f"laion__{name}" for name in pair_feature_names(dim)]
X = pd.DataFrame(pair_features(audio, text), columns=names)

simulated_utility = 2 * X["laion__cosine"] + 25 * X["laion__product0"]
first, second = np.triu_indices(n_rows, 1)
same_prompt = prompts[first] == prompts[second]
first, second = first[same_prompt], second[same_prompt]
apart = simulated_utility.to_numpy()[first] - simulated_utility.to_numpy()[second]
first_wins = rng.uniform(size=len(first)) < 1 / (1 + np.exp(-apart))
preferences = np.column_stack([first, second, first_wins])
print(f"{len(preferences)} preferences between {n_rows} clips")

# %%
# The model
# ---------
# Its out-of-fold scores come from models that saw no comparison of the same prompt.

accuracies = {"cosine": pair_accuracy(X["laion__cosine"], preferences, groups=prompts)}
for n_learned in (20, 50, 100, 200):
    rows = prompts < n_learned
    learned = preferences[prompts[first] < n_learned]
    model = PreferenceRegressor().fit(
        X[rows], preferences=learned, groups=prompts[rows]
    )
    accuracies[f"{n_learned} prompts"] = pair_accuracy(
        model.oof_scores_, learned, groups=prompts[rows]
    )
accuracies["the utility itself"] = pair_accuracy(
    simulated_utility, preferences, groups=prompts
)

# %%
# How many prompts are enough?
# ----------------------------
# Pair accuracy is the share of preferences that a score orders correctly, here with
# intervals over prompts. Even the true utility is not always right, because people do
# not always agree.

figure, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
for place, (name, found) in enumerate(accuracies.items()):
    ax.plot([found.low, found.high], [place, place], color="0.5")
    ax.plot(found.accuracy, place, "o", color="C0")
    print(f"{name:<20} {found.accuracy:.3f} [{found.low:.3f}, {found.high:.3f}]")
ax.set_yticks(range(len(accuracies)), list(accuracies))
ax.invert_yaxis()
ax.axvline(0.5, color="0.8", linewidth=1)
ax.set(xlabel="pair accuracy (chance is 0.5)")
plt.show()
