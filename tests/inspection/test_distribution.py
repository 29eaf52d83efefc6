"""Picture of the distribution of scores, overall or by system."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from clapstack.inspection import DistributionDisplay

SCORES = [1.0, 2.0, 3.0, 9.0, 8.0, 7.0]
SYSTEMS = ["a", "a", "a", "b", "b", "b"]


def test_one_system_is_a_histogram_with_its_mean(pyplot):
    display = DistributionDisplay(scores=SCORES).plot()
    assert sum(bar.get_height() for bar in display.ax_.patches) == len(SCORES)
    (mean,) = display.ax_.lines
    assert_allclose(mean.get_xdata(), 5)
    assert display.describe().startswith("Scores of 6 pairs, mean 5.00, 90 % from 1.25")


def test_systems_have_a_box_each_the_best_on_top(pyplot):
    display = DistributionDisplay(scores=SCORES, systems=SYSTEMS).plot()
    assert [t.get_text() for t in display.ax_.get_yticklabels()] == ["a", "b"]
    assert display.means_ == {"b": 8.0, "a": 2.0}
    low, high = display.ax_.patches
    assert (low.get_x(), low.get_width()) == (1.5, 1.0)
    assert (high.get_x(), high.get_width()) == (7.5, 1.0)
    assert [line.get_xdata()[0] for line in display.ax_.lines] == [2.0, 8.0]
    assert "mean of each system: b 8.00, a 2.00" in display.describe()


def test_names_from_outside_are_drawn_as_they_are(pyplot):
    names = ["$x$ \\frac", "\udce9" + "long " * 20]
    display = DistributionDisplay(scores=[1, 2], systems=names)
    assert b"<svg" in display.to_svg()
    assert display.to_svg() == display.to_svg()


@pytest.mark.parametrize("scores", [[3.0, 3.0], [3.0]])
def test_scores_without_spread_are_drawn(pyplot, scores):
    assert b"<svg" in DistributionDisplay(scores=scores).to_svg()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scores": []}, r"must have shape \(n_pairs,\)"),
        ({"scores": [[1.0]]}, r"got shape \(1, 1\)"),
        ({"scores": [1.0, np.nan]}, "scores has NaN or infinity"),
        ({"scores": [1.0], "systems": ["a", "b"]}, "systems has 2 labels for 1 scores"),
    ],
)
def test_what_cannot_be_drawn_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        DistributionDisplay(**settings)
