"""Best of n: which of several clips to keep for each prompt, and what that gains."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from clapstack._compat import columns_of, is_frame, to_pandas
from clapstack._numerics.checks import as_numbers, first_rows
from clapstack.pairs import group_identity

__all__ = ["Candidates", "candidates_by_prompt", "rank_candidates"]


class Candidates(NamedTuple):
    """The candidates of one prompt.

    Attributes
    ----------
    prompt : object
        As it stands in the first of their rows.
    rows : ndarray of int
        Their positions in the table, the best first; equal scores keep their order.
    scores : ndarray of float
        Their scores, in that order.
    n_unscored : int
        Further candidates, without a score.
    """

    prompt: Any
    rows: np.ndarray
    scores: np.ndarray
    n_unscored: int

    @property
    def gain(self) -> float:
        """How far the best is above the mean, which a random one reaches on average."""
        return float(self.scores[0] - self.scores.mean()) if len(self.rows) else np.nan

    @property
    def margin(self) -> float:
        """How far the best is above the second."""
        return float(self.scores[0] - self.scores[1]) if len(self.rows) > 1 else np.nan

    @property
    def n_tied(self) -> int:
        """How many share the best score; 1 if there is no tie."""
        return int(np.sum(self.scores == self.scores[:1]))


def rank_candidates(
    table: Any, *, prompt: str = "text", score: str = "score"
) -> pd.DataFrame:
    """Return the best and the worst candidate of each prompt, and what choosing gains.

    Parameters
    ----------
    table : DataFrame (pandas or polars), Arrow table or Dataset
        A row per candidate, such as what :meth:`Scorer.score_table
        <clapstack.Scorer.score_table>` returns.
    prompt : str, default="text"
        Column that candidates of one prompt share: its text, or a name. Texts that
        differ in white space or Unicode form alone are one prompt.
    score : str, default="score"
        Column of scores, higher is better; NaN where a candidate has none.

    Returns
    -------
    ranked : DataFrame
        A row per prompt, in order of the table: ``prompt``; ``n``, candidates with a
        score, and ``n_unscored``, those without; ``best`` and ``worst``, index labels
        of rows of the table, and their scores ``best_score`` and ``worst_score``;
        ``mean``; ``gain``, the best above the mean, which is what best of n adds to a
        random take; ``margin``, the best above the second; ``n_tied``, how many share
        the best score, of which the first in the table is taken. A prompt without any
        score has no best one.

    Raises
    ------
    TypeError
        If `table` is no table.
    ValueError
        If a column or a prompt is missing, a score is infinite or no number, or labels
        of the index come twice.

    See Also
    --------
    clapstack.Scorer : Scores the candidates.

    Notes
    -----
    Gains are in units of the score that chose. Chosen by a score that is not perfect,
    clips are better in truth by less: by about the gain times the slope of true scores
    on predicted ones, among the candidates of a prompt.

    Examples
    --------
    >>> import pandas as pd
    >>> from clapstack.scoring import rank_candidates
    >>> table = pd.DataFrame(
    ...     {
    ...         "audio": ["a1.wav", "a2.wav", "b1.wav"],
    ...         "text": ["a dog", "a dog", "rain"],
    ...         "score": [4.0, 7.0, 5.0],
    ...     }
    ... )
    >>> ranked = rank_candidates(table, prompt="text", score="score")
    >>> ranked[["prompt", "best", "gain", "n_tied"]]
      prompt  best  gain  n_tied
    0  a dog     1   1.5       1
    1   rain     2   0.0       1
    >>> table.loc[ranked["best"], "audio"].tolist()
    ['a2.wav', 'b1.wav']
    """
    if not is_frame(table):
        msg = (
            f"table must be a frame; got {type(table).__name__}. Use pandas.DataFrame, "
            "or clapstack rank for a file."
        )
        raise TypeError(msg)
    names = columns_of(table)
    missing = [name for name in (prompt, score) if names.count(name) != 1]
    if missing:
        msg = (
            f"table must have the columns {prompt!r} and {score!r}, each once; "
            f"{missing} are missing or twice in {names}. Name yours: prompt=, score=."
        )
        raise ValueError(msg)
    frame = to_pandas(table, list(dict.fromkeys([prompt, score])))
    if not frame.index.is_unique:
        msg = (
            "the index of table names rows twice, so that no label says which is the "
            "best. Pass table.reset_index(drop=True)."
        )
        raise ValueError(msg)
    labels = frame.index.to_numpy(dtype=object)

    def label(found: Candidates, place: int) -> Any:
        return labels[found.rows[place]] if len(found.rows) else None

    ranked = [
        {
            "prompt": found.prompt,
            "n": len(found.rows),
            "n_unscored": found.n_unscored,
            "best": label(found, 0),
            "worst": label(found, -1),
            "best_score": found.scores.max(initial=-np.inf),
            "worst_score": found.scores.min(initial=np.inf),
            "mean": found.scores.mean() if len(found.rows) else np.nan,
            "gain": found.gain,
            "margin": found.margin,
            "n_tied": found.n_tied,
        }
        for found in candidates_by_prompt(frame[prompt].tolist(), frame[score])
    ]
    result = pd.DataFrame(ranked).replace([np.inf, -np.inf], np.nan)
    for name in ("best", "worst"):  # None would make floats of whole numbers
        labelled = [row[name] for row in ranked]
        result[name] = pd.Series(labelled, dtype=object)
    return result


def candidates_by_prompt(prompts: list[Any], scores: Any) -> list[Candidates]:
    """Return the candidates of each prompt, in order of first rows.

    Parameters
    ----------
    prompts : list
        The prompt of each candidate.
    scores : array-like
        Their scores; NaN where a candidate has none.

    Returns
    -------
    found : list of Candidates
    """
    if not prompts:
        msg = "the table has no rows; at least one candidate is needed."
        raise ValueError(msg)
    values = as_numbers(scores, "scores")
    keys = [group_identity(prompt) for prompt in prompts]
    faults: dict[str, Any] = {
        "no prompt. Fill it in or drop the row": [key is None for key in keys],
        "an infinite score. Drop the row or leave the score empty": np.isinf(values),
    }
    for what, wrong in faults.items():
        rows = np.flatnonzero(wrong)
        if rows.size:
            many = f"{rows.size} of {len(keys)} candidates have"
            msg = f"{many} {what} ({first_rows(rows)})."
            raise ValueError(msg)
    codes, _ = pd.factorize(np.array(keys, dtype=object))
    # By prompt, then from the best down; NaN come last, equal scores keep their order.
    order = np.lexsort((-values, codes))
    found = []
    for rows in np.split(order, np.flatnonzero(np.diff(codes[order])) + 1):
        scored = rows[~np.isnan(values[rows])]
        found.append(
            Candidates(
                prompts[rows.min()], scored, values[scored], len(rows) - len(scored)
            )
        )
    return found
