"""
Compare generators by the scores of their clips
===============================================

Which of four text-to-audio systems follows its prompts best, and how sure is that? The
scores are simulated here; ``clapstack score`` or :class:`~clapstack.Scorer` makes them
from clips.
"""

# %%
# Scores
# ------
# Forty prompts, some harder than others, and one to three clips per system and prompt.
# "v3" is better than "v1" by 0.6, "v3-fast" is as good as "v3".

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
# Means of single systems have wide intervals, because prompts differ. Differences on
# the same prompts have narrower ones: a hard prompt is hard for all.

result = compare_systems(scored, system="system", prompt="text", score="score")
print(result.means.round(2).to_string())
print(result.differences.round(3).to_string())
print(result.verdict())

# %%
# A filled mark is the best system, or one that is not shown to be worse; the numbers
# are the differences from the best, with their intervals.

SystemsDisplay.from_result(result)
plt.show()

# %%
# With ratings
# ------------
# Do the scores order the systems as listeners do? With four systems the interval is
# wide: to judge a score, rate many systems, and not only many clips.

print(compare_systems(scored, ratings="rating").agreement.round(2).to_string())
