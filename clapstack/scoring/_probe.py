"""Probes: how scores respond to edited captions and clips."""

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
    """Measure how scores respond to edits of captions and clips.

    An alignment score should fall when a caption is no longer true, and stay the same
    when only its wording changes. Read more in the :ref:`User Guide <probe>`.

    Parameters
    ----------
    model : Scorer, estimator, str or path-like
        A scorer, or a model as for :class:`~clapstack.Scorer`; use
        ``Scorer.unsupervised()`` to probe plain cosines.
    table : DataFrame (pandas or polars), Arrow table, Dataset, str or path-like
        Pairs in memory or in a file, as for :meth:`Scorer.score_table
        <clapstack.Scorer.score_table>`. The captions should be correct.
    edits : sequence of str, default=all
        Edits to apply. They change

        - the meaning: ``"swap"`` (reverses the claimed order), ``"drop"`` (omits a
          clause), ``"add"`` and ``"replace"`` (insert a clause of another caption,
          or substitute one), ``"negate"`` (puts "no" before a clause);
        - the wording: ``"reword"`` (joins the clauses by "and" and "then"), ``"case"``
          (upper case), ``"whitespace"`` (doubles it);
        - the clip: ``"noise"`` (white noise 10 dB below the clip), ``"level"`` (20 dB
          quieter), ``"truncation"`` (keeps the first half).
    audio_column, text_column, audio_folder, prompts : object
        As for :meth:`Scorer.score_table <clapstack.Scorer.score_table>`.
    random_state : int, default=0
        Seed for the choice of clauses and for the noise. The draws for a row depend
        neither on the other edits nor on `chunk_size`.
    chunk_size : int, default=16
        Number of rows whose edited clips are in memory at a time.
    verbose : bool, default=False
        Whether to show a progress bar.

    Returns
    -------
    probed : DataFrame
        One row per edit, in the order of `edits`; for a model with several axes, one
        per axis (column ``axis``) and edit. Values are NaN if there are too few pairs.
        Columns:

        - ``edit``, and ``kind``: ``"meaning"``, ``"wording"`` or ``"clip"``;
        - ``n_pairs``, the number of pairs that the edit applies to;
        - ``change``, the mean change of the score, with the 95 % interval ``low`` to
          ``high``;
        - ``change_sd``, the mean change in standard deviations of the table's scores;
        - ``falls``, the share of pairs whose score falls, with the 95 % interval
          ``falls_low`` to ``falls_high``.

    Raises
    ------
    BadPairsError
        If rows are unusable; its attribute ``rows`` lists them. Nothing is probed then.
    ValueError
        If an edit is unknown, or if the model looks up embeddings by key, so that
        edited pairs cannot be encoded.

    See Also
    --------
    clapstack.inspection.ProbeDisplay : Draw the result.

    Notes
    -----
    A caption with an edited meaning is compared with its "reword" form, so that the
    edit is the only difference. All other edits are compared with the original pair.
    Clauses come from :func:`~clapstack.captions.split_clauses`. Clauses of other
    captions of the same clip are never added or substituted.

    Pairs that share a text or a clip are alike. Intervals therefore treat all pairs of
    one text as one draw, or all pairs of one clip if there are fewer clips. Means use
    Student's t, shares Wilson's interval.

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
