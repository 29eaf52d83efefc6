"""
Choose the best take and compare two generators
===============================================

You have clips and prompts, and no ratings. This example keeps the best take of each
prompt, compares two generators, and computes a metric for training and a CLAP score for
a paper. The "generators" return bundled sounds, and the second often returns a wrong
one.

Read more in the :ref:`User Guide <scoring>`.
"""

# %%
# A folder of clips
# -----------------
# Generators typically write clips and a file with the prompt of each. ``v1`` and ``v2``
# make four takes of each prompt.

import json
import shutil
import tempfile
from pathlib import Path
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import soundfile

from clapstack import Scorer, clap_score
from clapstack.datasets import load_bundled_sounds
from clapstack.inspection import DistributionDisplay
from clapstack.integrations.torch import AlignmentScore
from clapstack.scoring import protocol, rank_candidates

rng = np.random.default_rng(0)
sounds = load_bundled_sounds()
folder = Path(tempfile.mkdtemp())
prompts = {}
for name, of_class in list(sounds.groupby("class"))[:12]:
    for system, share_wrong in (("v1", 0.1), ("v2", 0.6)):
        for take in range(4):
            pool = sounds if rng.random() < share_wrong else of_class
            clip = f"{name}_{system}_{take}"
            chosen = pool["path"].sample(random_state=rng).item()
            shutil.copy(chosen, folder / f"{clip}.flac")
            prompts[clip] = of_class["words"].iloc[0].split(" | ")[0]
with (folder / "prompts.json").open("w") as file:
    json.dump(prompts, file)

# %%
# Score it
# --------
# Without ratings, the score is the mean cosine of several CLAP models. With a fitted
# model, ``Scorer("model.clapstack")``, everything below works the same, on the scale of
# its ratings. The command is
# ``clapstack score model.clapstack folder --prompts prompts.json``.

scorer = Scorer.unsupervised("bundled")
scored = scorer.score_table(folder, prompts=folder / "prompts.json")
scored["system"] = scored["audio"].str.extract(r"_(v\d)_\d\.flac", expand=False)
print(scored[["audio", "text", "score"]].head(3).to_string())

# %%
# Choose
# ------
# Find the best take of each prompt, and how much better it is than a random one.

ranked = rank_candidates(scored[scored["system"] == "v2"], prompt="text", score="score")
print(scored["audio"][ranked["best"]].head(3).to_list())
print(f"best of 4 gains {ranked['gain'].mean():.3f} over a random take")

# %%
# Compare
# -------
# ``v2`` often misses the prompt, so its scores are lower and more spread out.
# ``clapstack report scores.csv --by system`` puts this picture on a page, with the best
# and worst pairs to listen to.

display = DistributionDisplay(scores=scored["score"], systems=scored["system"])
display.plot()
plt.show()

# %%
# A number for a build, a paper, a training loop
# ----------------------------------------------
# ``clapstack score … --fail-under`` fails a build if the mean score is too low.
# ``clap_score`` returns the cosine of one checkpoint, and ``protocol`` a line for the
# paper that states how it was measured.

clip = str(folder / scored["audio"][0])
print(round(clap_score(clip, scored["text"][0], "bundled:laion-unfused"), 3))
print(fill(protocol("bundled:laion-unfused"), 80))

# %%
# The torchmetrics metric accepts batches of waveforms, and averages over all processes
# of a distributed run.

batch = [soundfile.read(folder / name)[0] for name in scored["audio"][:4]]
metric = AlignmentScore(scorer, sampling_rate=16000)
metric.update(batch, scored["text"][:4].to_list())
print(f"{metric.compute():.3f}")
