"""Bootstraps that draw whole groups."""

import numpy as np
import pandas as pd
import pytest

from clapstack.metrics import (
    bootstrap_interval,
    compare_report,
    ktau,
    lcc,
    mse,
    pair_accuracy,
    paired_bootstrap,
    score_report,
    srcc,
)

METRICS = [srcc, lcc, ktau, mse]


@pytest.fixture
def judged():
    """Return ratings, scores of two systems, and groups of 1 to 4 pairs."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(25), rng.integers(1, 5, 25)).astype(str)
    y = rng.normal(size=len(groups))
    return y, y + rng.normal(size=len(y)), y + 2 * rng.normal(size=len(y)), groups


@pytest.mark.parametrize("metric", METRICS)
def test_copies_of_a_pair_add_nothing_where_they_are_one_group(metric, judged):
    y, score, _, _ = judged
    ids = np.arange(len(y))
    single = bootstrap_interval(metric, y, score, groups=ids, n_resamples=50)
    copies = [np.repeat(values, 3) for values in (y, score)]
    together = bootstrap_interval(
        metric, *copies, groups=np.repeat(ids, 3), n_resamples=50
    )
    np.testing.assert_allclose(together, single, rtol=1e-9)
    apart = bootstrap_interval(metric, *copies, n_resamples=50)
    assert apart.high - apart.low < 0.8 * (single.high - single.low)


def test_a_resample_has_whole_groups(judged):
    y, score, _, groups = judged
    ids = np.arange(len(y))
    sizes = pd.Series(groups).value_counts()
    seen = []

    def whole(rows, _):
        drawn, times = np.unique(rows.astype(int), return_counts=True)
        by_group = pd.Series(times).groupby(groups[drawn])
        assert (by_group.nunique() == 1).all()
        assert (by_group.size() == sizes[by_group.size().index]).all()
        seen.append(sum(by_group.first()))
        return 0.0

    bootstrap_interval(whole, ids, score, groups=groups, n_resamples=30)
    assert seen == [25] * 30


def test_every_bootstrap_takes_groups(judged):
    y, first, second, groups = judged
    drawn = {"groups": groups, "n_resamples": 40}
    report = score_report(y, first, **drawn)
    compared = compare_report(y, first, second, **drawn)
    for metric in METRICS:
        name = metric.__name__
        ends = bootstrap_interval(metric, y, first, **drawn)
        assert (report[f"{name}_low"], report[f"{name}_high"]) == ends
        assert compared[name] == paired_bootstrap(metric, y, first, second, **drawn)
    plain = compare_report(y, first, second, n_resamples=40)
    assert compared["srcc"].difference == plain["srcc"].difference
    assert compared["srcc"] != plain["srcc"]


def test_of_several_axes_groups_are_those_of_the_rated_pairs(judged):
    y, first, second, groups = judged
    table = pd.DataFrame({"relevance": y, "order": np.where(y > 1, np.nan, y)})
    both = np.column_stack([first, second])
    drawn = {"groups": groups, "n_resamples": 40}
    report = score_report(table, both, **drawn)
    rated = y <= 1
    alone = score_report(y[rated], second[rated], groups=groups[rated], n_resamples=40)
    assert report.loc["order"].drop("n_pairs").to_dict() == alone
    compared = paired_bootstrap(lcc, table, both, both[:, ::-1], **drawn)
    one = paired_bootstrap(lcc, y, first, second, **drawn)
    assert tuple(compared.loc["relevance"]) == one


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([1, 2], r"groups must have shape \(4,\), one label per row; got \(2,\)"),
        ([1, 2, np.nan, 1], r"groups has missing values in 1 of 4 rows \(rows 2\)"),
        (["a"] * 4, "groups has only one group, 'a', so every resample would be"),
    ],
)
def test_groups_that_do_not_fit_are_refused(groups, message):
    y, score = [1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 2.0, 4.0]
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(mse, y, score, groups=groups)
    with pytest.raises(ValueError, match=message):
        pair_accuracy(score, [(1, 0), (3, 2)], groups=groups)


def test_a_report_prints_as_a_line_and_stays_a_dict(judged):
    y, first, second, _ = judged
    report = score_report([1, 2, 3], [1, 2, 4])
    assert repr(report) == "SRCC 1.0000, LCC 0.9820, KTAU 1.0000, MSE 0.3333"
    assert report == {"srcc": 1.0, "lcc": report["lcc"], "ktau": 1.0, "mse": 1 / 3}
    report = score_report(y, first, n_resamples=20)
    ends = f"[{report['lcc_low']:.4f}, {report['lcc_high']:.4f}]"
    assert f", LCC {report['lcc']:.4f} {ends}, KTAU " in str(report)
    low = compare_report(y, first, second, n_resamples=20)["mse"].low
    assert f"[{low:.4f}, " in repr(compare_report(y, first, second, n_resamples=20))
