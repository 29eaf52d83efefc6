"""Scorer: scores of clips, texts and tables by a model that is loaded once."""

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
    """Score clips and texts with a fitted model.

    The model is loaded once and stays in memory, so repeated calls are fast. Nothing is
    written to disk unless `cache` is set. Read more in the
    :ref:`User Guide <scoring>`.

    Parameters
    ----------
    model : estimator, str or path-like
        A fitted pipeline that takes pairs, or a file written by
        :func:`~clapstack.save_model`. The estimator is not modified.
    device : str, default=None
        Device for the encoders, such as ``"cuda:0"``. None keeps the model's setting.
    batch_size : int, default=None
        Clips or texts per forward pass. None keeps the model's setting.
    cache : {"auto"}, path-like or None, default=None
        Store for embeddings, so that repeated clips and texts are encoded once. None
        stores nothing.
    verbose : bool, default=False
        Whether to show progress bars.

    Attributes
    ----------
    model : estimator
        Copy of the model with these encoder settings.
    axes : list of str
        Names of the axes, if the model predicts several; otherwise empty.

    See Also
    --------
    clap_score : The cosine of one CLAP checkpoint.
    clapstack.scoring.score_table : Score a table into a file, resumably.

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
                "model must be a fitted pipeline that takes pairs, or the path of a "
                f"model file; got {type(model).__name__}, which has no predict method."
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
        """Return a scorer that needs no ratings: the mean cosine of CLAP encoders.

        Scores are in [-1, 1] and do not depend on the other pairs. Encoders whose
        cosines vary more weigh more; ``clapstack score --unsupervised`` standardises
        the cosines of each encoder over a table instead.

        Parameters
        ----------
        checkpoints : str, path-like, sequence or mapping, default="published"
            Encoders to use. ``"published"`` means the three CLAP encoders of the paper
            and ``"bundled"`` the small bundled test checkpoints; a mapping gives the
            checkpoints of these families. Or one checkpoint or several, as for
            :func:`~clapstack.clap_score`.
        **settings
            Other parameters of `Scorer`.

        Returns
        -------
        scorer : Scorer
            The scorer, with encoders loaded.
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
        # There is nothing to fit but the encoders, which any pair loads.
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
        """Score how well clips satisfy texts.

        Parameters
        ----------
        audio : clip, or array-like of clips
            One clip, as for :func:`~clapstack.audio.read_audio`: a path, ``(samples,
            rate)``, a mapping with ``"array"`` and ``"sampling_rate"`` like the rows of
            Hugging Face datasets, or an array. Or several clips: a list of them, or an
            array or tensor (on any device) of shape (n, n_frames), (n, n_channels,
            n_frames) or (n, n_frames, n_channels).
        text : str or sequence of str
            One text per clip. A single text applies to all clips, and a single clip to
            all texts.
        sampling_rate : int or sequence of int, default=None
            Sampling rate in Hz of clips that are arrays: one for all, or one per clip.
            Other clips have their own.
        channels_first : bool, default=False
            Whether two-dimensional clips have shape (n_channels, n_frames). Clips with
            at most 8 rows and more than 8 columns are read this way in any case.
        errors : {"raise", "nan"}, default="raise"
            Treatment of unusable pairs, such as silent clips: ``"raise"`` raises an
            error that names them, ``"nan"`` scores them NaN.

        Returns
        -------
        scores : ndarray of shape (n,) or (n, n_axes), float64
            Scores on the scale of the training ratings.

        Raises
        ------
        BadPairsError
            If some pairs are unusable; its attribute ``rows`` lists them.
        ValueError
            If the numbers of clips and texts differ, or a sampling rate is missing.
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
        """Predict intervals for the true scores.

        Parameters
        ----------
        audio, text : object
            As for `score`.
        coverage : float, default=0.9
            Nominal coverage of the intervals, between 0 and 1.
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
            As for `score`, or if the model has no prediction intervals.
        """
        if not hasattr(last_step(self.model), "predict_interval"):
            msg = (
                f"{type(last_step(self.model)).__name__} has no prediction intervals. "
                "Use a model that ends in a ClapStackingRegressor."
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
        """Score a table; unusable rows get an error message instead of a score.

        Parameters
        ----------
        table : DataFrame (pandas or polars), Arrow table, Dataset, str or path-like
            Pairs in memory; a CSV, JSON Lines, JSON, Parquet or Arrow file, or Kaldi's
            ``wav.scp``; or a folder: clips with text files beside them, Kaldi lists, or
            a saved Dataset. See :ref:`tables`.
        audio_column, text_column : str, default=None
            Columns of clips and texts. None means ``audio`` and ``text``, and for files
            also the column names of the challenge.
        keep : sequence of str, default=None
            Other columns to copy to the result. None copies all columns of a table in
            memory and none of a file.
        audio_folder : path-like, default=None
            Folder that relative paths in a file start from. None means the folder of
            the file.
        prompts : path-like, default=None
            Texts for a folder of clips, by clip name: a JSON file such as
            ``{"dog": "a dog barks"}``, or a table with the columns ``id`` and ``text``.
        coverage : float, default=0.9
            Nominal coverage of the prediction intervals, between 0 and 1.
        chunk_size : int, default=1024
            Number of rows processed at a time.

        Returns
        -------
        result : DataFrame
            One row per row of the table. For a table in memory it starts with its
            columns and index, with clips in cells of a Dataset replaced by a
            description; for a file, with the column ``row`` and the columns of clips
            and texts. Then follow ``score``, ``low`` and ``high``, or those of each
            axis, NaN where there is none; and ``error``, the reason why a row has no
            score, or None.

        Raises
        ------
        TableError
            If a column is missing, or the table has no rows.
        ValueError
            If a kept column has the name of a result column, or `coverage` or
            `chunk_size` is out of range.
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
        """Return an identifier of the model.

        For a file it is its SHA-256. For a model in memory it is a hash that is valid
        within this process only, because pickles of one model differ between processes.

        Returns
        -------
        digest : str
            Hexadecimal digits.
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
    """Score a table into a file, resumably; the Python form of ``clapstack score``.

    The file appears only when it is complete. Until then, finished rows are kept beside
    it in a file whose name ends in ``.part``. After an error, the same call resumes
    from there. After an interruption of the process it does so if `model` is a file; a
    model in memory is not recognised by another process, which starts again. Unusable
    rows get an error message and do not stop the run.

    Parameters
    ----------
    model : Scorer, estimator, str or path-like
        A scorer, or a model as for :class:`~clapstack.Scorer`.
    table : str, path-like or table
        As for :meth:`Scorer.score_table <clapstack.Scorer.score_table>`.
    out : path-like
        The file to write.
    audio_column, text_column : str, default=None
        Columns of clips and texts. None means the usual names.
    keep : sequence of str, default=()
        Other columns to copy to the result.
    audio_folder : path-like, default=None
        Folder that relative paths in a file start from. None means the folder of the
        file.
    prompts : path-like, default=None
        Texts for a folder of clips, by clip name.
    fmt : {"csv", "jsonl", "parquet"}, default=None
        Format of the result. None chooses it by the suffix of `out`.
    coverage : float, default=0.9
        Nominal coverage of the prediction intervals, between 0 and 1.
    chunk_size : int, default=1024
        Number of rows processed and saved at a time. An interruption loses at most
        these.
    verbose : bool, default=False
        Whether to show a progress bar.

    Returns
    -------
    scored : Scored
        ``n_rows``, ``n_failed``, ``n_resumed``, and ``means``, a dict with the mean and
        its 95 % interval for each column of scores.

    Raises
    ------
    TableError, ValueError
        As for :meth:`Scorer.score_table <clapstack.Scorer.score_table>`, or if `out` is
        one of the files that are read.
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
    """Return the rows of a table in memory or in a file, for `model` to score."""
    keep = [keep] if isinstance(keep, str) else keep
    if is_frame(table):
        if prompts is not None or audio_folder is not None:
            msg = (
                "prompts= and audio_folder= apply to files and folders, but the table "
                f"is a {type(table).__name__}. Put texts and full paths in its cells."
            )
            raise ValueError(msg)
        roles = (audio_column or "audio", text_column or "text")
        if keep is None:
            keep = [name for name in columns_of(table) if name not in roles]
        return FrameTable(table, *roles, others=keep)
    if not isinstance(table, (str, os.PathLike)):
        msg = (
            "the table must be a DataFrame, or the path of a file or folder; got "
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
        remedy="Name the column with {role}_column=",
    )
    rows.check()
    keep_keys(rows, model, folder)
    return rows


def _passing_arrays(model: Any) -> Any:
    """Return a copy of a stack whose steps exchange arrays; other models are unchanged.

    With frames, every step compares column names at every call. For one pair and the
    bundled checkpoints this takes half as long as the encoders (measured). The steps
    were fitted on each other's output, so the comparison is unnecessary. Steps that may
    select columns by name keep their frames.
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
    """Mean of the cosines of each pair; needs no fit."""

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def predict(self, X: Any) -> np.ndarray:
        """Return the mean of each row."""
        return np.asarray(X, dtype=np.float64).mean(axis=1)
