"""Draw the picture of the landing page: one clip, five texts, and their scores.

Run from the repository: ``python examples/draw_site_picture.py``. It fits a stack with
events on 800 pairs of simulated scenes, which takes two minutes, and writes
``docs/_static/scores.png``.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from clapstack import Scorer, make_clap_stack
from clapstack.datasets import (
    load_xacle,
    make_simulated_xacle,
    render_simulated_scene,
    simulate_scene,
)
from clapstack.inspection import SpectrogramDisplay

PICTURE = Path(__file__).parents[1] / "docs" / "_static" / "scores.png"
SAMPLE_RATE = 16_000  # Hz, of simulated scenes
TEXTS = {
    "a sheep followed by applause": "correct",
    "applause followed by a sheep": "wrong order",
    "a sheep": "one sound not mentioned",
    "a sheep followed by a car horn": "one sound missing",
    "a car horn": "another sound",
}


def make_clip():
    """Return ten seconds of a sheep, then applause."""
    rng = np.random.default_rng(2)
    scene = simulate_scene(rng, names=["sheep", "applause"])
    return render_simulated_scene(scene, rng), SAMPLE_RATE


def fit_scorer():
    """Return a scorer of the default stack, fitted on simulated listeners."""
    with tempfile.TemporaryDirectory() as folder:
        root = make_simulated_xacle(folder, n_train=800, n_validation=0, n_test=10)
        train = load_xacle(root, "train")
        pipe = make_clap_stack("bundled", preset="best", events=True)
        return Scorer(pipe.fit(train.X, train.y))


def draw_scores(axes, scores, intervals):
    """Draw a score with its interval for each text, the first text on top."""
    for place, ((text, remark), score, (low, high)) in enumerate(
        zip(TEXTS.items(), scores, intervals, strict=True)
    ):
        colour = "#0072b2" if place == 0 else "#d55e00"
        axes.plot([low, high], [place, place], color=colour, alpha=0.35, linewidth=4)
        axes.plot(score, place, "o", color=colour, markersize=9)
        axes.annotate(
            f"{score:.1f}",
            (score, place),
            xytext=(0, 8),
            textcoords="offset points",
            ha="center",
            color=colour,
            weight="bold",
        )
        axes.text(-0.4, place - 0.12, f"“{text}”", ha="right", va="center")
        axes.text(
            -0.4, place + 0.26, remark, ha="right", va="center", color="0.4", fontsize=8
        )
    axes.set(xlim=(0, 10.2), ylim=(len(scores) - 0.4, -0.7), yticks=[])
    axes.set_xlabel("predicted score and its 90 % interval")
    axes.set_title("Five texts and their scores", loc="left")
    axes.spines[["left", "right", "top"]].set_visible(False)
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)


def main():
    """Fit, score, and draw."""
    clip = make_clip()
    scorer = fit_scorer()
    scores = scorer.score([clip] * len(TEXTS), list(TEXTS))
    intervals = scorer.predict_interval([clip] * len(TEXTS), list(TEXTS))

    plt.rcParams.update({"font.size": 10, "axes.titlesize": 11})
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(10, 3.6), width_ratios=(1.15, 1), layout="constrained"
    )
    SpectrogramDisplay.from_audio(clip, ax=left)
    left.set_title("A clip: a sheep, then applause", loc="left")
    draw_scores(right, scores, intervals)
    figure.savefig(PICTURE, dpi=130, metadata={"Software": None})


if __name__ == "__main__":
    main()
