"""Draw the demo's table and the predictions of its 3-CLAP stack.

Run from the repository: ``python examples/draw_readme_picture.py``. It runs the demo,
which takes minutes, and writes ``docs/_static/demo.png``.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from clapstack import load_model
from clapstack.cli._demo import run_demo
from clapstack.datasets import load_xacle

FOLDER = Path("clapstack-demo")
PICTURE = Path(__file__).parents[1] / "docs" / "_static" / "demo.png"


def draw_table(axes, table):
    """Draw each system's SRCC with its interval, the first system on top."""
    places = np.arange(len(table))[::-1]
    last = table.index[-1]
    for place, (name, row) in zip(places, table.iterrows(), strict=True):
        colour = "0.45" if "control" in name or name == last else "#0072b2"
        axes.plot([row["srcc_low"], row["srcc_high"]], [place, place], color=colour)
        axes.plot(row["srcc"], place, "o", color=colour)
    axes.axvline(0, color="0.8", linewidth=1, zorder=0)
    axes.set_yticks(places, labels=table.index)
    axes.set_xlabel("SRCC and its 95 % bootstrap interval")


def draw_scatter(axes, y_true, y_score, srcc):
    """Draw predictions against simulated scores."""
    axes.plot([0, 10], [0, 10], color="0.8", linewidth=1, zorder=0)
    axes.scatter(y_true, y_score, s=9, alpha=0.5, color="#0072b2", linewidths=0)
    axes.set(
        xlim=(-0.3, 10.3),
        ylim=(-0.3, 10.3),
        aspect="equal",
        xlabel="mean of four simulated ratings",
        ylabel="score by the 3-CLAP stack",
        title=f"{len(y_true)} new pairs, SRCC {srcc:.2f}",
    )


def main():
    """Run the demo and draw it."""
    FOLDER.mkdir(exist_ok=True)
    table = run_demo(FOLDER, verbose=False)
    data = next(FOLDER.glob("simulated_xacle_800_500_0"))
    test = load_xacle(data, "test")
    y_score = load_model(FOLDER / "clap_stack.clapstack").predict(test.X)

    plt.rcParams.update({"font.size": 9, "axes.titlesize": 9})
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(8.6, 3.7), width_ratios=(1.25, 1), layout="constrained"
    )
    draw_table(left, table)
    left.set_title("Simulated listeners, bundled mini checkpoints")
    draw_scatter(right, test.y, y_score, table.loc["3-CLAP stack", "srcc"])
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
