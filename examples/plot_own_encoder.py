"""
Add your own encoder to a stack
===============================

An encoder is an object with a sample rate and two methods. This one is not a neural
network: it describes a clip's spectrum as a mixture of the spectra of the bundled
sounds, and compares these with the sounds that the caption names. Listeners are
simulated.

Read more in the :ref:`User Guide <own_encoder>`.
"""

# %%
# The encoder
# -----------
# ``encode_audio`` receives a list of float32 waveforms at ``sample_rate``, and
# ``encode_text`` a list of strings. Each returns one row per item, in the same space.
# ``identity`` is the key under which embeddings are stored: change it when you change
# the code.

import tempfile

import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import nnls
from sklearn.pipeline import FeatureUnion, Pipeline

from clapstack import (
    ClapStackingRegressor,
    CrossAgreement,
    MsClapPairFeatures,
    PairFeatures,
)
from clapstack.audio import read_audio
from clapstack.datasets import load_bundled_sounds, load_xacle, make_simulated_xacle
from clapstack.metrics import score_report


def spectrum(waveform):
    """Return the mean amplitude in 256 bands, of unit norm."""
    blocks = np.resize(waveform, (-(-len(waveform) // 16_384), 16_384))
    power = (np.abs(np.fft.rfft(blocks)[:, 1:]) ** 2).mean(axis=0)
    amplitude = np.sqrt(power.reshape(256, -1).mean(axis=1)) + 1e-9
    return amplitude / np.linalg.norm(amplitude)


class Ingredients:
    """Share of each bundled sound in a clip, or whether a text names it."""

    sample_rate = 16_000
    identity = "ingredients-1"

    def __init__(self):
        sounds = load_bundled_sounds().query("not held_out")
        self.words = [words.lower().split(" | ") for words in sounds["words"]]
        self.projection_dim = len(sounds)
        heard = [read_audio(path, self.sample_rate) for path in sounds["path"]]
        self.spectra = np.transpose([spectrum(waveform) for waveform in heard])

    def encode_audio(self, waveforms):
        return [nnls(self.spectra, spectrum(w))[0] + 1e-3 for w in waveforms]

    def encode_text(self, texts):
        lowered = [text.lower() for text in texts]
        named = [[any(w in t for w in ws) for ws in self.words] for t in lowered]
        return np.array(named) + 1e-3


# %%
# Combine it with a CLAP model
# ----------------------------
# :class:`~clapstack.PairFeatures` turns the encoder into a transformer, whose columns
# become one more family of the stack.

folder = tempfile.mkdtemp()
root = make_simulated_xacle(folder, n_train=150, n_validation=0, n_test=60)
train, test = load_xacle(root, "train"), load_xacle(root, "test")


def stack_of(*families):
    steps = [
        ("features", FeatureUnion(list(families))),
        ("agreement", CrossAgreement()),
        ("stack", ClapStackingRegressor(boosting=False)),
    ]
    return Pipeline(steps).set_output(transform="pandas")


own = ("ingredients", PairFeatures(Ingredients()))
msclap = ("msclap", MsClapPairFeatures("bundled:msclap"))
reports = {}
for name, families in {
    "ingredients": [own],
    "msclap": [msclap],
    "both": [own, msclap],
}.items():
    scores = stack_of(*families).fit(train.X, train.y).predict(test.X)
    report = score_report(test.y, scores, n_resamples=500)
    print(f"{name:<11} SRCC {report['srcc']:.3f}  MSE {report['mse']:.2f}")
    reports[name] = report

# %%
# Compare
# -------
# The dot is the SRCC of each stack, and the line its 95 % interval. Here the weaker
# encoder adds nothing to MS-CLAP, and the intervals show how little 60 pairs can tell.

figure, axes = plt.subplots(figsize=(5, 3), layout="constrained")
for row, report in enumerate(reports.values()):
    axes.plot([report["srcc_low"], report["srcc_high"]], [row, row], color="C0")
    axes.plot(report["srcc"], row, "o", color="C0")
axes.set_yticks(range(len(reports)), labels=list(reports))
axes.set(xlabel="SRCC and its 95 % interval, 60 simulated test pairs")
axes.margins(y=0.3)
plt.show()
