"""
Correct for lenient and careless listeners
==========================================

The mean of four ratings is noisy, and listeners differ in leniency and in care.
:class:`~clapstack.listeners.ListenerModel` estimates both, and returns corrected scores
and weights. The listeners are simulated here, so their true leniency and care are
known.

Read more in the :ref:`User Guide <listeners>`.
"""

# %%
# Ratings
# -------
# Forty listeners rate 600 pairs, four listeners per pair. Some are lenient, and some
# are careless.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from clapstack.listeners import ListenerModel
from clapstack.metrics import mse, srcc

rng = np.random.default_rng(0)
n_pairs, n_listeners = 600, 40
truth = rng.normal(6, 2, n_pairs)
bias = rng.normal(0, 1.2, n_listeners)
noise = rng.choice([1.0, 3.5], n_listeners, p=[0.7, 0.3])

pair = np.repeat(np.arange(n_pairs), 4)
who = np.concatenate(
    [rng.choice(n_listeners, 4, replace=False) for _ in range(n_pairs)]
)
heard = truth[pair] + bias[who] + noise[who] * rng.normal(size=len(pair))
ratings = pd.DataFrame(
    {"pair": pair, "score": np.clip(np.round(heard), 0, 10), "listener_id": who}
)
print(ratings.head(4).to_string(index=False))

# %%
# The model
# ---------
# ``scores_`` and ``sample_weight_`` are targets and weights for any regressor:
# ``pipe.fit(X, model.scores_, stack__sample_weight=model.sample_weight_)``.

model = ListenerModel().fit(ratings)
means = ratings.groupby("pair")["score"].mean().to_numpy()
for name, scores in {"plain mean": means, "scores_": model.scores_}.items():
    print(f"{name:<10} SRCC {srcc(truth, scores):.3f}  MSE {mse(truth, scores):.3f}")

# %%
# What the model found
# --------------------
# The fewer ratings a listener has given, the more both estimates are pulled towards the
# average.

found = model.listeners_.loc[np.arange(n_listeners)]
figure, (left, right) = plt.subplots(1, 2, figsize=(7, 3.8), layout="constrained")
left.scatter(bias, found["bias"], s=18)
left.axline((0, 0), slope=1, color="0.6", linewidth=1)
left.set(xlabel="simulated bias", ylabel="estimated bias", title="Leniency")
careful = noise == 1.0
right.hist(
    [found["weight"][careful], found["weight"][~careful]],
    bins=12,
    label=["careful", "careless"],
    stacked=True,
)
right.set(xlabel="estimated weight", ylabel="listeners", title="Care")
right.legend(frameon=False)
plt.show()
