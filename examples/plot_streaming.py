"""
Fit a table that does not fit in memory
=======================================

Pair features have five times as many numbers as their embeddings, so a table of some
hundred thousand pairs does not fit in memory. With streamed features, embeddings stay
on disk and rows are computed when they are read. Embeddings and scores are simulated
here, and few enough to compare both ways.

Read more in the :ref:`User Guide <streaming>`.
"""

# %%
# Embeddings on disk
# ------------------

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.pipeline import make_pipeline

from clapstack import ClapStackingRegressor, CrossAgreement
from clapstack.metrics import srcc
from clapstack.streaming import StreamedFeatures

rng = np.random.default_rng(0)
n_pairs, dim = 2500, 32
alignment = rng.uniform(0, 1, n_pairs)
y = np.clip(10 * alignment + rng.normal(0, 1.5, n_pairs), 0, 10)


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


folder = Path(tempfile.mkdtemp())
models = ["first", "second"]
for model in models:
    text = rng.normal(size=(n_pairs, dim))
    audio = alignment[:, None] * text + rng.normal(size=(n_pairs, dim))
    np.save(folder / f"{model}_audio.npy", unit(audio))
    np.save(folder / f"{model}_text.npy", unit(text))

# %%
# Two tables of the same pairs
# ----------------------------
# ``mmap_mode="r"`` leaves the embeddings on disk.


def mapped(model):
    """Return the audio and text embeddings of a model."""
    sides = (folder / f"{model}_{side}.npy" for side in ("audio", "text"))
    return tuple(np.load(path, mmap_mode="r") for path in sides)


def held(table):
    """Return the same table in memory."""
    return pd.DataFrame(table.rows(slice(None)), columns=table.columns)


# Slicing a streamed table computes nothing yet.
table = StreamedFeatures({model: mapped(model) for model in models})
train, test = slice(0, 2000), slice(2000, None)
in_memory = held(table[train])
print(in_memory.shape, f"{in_memory.to_numpy().nbytes / 1e6:.1f} MB in memory")

# %%
# The same fit
# ------------


def pipeline():
    return make_pipeline(CrossAgreement(n_components=8), ClapStackingRegressor())


from_disk = pipeline().fit(table[train], y[train]).predict(table[test])
whole = pipeline().set_output(transform="pandas")
from_memory = whole.fit(in_memory, y[train]).predict(held(table[test]))
print(f"SRCC {srcc(y[test], from_disk):.3f}")
print(f"largest difference {np.abs(from_disk - from_memory).max():.1e}")

# %%
# What it saves
# -------------
# Size of a million pairs of the three published models and BEATs, calculated from their
# widths.

widths = {"features": 5 * 2048 + 3 + 527, "embeddings": 2 * 2048 + 527}
gigabytes = {name: 4 * width * 1e6 / 1e9 for name, width in widths.items()}
figure, axes = plt.subplots(figsize=(5.5, 2.6), layout="constrained")
bars = axes.barh(list(gigabytes), list(gigabytes.values()))
axes.bar_label(bars, fmt="%.0f GB", padding=3)
axes.set(xlabel="gigabytes", title="A million pairs of 2 LAION models, MS-CLAP, BEATs")
axes.margins(x=0.15)
plt.show()
