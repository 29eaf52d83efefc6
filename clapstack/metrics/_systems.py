"""Which of several systems is better, from scores of their clips for prompts."""

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
    """What :func:`~clapstack.metrics.compare_systems` finds.

    Attributes
    ----------
    means : DataFrame
        A row per system, in order of first rows: ``n_prompts``, ``n_clips``, ``mean``,
        ``low`` and ``high``; ``rating`` where there are ratings.
    differences : DataFrame
        A row per pair of systems, named by ``first`` and ``second``: ``n_prompts``,
        those that both have; ``difference``, the mean of the first minus that of the
        second, with ``low`` and ``high``; ``p_better``, how likely a clip of the first
        scores higher than one of the second for the same prompt; ``p_value`` and
        ``p_adjusted``.
    agreement : DataFrame or None
        SRCC, LCC and KTAU of the systems' mean scores with their mean ratings:
        ``value``, ``low``, ``high`` and ``n_systems``. None without ratings.
    """

    means: pd.DataFrame
    differences: pd.DataFrame
    agreement: pd.DataFrame | None

    def from_best(self) -> pd.DataFrame:
        """Return how far the system with the highest mean is above each other one.

        Returns
        -------
        table : DataFrame
            A row per other system: ``difference``, ``low``, ``high``, ``p_adjusted``,
            and ``is_sure``, whether the difference is above zero at the level of 5 %,
            adjusted for all pairs.
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
        """Return in words what the system with the highest mean is better than.

        Returns
        -------
        verdict : str
            At the level of 5 %, adjusted for all pairs.
        """
        best, table = self.means["mean"].idxmax(), self.from_best()
        names, is_sure = table.index.to_numpy(), table["is_sure"].to_numpy()
        # Where prompts are not all shared, one with a lower mean may be the better.
        above = np.array((table["difference"] < 0) & (table["p_adjusted"] < _LEVEL))
        words = [f"{best} has the highest mean"]
        if is_sure.any():
            words = [f"{best} is better than {first_few(names[is_sure])}"]
        if above.any():
            words.append(f"{first_few(names[above])} is better on shared prompts")
        if (others := ~is_sure & ~above).any():
            words.append(f"no difference from {first_few(names[others])} is shown")
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

    What is estimated is the mean over prompts of the mean over a system's clips, for
    prompts like these. Every prompt counts once, however many clips it has. Read more
    in the :ref:`User Guide <compare_systems>`.

    Parameters
    ----------
    scores : DataFrame (pandas or polars), Arrow table, Dataset or array-like
        A row per clip, or the scores of the clips, of shape (n_clips,).
    system : str or array-like of shape (n_clips,), default="system"
        Column of the table, or labels: what made each clip.
    prompt : str or array-like of shape (n_clips,), default="text"
        Column of the table, or labels: what each clip was made for. Clips of one prompt
        have equal labels.
    score : str, default="score"
        Column of the scores, where `scores` is a table.
    ratings : str or array-like of shape (n_clips,), default=None
        Column of the table, or numbers: people's mean rating of each clip, NaN where it
        has none.
    coverage : float, default=0.95
        Coverage of each interval, between 0 and 1.

    Returns
    -------
    comparison : SystemComparison
        ``(means, differences, agreement)``, three tables.

    Raises
    ------
    ValueError
        If a column is missing, a score is no finite number or a label is missing (rows
        are named), lengths differ, there is one system alone, or no two systems share
        two prompts.

    See Also
    --------
    paired_bootstrap : Compares models by how well they predict ratings.
    clapstack.inspection.SystemsDisplay : Draws the result.

    Notes
    -----
    Clips of one prompt are alike, and so are scores of two systems on it. The prompts
    are the sample, with the mean over its clips, or the difference between two such
    means, as the value of each: intervals and p-values are those of Student's t on one
    degree of freedom fewer than prompts; where all differences are equal, p is that of
    the sign test. In simulated studies this covers better than bootstraps over prompts.
    Intervals are of each figure by itself; ``p_adjusted`` is adjusted for all pairs of
    systems by Holm's method [1]_.

    Intervals of correlations take the systems as the sample and the prompts as given:
    they are for other systems of this kind, compared on these prompts. They are
    Fisher's, with the variances of Bonett and Wright [2]_, and NaN with fewer than four
    systems (five for KTAU). Only rated clips count there.

    References
    ----------
    .. [1] S. Holm, "A simple sequentially rejective multiple test procedure",
       Scandinavian Journal of Statistics 6(2), 1979.
    .. [2] D. G. Bonett and T. A. Wright, "Sample size requirements for estimating
       Pearson, Kendall and Spearman correlations", Psychometrika 65(1), 2000.

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
    """Return a row per clip, system and prompt as numbers, and the systems' names."""
    given = {"system": system, "prompt": prompt, "ratings": ratings}
    # Labels are looked at more than once, which an iterator does not bear.
    given = {k: list(v) if isinstance(v, Iterator) else v for k, v in given.items()}
    columns = {what: name for what, name in given.items() if isinstance(name, str)}
    if is_frame(scores):
        columns["scores"] = score
        names = columns_of(scores)
        wrong = [name for name in columns.values() if names.count(name) != 1]
        if wrong:
            msg = (
                f"scores must have the columns {list(columns.values())}, each once; "
                f"{wrong} are missing or twice in {names}. Name yours: system=, "
                "prompt=, score=, ratings=."
            )
            raise ValueError(msg)
        frame = to_pandas(scores, list(dict.fromkeys(columns.values())))
        given |= {what: frame[name] for what, name in columns.items()}
        scores = given.pop("scores")
    elif columns:
        what, name = next(iter(columns.items()))
        msg = (
            f"scores is no table, so that {what}={name!r} names no column of it. Pass "
            "a table, or one label a score."
        )
        raise ValueError(msg)
    values = as_numbers(scores, "scores")
    if values.ndim != 1 or not len(values):
        msg = f"scores must be one number a clip; got shape {values.shape}."
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
            f"all clips are of one system, {listed[0]!r:.60}. Pass the scores of two "
            "systems or more, and say which made each clip: system=."
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
            f"{what} must have shape {values.shape}, as the scores; got "
            f"{column.shape}. Pass one for each score, in their order."
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
        # Values that are all the same leave Student's t nothing to divide by, as whole
        # ratings of few prompts do: p is that of the sign test.
        return mean, mean, mean, 2.0 ** (1 - n) if mean else 1.0
    p_value = 2 * stats.t.sf(abs(mean) / error, n - 1)
    return mean, mean - half, mean + half, float(p_value)


def _differences(
    clips: pd.DataFrame, means: pd.DataFrame, coverage: float
) -> pd.DataFrame:
    """Return a row per pair of systems, in the order of `itertools.combinations`."""
    rows = []
    for pair in combinations(means, 2):
        both = means[list(pair)].dropna()
        first, second = both.to_numpy().T
        # Equal clips in another order differ by rounding, which is no difference.
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
            "no two systems share two prompts, so nothing can be compared. Pass what "
            "each clip was made for (prompt=), with equal labels for equal prompts."
        )
        raise ValueError(msg)
    table.loc[tested, "p_adjusted"] = _holm(table.loc[tested, "p_value"].to_numpy())
    return table


def _share_better(clips: pd.DataFrame, first: Any) -> float:
    """Return how often a clip of the first beats one of the second, ties half.

    Over all pairs of clips of a prompt, then over prompts: Mann and Whitney's U of each
    from ranks, so that many clips of one prompt are not compared one by one.
    """
    ranks = clips.groupby("prompt")["score"].rank()
    of_first = (clips["system"] == first).groupby(clips["prompt"])
    n_first, n_clips = of_first.sum(), of_first.size()
    sums = ranks.where(clips["system"] == first, 0).groupby(clips["prompt"]).sum()
    wins = sums - n_first * (n_first + 1) / 2
    return float((wins / (n_first * (n_clips - n_first))).mean())


def _holm(p_values: Floats) -> Floats:
    """Return p-values adjusted so that the chance of any false finding keeps."""
    order = np.argsort(p_values)
    stepped = p_values[order] * np.arange(len(order), 0, -1)
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.maximum.accumulate(stepped).clip(max=1)
    return adjusted


def _agreement(clips: pd.DataFrame, coverage: float) -> tuple[Floats, pd.DataFrame]:
    """Return the mean rating of each system, and how mean scores agree with them."""
    rated = clips.dropna(subset="rating")
    if rated.empty:
        msg = "no clip has a rating. Pass ratings=None to compare by scores alone."
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
    """Return an interval of a correlation over n systems; NaN where n is too small.

    Ranks of few systems often agree in full, where Fisher's transformation has no end:
    their correlation is drawn in by half of its smallest step for the interval.
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
