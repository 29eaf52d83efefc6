"""Picture of the mean scores of systems."""

import numpy as np
import pytest

from clapstack.inspection import SystemsDisplay
from clapstack.metrics import compare_systems


@pytest.fixture
def scores():
    """Return arrays: scores, systems and prompts; "good" is the best, "even" near."""
    rng = np.random.default_rng(0)
    gains = {"bad": -2.0, "good": 0.2, "even": 0.19}
    prompts = np.tile(np.arange(15), len(gains))
    noise = rng.normal(size=15)[prompts] + rng.normal(scale=0.3, size=45)
    return (
        5 + noise + np.repeat([*gains.values()], 15),
        np.repeat([*gains], 15),
        prompts,
    )


def test_systems_are_drawn_from_the_best_down(scores):
    values, system, prompt = scores
    display = SystemsDisplay.from_scores(values, system=system, prompt=prompt)
    result = compare_systems(values, system=system, prompt=prompt)
    names = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert names == list(display.table.index)
    assert names[-1] == "bad"
    for name, marker in zip(names, display.markers_, strict=True):
        assert marker.get_xdata()[0] == result.means.loc[name, "mean"]
    faces = [marker.get_markerfacecolor() for marker in display.markers_]
    assert faces[0] == faces[1] != faces[2] == "white"


def test_differences_are_from_the_best_in_any_order(scores):
    values, system, prompt = scores
    result = compare_systems(values, system=system, prompt=prompt)
    display = SystemsDisplay.from_result(result)
    row, shown = result.differences.loc[("bad", "good")], display.table.loc["bad"]
    if display.table.index[0] == "good":
        assert shown["difference"] == -row["difference"] > 0
        assert shown["low_of_difference"] == -row["high"]
    assert display.describe().endswith(result.verdict())
    assert display.ax_.texts[-1].get_text().startswith("\N{MINUS SIGN}2.")
