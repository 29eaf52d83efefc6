"""What a scorer responds to: edits of a table's captions and clips."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import pandas as pd

from clapstack.scoring._scorer import Scorer, rows_of
from clapstack.scoring.tables import EDITS, ModelScorer, probe_table

__all__ = ["probe"]


def probe(
    model: Any,
    table: Any,
    edits: Sequence[str] = EDITS,
    *,
    audio_column: str | None = None,
    text_column: str | None = None,
    audio_folder: str | os.PathLike[str] | None = None,
    prompts: str | os.PathLike[str] | None = None,
    random_state: int = 0,
    chunk_size: int = 16,
    verbose: bool = False,
) -> pd.DataFrame:
    """Edit captions and clips of a table, and return how scores respond.

    A score of alignment should fall where a caption ceases to be true, and stay where
    only its wording changes. Read more in the :ref:`User Guide <probe>`.

    Parameters
    ----------
    model : Scorer, estimator, str or path-like
        As for :class:`~clapstack.Scorer`; ``Scorer.unsupervised()`` for cosines.
    table : DataFrame (pandas or polars), Arrow table, Dataset, str or path-like
        Pairs in memory or in a file, as for :meth:`Scorer.score_table
        <clapstack.Scorer.score_table>`; best those whose captions are right.
    edits : sequence of str, default=all
        Of the meaning: ``"swap"`` (the claimed order reversed), ``"drop"`` (a clause
        left out), ``"add"`` and ``"replace"`` (a clause of another caption beside the
        others, or in place of one), ``"negate"`` (a clause with "no"). Of the wording:
        ``"reword"`` (the clauses joined by "and" and "then"), ``"case"`` (upper case),
        ``"whitespace"`` (doubled). Of the clip: ``"noise"`` (white, 10 dB below the
        clip), ``"level"`` (20 dB quieter), ``"truncation"`` (its first half).
    audio_column, text_column, audio_folder, prompts : object
        As for :meth:`Scorer.score_table <clapstack.Scorer.score_table>`.
    random_state : int, default=0
        Seed of what is drawn: clauses, and noise. What is drawn for a row does not
        depend on the other edits, nor on `chunk_size`.
    chunk_size : int, default=16
        Rows whose edited clips are held in memory at a time.
    verbose : bool, default=False
        Whether to show a progress bar.

    Returns
    -------
    probed : DataFrame
        A row per edit, in the order of `edits`; of a model of several axes, per axis
        (column ``axis``) and edit. Columns ``edit``; ``kind``, ``"meaning"``,
        ``"wording"`` or ``"clip"``; ``n_pairs``, to which the edit applies; ``change``,
        the mean change of the score, with the 95 % interval ``low`` to ``high``;
        ``change_sd``, the same in standard deviations of the table's scores;
        ``falls``, the share of pairs whose score falls, with the interval
        ``falls_low`` to ``falls_high``. NaN where there are too few pairs.

    Raises
    ------
    BadPairsError
        If rows cannot be used; every one is named, and nothing is probed.
    ValueError
        If an edit is unknown, or the model knows embeddings by key alone.

    See Also
    --------
    clapstack.inspection.ProbeDisplay : Draws the result.

    Notes
    -----
    An edit of the meaning is compared with the caption as "reword" writes it, so that
    the edit is all that differs; others are compared with the pair as it is. Clauses
    are those of :func:`~clapstack.captions.split_clauses`; those of other captions of
    the same clip are not used to add or replace.

    Pairs of one text, or of one clip, are alike. Intervals take those of one text for
    one draw, or those of one clip if there are fewer clips: Student's t for means,
    Wilson's for shares.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from clapstack import Scorer
    >>> from clapstack.scoring import probe
    >>> noise = np.random.default_rng(0).normal(0, 0.1, (2, 16000))
    >>> table = pd.DataFrame(
    ...     {
    ...         "audio": [(clip, 16000) for clip in noise],
    ...         "text": ["a dog barks, then rain", "a bell rings"],
    ...     }
    ... )
    >>> probed = probe(Scorer.unsupervised("bundled:msclap"), table, ["swap", "add"])
    >>> probed[["edit", "n_pairs"]]
       edit  n_pairs
    0  swap        1
    1   add        2
    """
    scorer = model if isinstance(model, Scorer) else Scorer(model, verbose=verbose)
    rows = rows_of(
        table, audio_column, text_column, (), audio_folder, prompts, scorer.model
    )
    probed, _ = probe_table(
        rows,
        ModelScorer(scorer.model, "", None),
        edits,
        random_state=random_state,
        chunk_size=chunk_size,
        verbose=verbose,
    )
    return probed
