"""Evaluate the bundled mini checkpoints on simulated scenes unseen in training.

Prints the Markdown tables of each model card: SRCC of the cosine with simulated mean
ratings and retrieval of single sounds among all classes, also separately for recordings
used and not used in training; the same for an untrained checkpoint of equal shape; and
the mean cosine by kind of caption edit. Simulated ratings are as noisy as human ones
(reliability .76)::

    python examples/evaluate_mini_checkpoints.py
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import soxr
import torch
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import cross_val_predict
from train_mini_checkpoints import RECIPES, LaionMini, MsClapMini

from clapstack.datasets import (
    load_bundled_sounds,
    render_simulated_scene,
    simulate_caption,
    simulate_ratings,
    simulate_scene,
    simulated_alignment,
    sound_classes,
)
from clapstack.encoders import load_encoder
from clapstack.metrics import bootstrap_interval, noise_ceiling, srcc

SEED = 5_000_000
RULE = "| --- | --- | --- |"


class World:
    """Scenes, captions and simulated ratings.

    `held_out` selects the recordings: True those not used in training (for the classes
    that have some), False those used in training, None any.
    """

    def __init__(self, n_scenes, held_out, seed):
        spare = load_bundled_sounds().query("held_out")["class"].unique()
        self.pairs, clips, alignments = [], [], []
        for i in range(n_scenes):
            rng = np.random.default_rng([seed, i])
            scene = simulate_scene(rng)
            if held_out:
                names = rng.choice(spare, len(scene.events), replace=False)
                scene = simulate_scene(rng, names=[str(name) for name in names])
            caption = simulate_caption(scene, rng)
            self.pairs.append((scene, caption))
            clips.append(render_simulated_scene(scene, rng, held_out=held_out))
            alignments.append(simulated_alignment(scene, caption))
        self.clips = clips
        self.texts = [caption.text for _, caption in self.pairs]
        self.edits = np.array([caption.edit for _, caption in self.pairs])
        rng = np.random.default_rng(seed)
        self.ratings = simulate_ratings(np.array(alignments), rng)[0]
        self.y = self.ratings.mean(axis=1)
        self.classes = sound_classes()
        names = list(spare) if held_out else list(self.classes)
        self.single_names = np.repeat(names, 3)
        self.singles = []
        for i, name in enumerate(self.single_names):
            rng = np.random.default_rng([seed, 1, i])
            scene = simulate_scene(rng, names=[str(name)])
            self.singles.append(render_simulated_scene(scene, rng, held_out=held_out))

    def embed(self, encoder):
        """Return unit embeddings (clips, texts)."""
        clips = [
            soxr.resample(x, 16_000, encoder.sample_rate, "HQ") for x in self.clips
        ]
        return encoder.encode_audio(clips), encoder.encode_text(self.texts)

    def recall(self, encoder):
        """Return the share of single sounds whose nearest class words are their own."""
        rate = encoder.sample_rate
        clips = [soxr.resample(x, 16_000, rate, "HQ") for x in self.singles]
        words = [entry.words[0] for entry in self.classes.values()]
        cosines = encoder.encode_audio(clips) @ encoder.encode_text(words).T
        nearest = np.array(list(self.classes))[cosines.argmax(axis=1)]
        return np.mean(nearest == self.single_names)


def with_interval(y, scores):
    """Format an SRCC with its 95 % interval."""
    low, high = bootstrap_interval(srcc, y, scores)
    return f"{srcc(y, scores):.3f} [{low:.2f}, {high:.2f}]"


def untrained(name, folder):
    """Save an untrained checkpoint of the same shape and load it."""
    torch.manual_seed(SEED)
    mini = (MsClapMini if name == "msclap" else LaionMini)(RECIPES[name], "cpu")
    mini.save(Path(folder) / name)
    return load_encoder(name.split("-")[0], str(Path(folder) / name))


def main():
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(RECIPES))
    parser.add_argument("--scenes", type=int, default=1000)
    args = parser.parse_args()
    worlds = {
        "any recording": World(args.scenes, None, SEED),
        "training recordings": World(args.scenes // 2, False, SEED + 1),
        "held-out recordings": World(args.scenes // 2, True, SEED + 2),
    }
    world = worlds["any recording"]
    pair = np.repeat(np.arange(len(world.y)), world.ratings.shape[1])
    reliability = noise_ceiling(pair, world.ratings.ravel()).reliability
    print(f"{args.scenes} scenes; reliability of the mean rating {reliability:.3f}\n")
    for name in args.names:
        encoder = load_encoder(name.split("-")[0], f"bundled:{name}")
        print(f"**{name}**\n\n| scenes of | SRCC of the cosine | R@1 |\n{RULE}")
        for label, each in worlds.items():
            audio, text = each.embed(encoder)
            cosines = np.sum(audio * text, axis=1)
            recall = each.recall(encoder)
            print(f"| {label} | {with_interval(each.y, cosines)} | {recall:.3f} |")
            if each is world:
                kept = audio, text, cosines
        with tempfile.TemporaryDirectory() as folder:
            blank = untrained(name, folder)
            audio, text = world.embed(blank)
            scores = with_interval(world.y, np.sum(audio * text, axis=1))
            print(f"| any, untrained weights | {scores} | {world.recall(blank):.3f} |")
        audio, text, cosines = kept
        for label, features in (("caption", text), ("audio", audio)):
            ridge = RidgeCV(np.logspace(-2, 4, 7))
            control = cross_val_predict(ridge, features, world.y, cv=5)
            print(f"| control: {label} only | {with_interval(world.y, control)} | |")
        print(f"\n| caption | share | mean rating | mean cosine |\n{RULE} --- |")
        for edit in ("right", "drop", "swap", "add", "replace", "other"):
            rows = world.edits == edit
            print(
                f"| {edit} | {rows.mean():.2f} | {world.y[rows].mean():.2f} | "
                f"{cosines[rows].mean():.3f} |"
            )
        in_order = world.edits == "right"
        in_order &= np.array([c.relation == "sequence" for _, c in world.pairs])
        print(f"\nRight captions that claim an order: {cosines[in_order].mean():.3f}\n")


if __name__ == "__main__":
    main()
