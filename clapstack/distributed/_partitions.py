"""Scoring and feature extraction of partitioned tables."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from clapstack._fitted import last_step, predict_with_interval, score_names
from clapstack._optional import import_optional
from clapstack.distributed._rows import ERROR, rows_frame
from clapstack.pairs import PAIR_COLUMNS

__all__ = ["extract_partitions", "score_partitions"]


def score_partitions(
    model: Any,
    table: Any,
    *,
    coverage: float | None = None,
    keep: Sequence[str] = (),
) -> Any:
    """Score every pair of a partitioned table.

    The result is lazy: it is computed by ``compute``, ``to_parquet`` or a client. Read
    more in the :ref:`User Guide <partitioned>`.

    Parameters
    ----------
    model : estimator
        A fitted model of DataFrames with ``audio`` and ``text``, such as a pipeline
        from :func:`clapstack.make_clap_stack`. It is sent to each worker once.
    table : dask DataFrame
        Table with the columns ``audio`` and ``text``, for example from
        ``dask.dataframe.read_parquet``. Paths must refer to the same files on every
        worker.
    coverage : float, default=None
        If given, add an interval that contains the true score with this probability,
        from :meth:`clapstack.ClapStackingRegressor.predict_interval`.
    keep : sequence of str, default=()
        Columns of `table` to copy to the result.

    Returns
    -------
    scores : dask DataFrame
        Table with the rows, partitions and index of `table`. Columns: those of `keep`;
        ``score``, float64; with `coverage`, also ``low`` and ``high``; and ``error``,
        the reason why a row has no score, missing for scored rows. With several axes,
        the scores are ``<axis>``, ``<axis>_low`` and ``<axis>_high`` for each.

    Raises
    ------
    ImportError
        If Dask is not installed.
    NotFittedError
        If `model` is not fitted.
    TypeError
        If `table` is not a dask DataFrame.
    ValueError
        If `table` lacks a column, `keep` would duplicate a column of the result, or
        `coverage` is given for a model without intervals.

    See Also
    --------
    extract_partitions : Features instead of scores.

    Notes
    -----
    Each partition is computed by one call of the model. The result is therefore bitwise
    identical to processing the same partitions in sequence on one machine, regardless
    of the workers. An embedding depends on the other clips of its batch by rounding,
    about 1e-7, so another partitioning can change scores accordingly. Stored embeddings
    do not change.
    """
    check_is_fitted(model)
    if coverage is not None:
        _check_has_intervals(model)
    names = score_names(model)
    if coverage is None:
        names = names[::3]
    function = partial(_scores, coverage=coverage)
    caller = "score_partitions"
    return _map_rows(caller, function, model, table, names, np.float64, keep)


def extract_partitions(
    transformer: Any, table: Any, *, keep: Sequence[str] = ()
) -> Any:
    """Compute the features of every pair of a partitioned table.

    The result is lazy. Read more in the :ref:`User Guide <partitioned>`.

    Parameters
    ----------
    transformer : transformer
        Fitted features of one encoder, or a FeatureUnion of several. Encoders are
        frozen, so fitting on ``table.head()`` is enough. With
        ``blocks=("audio", "text")``, the features are the embeddings, from which
        :func:`read_features` computes all others.
    table : dask DataFrame
        As for :func:`score_partitions`.
    keep : sequence of str, default=()
        Columns of `table` to copy to the result, such as ids and ratings.

    Returns
    -------
    features : dask DataFrame
        Table with the rows, partitions and index of `table`. Columns: those of `keep`;
        the features, float32, NaN for failed rows; and ``error``, the reason for the
        failure, missing for other rows.

    Raises
    ------
    ImportError
        If Dask is not installed.
    NotFittedError
        If `transformer` is not fitted.
    TypeError
        If `table` is not a dask DataFrame.
    ValueError
        If `table` lacks a column, or `keep` would duplicate a column of the result.

    See Also
    --------
    write_features : Write features to a folder.
    """
    check_is_fitted(transformer)
    names = list(transformer.get_feature_names_out())
    caller = "extract_partitions"
    return _map_rows(caller, _features, transformer, table, names, np.float32, keep)


def _scores(pairs, *, model, coverage):
    """Return scores, and the ends of intervals: 1 or 3 columns per axis."""
    scores = predict_with_interval(model, pairs, coverage)
    scores = scores[..., :1] if coverage is None else scores
    return scores.reshape(len(scores), -1)


def _features(pairs, *, model):
    return np.asarray(model.transform(pairs))


def _map_rows(caller, function, model, table, names, dtype, keep):
    """Return the dask DataFrame of `rows_frame` of each partition."""
    dask = import_optional("dask", extra="dask", caller=caller)
    keep = list(keep)
    table = check_table(caller, table, keep, [*names, ERROR])
    # For zero rows, the model is not called.
    meta = rows_frame(table._meta, partial(function, model=model), names, dtype, keep)
    dd = import_optional("dask.dataframe", extra="dask", caller=caller)
    shared = dask.delayed(model, pure=False, traverse=False)  # once to each worker
    compute = dask.delayed(_partition, pure=False)
    parts = [
        compute(part, shared, function, names, dtype, keep)
        for part in table.to_delayed()
    ]
    divisions = table.divisions if table.known_divisions else None
    return dd.from_delayed(parts, meta=meta, divisions=divisions, verify_meta=False)


def _partition(pairs, model, function, names, dtype, keep):
    function = partial(function, model=model)
    return rows_frame(pairs, function, names, dtype, keep)


def check_table(
    caller: str, table: Any, keep: Sequence[str], names: Sequence[str]
) -> Any:
    """Return the columns ``audio``, ``text`` and `keep` of a checked dask DataFrame.

    `names` are the computed columns of the result.
    """
    dd = import_optional("dask.dataframe", extra="dask", caller=caller)
    if not isinstance(table, dd.DataFrame):
        msg = (
            f"table passed to {caller} must be a dask DataFrame; got "
            f"{type(table).__name__}. Wrap it with dask.dataframe.from_pandas(table, "
            "npartitions=...), or read it with dask.dataframe.read_parquet."
        )
        raise TypeError(msg)
    columns = list(table.columns)
    needed = [*PAIR_COLUMNS, *keep]
    missing = [name for name in needed if name not in columns]
    if missing:
        msg = (
            f"table passed to {caller} lacks the columns {missing!r}; it has "
            f"{columns!r}. Rename yours with table.rename(columns=...)."
        )
        raise ValueError(msg)
    twice = sorted({name for name in keep if name in names or keep.count(name) > 1})
    if twice:
        msg = (
            f"keep has {twice!r}, which would be duplicated in the result. Remove "
            "repeated names, or rename the column with table.rename(columns=...)."
        )
        raise ValueError(msg)
    return table[list(dict.fromkeys(needed))]


def _check_has_intervals(model):
    last = last_step(model)
    if not hasattr(last, "predict_interval"):
        msg = (
            f"coverage needs a model with predict_interval, but {type(last).__name__} "
            "has none. Use coverage=None."
        )
        raise ValueError(msg)
