"""Scores of clips and texts by a model that is loaded once."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.pipeline import FeatureUnion, Pipeline

from clapstack._compat import columns_of, file_digest, is_frame
from clapstack._fitted import (
    axes_of,
    last_step,
    predict_with_interval,
    with_encoders_set,
)
from clapstack._numerics.checks import check_count, check_share
from clapstack._output import check_output
from clapstack.pairs import on_usable_rows
from clapstack.scoring._checkpoint import transformer_of
from clapstack.scoring._pairs import as_pairs
from clapstack.scoring.tables import (
    FrameTable,
    ModelScorer,
    PairTable,
    Scored,
    keep_keys,
    result_format,
    score_to_file,
    score_to_frame,
)
from clapstack.stacking import ClapStackingRegressor

__all__ = ["Scorer", "rows_of", "score_table"]


class Scorer:
    """Scores of clips and texts by a fitted model, without tables or files.

    The model is loaded once and stays in memory; nothing is written to disk unless
    `cache` asks for it. Read more in the :ref:`User Guide <scoring>`.

    Parameters
    ----------
    model : estimator, str or path-like
        A fitted pipeline of pairs, which stays as it is, or a file of
        :func:`~clapstack.save_model`.
    device : str, default=None
        Where encoders run, such as ``"cuda:0"``. None leaves what the model says.
    batch_size : int, default=None
        Clips or texts per forward pass. None leaves what the model says.
    cache : {"auto"}, path-like or None, default=None
        Store for embeddings of clips and texts that come again; None stores nothing.
    verbose : bool, default=False
        Whether to show progress bars.

    Attributes
    ----------
    model : estimator
        The model, with encoders set as above.
    axes : list of str
        What it predicts, where that is more than one score.

    See Also
    --------
    clap_score : The cosine of one CLAP checkpoint.
    clapstack.scoring.score_table : A table in a file, resumable.

    Examples
    --------
    >>> import numpy as np
    >>> from clapstack import Scorer
    >>> scorer = Scorer.unsupervised("bundled")
    >>> noise = np.random.default_rng(0).normal(0, 0.1, (2, 16000))
    >>> scorer.score(noise, ["rain", "a dog barks"], sampling_rate=16000).shape
    (2,)
    """

    def __init__(
        self,
        model: Any,
        *,
        device: str | None = None,
        batch_size: int | None = None,
        cache: str | os.PathLike[str] | None = None,
        verbose: bool = False,
    ):
        self._file = model if isinstance(model, (str, os.PathLike)) else None
        if self._file is not None:
            from clapstack.sharing import load_model

            model = load_model(self._file)
        if not hasattr(last_step(model), "predict"):
            msg = (
                "model must be a fitted pipeline of pairs, or the path of a model "
                f"file; got {type(model).__name__}, which does not predict."
            )
            raise TypeError(msg)
        given = {"device": device, "batch_size": batch_size}
        settings = {name: value for name, value in given.items() if value is not None}
        self.model = with_encoders_set(model, cache=cache, verbose=verbose, **settings)
        self.axes = axes_of(self.model)
        self._passing_arrays = _passing_arrays(self.model)
        self._is_stored = cache is not None

    @classmethod
    def unsupervised(
        cls,
        checkpoints: Any = "published",
        **settings: Any,
    ) -> Scorer:
        """Return a scorer without ratings: the mean cosine of CLAP encoders.

        The mean is in [-1, 1]. It does not depend on what else is scored, and encoders
        whose cosines spread wider weigh more; ``clapstack score --unsupervised``
        standardises each over a table instead.

        Parameters
        ----------
        checkpoints : str, path-like, sequence or mapping, default="published"
            ``"published"`` or ``"bundled"``: the three CLAP encoders of the paper; a
            mapping of these families to checkpoints. Or one checkpoint, or several, as
            for :func:`~clapstack.clap_score`.
        **settings
            Further parameters of `Scorer`.

        Returns
        -------
        scorer : Scorer
        """
        from clapstack.systems import CLAP_FAMILIES, make_union

        if isinstance(checkpoints, Mapping) or checkpoints in ("published", "bundled"):
            union = make_union(checkpoints, CLAP_FAMILIES, ["cosine"])
        else:
            is_one = isinstance(checkpoints, (str, os.PathLike, BaseEstimator))
            several = [checkpoints] if is_one else list(checkpoints)
            union = FeatureUnion(
                [(f"clap{n}", transformer_of(each)) for n, each in enumerate(several)]
            )
        model = Pipeline([("features", union), ("mean", _MeanCosine())])
        scorer = cls(model, **settings)
        # Loads the encoders; any pair will do for it. They are all there is to fit.
        scorer.model[0].fit(pd.DataFrame({"audio": ["a"], "text": ["a"]}))
        return scorer

    def score(
        self,
        audio: Any,
        text: Any,
        *,
        sampling_rate: Any = None,
        channels_first: bool = False,
        errors: str = "raise",
    ) -> np.ndarray:
        """Score clips by how well they satisfy texts.

        Parameters
        ----------
        audio : clip, or array-like of clips
            One clip as for :func:`~clapstack.audio.read_audio`: a path, ``(samples,
            rate)``, a mapping with ``"array"`` and ``"sampling_rate"`` as rows of
            datasets have it, or an array. Several: a list of such; or an array, or a
            tensor on any device, of shape (n, n_frames), (n, n_channels, n_frames) or
            (n, n_frames, n_channels).
        text : str or sequence of str
            One per clip; one text serves for all clips, and one clip for all texts.
        sampling_rate : int or sequence of int, default=None
            Rate in Hz of clips that are arrays, of all or of each. Other clips state
            theirs.
        channels_first : bool, default=False
            Whether two-dimensional clips have shape (n_channels, n_frames). Those of at
            most 8 rows and more columns are read so in any case.
        errors : {"raise", "nan"}, default="raise"
            What to do about pairs that cannot be used, such as silent clips: name them
            in an error, or give them NaN.

        Returns
        -------
        scores : ndarray of shape (n,) or (n, n_axes), float64
            On the scale of the ratings that the model was fitted on.

        Raises
        ------
        BadPairsError
            If pairs cannot be used; every one is named.
        ValueError
            If there are not as many clips as texts, or a rate is missing.
        """
        pairs = self._pairs(audio, text, sampling_rate, channels_first)
        return self._numbers(pairs, None, errors)[..., 0]

    def predict_interval(
        self,
        audio: Any,
        text: Any,
        *,
        coverage: float = 0.9,
        sampling_rate: Any = None,
        channels_first: bool = False,
        errors: str = "raise",
    ) -> np.ndarray:
        """Return intervals that the true scores lie in.

        Parameters
        ----------
        audio, text : object
            As for `score`.
        coverage : float, default=0.9
            Share of true scores inside, nominally; in (0, 1).
        sampling_rate, channels_first, errors : object
            As for `score`.

        Returns
        -------
        intervals : ndarray of shape (n, 2) or (n, n_axes, 2), float64
            Low and high ends.

        Raises
        ------
        BadPairsError
            As for `score`.
        ValueError
            As for `score`, or if the model gives no intervals.
        """
        if not hasattr(last_step(self.model), "predict_interval"):
            msg = (
                f"{type(last_step(self.model)).__name__} gives no intervals. Use a "
                "model that ends in a ClapStackingRegressor."
            )
            raise ValueError(msg)
        check_share("coverage", coverage, 0.9)
        pairs = self._pairs(audio, text, sampling_rate, channels_first)
        return self._numbers(pairs, coverage, errors)[..., 1:]

    def score_table(
        self,
        table: Any,
        *,
        audio_column: str | None = None,
        text_column: str | None = None,
        keep: Sequence[str] | None = None,
        audio_folder: str | os.PathLike[str] | None = None,
        prompts: str | os.PathLike[str] | None = None,
        coverage: float = 0.9,
        chunk_size: int = 1024,
    ) -> pd.DataFrame:
        """Score a table; rows that cannot be used do not stop the others.

        Parameters
        ----------
        table : DataFrame (pandas or polars), Arrow table, Dataset, str or path-like
            Pairs in memory; a file of CSV, JSON Lines, JSON, Parquet or Arrow, or
            Kaldi's ``wav.scp``; a folder of clips with texts beside them, of Kaldi, or
            that a Dataset was saved to. See :ref:`tables`.
        audio_column, text_column : str, default=None
            Columns of clips and texts. None: ``audio`` and ``text``; in a file also the
            challenge's names.
        keep : sequence of str, default=None
            Further columns of the table to keep. None: all of a table in memory, none
            of a file.
        audio_folder : path-like, default=None
            What relative paths in a file are relative to. None: its folder.
        prompts : path-like, default=None
            Texts of the clips of a folder, by their names: a file such as
            ``{"dog": "a dog barks"}``, or a table with the columns ``id`` and ``text``.
        coverage : float, default=0.9
            Nominal coverage of the intervals, in (0, 1).
        chunk_size : int, default=1024
            Rows that are worked on at a time.

        Returns
        -------
        result : DataFrame
            A row per row. Of a table in memory, its columns and index, but clips in
            the cells of a Dataset are described in words; of a file the column ``row``,
            and those of clips and texts by their names. Then ``score``, ``low`` and
            ``high``, or those of each axis, NaN where there is none; and ``error``,
            which says what is wrong with a row that has no score, or None.

        Raises
        ------
        TableError
            If a column is missing, or there is no row.
        ValueError
            If a kept column has the name of a result.
        """
        check_count("chunk_size", chunk_size, 1, 1024)
        rows = rows_of(
            table, audio_column, text_column, keep, audio_folder, prompts, self.model
        )
        result = score_to_frame(
            rows,
            ModelScorer(self.model, "", coverage),
            chunk_size=chunk_size,
            verbose=False,
        )
        if isinstance(rows, PairTable):
            return result
        new = result.set_axis(rows.frame.index).drop(columns=["row", *rows.frame])
        return pd.concat([rows.frame, new], axis=1)

    def identity(self) -> str:
        """Return what names the model: the SHA-256 of its file, or a hash of itself.

        The hash holds within a process: pickles of one model differ between processes.

        Returns
        -------
        digest : str
            In hexadecimal.
        """
        return file_digest(self._file) if self._file else str(joblib.hash(self.model))

    def _pairs(self, *given: Any) -> pd.DataFrame:
        return as_pairs(*given, hashed=self._is_stored)

    def _numbers(
        self, pairs: pd.DataFrame, coverage: float | None, errors: str
    ) -> np.ndarray:
        """Return scores and ends of intervals, of shape (n, 3) or (n, n_axes, 3)."""
        if errors not in ("raise", "nan"):
            msg = f"errors must be 'raise' or 'nan'; got {errors!r}."
            raise ValueError(msg)

        def compute(some: pd.DataFrame) -> np.ndarray:
            return predict_with_interval(self._passing_arrays, some, coverage)

        if errors == "raise":
            return compute(pairs)
        usable = on_usable_rows(compute, pairs)
        shape = (len(pairs), *([len(self.axes)] if self.axes else []), 3)
        numbers = np.full(shape, np.nan)
        if len(usable.positions):
            numbers[usable.positions] = usable.values
        return numbers


def score_table(
    model: Any,
    table: Any,
    out: str | os.PathLike[str],
    *,
    audio_column: str | None = None,
    text_column: str | None = None,
    keep: Sequence[str] = (),
    audio_folder: str | os.PathLike[str] | None = None,
    prompts: str | os.PathLike[str] | None = None,
    fmt: str | None = None,
    coverage: float = 0.9,
    chunk_size: int = 1024,
    verbose: bool = False,
) -> Scored:
    """Score a table into a file, chunk by chunk; ``clapstack score`` from Python.

    The result appears when it is whole. Until then rows are kept beside it, in a file
    with ``.part`` at the end of its name: after an error, the same call resumes there,
    and after a kill too if `model` is a file; a model in memory is not recognised in
    another process, which begins anew. Rows that cannot be used do not stop the others.

    Parameters
    ----------
    model : Scorer, estimator, str or path-like
        As for :class:`~clapstack.Scorer`.
    table : str, path-like or table
        As for :meth:`Scorer.score_table <clapstack.Scorer.score_table>`.
    out : path-like
        The file to write.
    audio_column, text_column : str, default=None
        Columns of clips and texts; None takes the usual names.
    keep : sequence of str, default=()
        Further columns of the table to keep.
    audio_folder : path-like, default=None
        What relative paths in a file are relative to. None: its folder.
    prompts : path-like, default=None
        Texts of the clips of a folder, by their names.
    fmt : {"csv", "jsonl", "parquet"}, default=None
        Of the result. None goes by the suffix.
    coverage : float, default=0.9
        Nominal coverage of the intervals, in (0, 1).
    chunk_size : int, default=1024
        Rows that a kill loses at most.
    verbose : bool, default=False
        Whether to show a progress bar.

    Returns
    -------
    scored : Scored
        ``n_rows``, ``n_failed``, ``n_resumed``, and ``means``: by column of scores, the
        mean with a 95 % interval.

    Raises
    ------
    TableError, ValueError
        As for :meth:`Scorer.score_table <clapstack.Scorer.score_table>`, or if `out` is
        what is read.
    """
    check_count("chunk_size", chunk_size, 1, 1024)
    scorer = model if isinstance(model, Scorer) else Scorer(model, verbose=verbose)
    rows = rows_of(
        table, audio_column, text_column, keep, audio_folder, prompts, scorer.model
    )
    model_file = [model] if isinstance(model, (str, os.PathLike)) else []
    check_output(out, *rows.files, *model_file)
    return score_to_file(
        rows,
        ModelScorer(scorer.model, scorer.identity(), coverage),
        Path(out),
        fmt or result_format(Path(out)),
        chunk_size=chunk_size,
        verbose=verbose,
    )


def rows_of(
    table: Any,
    audio_column: str | None,
    text_column: str | None,
    keep: Sequence[str] | None,
    audio_folder: str | os.PathLike[str] | None,
    prompts: str | os.PathLike[str] | None,
    model: Any,
) -> PairTable | FrameTable:
    """Return the rows of a table in memory or in a file, which `model` is to score."""
    keep = [keep] if isinstance(keep, str) else keep
    if is_frame(table):
        if prompts is not None or audio_folder is not None:
            msg = (
                "prompts= and audio_folder= are for files and folders, and the table "
                f"is a {type(table).__name__}. Put texts and whole paths in its cells."
            )
            raise ValueError(msg)
        roles = (audio_column or "audio", text_column or "text")
        if keep is None:
            keep = [name for name in columns_of(table) if name not in roles]
        return FrameTable(table, *roles, others=keep)
    if not isinstance(table, (str, os.PathLike)):
        msg = (
            "the table must be a frame, or the path of a file or folder; got "
            f"{type(table).__name__}. Pass pandas.DataFrame(table)."
        )
        raise TypeError(msg)
    folder = None if audio_folder is None else Path(audio_folder)
    rows = PairTable(
        Path(table),
        prompts,
        audio_folder=folder,
        names={"audio": audio_column, "text": text_column},
        others=keep or (),
        remedy="Say which with {role}_column=",
    )
    rows.check()
    keep_keys(rows, model, folder)
    return rows


def _passing_arrays(model: Any) -> Any:
    """Return a copy of a stack whose steps pass arrays on, or another model as it is.

    Frames name their columns, which steps compare at every call: with the bundled
    checkpoints that takes as long as half the encoders' work on one pair (measured).
    The steps were fitted on each other's output, so there is nothing to compare. A step
    that may choose columns by name gets its frames.
    """
    if type(model) is not Pipeline or type(model[-1]) is not ClapStackingRegressor:
        return model
    for _, step in model.steps[:-1]:
        parts = step.transformer_list if type(step) is FeatureUnion else [("", step)]
        if not all(
            type(part).__module__.startswith(("clapstack.features", "clapstack.agree"))
            for _, part in parts
        ):
            return model
    model = with_encoders_set(model).set_output(transform="default")
    stack = model[-1]
    by_axis = getattr(stack, "estimators_by_axis_", {})
    for part in (*(step for _, step in model.steps), *by_axis.values()):
        vars(part).pop("feature_names_in_", None)
    return model


class _MeanCosine(RegressorMixin, BaseEstimator):
    """The mean of a pair's cosines; there is nothing to fit."""

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def predict(self, X: Any) -> np.ndarray:
        """Return the mean of each row."""
        return np.asarray(X, dtype=np.float64).mean(axis=1)
