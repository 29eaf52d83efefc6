"""Metrics compared with the output of the challenge's evaluation script."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.exceptions import UndefinedMetricWarning

from clapstack.metrics import compare_report, paired_bootstrap, score_report, srcc

GOLDEN = Path(__file__).parents[1] / "golden" / "xacle_evaluation.json"


def made_scores():
    """Return (truth, prediction) by name; no generator, so the same everywhere."""
    i = np.arange(300)
    true = (7 * i * i + 3 * i) % 41 / 4
    score = np.clip(true + 4 * np.sin(1.7 * i) * np.cos(0.3 * i), 0, 10)
    return {
        "plain": (true, score),
        "two decimals": (true, np.round(score, 2)),
        "many ties": (np.round(true), np.round(score)),
        "constant prediction": (true, np.full(300, 5.0)),
        "constant truth": (np.full(300, 2.0), score),
        "two pairs": (true[:2], score[:2]),
        "reversed": (true, 10 - true),
    }


@pytest.mark.parametrize("name", made_scores())
def test_report_equals_the_official_evaluation(name):
    official = json.loads(GOLDEN.read_text())[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UndefinedMetricWarning)
        report = score_report(*made_scores()[name])
    assert report == pytest.approx(official, rel=1e-12, abs=1e-12)


def test_rounding_to_two_decimals_as_the_official_inference_does_makes_ties():
    true, score = made_scores()["plain"]
    close = true + (score - true) / 1e4
    assert len(set(np.round(close, 2))) < len(set(close))
    assert srcc(true, close) != srcc(true, np.round(close, 2))


def test_two_systems_are_compared_by_all_metrics_on_the_same_resamples():
    true, score = made_scores()["plain"]
    other = true + 5
    report = compare_report(true, score, other, n_resamples=40)
    assert list(report) == ["srcc", "lcc", "ktau", "mse"]
    alone = paired_bootstrap(srcc, true, score, other, n_resamples=40)
    assert report["srcc"] == alone
    assert report["mse"].high < 0
