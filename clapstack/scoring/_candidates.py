"""Best of n: the clip to keep for each prompt, and the gain from choosing it."""

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
        The prompt as written in the first row.
    rows : ndarray of int
        Positions in the table, best candidate first; equal scores keep their order.
    scores : ndarray of float
        Scores, in the same order.
    n_unscored : int
        Number of candidates without a score.
    """

    prompt: Any
    rows: np.ndarray
    scores: np.ndarray
    n_unscored: int

    @property
    def gain(self) -> float:
        """Best score minus the mean, which a random choice reaches on average."""
        return float(self.scores[0] - self.scores.mean()) if len(self.rows) else np.nan

    @property
    def margin(self) -> float:
        """Best score minus the second best."""
        return float(self.scores[0] - self.scores[1]) if len(self.rows) > 1 else np.nan

    @property
    def n_tied(self) -> int:
        """Number of candidates with the best score; 1 if there is no tie."""
        return int(np.sum(self.scores == self.scores[:1]))


def rank_candidates(
    table: Any, *, prompt: str = "text", score: str = "score"
) -> pd.DataFrame:
    """Find the best and worst candidate of each prompt, and the gain from choosing.

    Parameters
    ----------
    table : DataFrame (pandas or polars), Arrow table or Dataset
        One row per candidate, such as the result of :meth:`Scorer.score_table
        <clapstack.Scorer.score_table>`.
    prompt : str, default="text"
        Column with the text or name of the prompt. Texts that differ only in white
        space or Unicode form count as one prompt.
    score : str, default="score"
        Column of scores; higher is better. NaN for candidates without a score.

    Returns
    -------
    ranked : DataFrame
        One row per prompt, in the order of the table:

        - ``prompt``;
        - ``n`` and ``n_unscored``, the number of candidates with and without a score;
        - ``best`` and ``worst``, index labels of rows of the table, with their scores
          ``best_score`` and ``worst_score``;
        - ``mean``, the mean score;
        - ``gain``, best minus mean: the expected advantage over a random take;
        - ``margin``, best minus second best;
        - ``n_tied``, the number of candidates with the best score; ``best`` is the
          first of them in the table.

        A prompt without scores has no ``best``.

    Raises
    ------
    TypeError
        If `table` is not a table.
    ValueError
        If a column or a prompt is missing, a score is infinite or not a number, or the
        index has duplicate labels.

    See Also
    --------
    clapstack.Scorer : Score the candidates.

    Notes
    -----
    Gains are in units of the predicted score. Because predictions are imperfect, the
    true gain is smaller: about the gain times the slope of true on predicted scores
    among the candidates of a prompt.

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
            f"table must be a DataFrame; got {type(table).__name__}. Use "
            "pandas.DataFrame, or the command clapstack rank for a file."
        )
        raise TypeError(msg)
    names = columns_of(table)
    missing = [name for name in (prompt, score) if names.count(name) != 1]
    if missing:
        msg = (
            f"table must have each of the columns {prompt!r} and {score!r} once; "
            f"{missing} are missing or repeated in {names}. Name your columns with "
            "prompt= and score=."
        )
        raise ValueError(msg)
    frame = to_pandas(table, list(dict.fromkeys([prompt, score])))
    if not frame.index.is_unique:
        msg = (
            "the index of table has duplicate labels, so the best row cannot be "
            "named. Pass table.reset_index(drop=True)."
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
    for name in ("best", "worst"):  # None would turn integer labels into floats
        labelled = [row[name] for row in ranked]
        result[name] = pd.Series(labelled, dtype=object)
    return result


def candidates_by_prompt(prompts: list[Any], scores: Any) -> list[Candidates]:
    """Return the candidates of each prompt, in order of first appearance.

    Parameters
    ----------
    prompts : list
        The prompt of each candidate.
    scores : array-like
        The score of each candidate; NaN if it has none.

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
        "no prompt|Fill it in or drop the row.": [key is None for key in keys],
        "an infinite score|Drop the row or leave the score empty.": np.isinf(values),
    }
    for what, wrong in faults.items():
        rows = np.flatnonzero(wrong)
        if rows.size:
            fault, _, remedy = what.partition("|")
            many = f"{rows.size} of {len(keys)} candidates have"
            msg = f"{many} {fault} ({first_rows(rows)}). {remedy}"
            raise ValueError(msg)
    codes, _ = pd.factorize(np.array(keys, dtype=object))
    # By prompt, then by falling score; NaN last, equal scores in order of the table.
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
