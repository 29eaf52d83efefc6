"""Picture of a result in the ranking."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from clapstack.datasets import load_xacle_ranking
from clapstack.inspection import LeaderboardDisplay
from clapstack.metrics import score_report


@pytest.mark.parametrize(
    ("value", "metric", "above"),
    [(0.99, "srcc", 0), (0.62, "srcc", 4), (0.1, "srcc", 10), (2.0, "mse", 0)],
)
def test_ranked_systems_that_are_better_are_counted(value, metric, above):
    assert LeaderboardDisplay(value=value, metric=metric).above == above


def test_a_result_is_placed_by_its_value():
    display = LeaderboardDisplay(value=0.62, name="mine").plot()
    names = [label.get_text() for label in display.ax_.get_yticklabels()]
    place = names.index("mine")
    assert names[place - 1] == "Huang_WHU_01"
    assert names[place + 1] == "Guan_HEU_02"
    assert len(display.markers_) == len(load_xacle_ranking()) + 1
    assert display.markers_[place].get_xdata()[0] == 0.62


def test_predictions_are_judged_with_their_interval(features):
    X, y = features
    ridge = Ridge().fit(X, y)
    display = LeaderboardDisplay.from_estimator(ridge, X, y, metric="lcc")
    report = score_report(y, ridge.predict(X), n_resamples=1000)
    assert (display.value, display.low) == (report["lcc"], report["lcc_low"])
    assert "LCC on the test split" in display.ax_.get_xlabel()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"value": 0.5, "metric": "r2"}, "metric must be one of"),
        ({"value": np.nan}, "value must be a finite number; got nan"),
    ],
)
def test_invalid_results_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        LeaderboardDisplay(**options)
