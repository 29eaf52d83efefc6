"""
Find out which generator follows its prompts best
=================================================

Four text-to-audio systems, the same prompts: which is best, and how sure is that? The
scores are simulated here; ``clapstack score`` or :class:`~clapstack.Scorer` computes
them from clips.

Read more in the :ref:`User Guide <compare_systems>`.
"""

# %%
# Scores
# ------
# There are forty prompts, some harder than others, and one to three clips per system
# and prompt. In this simulation "v3" is better than "v1" by 0.6, and "v3-fast" is as
# good as "v3".

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from clapstack.inspection import SystemsDisplay
from clapstack.metrics import compare_systems

rng = np.random.default_rng(0)
hard = rng.normal(size=40)
rows = []
for system, gain in {"v1": 0.0, "v2": 0.2, "v3": 0.6, "v3-fast": 0.6}.items():
    for prompt in range(40):
        level = 5 + gain + hard[prompt] + 0.5 * rng.normal()
        for _ in range(rng.integers(1, 4)):
            score = level + 0.7 * rng.normal()
            rows.append((system, f"prompt {prompt}", score, score + rng.normal()))
scored = pd.DataFrame(rows, columns=["system", "text", "score", "rating"])

# %%
# Compare
# -------
# The mean of a single system has a wide interval, because prompts differ. Differences
# between systems on the same prompts have narrower intervals, because a hard prompt is
# hard for every system.

result = compare_systems(scored, system="system", prompt="text", score="score")
print(result.means.round(2).to_string())
print(result.differences.round(3).to_string())
print(result.verdict())

# %%
# Filled marks are the best system and those that are not significantly worse. The
# numbers are the differences from the best, with their intervals.

SystemsDisplay.from_result(result)
plt.show()

# %%
# Check the score against ratings
# -------------------------------
# If some clips are rated, you can check whether the scores order the systems as
# listeners do. With four systems the interval is wide: to evaluate a score, rate many
# systems, not only many clips.

print(compare_systems(scored, ratings="rating").agreement.round(2).to_string())
