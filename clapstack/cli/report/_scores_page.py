"""The report of scores without human ratings, as a single HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from clapstack import __version__
from clapstack._fitted import takes_keys
from clapstack.cli.report._page import template
from clapstack.cli.report._pictures import picture
from clapstack.cli.report._players import player
from clapstack.cli.report._sources import Scores
from clapstack.inspection import DistributionDisplay
from clapstack.scoring.tables import GroupedMean, Mean

_MOST = 50  # systems on a page


def make_scores_report(
    scores: Scores, *, title: str | None = None, n_pairs: int = 3
) -> str:
    """Return the report of a scored table, with its `n_pairs` best and worst pairs.

    Like the report of a model, the page fetches nothing.
    """
    pairs = scores.pairs.dropna(subset=["score"])
    if not len(pairs):
        msg = f"{scores.name} has no row with a score: {scores.why_not}"
        raise ValueError(msg)
    names = pairs["system"].unique() if scores.by else ()
    if len(names) > _MOST:
        msg = (
            f"the column {scores.by!r} of {scores.name} has {len(names):,} values, but "
            f"a page shows at most {_MOST} systems. Name the column of systems with "
            "--by."
        )
        raise ValueError(msg)
    display = DistributionDisplay(scores=pairs["score"])
    boxes = systems = None
    if len(names) > 1:
        boxes = picture(
            DistributionDisplay(scores=pairs["score"], systems=pairs["system"])
        )
        groups = [(name, _mean(group)) for name, group in pairs.groupby("system")]
        systems = sorted(groups, key=lambda each: -each[1].mean)
    order = np.argsort(-pairs["score"].to_numpy(), kind="stable")
    n_shown = min(n_pairs, len(order) // 2) or min(n_pairs, 1)
    best = pairs.iloc[order[:n_shown]]
    worst = pairs.iloc[order[::-1][:n_shown]]
    headings = ["Scores", *(["Systems"] if systems else [])]
    headings += ["Best pairs", "Worst pairs"] if n_shown else []
    return template("scores.html").render(
        title=title or scores.name,
        headings=[*headings, "Fingerprints and versions"],
        mean=_mean(pairs),
        has_scale=scores.model is not None or not _is_unsupervised(scores),
        n_failed=len(scores.pairs) - len(pairs),
        n_unlike=scores.n_unlike,
        histogram=picture(display),
        boxes=boxes,
        systems=systems,
        by=scores.by,
        best=_shown(best, scores),
        worst=_shown(worst, scores),
        table_name=scores.name,
        table_sha256=scores.sha256,
        model=scores.model,
        version=__version__,
    )


def _is_unsupervised(scores: Scores) -> bool:
    """Return whether the scores are of clapstack score --unsupervised."""
    return any(name.endswith("_cosine") for name in scores.table.header)


def _mean(pairs: pd.DataFrame) -> Mean:
    mean = GroupedMean()
    for text, score in zip(pairs["text"], pairs["score"], strict=True):
        mean.add(text, score)
    return mean.result()


def _shown(pairs: pd.DataFrame, scores: Scores) -> Sequence[dict[str, Any]]:
    """Return pairs with their players, unless clips are looked up by key."""
    shown: list[dict[str, Any]] = [dict(row) for _, row in pairs.iterrows()]
    has_keys = scores.model is not None and takes_keys(scores.model.model)
    # The table is read again, because a clip may be stored in its cells.
    rows = {pair["row"]: pair for pair in shown}
    for row in () if has_keys else scores.table.rows():
        if row.number in rows:
            rows[row.number]["player"] = player(row.path)
    return [{"player": None, **pair} for pair in shown]
