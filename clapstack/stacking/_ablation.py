"""Ablation of families: out-of-fold metrics with and without each family."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature

import numpy as np
import pandas as pd
from sklearn import get_config
from sklearn.base import clone
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils.metadata_routing import get_routing_for_object
from sklearn.utils.parallel import Parallel, delayed

from clapstack._compat import _safe_indexing
from clapstack._numerics.checks import check_y
from clapstack._numerics.lazy_table import LazyTable
from clapstack._optional import progress
from clapstack.agreement import CrossAgreement, cross_names
from clapstack.families import CROSS, contrastive_families, families_of
from clapstack.metrics import mse, paired_bootstrap, srcc
from clapstack.pairs import PAIR_COLUMNS
from clapstack.stacking._axes import read_axes
from clapstack.stacking._checks import check_groups
from clapstack.stacking._folds import make_splits
from clapstack.stacking._regressor import ClapStackingRegressor

_METRICS = {"srcc": srcc, "mse": mse}


def family_ablation(
    estimator,
    X,
    y,
    *,
    groups=None,
    cv=5,
    n_resamples=1000,
    coverage=0.95,
    random_state=0,
    n_jobs=None,
    verbose=False,
):
    """Measure how much each family improves a model.

    The model is fitted with all families and without each one, on the same folds, and
    evaluated on the held-out pairs. Read more in the :ref:`User Guide <ablation>`.

    Parameters
    ----------
    estimator : regressor
        Model to evaluate; it is cloned. If it is a pipeline that begins with a
        FeatureUnion, its entries are the families; otherwise, families are read from
        the column names of `X`.
    X : DataFrame of shape (n_pairs, n_columns)
        Input of `estimator`: pairs or features.
    y : array-like of shape (n_pairs,)
        Scores.
    groups : array-like of shape (n_pairs,), default=None
        Group labels; a group is never split. They are passed to estimators whose `fit`
        accepts them.
    cv : int, splitter or iterable, default=5
        Splits that hold out each pair once. An int means shuffled k-fold, or group
        k-fold if `groups` are given.
    n_resamples : int, default=1000
        Number of bootstrap resamples of the held-out pairs.
    coverage : float, default=0.95
        Coverage of the intervals, between 0 and 1.
    random_state : int, default=0
        Shuffles the k-fold, and draws the resamples.
    n_jobs : int, default=None
        Number of parallel fits. They run in threads unless
        :class:`joblib.parallel_config` sets another backend.
    verbose : bool, default=False
        Whether to show progress.

    Returns
    -------
    table : DataFrame of shape (2 * n_families, 7)
        One row per family and metric: ``family``; ``metric``, srcc or mse; ``with_all``
        and ``without``, the metric with all families and without this one;
        ``difference``, the first minus the second; ``low`` and ``high``, its interval.

    Raises
    ------
    ValueError
        If there are fewer than two families, or `y`, `groups` or `cv` do not match `X`.
    TypeError
        If `X` is streamed, or a list.

    See Also
    --------
    clapstack.ClapStackingRegressor.explain : Contributions to one prediction.
    clapstack.metrics.paired_bootstrap : The intervals.

    Notes
    -----
    Removing a family also removes the agreement columns that involve it, and its
    entries in the `auxiliary` and `base_estimators` of a stack. Agreement is a family
    too, ``cross``, if a :class:`~clapstack.CrossAgreement` step adds it or its columns
    are in `X`.

    With m families, ``(m + 1) * n_splits`` fits are needed. If `X` is a table of pairs,
    each fit reads the embeddings from the store again. If the first steps learn
    nothing, it is faster to pass the features, ``pipe[:1].fit_transform(X)``, to
    ``pipe[1:]``.

    Pairs are resampled independently, so intervals are too narrow if several pairs
    share a clip or a text.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from clapstack.stacking import StandardizedRidge, family_ablation
    >>> rng = np.random.default_rng(0)
    >>> X = pd.DataFrame(rng.normal(size=(200, 2)), columns=["a__x", "b__x"])
    >>> y = X["a__x"] + 0.1 * rng.normal(size=200)
    >>> table = family_ablation(StandardizedRidge(), X, y)
    >>> table.loc[table["metric"] == "srcc", ["family", "difference"]].round(1)
      family  difference
    0      a         1.1
    2      b        -0.0
    """
    _check_table(X)
    if read_axes(y, "family_ablation") is not None:
        msg = (
            "family_ablation supports one axis only. Call it for each column of y, "
            "with the rows of X that are rated on it."
        )
        raise ValueError(msg)
    variants = _without_each(estimator, X)
    y = check_y(estimator, X, y)
    groups = check_groups(X, groups)
    splits = make_splits(cv, X, y, groups, random_state)
    jobs = [
        delayed(_held_out)(model, X, columns, y, groups, split)
        for model, columns in variants.values()
        for split in splits
    ]
    shown = progress(jobs, desc="ablation", unit="fit", verbose=verbose)
    predicted = iter(Parallel(n_jobs=n_jobs, prefer="threads")(shown))
    scores = {}
    for name in variants:
        scores[name] = np.empty(len(y))
        for _, test in splits:
            scores[name][test] = next(predicted)
    settings = {
        "n_resamples": n_resamples,
        "coverage": coverage,
        "random_state": random_state,
    }
    every = scores.pop(None)
    return pd.DataFrame(
        [
            {
                "family": name,
                "metric": metric,
                "with_all": _METRICS[metric](y, every),
                "without": _METRICS[metric](y, without),
                **paired_bootstrap(
                    _METRICS[metric], y, every, without, **settings
                )._asdict(),
            }
            for name, without in scores.items()
            for metric in _METRICS
        ]
    )


def _without_each(estimator, X):
    """Return models and their columns of X; the key None is for all families.

    Columns are None if a model uses all of them.
    """
    union = _first_union(estimator)
    if union is None:
        names = _column_names(estimator, X)
        families = list(families_of(names))
        variants = {
            family: _without_columns(estimator, family, names) for family in families
        }
    else:
        step, entries = union
        families = entries
        variants = {
            entry: (
                _forgetting(estimator, entry).set_params(
                    **{f"{step}__{entry}": "drop"}
                ),
                None,
            )
            for entry in entries
        }
    if len(families) < 2:
        msg = (
            f"An ablation needs at least two families; found {families!r}. A family is "
            "an entry of the FeatureUnion at the start of a pipeline, or the part of a "
            "column name of X before the first '__'."
        )
        raise ValueError(msg)
    agreement = _agreement_step(estimator)
    if agreement is not None:
        model = _forgetting(estimator, {CROSS})
        variants[CROSS] = (model.set_params(**{agreement: "passthrough"}), None)
    return {None: (estimator, None), **variants}


def _first_union(estimator):
    """Return name and active entries of the union at the start of a pipeline."""
    if not isinstance(estimator, Pipeline):
        return None
    step, union = estimator.steps[0]
    if not isinstance(union, FeatureUnion):
        return None
    return step, [name for name, part in union.transformer_list if part != "drop"]


def _agreement_step(estimator):
    """Return the name of the step that adds the agreement to its input."""
    for name, step in getattr(estimator, "steps", []):
        if isinstance(step, CrossAgreement) and step.passthrough:
            return name
    return None


def _column_names(estimator, X):
    names = [str(name) for name in getattr(X, "columns", [])]
    if not names or set(PAIR_COLUMNS) <= set(names):
        got = "is a table of pairs" if names else f"({type(X).__name__}) has none"
        msg = (
            f"family_ablation reads families from the column names of X, but X {got}. "
            "Pass a DataFrame of features, or a Pipeline that begins with a "
            f"FeatureUnion; the estimator is a {type(estimator).__name__}."
        )
        raise ValueError(msg)
    return names


def _check_table(X):
    if isinstance(X, LazyTable) or not hasattr(X, "shape"):
        msg = (
            "family_ablation selects rows and columns of X, which a "
            f"{type(X).__name__} does not support. Pass a DataFrame."
        )
        raise TypeError(msg)


def _without_columns(estimator, family, names):
    """Return the model without a family, and its columns."""
    contrastive = contrastive_families(names)
    # No family has more components than the agreement has columns.
    most = sum(name.startswith(f"{CROSS}__") for name in names)
    others = [name for name in contrastive if name != family]
    gone = set(cross_names(contrastive, most)) - set(cross_names(others, most))
    columns = families_of(names)
    gone.update(names[number] for number in columns[family])
    left = [number for number, name in enumerate(names) if name not in gone]
    lost = columns.keys() - families_of(names[number] for number in left).keys()
    return _forgetting(estimator, lost), left


def _forgetting(estimator, families):
    """Return a clone whose stack parameters do not mention some families."""
    model = clone(estimator)
    stack = model
    while isinstance(stack, Pipeline):
        stack = stack.steps[-1][1]
    if isinstance(stack, ClapStackingRegressor):
        if not isinstance(stack.auxiliary, str):
            stack.auxiliary = [n for n in stack.auxiliary if n not in families]
        if isinstance(stack.base_estimators, Mapping):
            stack.base_estimators = {
                name: listed
                for name, listed in stack.base_estimators.items()
                if name not in families
            }
    return model


def _held_out(model, X, columns, y, groups, split):
    """Return predictions of the test rows of a split."""
    taken = X if columns is None else _safe_indexing(X, columns, axis=1)
    train, test = split
    arguments = {} if groups is None else _group_arguments(model, groups[train])
    fitted = clone(model).fit(_safe_indexing(taken, train), y[train], **arguments)
    return fitted.predict(_safe_indexing(taken, test))


def _group_arguments(model, groups):
    """Return groups under the name that a model's last step accepts, if any."""
    if get_config()["enable_metadata_routing"]:
        asks = get_routing_for_object(model).consumes("fit", ["groups"])
        return {"groups": groups} if asks else {}
    prefix = ""
    while isinstance(model, Pipeline):
        name, model = model.steps[-1]
        prefix += f"{name}__"
    if "groups" not in signature(model.fit).parameters:
        return {}
    return {f"{prefix}groups": groups}
