"""Fitting and judging models on tables of rated pairs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.model_selection import GroupKFold, KFold
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter

from clapstack._optional import progress
from clapstack.cli.tables._models import predict_with_interval
from clapstack.cli.tables._rated import Rated
from clapstack.cli.tables._usable import on_usable_files
from clapstack.exceptions import BadPair, BadPairsError, BadRowsError
from clapstack.metrics import score_report

__all__ = [
    "Judged",
    "doubt",
    "fit_and_judge",
    "judge",
    "judge_model",
    "report_lines",
    "suspicion",
]

_CHUNK = 1024
_SURE = 1.96  # standard deviations, for 95 %
_METRICS = ("srcc", "lcc", "ktau", "mse")


class Judged(NamedTuple):
    """What came of fitting or judging.

    Attributes
    ----------
    report : dict
        Metrics with the ends of their intervals; ``n_pairs``; and of prediction
        intervals, where there are any, ``coverage`` (what they promise), ``held`` (the
        share of scores that they held) and ``mean_width``. Empty without judging.
    bad : list of BadPair
        Rows that were left out.
    n_pairs : int
        Pairs that were not.
    """

    report: dict[str, float]
    bad: list[BadPair]
    n_pairs: int


def judge(
    y: np.ndarray, scores: np.ndarray, *, coverage: float, n_resamples: int
) -> dict[str, float]:
    """Return metrics of predictions, and what their intervals hold.

    Parameters
    ----------
    y : ndarray of shape (n_pairs,)
        Ratings.
    scores : ndarray of shape (n_pairs, 3)
        Score, low end, high end; NaN ends where there are no intervals.
    coverage : float
        What the intervals promise.
    n_resamples : int
        Bootstrap resamples of the metrics; 0 leaves their intervals out.

    Returns
    -------
    report : dict of str to float
    """
    report = score_report(y, scores[:, 0], n_resamples=n_resamples)
    low, high = scores[:, 1], scores[:, 2]
    if not np.isnan(low).any():
        held = np.mean((low <= y) & (y <= high))
        width = np.mean(high - low)
        report |= {
            "coverage": coverage,
            "held": float(held),
            "mean_width": float(width),
        }
    return {"n_pairs": len(y), **report}


def report_lines(report: dict[str, float]) -> list[str]:
    """Return the metrics as lines to read."""
    lines = []
    for name in _METRICS:
        line = f"{name.upper():<5}{report[name]:.4f}"
        if f"{name}_low" in report:
            line += f"  [{report[f'{name}_low']:.4f}, {report[f'{name}_high']:.4f}]"
        lines.append(line)
    if "held" in report:
        lines.append(
            f"Intervals of {100 * report['coverage']:g} % held "
            f"{100 * report['held']:.1f} % of the ratings; their mean width is "
            f"{report['mean_width']:.2f}."
        )
    return lines


def suspicion(y: np.ndarray, scores: np.ndarray) -> str:
    """Return a warning if predictions are their own ratings, else the empty string."""
    if not np.array_equal(y, scores):
        return ""
    return (
        "every prediction equals its rating, as if a table were judged by itself. "
        "Check that the predictions are predictions."
    )


def doubt(report: dict[str, float]) -> str:
    """Return a warning if a held-out SRCC is not clearly above zero.

    Without any relation its standard deviation is 1 / sqrt(n - 1).

    Parameters
    ----------
    report : dict
        As of `judge`, of predictions that were held out of the fit.

    Returns
    -------
    words : str
        Empty if there is nothing to warn of.
    """
    n_pairs = report["n_pairs"]
    bound = min(1.0, _SURE / np.sqrt(max(n_pairs - 1, 1)))
    if report["srcc"] > bound:
        return ""
    return (
        f"the held-out SRCC of {report['srcc']:.2f} is not clearly above zero: with "
        f"{n_pairs:,} pairs, chance alone gives up to {bound:.2f}. Either the pairs "
        "are too few or the model predicts nothing; do not rely on its scores."
    )


def judge_model(
    model: Any,
    rated: Rated,
    *,
    coverage: float,
    n_resamples: int,
    skip_bad: bool,
    verbose: bool,
) -> Judged:
    """Judge a fitted model on pairs that it was not fitted on.

    Parameters
    ----------
    model : estimator
        Takes pairs.
    rated : Rated
        The pairs.
    coverage, n_resamples
        As for `judge`.
    skip_bad : bool
        Whether rows that cannot be used are left out.
    verbose : bool
        Whether to show a progress bar.

    Returns
    -------
    judged : Judged

    Raises
    ------
    BadPairsError
        If rows cannot be used and are not to be left out; every one is named.
    """
    scores, kept, bad = [], [], []
    starts = range(0, len(rated.y), _CHUNK)
    with progress(
        total=len(rated.y), desc="scoring", unit="pair", verbose=verbose
    ) as bar:
        for start in starts:
            part = rated.pairs.iloc[start : start + _CHUNK]
            usable = on_usable_files(
                lambda pairs: predict_with_interval(model, pairs, coverage), part
            )
            if len(usable.positions):
                scores.append(usable.values)
            kept.append(start + usable.positions)
            bad += [row._replace(position=start + row.position) for row in usable.bad]
            bar.update(len(part))
    _check_bad(bad, len(rated.y), skip_bad)
    rows = np.concatenate(kept)
    report = judge(
        rated.y[rows],
        np.concatenate(scores),
        coverage=coverage,
        n_resamples=n_resamples,
    )
    return Judged(report, bad, len(rows))


def fit_and_judge(
    pipeline: Pipeline,
    rated: Rated,
    *,
    folds: int,
    coverage: float,
    n_resamples: int,
    random_state: int,
    skip_bad: bool,
    verbose: bool,
) -> Judged:
    """Judge a pipeline by cross-validation, then fit it on all pairs.

    The first step, frozen encoders, is computed once; what learns is fitted anew in
    every fold.

    Parameters
    ----------
    pipeline : Pipeline
        Its first step takes pairs and learns nothing from them. Fitted in place.
    rated : Rated
        The pairs.
    folds : int
        Of the cross-validation; 0 goes without.
    coverage, n_resamples
        As for `judge`.
    random_state : int
        Deals pairs to folds, unless groups do.
    skip_bad : bool
        Whether rows that cannot be used are left out.
    verbose : bool
        Whether to show a progress bar.

    Returns
    -------
    judged : Judged

    Raises
    ------
    BadPairsError
        If rows cannot be used and are not to be left out; every one is named.
    """
    usable = on_usable_files(pipeline[:1].fit_transform, rated.pairs)
    _check_bad(usable.bad, len(rated.y), skip_bad)
    rows = usable.positions
    y = rated.y[rows]
    groups = None if rated.groups is None else rated.groups[rows]
    report: dict[str, float] = {}
    if folds:
        scores = _held_out(
            pipeline[1:],
            usable.values,
            y,
            groups,
            _splits(len(y), groups, folds, random_state),
            coverage,
            verbose,
        )
        report = judge(y, scores, coverage=coverage, n_resamples=n_resamples)
    pipeline.fit(rated.pairs.iloc[rows], y, **_fit_groups(pipeline, groups))
    return Judged(report, usable.bad, len(y))


def _splits(
    n_pairs: int, groups: np.ndarray | None, folds: int, random_state: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    n_groups = n_pairs if groups is None else len(np.unique(groups))
    if n_groups < folds:
        what = "pairs" if groups is None else "groups"
        fewer = f"--folds {n_groups}, " if n_groups > 1 else ""
        msg = (
            f"{folds} folds need {folds} {what} or more, and there are {n_groups}. "
            f"Pass {fewer}--folds 0 for no report, or more {what}."
        )
        raise BadRowsError(msg)
    if groups is None:
        splitter = KFold(folds, shuffle=True, random_state=random_state)
        return list(splitter.split(np.zeros(n_pairs)))
    return list(GroupKFold(folds).split(np.zeros(n_pairs), groups=groups))


def _held_out(
    learner: Pipeline,
    features: pd.DataFrame,
    y: np.ndarray,
    groups: np.ndarray | None,
    splits: Iterable[tuple[np.ndarray, np.ndarray]],
    coverage: float,
    verbose: bool,
) -> np.ndarray:
    """Return scores and intervals of every pair from a fit on other folds."""
    scores = np.empty((len(y), 3))
    for train, test in progress(
        splits, desc="cross-validating", unit="fold", verbose=verbose
    ):
        part = None if groups is None else groups[train]
        member = clone(learner)
        member.fit(features.iloc[train], y[train], **_fit_groups(member, part))
        scores[test] = predict_with_interval(member, features.iloc[test], coverage)
    return scores


def _fit_groups(pipeline: Pipeline, groups: np.ndarray | None) -> dict[str, Any]:
    """Return groups as fit takes them, if the last step does."""
    name, last = pipeline.steps[-1]
    if groups is None or not has_fit_parameter(last, "groups"):
        return {}
    return {f"{name}__groups": groups}


def _check_bad(bad: list[BadPair], n_pairs: int, skip_bad: bool) -> None:
    if bad and (len(bad) == n_pairs or not skip_bad):
        raise BadPairsError(bad, n_pairs)
