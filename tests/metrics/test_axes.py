"""Metrics of scores with several axes, each from the pairs rated on it."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.exceptions import UndefinedMetricWarning

from clapstack.metrics import (
    bootstrap_interval,
    compare_report,
    ktau,
    lcc,
    mse,
    paired_bootstrap,
    score_report,
    srcc,
)


@pytest.fixture
def judged():
    """Ratings on two axes with gaps, and the predictions of two systems."""
    rng = np.random.default_rng(0)
    y = pd.DataFrame(rng.normal(size=(60, 2)), columns=["relevance", "order"])
    first = y + rng.normal(size=(60, 2))
    second = y + 2 * rng.normal(size=(60, 2))
    y.iloc[:15, 1] = np.nan
    return y, first, second


def of_axis(axis, y, *scores):
    rows = y[axis].notna()
    return [table.loc[rows, axis] for table in (y, *scores)]


@pytest.mark.parametrize("n_resamples", [0, 20])
def test_report_has_a_row_per_axis_from_its_rated_pairs(judged, n_resamples):
    y, first, _ = judged
    report = score_report(y, first, n_resamples=n_resamples)
    assert report["n_pairs"].to_dict() == {"relevance": 60, "order": 45}
    for axis in y:
        alone = score_report(*of_axis(axis, y, first), n_resamples=n_resamples)
        assert report.loc[axis].drop("n_pairs").to_dict() == alone


@pytest.mark.parametrize("metric", [srcc, lcc, ktau, mse])
def test_a_metric_is_the_mean_over_axes(judged, metric):
    y, first, _ = judged
    each = [metric(*of_axis(axis, y, first)) for axis in y]
    assert metric(y, first) == np.mean(each)
    assert metric(y.to_numpy(), first.to_numpy().tolist()) == np.mean(each)


def test_intervals_and_comparisons_have_a_row_per_axis(judged):
    y, first, second = judged
    ends = bootstrap_interval(srcc, y, first, n_resamples=20)
    apart = paired_bootstrap(mse, y, first, second, n_resamples=20)
    compared = compare_report(y, first, second, n_resamples=20)
    assert list(compared.index[:4]) == [
        ("relevance", name) for name in ("srcc", "lcc", "ktau", "mse")
    ]
    for axis in y:
        one, other = of_axis(axis, y, first), of_axis(axis, y, first, second)
        assert tuple(ends.loc[axis]) == bootstrap_interval(srcc, *one, n_resamples=20)
        alone = paired_bootstrap(mse, *other, n_resamples=20)
        assert tuple(apart.loc[axis]) == alone
        assert tuple(compared.loc[(axis, "mse")]) == alone


def test_an_array_numbers_its_axes(judged):
    y, first, _ = judged
    report = score_report(y.to_numpy(), first)
    assert list(report.index) == ["axis0", "axis1"]
    assert_array_equal(report.to_numpy(), score_report(y, first).to_numpy())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda y, s: (y, s["order"]), r"y_true has shape \(60, 2\), with 2 axes, b"),
        (
            lambda y, s: (y, s[["order", "relevance"]]),
            "the same column names in the same o",
        ),
        (lambda y, s: (y.assign(order=np.nan), s), "y_true has no rating on 'order'"),
        (lambda y, s: (y, s.assign(order=np.nan)), "y_score has NaN or infinity in 45"),
        (
            lambda y, s: (y.set_axis(["a", "a"], axis=1), s),
            r"than one column .*\['a'\]",
        ),
        (lambda y, s: (y["order"], s["order"]), "y_true has NaN or infinity in 15"),
    ],
)
def test_what_does_not_fit_is_refused(judged, change, message):
    y, first, _ = judged
    with pytest.raises(ValueError, match=message):
        score_report(*change(y, first))


def test_the_warning_of_a_constant_axis_points_at_the_caller(judged):
    y, first, _ = judged
    with pytest.warns(UndefinedMetricWarning, match="y_score is constant") as caught:
        srcc(y["relevance"], first["relevance"] * 0)
    assert caught[0].filename == __file__
