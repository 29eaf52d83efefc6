"""Fitting and evaluation of models on tables of rated pairs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.model_selection import GroupKFold, KFold
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter

from clapstack._compat import _safe_indexing
from clapstack._fitted import axes_of, predict_with_interval
from clapstack._optional import progress
from clapstack.cli.tables._rated import Rated, join_by_key, read_by_key
from clapstack.exceptions import BadPair, BadPairsError, BadRowsError
from clapstack.metrics import score_report
from clapstack.scoring.tables import PairTable, on_usable_files

__all__ = [
    "Evaluation",
    "by_axis",
    "doubt",
    "evaluate",
    "evaluate_model",
    "evaluate_predictions",
    "fit_and_evaluate",
    "reading_line",
    "report_lines",
]

_CHUNK = 1024
_SURE = 1.96  # standard deviations, for 95 %
_METRICS = ("srcc", "lcc", "ktau", "mse")


class Evaluation(NamedTuple):
    """Ratings and predictions of pairs, and the metrics of their agreement.

    Attributes
    ----------
    report : dict
        ``n_pairs`` and the metrics with the ends of their intervals. If there are
        prediction intervals, also ``coverage`` (nominal), ``held`` (the share of
        ratings inside) and ``mean_width``. Empty without an evaluation. For several
        axes, one such report per axis, by name.
    y : ndarray of shape (n_pairs,), or DataFrame of shape (n_pairs, n_axes)
        Ratings.
    scores : ndarray of shape (n_pairs, 3) or (n_pairs, n_axes, 3)
        Score, low end and high end. Ends are NaN without intervals; all are NaN without
        an evaluation.
    bad : list of BadPair
        Rows that were left out.
    """

    report: dict[str, Any]
    y: Any
    scores: np.ndarray
    bad: list[BadPair]


def evaluate(
    y: np.ndarray | pd.DataFrame,
    scores: np.ndarray,
    *,
    n_resamples: int,
    coverage: float | None = None,
    bad: Iterable[BadPair] = (),
) -> Evaluation:
    """Compare predictions, and their intervals, with ratings.

    `scores` has the shape (n_pairs,), or (n_pairs, 3) as returned by
    `predict_with_interval`; `coverage` is the nominal coverage of the intervals. If `y`
    is a frame, its columns are axes, each evaluated on its rated pairs, and `scores`
    has an additional dimension.
    """
    if isinstance(y, pd.DataFrame):
        report = {
            axis: evaluate(
                rated, predicted, n_resamples=n_resamples, coverage=coverage
            ).report
            for axis, (_, rated, predicted) in by_axis(y, scores).items()
        }
        return Evaluation(report, y, scores, list(bad))
    if scores.ndim == 1:
        scores = np.column_stack([scores, np.full((len(y), 2), np.nan)])
    report = score_report(y, scores[:, 0], n_resamples=n_resamples)
    low, high = scores[:, 1], scores[:, 2]
    if coverage is not None and not np.isnan(low).any():
        report |= {
            "coverage": coverage,
            "held": float(np.mean((low <= y) & (y <= high))),
            "mean_width": float(np.mean(high - low)),
        }
    return Evaluation({"n_pairs": len(y), **report}, y, scores, list(bad))


def by_axis(
    y: np.ndarray | pd.DataFrame, scores: np.ndarray
) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return the rated rows of each axis, with their ratings and scores.

    A single axis has the name ``""`` and all rows.
    """
    if not isinstance(y, pd.DataFrame):
        return {"": (np.arange(len(y)), y, scores)}
    axes = {}
    for number, axis in enumerate(y.columns):
        rows = np.flatnonzero(y[axis].notna())
        if rows.size == 0:
            msg = f"no usable pair is rated on {axis!r}. Leave this axis out."
            raise BadRowsError(msg)
        axes[axis] = (rows, y[axis].to_numpy()[rows], scores[rows, number])
    return axes


def evaluate_predictions(
    predictions: PairTable,
    truth: PairTable,
    keys: Sequence[str],
    *,
    n_resamples: int,
    skip_empty: bool = False,
    once: bool = False,
    gaps: bool = False,
    resolved: Callable[[Any], Any] | None = None,
) -> tuple[Evaluation, int]:
    """Evaluate the predictions of one table with the ratings of another.

    `once`, `gaps` and `resolved` are those of `read_by_key`. With `gaps`, rows without
    a rating are left out. With `skip_empty`, rows without a prediction are left out and
    counted; otherwise they raise a BadRowsError, as do keys that only one table has. If
    all predictions equal their ratings, a warning is issued.
    """
    y, scores = join_by_key(
        read_by_key(truth, "score", keys, resolved, once=once, gaps=gaps),
        read_by_key(predictions, "prediction", keys, resolved, once=once),
    )
    rated = ~np.isnan(y)
    if not rated.any():
        msg = f"{truth.name} has no ratings in the column {truth.names['score']!r}."
        raise BadRowsError(msg)
    y, scores = y[rated], scores[rated]
    empty = np.isnan(scores)
    if empty.all():
        msg = f"{predictions.name} has no scores. Score its pairs first."
        raise BadRowsError(msg)
    if empty.any() and not skip_empty:
        msg = (
            f"{predictions.name} has {empty.sum():,} rows without a score. Leave them "
            "out with --skip-bad, or score them again."
        )
        raise BadRowsError(msg)
    if np.array_equal(y[~empty], scores[~empty]):
        warnings.warn(
            "every prediction equals its rating, as if a table were evaluated with "
            "itself. Check that the predictions are not the ratings.",
            stacklevel=2,
        )
    evaluation = evaluate(y[~empty], scores[~empty], n_resamples=n_resamples)
    return evaluation, int(empty.sum())


def report_lines(report: dict[str, Any]) -> list[str]:
    """Return the metrics as lines of text, with one line per axis if several."""
    if _is_of_axes(report):
        return _axis_lines(report)
    lines = []
    for name in _METRICS:
        ends = f"  {_ends(report, name)}" if f"{name}_low" in report else ""
        lines.append(f"{name.upper():<5}{report[name]:.4f}{ends}")
    if "held" in report:
        lines.append(
            f"{100 * report['coverage']:g} % prediction intervals contain "
            f"{100 * report['held']:.1f} % of the ratings; mean width "
            f"{report['mean_width']:.2f}"
        )
    return lines


def reading_line(y: np.ndarray | pd.DataFrame) -> str:
    """Return a line that puts the metrics and the width of intervals into context."""
    axes = (
        {f"{name} ": y[name] for name in y} if isinstance(y, pd.DataFrame) else {"": y}
    )
    ends = [
        f"{axis}{round(np.nanmin(each), 2):g} to {round(np.nanmax(each), 2):g}"
        for axis, each in axes.items()
    ]
    return (
        "SRCC 1 is the perfect order and 0 is chance. The ratings range from "
        f"{', '.join(ends)}."
    )


def _is_of_axes(report: dict[str, Any]) -> bool:
    return isinstance(next(iter(report.values()), None), dict)


def _ends(report: dict[str, float], name: str) -> str:
    return f"[{report[f'{name}_low']:.4f}, {report[f'{name}_high']:.4f}]"


def _axis_lines(report: dict[str, dict[str, float]]) -> list[str]:
    """Return a table with one line per axis."""
    table = []
    for axis, one in report.items():
        row = {"": axis, "N": f"{one['n_pairs']}"}
        for name in _METRICS:
            ends = f" {_ends(one, name)}" if f"{name}_low" in one else ""
            row[name.upper()] = f"{one[name]:.4f}{ends}"
        if "held" in one:
            row[f"in {100 * one['coverage']:g} %"] = f"{100 * one['held']:.1f} %"
            row["width"] = f"{one['mean_width']:.2f}"
        table.append(row)
    # Intervals may be missing on one axis.
    names = list(dict.fromkeys(name for row in table for name in row))
    cells = [names, *([row.get(name, "") for name in names] for row in table)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(f"{c:<{w}}" for c, w in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


def doubt(report: dict[str, Any]) -> str:
    """Return a warning if a held-out SRCC is not clearly above zero, else "".

    Without any relation, its standard deviation is 1 / sqrt(n - 1). The warnings of
    several axes are joined.
    """
    if _is_of_axes(report):
        words = {axis: doubt(one) for axis, one in report.items()}
        return " ".join(f"{axis}: {said}" for axis, said in words.items() if said)
    n_pairs = report["n_pairs"]
    bound = min(1.0, _SURE / np.sqrt(max(n_pairs - 1, 1)))
    if report["srcc"] > bound:
        return ""
    return (
        f"the held-out SRCC of {report['srcc']:.2f} is not clearly above zero: with "
        f"{n_pairs:,} pairs, chance alone reaches {bound:.2f}. Either there are too "
        "few pairs or the model has no predictive value. Do not rely on its scores."
    )


def evaluate_model(
    model: Any,
    rated: Rated,
    *,
    coverage: float,
    n_resamples: int,
    skip_bad: bool,
    verbose: bool,
) -> Evaluation:
    """Evaluate a fitted model on pairs that are not its training pairs.

    Axes of the ratings are axes of the model. With `skip_bad`, unusable rows are left
    out; otherwise a BadPairsError names them.
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
    predicted = np.concatenate(scores)
    if isinstance(rated.y, pd.DataFrame):
        axes = axes_of(model)
        predicted = predicted[:, [axes.index(axis) for axis in rated.y.columns]]
    return evaluate(
        _safe_indexing(rated.y, rows),
        predicted,
        coverage=coverage,
        n_resamples=n_resamples,
        bad=bad,
    )


def fit_and_evaluate(
    pipeline: Pipeline,
    rated: Rated,
    *,
    folds: int,
    coverage: float,
    n_resamples: int,
    random_state: int,
    skip_bad: bool,
    verbose: bool,
) -> Evaluation:
    """Evaluate a pipeline by cross-validation, then fit it on all pairs.

    The first step, frozen encoders, is computed once; the other steps are fitted again
    in every fold. With zero folds there is no evaluation. `random_state` assigns pairs
    to folds, unless groups do. With `skip_bad`, unusable rows are left out; otherwise a
    BadPairsError names them.
    """
    if folds:  # refuse too many before anything is encoded
        _splits(len(rated.y), rated.groups, folds, random_state)
    # Loads every encoder, so that nothing is encoded if one is missing.
    clone(pipeline[:1]).fit(rated.pairs[:1])
    usable = on_usable_files(pipeline[:1].fit_transform, rated.pairs)
    _check_bad(usable.bad, len(rated.y), skip_bad)
    rows = usable.positions
    y = _safe_indexing(rated.y, rows)
    groups = None if rated.groups is None else rated.groups[rows]
    evaluation = Evaluation({}, y, np.full((*y.shape, 3), np.nan), usable.bad)
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
        evaluation = evaluate(
            y, scores, coverage=coverage, n_resamples=n_resamples, bad=usable.bad
        )
    pipeline.fit(rated.pairs.iloc[rows], y, **_fit_groups(pipeline, groups))
    return evaluation


def _splits(
    n_pairs: int, groups: np.ndarray | None, folds: int, random_state: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    n_groups = n_pairs if groups is None else len(np.unique(groups))
    if n_groups < folds:
        what = "pairs" if groups is None else "groups"
        fewer = f"--folds {n_groups}, " if n_groups > 1 else ""
        msg = (
            f"{folds} folds need {folds} {what} or more, and there are {n_groups}. "
            f"Use {fewer}--folds 0 for no report, or more {what}."
        )
        raise BadRowsError(msg)
    if groups is None:
        splitter = KFold(folds, shuffle=True, random_state=random_state)
        return list(splitter.split(np.zeros(n_pairs)))
    return list(GroupKFold(folds).split(np.zeros(n_pairs), groups=groups))


def _held_out(
    learner: Pipeline,
    features: pd.DataFrame,
    y: np.ndarray | pd.DataFrame,
    groups: np.ndarray | None,
    splits: Iterable[tuple[np.ndarray, np.ndarray]],
    coverage: float,
    verbose: bool,
) -> np.ndarray:
    """Return out-of-fold scores and intervals of every pair."""
    scores = np.empty((*y.shape, 3))
    for train, test in progress(
        splits, desc="cross-validating", unit="fold", verbose=verbose
    ):
        part = None if groups is None else groups[train]
        member = clone(learner)
        if isinstance(y, np.ndarray) and np.ptp(y[train]) == 0:
            msg = (
                f"the {len(train):,} pairs that one fold is fitted on all have the "
                f"rating {y[train][0]:g}. Use more folds, or add pairs with other "
                "ratings."
            )
            raise BadRowsError(msg)
        member.fit(
            features.iloc[train], _safe_indexing(y, train), **_fit_groups(member, part)
        )
        scores[test] = predict_with_interval(member, features.iloc[test], coverage)
    return scores


def _fit_groups(pipeline: Pipeline, groups: np.ndarray | None) -> dict[str, Any]:
    """Return groups as keywords of fit, if the last step accepts them."""
    name, last = pipeline.steps[-1]
    if groups is None or not has_fit_parameter(last, "groups"):
        return {}
    return {f"{name}__groups": groups}


def _check_bad(bad: list[BadPair], n_pairs: int, skip_bad: bool) -> None:
    if bad and (len(bad) == n_pairs or not skip_bad):
        raise BadPairsError(bad, n_pairs)
