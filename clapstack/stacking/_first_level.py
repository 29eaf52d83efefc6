"""The first level: regressors fitted on the training part of every fold."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from itertools import chain

import numpy as np
from sklearn.utils.parallel import Parallel, delayed

from clapstack._numerics.lazy_table import as_slice, read_table, row_slices
from clapstack._numerics.rows import matmul
from clapstack._numerics.threads import one_thread
from clapstack._optional import progress
from clapstack.families import BOOSTING
from clapstack.stacking._compression import fit_compressors
from clapstack.stacking._sample_weight import checked_predictions, fit_per_target
from clapstack.stacking.ridge import StandardizedRidge, fit_family_ridges

# Rows predicted at once: 90 MB at the paper's width.
_PREDICTED_ROWS = 2048
# Up to this many rows, starting threads takes longer than they save.
_FEW_ROWS = 256


@dataclass(frozen=True)
class FirstLevel:
    """Fitted members of every model, target and fold.

    Attributes
    ----------
    columns : dict of str to ndarray of int
        Input columns of each model's members; none for boosting.
    estimators : dict of str to dict of str to list
        ``estimators[model][target][fold]``.
    compressors : list of Compressor
        One per fold; empty without boosting.
    n_folds : int
        Number of folds.
    """

    columns: dict
    estimators: dict
    compressors: list
    n_folds: int

    @property
    def names(self):
        """Names of the prediction columns, ``<model>__<target>``."""
        return [
            f"{model}__{target}"
            for model, by_target in self.estimators.items()
            for target in by_target
        ]

    def predict(self, X):
        """Return predictions averaged over all folds, one column per name."""
        return self.predict_rows(X, np.arange(X.shape[0]), range(self.n_folds))

    def predict_by_fold(self, X):
        """Yield the predictions of each fold's members, one column per name."""
        for number in range(self.n_folds):
            yield self.predict_rows(X, np.arange(X.shape[0]), [number])

    def predict_held_out(self, X, splits):
        """Return out-of-fold predictions of all rows."""
        out = np.empty((X.shape[0], len(self.names)))
        for number, (_, test) in enumerate(splits):
            out[test] = self.predict_rows(X, test, [number])
        return out

    def predict_rows(self, X, rows, folds):
        """Return predictions of some rows, averaged over some folds."""
        out = np.empty((len(rows), len(self.names)))
        for cut in row_slices(len(rows), _PREDICTED_ROWS):
            # Rows are read once for all models.
            taken = read_table(X, as_slice(rows[cut]))
            with one_thread() if len(taken) <= _FEW_ROWS else nullcontext():
                parts = [
                    self._predict_one(m, taken, folds, rows[cut])
                    for m in self.estimators
                ]
            out[cut] = np.hstack(parts)
        return out

    def _predict_one(self, model, taken, folds, rows):
        """Return the mean predictions of one model, one column per target."""
        named = self.estimators[model]
        by_target = named.values()
        if model == BOOSTING:
            inputs = {k: self.compressors[k].transform(taken) for k in folds}
        else:
            own = read_table(taken, slice(None), self.columns[model])
            if all(type(m) is StandardizedRidge for ms in by_target for m in ms):
                return _predict_ridges(by_target, own, folds)
            inputs = dict.fromkeys(folds, own)
        out = np.zeros((len(taken), len(by_target)))
        if all(hasattr(m, "predict_targets") for ms in by_target for m in ms):
            for k in folds:
                members = [ms[k] for ms in by_target]
                out += members[0].predict_targets(members, inputs[k])
            return out / len(folds)
        for column, (target, members) in enumerate(named.items()):
            for k in folds:
                where = (
                    f"the member of {model!r} for the target {target!r} and fold {k}"
                )
                # A copy, because a regressor may modify its input, which the next one
                # and the caller use.
                own = inputs[k].copy()
                out[:, column] += checked_predictions(members[k], own, where, rows)
        return out / len(folds)


def _predict_ridges(by_target, inputs, folds):
    """Return the mean predictions of ridges: the prediction of the mean ridge."""
    chosen = [[members[k] for k in folds] for members in by_target]
    coef = [np.mean([ridge.coef_ for ridge in ridges], axis=0) for ridges in chosen]
    intercept = [np.mean([ridge.intercept_ for ridge in ridges]) for ridges in chosen]
    return matmul(inputs, np.transpose(coef)) + intercept


def fit_first_level(
    X,
    models,
    columns,
    targets,
    folds,
    *,
    alphas,
    booster,
    n_components,
    n_jobs,
    verbose,
    like=None,
):
    """Fit every model on every fold.

    Parameters
    ----------
    X : ndarray or LazyTable of shape (n_pairs, n_features)
        Features of all families.
    models : dict of str to (str, regressor or None)
        Family and regressor of each model; None is the ridge.
    columns : dict of str to ndarray of int
        Input columns of each family's models; all columns under ``"boosting"``.
    targets : list of str
        Names of the targets, in the order of ``Fold.targets``.
    folds : list of Fold
        Training rows, weights and targets.
    alphas : ndarray of float
        Candidate penalties of the ridges, per varying column.
    booster : regressor or None
        Fitted on the compression of all columns.
    n_components : int
        Width of the compression.
    n_jobs : int or None
        Jobs over models and folds; None means the joblib context's setting, or one.
    verbose : bool
        Whether to show progress.
    like : FirstLevel, default=None
        First level whose selected `alphas` are used, for comparable predictions.

    Returns
    -------
    first_level : FirstLevel
        The fitted members.
    """
    # One job fits a family's ridges of all folds, which share work; others one fold.
    jobs = {
        model: [
            delayed(fit_family_ridges)(X, columns[family], folds, alphas)
            if like is None
            else delayed(_fit_ridges_like)(
                like.estimators[model].values(), X, columns[family], folds
            )
        ]
        if regressor is None
        else [delayed(_fit_fold)(X, columns[family], fold, regressor) for fold in folds]
        for model, (family, regressor) in models.items()
    }
    compressions = []
    if booster is not None:
        # All folds share the passes over the table.
        compressions = fit_compressors(X, columns[BOOSTING], folds, n_components)
        jobs[BOOSTING] = [
            delayed(_fit_boosting)(X, fold, compression, booster)
            for fold, compression in zip(folds, compressions, strict=True)
        ]
    flat = chain.from_iterable(jobs.values())
    shown = progress(list(flat), desc="first level", unit="fit", verbose=verbose)
    fitted = iter(Parallel(n_jobs=n_jobs, prefer="threads")(shown))
    done = {model: [next(fitted) for _ in listed] for model, listed in jobs.items()}
    ridges = {model for model, (_, regressor) in models.items() if regressor is None}
    by_target = {
        model: result[0] if model in ridges else zip(*result, strict=True)
        for model, result in done.items()
    }
    return FirstLevel(
        columns={model: columns[family] for model, (family, _) in models.items()},
        estimators={
            model: {
                target: list(members)
                for target, members in zip(targets, listed, strict=True)
            }
            for model, listed in by_target.items()
        },
        compressors=[compression.compressor for compression in compressions],
        n_folds=len(folds),
    )


def _fit_ridges_like(by_target, X, columns, folds):
    """Return ridges with the given members' penalties per column."""
    alphas = [members[0].alpha for members in by_target]
    fitted = {alpha: fit_family_ridges(X, columns, folds, alpha) for alpha in alphas}
    return [fitted[alpha][target] for target, alpha in enumerate(alphas)]


def _fit_fold(X, columns, fold, regressor):
    """Return the members of one fold, one per target."""
    inputs = read_table(X, fold.train, columns)
    return fit_per_target(regressor, inputs, fold.targets, fold.weight)


def _fit_boosting(X, fold, compression, booster):
    """Return the members of one fold, one per target."""
    compressed = compression.train
    if compressed is None:
        compressed = compression.compressor.transform(X, fold.train)
    # Sums over threads vary in order; one thread makes them bitwise reproducible.
    with one_thread():
        return fit_per_target(booster, compressed, fold.targets, fold.weight)
