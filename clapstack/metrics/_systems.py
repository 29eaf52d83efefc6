"""Comparison of systems by the scores of their clips for the same prompts."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from clapstack._compat import columns_of, is_frame, to_pandas
from clapstack._numerics.checks import (
    Floats,
    as_numbers,
    check_finite,
    check_labels,
    check_share,
    first_few,
)
from clapstack.metrics._scores import ktau, lcc, srcc

_LEVEL = 0.05
_CORRELATIONS = {"srcc": srcc, "lcc": lcc, "ktau": ktau}


class SystemComparison(NamedTuple):
    """Result of :func:`~clapstack.metrics.compare_systems`.

    Attributes
    ----------
    means : DataFrame
        One row per system, in order of first appearance: ``n_prompts``, ``n_clips``,
        ``mean``, ``low`` and ``high``; with ratings also ``rating``.
    differences : DataFrame
        One row per pair of systems, indexed by ``first`` and ``second``:

        - ``n_prompts``, the number of prompts that both have;
        - ``difference``, the mean of the first minus that of the second, with its
          interval ``low`` to ``high``;
        - ``p_better``, the probability that a clip of the first scores higher than a
          clip of the second for the same prompt;
        - ``p_value`` and ``p_adjusted``, the p-value before and after adjustment for
          all pairs of systems.
    agreement : DataFrame or None
        SRCC, LCC and KTAU between the systems' mean scores and mean ratings:
        ``value``, ``low``, ``high`` and ``n_systems``. None without ratings.
    """

    means: pd.DataFrame
    differences: pd.DataFrame
    agreement: pd.DataFrame | None

    def from_best(self) -> pd.DataFrame:
        """Compare the system with the highest mean with every other system.

        Returns
        -------
        table : DataFrame
            One row per other system: ``difference``, ``low``, ``high`` and
            ``p_adjusted`` of the best minus this one, and ``is_sure``, whether the
            difference is significantly above zero (5 % level, adjusted for all pairs).
        """
        best = self.means["mean"].idxmax()
        rows = {}
        for row in self.differences.reset_index().to_dict("records"):
            apart, low, high = row["difference"], row["low"], row["high"]
            if row["first"] == best:
                rows[row["second"]] = (apart, low, high, row["p_adjusted"])
            elif row["second"] == best:
                rows[row["first"]] = (-apart, -high, -low, row["p_adjusted"])
        table = pd.DataFrame(
            list(rows.values()),
            columns=["difference", "low", "high", "p_adjusted"],
            index=pd.Index(list(rows), name="system", tupleize_cols=False),
        )
        is_sure = (table["difference"] > 0) & (table["p_adjusted"] < _LEVEL)
        return table.assign(is_sure=is_sure)

    def verdict(self) -> str:
        """Say which systems the one with the highest mean is better than.

        Returns
        -------
        verdict : str
            A sentence, at the 5 % level, adjusted for all pairs.
        """
        best, table = self.means["mean"].idxmax(), self.from_best()
        names, is_sure = table.index.to_numpy(), table["is_sure"].to_numpy()
        # If prompts are not all shared, a system with a lower mean may be the better.
        above = np.array((table["difference"] < 0) & (table["p_adjusted"] < _LEVEL))
        words = [f"{best} has the highest mean"]
        if is_sure.any():
            words = [f"{best} is better than {first_few(names[is_sure])}"]
        if above.any():
            words.append(
                f"{first_few(names[above])} is better than it on their shared prompts"
            )
        if (others := ~is_sure & ~above).any():
            words.append(f"no significant difference from {first_few(names[others])}")
        return "; ".join(words) + "."


def compare_systems(
    scores: Any,
    *,
    system: Any = "system",
    prompt: Any = "text",
    score: str = "score",
    ratings: Any = None,
    coverage: float = 0.95,
) -> SystemComparison:
    """Compare systems by the scores of their clips for the same prompts.

    The mean of a system is taken over its clips for each prompt, then over prompts, so
    every prompt counts once. Intervals and p-values apply to new prompts of the same
    kind. Read more in the :ref:`User Guide <compare_systems>`.

    Parameters
    ----------
    scores : DataFrame (pandas or polars), Arrow table, Dataset or array-like
        Table with one row per clip, or the scores of the clips, of shape (n_clips,).
    system : str or array-like of shape (n_clips,), default="system"
        Column name, or labels: the system that generated each clip.
    prompt : str or array-like of shape (n_clips,), default="text"
        Column name, or labels: the prompt of each clip. Clips of one prompt have equal
        labels.
    score : str, default="score"
        Column of scores, if `scores` is a table.
    ratings : str or array-like of shape (n_clips,), default=None
        Column name, or numbers: mean human rating of each clip, NaN for clips without
        ratings.
    coverage : float, default=0.95
        Coverage of each interval, between 0 and 1.

    Returns
    -------
    comparison : SystemComparison
        Three tables, ``(means, differences, agreement)``.

    Raises
    ------
    ValueError
        If a column is missing, a score is not a finite number or a label is missing
        (the message names the rows), if lengths differ, if there is only one system, or
        if no two systems share two prompts.

    See Also
    --------
    paired_bootstrap : Compare models by how well they predict ratings.
    clapstack.inspection.SystemsDisplay : Draw the result.

    Notes
    -----
    Clips of one prompt are alike, and so are the scores of two systems on it. The
    sample therefore consists of prompts. The value of a prompt is the mean over its
    clips, or the difference between two such means. Intervals and p-values come from
    Student's t with one degree of freedom fewer than prompts; if all differences are
    equal, p comes from the sign test. In simulated studies these intervals cover better
    than bootstraps over prompts. Each interval has its coverage separately;
    ``p_adjusted`` is adjusted for all pairs of systems by Holm's method [1]_.

    Intervals of correlations treat the systems as the sample and the prompts as fixed:
    they apply to other systems of this kind, compared on these prompts. They use
    Fisher's transformation with the variances of Bonett and Wright [2]_, and are NaN
    with fewer than four systems (five for KTAU). Only rated clips count there.

    References
    ----------
    .. [1] S. Holm, "A simple sequentially rejective multiple test procedure",
       Scandinavian Journal of Statistics 6(2), 1979.
    .. [2] D. G. Bonett and T. A. Wright, "Sample size requirements for estimating
       Pearson, Kendall and Spearman correlations", Psychometrika 65(1), 2000.
       https://doi.org/10.1007/BF02294183

    Examples
    --------
    >>> from clapstack.metrics import compare_systems
    >>> result = compare_systems(
    ...     [5.0, 7.0, 4.0, 6.0, 6.0, 8.0, 5.0, 6.5],
    ...     system=["v1", "v1", "v1", "v1", "v2", "v2", "v2", "v2"],
    ...     prompt=["dog", "rain", "bell", "bus"] * 2,
    ... )
    >>> result.means["mean"].to_dict()
    {'v1': 5.5, 'v2': 6.375}
    >>> result.differences.loc[("v1", "v2"), ["difference", "low", "high"]].round(2)
    difference   -0.88
    low          -1.27
    high         -0.48
    Name: (v1, v2), dtype: float64
    """
    check_share("coverage", coverage, 0.95)
    clips, names = _clips(scores, system, prompt, score, ratings)
    means = clips.groupby(["prompt", "system"])["score"].mean().unstack()
    own = [means[number].dropna().to_numpy() for number in means]
    table = pd.DataFrame(
        [(len(column), *_mean_test(column, coverage)[:3]) for column in own],
        columns=["n_prompts", "mean", "low", "high"],
        index=pd.Index(names, name="system", tupleize_cols=False),
    )
    table.insert(1, "n_clips", clips["system"].value_counts().sort_index().to_numpy())
    agreement = None
    if ratings is not None:
        table["rating"], agreement = _agreement(clips, coverage)
    differences = _differences(clips, means, coverage)
    differences.index = pd.MultiIndex.from_tuples(
        combinations(names, 2), names=["first", "second"]
    )
    return SystemComparison(table, differences, agreement)


def _clips(
    scores: Any, system: Any, prompt: Any, score: str, ratings: Any
) -> tuple[pd.DataFrame, list[Any]]:
    """Return one row per clip with numbered systems and prompts, and system names."""
    given = {"system": system, "prompt": prompt, "ratings": ratings}
    # An iterator could be read only once.
    given = {k: list(v) if isinstance(v, Iterator) else v for k, v in given.items()}
    columns = {what: name for what, name in given.items() if isinstance(name, str)}
    if is_frame(scores):
        columns["scores"] = score
        names = columns_of(scores)
        wrong = [name for name in columns.values() if names.count(name) != 1]
        if wrong:
            msg = (
                f"scores must have each of the columns {list(columns.values())} once; "
                f"{wrong} are missing or repeated in {names}. Name your columns with "
                "system=, prompt=, score= and ratings=."
            )
            raise ValueError(msg)
        frame = to_pandas(scores, list(dict.fromkeys(columns.values())))
        given |= {what: frame[name] for what, name in columns.items()}
        scores = given.pop("scores")
    elif columns:
        what, name = next(iter(columns.items()))
        msg = (
            f"{what}={name!r} names a column, but scores is not a table. Pass a table, "
            "or one label per score."
        )
        raise ValueError(msg)
    values = as_numbers(scores, "scores")
    if values.ndim != 1 or not len(values):
        msg = f"scores must have one number per clip; got shape {values.shape}."
        raise ValueError(msg)
    check_finite("scores", values)
    clips = pd.DataFrame({"score": values})
    for what in ("system", "prompt"):
        checked = check_labels(given[what], what, f"Name the {what} of every clip.")
        _check_length(what, checked, values)
        clips[what] = pd.factorize(checked)[0]
    firsts = clips["system"].drop_duplicates().index
    listed = given["system"]  # `check_labels` may have numbered them
    if isinstance(listed, np.ndarray):
        listed = listed.ravel()
    unpack = getattr(listed, "to_pylist", getattr(listed, "tolist", None))
    listed = unpack() if unpack else list(listed)
    if len(firsts) < 2:
        msg = (
            f"all clips come from one system, {listed[0]!r:.60}. Pass scores of at "
            "least two systems, and the system of each clip with system=."
        )
        raise ValueError(msg)
    if given["ratings"] is not None:
        rating = as_numbers(given["ratings"], "ratings")
        _check_length("ratings", rating, values)
        check_finite("ratings", np.where(np.isnan(rating), 0, rating))
        clips["rating"] = rating
    return clips, [listed[row] for row in firsts]


def _check_length(what: str, column: NDArray[Any], values: Floats) -> None:
    if column.shape != values.shape:
        msg = (
            f"{what} must have shape {values.shape}, like the scores; got "
            f"{column.shape}. Pass one value per score, in the same order."
        )
        raise ValueError(msg)


def _mean_test(sample: Floats, coverage: float) -> tuple[float, float, float, float]:
    """Return a mean, the ends of its t interval, and the p-value of a mean of zero."""
    n = len(sample)
    mean = float(sample.mean()) if n else np.nan
    if n < 2:
        return mean, np.nan, np.nan, np.nan
    error = sample.std(ddof=1) / np.sqrt(n)
    half = stats.t.ppf((1 + coverage) / 2, n - 1) * error
    if error <= 1e-12 * abs(mean):
        # Equal values, such as integer ratings of few prompts, have no variance for
        # Student's t: p comes from the sign test.
        return mean, mean, mean, 2.0 ** (1 - n) if mean else 1.0
    p_value = 2 * stats.t.sf(abs(mean) / error, n - 1)
    return mean, mean - half, mean + half, float(p_value)


def _differences(
    clips: pd.DataFrame, means: pd.DataFrame, coverage: float
) -> pd.DataFrame:
    """Return one row per pair of systems, in the order of `itertools.combinations`."""
    rows = []
    for pair in combinations(means, 2):
        both = means[list(pair)].dropna()
        first, second = both.to_numpy().T
        # Means of equal clips in another order may differ by rounding.
        same = np.isclose(first, second, rtol=1e-12, atol=0)
        apart = np.where(same, 0.0, first - second)
        shared = clips["system"].isin(pair) & clips["prompt"].isin(both.index)
        better = _share_better(clips[shared], pair[0])
        mean, low, high, p_value = _mean_test(apart, coverage)
        rows.append((len(apart), mean, low, high, better, p_value))
    columns = ["n_prompts", "difference", "low", "high", "p_better", "p_value"]
    table = pd.DataFrame(rows, columns=columns)
    tested = table["p_value"].notna()
    if not tested.any():
        msg = (
            "no two systems share two prompts, so nothing can be compared. Pass the "
            "prompt of each clip with prompt=, with equal labels for equal prompts."
        )
        raise ValueError(msg)
    table.loc[tested, "p_adjusted"] = _holm(table.loc[tested, "p_value"].to_numpy())
    return table


def _share_better(clips: pd.DataFrame, first: Any) -> float:
    """Return how often a clip of the first system scores above one of the second.

    Ties count half. The mean is taken over all pairs of clips of a prompt, then over
    prompts. Mann and Whitney's U from ranks avoids comparing clips one by one.
    """
    ranks = clips.groupby("prompt")["score"].rank()
    of_first = (clips["system"] == first).groupby(clips["prompt"])
    n_first, n_clips = of_first.sum(), of_first.size()
    sums = ranks.where(clips["system"] == first, 0).groupby(clips["prompt"]).sum()
    wins = sums - n_first * (n_first + 1) / 2
    return float((wins / (n_first * (n_clips - n_first))).mean())


def _holm(p_values: Floats) -> Floats:
    """Return p-values adjusted by Holm's method, which bounds any false finding."""
    order = np.argsort(p_values)
    stepped = p_values[order] * np.arange(len(order), 0, -1)
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.maximum.accumulate(stepped).clip(max=1)
    return adjusted


def _agreement(clips: pd.DataFrame, coverage: float) -> tuple[Floats, pd.DataFrame]:
    """Return the mean rating of each system, and correlations with mean scores."""
    rated = clips.dropna(subset="rating")
    if rated.empty:
        msg = "no clip has a rating. Pass ratings=None to compare scores only."
        raise ValueError(msg)
    cells = rated.groupby(["prompt", "system"])[["rating", "score"]].mean()
    means = cells.groupby("system").mean()
    n_systems = len(means)
    rows = {}
    for name, metric in _CORRELATIONS.items():
        value = metric(means["rating"], means["score"]) if n_systems > 1 else np.nan
        ends = _correlation_interval(name, value, n_systems, coverage)
        rows[name] = (value, *ends, n_systems)
    table = pd.DataFrame.from_dict(
        rows, orient="index", columns=["value", "low", "high", "n_systems"]
    )
    of_all = means["rating"].reindex(range(clips["system"].max() + 1)).to_numpy()
    return of_all, table.rename_axis("metric")


def _correlation_interval(
    name: str, value: float, n: int, coverage: float
) -> tuple[float, float]:
    """Return an interval of a correlation over n systems; NaN if n is too small.

    Ranks of few systems often agree perfectly, where Fisher's transformation diverges:
    the correlation is then reduced by half of its smallest step for the interval.
    """
    if n < 2:
        return np.nan, np.nan
    spared, variance, half_step = {
        "srcc": (3, 1 + value**2 / 2, 6 / (n * (n**2 - 1))),
        "lcc": (3, 1.0, 0.0),
        "ktau": (4, 0.437, 2 / (n * max(n - 1, 1))),
    }[name]
    if n <= spared:
        return np.nan, np.nan
    bound = 1 - half_step
    half = stats.norm.ppf((1 + coverage) / 2) * np.sqrt(variance / (n - spared))
    with np.errstate(divide="ignore"):
        centre = np.arctanh(np.clip(value, -bound, bound))
    low, high = np.tanh([centre - half, centre + half])
    return (
        -1.0 if value < -bound else float(low),
        1.0 if value > bound else float(high),
    )
