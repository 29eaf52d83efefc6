"""Stacked regression over feature families."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin, TransformerMixin
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted
from threadpoolctl import threadpool_limits

from clapstack._optional import progress
from clapstack._sklearn import HasMethods, Interval, StrOptions, _fit_context
from clapstack.families import (
    NAMELESS,
    check_features,
    contrastive_families,
    families_of,
)
from clapstack.stacking._boosting import fit_compressors, make_boosting
from clapstack.stacking._checks import check_varies, check_weight, check_y
from clapstack.stacking._family import check_alphas, fit_family_ridges
from clapstack.stacking._final import FinalLevel, fit_estimator
from clapstack.stacking._folds import Fold, make_splits
from clapstack.stacking._targets import rank_among, rank_target

_BOOSTING = "boosting"
_CROSS = "cross"
_TARGETS = ("score", "rank")


class ClapStackingRegressor(TransformerMixin, RegressorMixin, BaseEstimator):
    """Stack feature families out of fold.

    Every family of columns gets a ridge regressor per target, and boosted trees learn
    from a compression of all columns. Their out-of-fold predictions feed a final ridge.
    Families are what stands before the first ``__`` of the column names; an array
    without names is one family. Read more in the :ref:`User Guide <stacking>`.

    Parameters
    ----------
    targets : sequence of {"score", "rank"}, default=("score", "rank")
        What the first level learns: the scores, their ranks, or both.
    alphas : float or sequence of float, default=1.5
        Penalty of the family ridges per standardised column: the ratio of noise to
        signal in `y` (see :class:`StandardizedRidge`). Of several, each family and
        target takes the one that predicts best out of fold; ten cost about half a fit
        more than one.
    alpha_criterion : {"srcc", "mse"}, default="srcc"
        What is best.
    boosting : bool, regressor or None, default=True
        Boosted trees on the compression; a regressor takes their place; False or None
        leaves them out.
    n_components : int, default=128
        Width of the compression; capped by the numerical rank.
    cv : int, splitter or iterable, default=3
        Splits that make predictions out of fold. An int means shuffled k-fold, or group
        k-fold where `groups` are given. Each row must be in exactly one test part.
    auxiliary : "auto" or sequence of str, default="auto"
        Families that join every contrastive family rather than standing alone. "auto"
        takes those without a ``cosine`` column, except ``cross``. If there is no
        contrastive family, "auto" takes none.
    base_estimator : regressor, default=None
        Takes the place of the family ridges.
    final_estimator : regressor, "mean" or None, default=None
        Final level, on standardised first-level predictions. None is a ridge; "mean"
        gives them equal weights.
    final_target : {"auto", "score", "rank"}, default="auto"
        What the final level learns. "auto" takes the target with the higher SRCC out
        of fold; ties go to the score.
    random_state : int, RandomState instance or None, default=0
        Shuffles the folds of an int `cv`.
    n_jobs : int, default=None
        Threads over families and folds.
    verbose : bool, default=False
        Whether to show progress.

    Attributes
    ----------
    families_ : list of str
        Families that stand alone, in column order.
    auxiliary_ : list of str
        Families joined to every contrastive family.
    columns_ : dict of str to ndarray of int
        Columns that the members of each family take, auxiliary ones included.
    estimators_ : dict of str to dict of str to list
        ``estimators_[family][target]`` holds one fitted regressor per fold. Those of
        ``"boosting"`` take the output of `compressors_`.
    compressors_ : list
        One fitted compression per fold; empty without boosting.
    first_level_names_ : list of str
        ``<family>__<target>``, the columns of `oof_predictions_`.
    oof_predictions_ : ndarray of shape (n_pairs, n_first_level)
        Out-of-fold first-level predictions of the training pairs.
    alphas_ : dict of str to dict of str to ndarray of shape (n_folds,)
        The whole penalty of each family ridge (alpha times its varying columns): the
        ``alpha`` of :class:`sklearn.linear_model.Ridge` on standardised columns. Empty
        with a `base_estimator`.
    final_estimator_ : regressor
        The fitted final level.
    final_scaler_ : StandardScaler
        Standardises what `final_estimator_` takes.
    final_target_ : {"score", "rank"}
        What the final level learned.
    n_features_in_ : int
        Number of features seen during :term:`fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, where `X` has names.

    See Also
    --------
    CrossAgreement : Makes the family ``cross``.
    sklearn.ensemble.StackingRegressor : Refits the first level on all rows instead.

    Notes
    -----
    This is the stack of [1]_, section 3.3. At prediction a first-level prediction is
    the mean over the fold members; nothing is refitted on all rows.

    All that reads `y` stays inside the training part of each fold: ranks, standard
    deviations, the compression, the trees. So a pair's row of `oof_predictions_` does
    not depend on its own score.

    A final level that learned ranks is followed by a strictly increasing map to the
    scale of `y`, fitted on cross-validated predictions of the final level, so
    :meth:`predict` is always on the scale of `y`.

    A sample weight counts a pair as often as it says. With 255 pairs or more this holds
    up to the binning of the boosted trees.

    References
    ----------
    .. [1] S. Li, J. Li and T. Shinozaki, "Stacking Complementary CLAP Embeddings for
       Improving Text-Audio Alignment Correspondence Scoring", ICML, 2026.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from clapstack import ClapStackingRegressor
    >>> rng = np.random.default_rng(0)
    >>> columns = ["laion__product0", "laion__cosine", "msclap__cosine"]
    >>> X = pd.DataFrame(rng.normal(size=(60, 3)), columns=columns)
    >>> y = X.sum(axis=1)
    >>> stack = ClapStackingRegressor(boosting=False).fit(X, y)
    >>> stack.first_level_names_
    ['laion__score', 'laion__rank', 'msclap__score', 'msclap__rank']
    >>> bool(stack.score(X, y) > 0.9)
    True
    """

    _parameter_constraints: dict = {
        "targets": ["array-like"],
        "alphas": [Interval(Real, 0, None, closed="neither"), "array-like"],
        "alpha_criterion": [StrOptions({"srcc", "mse"})],
        "boosting": ["boolean", HasMethods(["fit", "predict"]), None],
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "cv": ["cv_object"],
        "auxiliary": [StrOptions({"auto"}), "array-like"],
        "base_estimator": [HasMethods(["fit", "predict"]), None],
        "final_estimator": [
            HasMethods(["fit", "predict"]),
            StrOptions({"mean"}),
            None,
        ],
        "final_target": [StrOptions({"auto", "score", "rank"})],
        "random_state": ["random_state"],
        "n_jobs": [Integral, None],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        *,
        targets=("score", "rank"),
        alphas=1.5,
        alpha_criterion="srcc",
        boosting=True,
        n_components=128,
        cv=3,
        auxiliary="auto",
        base_estimator=None,
        final_estimator=None,
        final_target="auto",
        random_state=0,
        n_jobs=None,
        verbose=False,
    ):
        self.targets = targets
        self.alphas = alphas
        self.alpha_criterion = alpha_criterion
        self.boosting = boosting
        self.n_components = n_components
        self.cv = cv
        self.auxiliary = auxiliary
        self.base_estimator = base_estimator
        self.final_estimator = final_estimator
        self.final_target = final_target
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y, *, sample_weight=None, groups=None):
        """Fit the first level out of fold and the final level on its predictions.

        Parameters
        ----------
        X : array-like of shape (n_pairs, n_features)
            Features; families are read from the column names.
        y : array-like of shape (n_pairs,)
            Scores.
        sample_weight : array-like of shape (n_pairs,), default=None
            Weights, zero or more; a weight counts a pair as often as it says.
        groups : array-like of shape (n_pairs,), default=None
            Pairs of one group are never split between training and test parts.

        Returns
        -------
        self : object
            The fitted stack.

        Raises
        ------
        ValueError
            If `X` has NaN or infinity (columns are named) or a family without any
            varying column (named), if `y` has NaN or infinity (rows are named), another
            length or no variance, or if there are too few rows or groups for `cv`.
        """
        X = check_features(self, X, reset=True)
        y = check_y(self, X, y)
        weight = check_weight(X, sample_weight)
        targets = _check_targets(self.targets)
        splits = make_splits(self.cv, X, y, groups, self.random_state)
        check_varies(y, weight)
        self._set_families(X, weight)
        folds = [_make_fold(split, y, weight, targets) for split in splits]
        self._n_folds = len(folds)
        self._fit_first_level(X, targets, folds)
        self.first_level_names_ = [
            f"{family}__{target}" for family in self.estimators_ for target in targets
        ]
        self.oof_predictions_ = np.empty((X.shape[0], len(self.first_level_names_)))
        for number, (_, test) in enumerate(splits):
            self.oof_predictions_[test] = self._first_level(X[test], [number])

        self._final_level = FinalLevel(self.final_estimator, self.final_target)
        self._final_level.fit(self.oof_predictions_, y, weight, splits)
        self.final_estimator_ = self._final_level.estimator_
        self.final_scaler_ = self._final_level.scaler_
        self.final_target_ = self._final_level.target_
        return self

    def transform(self, X):
        """Return first-level predictions: means over the fold members.

        For the pairs of `fit` these are not out of fold; those are in
        `oof_predictions_`.

        Parameters
        ----------
        X : array-like of shape (n_pairs, n_features)
            Features, with the columns of `fit`.

        Returns
        -------
        predictions : ndarray of shape (n_pairs, n_first_level), dtype float64
            Columns as in `first_level_names_`, each on the scale of its target.
        """
        check_is_fitted(self)
        return self._first_level(check_features(self, X, reset=False))

    def predict(self, X):
        """Predict scores.

        Parameters
        ----------
        X : array-like of shape (n_pairs, n_features)
            Features, with the columns of `fit`.

        Returns
        -------
        y_score : ndarray of shape (n_pairs,), dtype float64
            Predictions on the scale of `y`.
        """
        check_is_fitted(self)
        first_level = self._first_level(check_features(self, X, reset=False))
        return self._final_level.predict(first_level)

    def get_feature_names_out(self, input_features=None):
        """Return the names of the first-level predictions.

        Parameters
        ----------
        input_features : None
            Ignored; names of the input do not matter to those of the output.

        Returns
        -------
        names : ndarray of str objects of shape (n_first_level,)
            `first_level_names_`.
        """
        check_is_fitted(self)
        return np.asarray(self.first_level_names_, dtype=object)

    def _set_families(self, X, weight):
        names = getattr(self, "feature_names_in_", None)
        if names is None:
            columns = {NAMELESS: np.arange(X.shape[1])}
            contrastive = []
        else:
            columns = families_of(names)
            contrastive = contrastive_families(names)
        if _BOOSTING in columns:
            msg = (
                f"X has a family named {_BOOSTING!r}, the name of the boosted trees in "
                "first_level_names_. Rename its columns."
            )
            raise ValueError(msg)
        _check_families_vary(X, columns, weight)
        self.auxiliary_ = _auxiliary_families(self.auxiliary, columns, contrastive)
        self.families_ = [name for name in columns if name not in self.auxiliary_]
        # Sorted, so that no bit depends on the order of families.
        joined = [columns[name] for name in sorted(self.auxiliary_)]
        self.columns_ = {
            name: np.concatenate([columns[name], *joined])
            if name in contrastive
            else columns[name]
            for name in self.families_
        }
        self._all_columns = np.concatenate([columns[name] for name in sorted(columns)])

    def _fit_first_level(self, X, targets, folds):
        self.compressors_ = []
        booster = make_boosting() if self.boosting is True else self.boosting or None
        alphas = check_alphas(self.alphas)
        jobs = [
            delayed(_fit_family)(
                X, columns, folds, alphas, self.alpha_criterion, self.base_estimator
            )
            for columns in self.columns_.values()
        ]
        if booster is not None:
            self.compressors_ = fit_compressors(
                X, self._all_columns, folds, self.n_components
            )
            jobs += [
                delayed(_fit_boosting)(X, fold, compressor, booster)
                for fold, compressor in zip(folds, self.compressors_, strict=True)
            ]
        fitted = Parallel(n_jobs=self.n_jobs, prefer="threads")(
            progress(jobs, desc="first level", unit="fit", verbose=self.verbose)
        )
        n_families = len(self.families_)
        self.estimators_ = {
            family: dict(zip(targets, members, strict=True))
            for family, members in zip(self.families_, fitted, strict=False)
        }
        self.alphas_ = {}
        if self.base_estimator is None:
            self.alphas_ = {
                family: {
                    target: np.array([member.penalty_ for member in members])
                    for target, members in by_target.items()
                }
                for family, by_target in self.estimators_.items()
            }
        if booster is not None:
            by_fold = fitted[n_families:]
            self.estimators_[_BOOSTING] = {
                target: [members[number] for members in by_fold]
                for number, target in enumerate(targets)
            }

    def _first_level(self, X, folds=None):
        """Return first-level predictions averaged over some fold members, or all."""
        folds = range(self._n_folds) if folds is None else folds
        out = np.zeros((X.shape[0], len(self.first_level_names_)))
        column = 0
        for family, by_target in self.estimators_.items():
            if family == _BOOSTING:
                inputs = {k: self.compressors_[k].transform(X) for k in folds}
            else:
                inputs = dict.fromkeys(folds, X[:, self.columns_[family]])
            for members in by_target.values():
                for k in folds:
                    out[:, column] += members[k].predict(inputs[k])
                column += 1
        return out / len(folds)


def _fit_family(X, columns, folds, alphas, criterion, base_estimator):
    """Return ``members[target][fold]`` of one family."""
    if base_estimator is None:
        return fit_family_ridges(X, columns, folds, alphas, criterion)
    by_fold = [
        [
            fit_estimator(
                base_estimator, X[np.ix_(fold.train, columns)], target, fold.weight
            )
            for target in fold.targets.T
        ]
        for fold in folds
    ]
    return [list(members) for members in zip(*by_fold, strict=True)]


def _fit_boosting(X, fold, compressor, booster):
    """Return one fold's members, one per target."""
    compressed = compressor.transform(X, fold.train)
    # A sum over threads is added up in an order that varies: one thread keeps the bits.
    with threadpool_limits(limits=1, user_api="openmp"):
        return [
            fit_estimator(booster, compressed, target, fold.weight)
            for target in fold.targets.T
        ]


def _make_fold(split, y, weight, targets):
    train, test = split
    used = test_weight = None
    if weight is not None:
        train, test = (rows[weight[rows] > 0] for rows in split)
        used, test_weight = weight[train], weight[test]
    if train.size == 0:
        msg = (
            "A training part of cv has no row of positive sample_weight. Use other "
            "splits or leave rows of weight zero out."
        )
        raise ValueError(msg)
    made = {"score": y[train], "rank": rank_target(y[train], used)}
    held_out = {"score": y[test], "rank": rank_among(y[test], y[train], used)}
    return Fold(
        train,
        used,
        np.column_stack([made[target] for target in targets]),
        test,
        test_weight,
        np.column_stack([held_out[target] for target in targets]),
    )


def _check_targets(targets):
    targets = list(targets)
    if not targets or len(set(targets)) < len(targets) or set(targets) - set(_TARGETS):
        msg = (
            "The 'targets' parameter of ClapStackingRegressor must hold 'score', "
            f"'rank' or both, each once. Got {targets!r} instead."
        )
        raise ValueError(msg)
    return targets


def _auxiliary_families(auxiliary, columns, contrastive):
    if isinstance(auxiliary, str):
        if not contrastive:
            return []
        return [name for name in columns if name not in contrastive and name != _CROSS]
    unknown = [name for name in auxiliary if name not in columns]
    if unknown:
        msg = (
            f"auxiliary names families that X does not have: {unknown!r}. X has "
            f"{list(columns)!r}."
        )
        raise ValueError(msg)
    wanted = [name for name in columns if name in set(auxiliary)]
    if wanted and not set(contrastive) - set(wanted):
        msg = (
            f"auxiliary={wanted!r} leaves no contrastive family to join: X has "
            f"{contrastive!r}. A contrastive family has a '<family>__cosine' column."
        )
        raise ValueError(msg)
    return wanted


def _check_families_vary(X, columns, weight):
    used = X if weight is None or weight.all() else X[weight > 0]
    for family, where in columns.items():
        if all(np.ptp(used[:, column]) == 0 for column in where):
            msg = (
                f"All {len(where)} columns of family {family!r} are constant over "
                f"{used.shape[0]} pairs, so it says nothing. Drop the family, or check "
                "what made its features."
            )
            raise ValueError(msg)
