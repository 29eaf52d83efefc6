"""Stacked regression over feature families."""

from __future__ import annotations

from functools import partial
from numbers import Integral, Real

import numpy as np
import pandas as pd
from sklearn.base import (
    BaseEstimator,
    RegressorMixin,
    TransformerMixin,
    clone,
)
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping
from sklearn.utils.validation import check_is_fitted

from clapstack._compat import (
    HasMethods,
    Interval,
    StrOptions,
    _fit_context,
    asking_for_weights,
)
from clapstack._numerics.checks import check_share, check_varies, check_weight, check_y
from clapstack.families import BOOSTING, KERNEL, check_features
from clapstack.stacking._axes import (
    explain_axes,
    fit_axes,
    forget_fit,
    on_axes,
    read_axes,
    score_axes,
)
from clapstack.stacking._checks import check_families_vary, check_groups
from clapstack.stacking._explain import column_means, explain_predictions
from clapstack.stacking._families import (
    auxiliary_families,
    name_models,
    read_families,
    regressors_of,
    with_trees,
)
from clapstack.stacking._final import FinalLevel
from clapstack.stacking._first_level import fit_first_level
from clapstack.stacking._folds import make_fold, make_splits
from clapstack.stacking._intervals import DisagreementScale, HeldOutErrors
from clapstack.stacking._kernel import KernelRegressor, read_blocks
from clapstack.stacking._nested import fit_nested, nesting_pays
from clapstack.stacking._novelty import HeldOutNovelty
from clapstack.stacking._sample_weight import (
    check_weights_reach,
    count_pairs,
)
from clapstack.stacking._trees import BoostedTrees
from clapstack.stacking.ridge import check_alphas

_TARGETS = ("score", "rank")


class ClapStackingRegressor(TransformerMixin, RegressorMixin, BaseEstimator):
    """Stack feature families with cross-validated regressors and a final ridge.

    One ridge per family and target, and boosted trees on a compression of all columns,
    make out-of-fold predictions; a final ridge combines them. The family of a column is
    the part of its name before the first ``__``; an array without column names is one
    family. Read more in the :ref:`User Guide <stacking>`.

    Parameters
    ----------
    targets : sequence of {"score", "rank"}, default=("score", "rank")
        Targets of the first level: the scores, their ranks, or both.
    alphas : float or sequence of float, default=1.5
        Penalty of the family ridges per standardised column: the noise-to-signal ratio
        of `y` (see :class:`~clapstack.stacking.StandardizedRidge`). If several are
        given, each family and target uses the one with the highest out-of-fold SRCC;
        ten values take 1.1 to 1.2 times as long to fit as one.
    boosting : bool, regressor or None, default=True
        Whether to fit boosted trees on the compression, and also next to the ridge of
        each :class:`~clapstack.EventFeatures` family. A regressor replaces the trees;
        False or None disables them.
    kernel : bool, regressor or None, default=False
        Whether to add a model of all columns at once: True uses
        :class:`~clapstack.stacking.KernelRegressor`, a regressor replaces it, and False
        or None disables it. With a kernel model, the final ridge shrinks towards its
        prediction instead of towards zero.
    n_components : int, default=128
        Width of the compression, a truncated SVD; capped by the numerical rank.
    cv : int, splitter or iterable, default=3
        Splits for the out-of-fold predictions. An int means shuffled k-fold, or group
        k-fold if `groups` are given. Each row must be in exactly one test part.
    auxiliary : "auto" or sequence of str, default="auto"
        Families without models of their own, whose columns are added to every
        contrastive family. "auto" selects families without a ``cosine`` column, except
        ``cross`` and :class:`~clapstack.EventFeatures` families; it selects none if
        there is no contrastive family.
    base_estimators : "ridge", regressor, list of these or dict, default=None
        First-level models. None and "ridge" mean the fast family ridge; a list fits
        several models per family. A dict sets models by family, such as
        ``{"msclap": ["ridge", SVR()]}``; families not in the dict keep the ridge.
        Auxiliary families are not allowed as keys.
    final_estimator : regressor, "mean" or None, default=None
        Final level, fitted on standardised first-level predictions. None is a ridge;
        "mean" weights them equally.
    final_target : {"auto", "score", "both", "rank"}, default="auto"
        Target of the final level; "both" is the mean of standardised scores and ranks.
        "auto" selects the target with the lowest out-of-fold
        ``MSE / Var(y) + 2 (1 - SRCC)``, which measures both value and order. A target
        other than the score must improve on it by half a standard error.
    calibration : bool, default=False
        Whether to calibrate a final level that learned scores with a strictly
        increasing map, fitted out of fold
        (:class:`~clapstack.calibration.IncreasingMap`). The order does not change.
    random_state : int, RandomState instance or None, default=0
        Shuffles the folds if `cv` is an int.
    n_jobs : int, default=None
        Number of parallel jobs over models and folds. They run in threads unless
        :class:`joblib.parallel_config` sets another backend. Results are bitwise
        identical for any value.
    verbose : bool, default=False
        Whether to show progress.

    Attributes
    ----------
    families_ : list of str
        Families with models of their own, in column order.
    auxiliary_ : list of str
        Families added to every contrastive family.
    columns_ : dict of str to ndarray of int
        Input columns of each family's models, including auxiliary families.
    estimators_ : dict of str to dict of str to list
        ``estimators_[family][target]`` lists one fitted regressor per fold. A family
        with several models has one key ``<family>__<model>`` for each, where the model
        is ``ridge`` or the lower-case class name (of a pipeline's last step), numbered
        if repeated. The ``"boosting"`` regressors use the output of `compressors_`.
    compressors_ : list
        One fitted compression per fold; empty without boosting.
    first_level_names_ : list of str
        Column names of `oof_predictions_`: ``<family>__<target>``, or
        ``<family>__<model>__<target>`` for a family with several models,
        ``kernel__<target>`` and ``boosting__<target>``.
    oof_predictions_ : ndarray of shape (n_pairs, n_first_level)
        Out-of-fold first-level predictions of the training pairs.
    oof_scores_ : ndarray of shape (n_pairs,) or (n_pairs, n_axes)
        Out-of-fold predictions of the final level, on the scale of `y`. With fewer than
        100 pairs (or groups) per first-level prediction, no model that predicts a pair
        has seen any pair of its fold. With more, the final level that predicts a pair
        is fitted on other pairs, but some of their first-level predictions come from
        models that have seen it; its own score then has a small effect here, but none
        on `oof_predictions_`.
    y_train_ : ndarray of shape (n_pairs,) or (n_pairs, n_axes), dtype float64
        Training scores, to compare with the out-of-fold predictions; NaN in both where
        a pair is not rated on an axis. A saved stack includes them.
    alphas_ : dict of str to dict of str to ndarray of shape (n_folds,)
        Total penalty of each family ridge (alpha times the number of varying columns):
        the ``alpha`` of :class:`sklearn.linear_model.Ridge` on standardised columns.
        Keys as in `estimators_`, ridges only.
    final_estimator_ : regressor
        The fitted final level.
    final_scaler_ : StandardScaler
        Standardises the inputs of `final_estimator_`.
    final_target_ : {"score", "both", "rank"}
        Target of the final level.
    axes_ : list of str
        Names of the axes, after a fit on several. Such a fit sets only this,
        `estimators_by_axis_`, `families_`, `y_train_`, `oof_scores_` and the two below.
    estimators_by_axis_ : dict of str to ClapStackingRegressor
        The stack of each axis, fitted on the pairs rated on that axis.
    n_features_in_ : int
        Number of features seen during :term:`fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, if `X` has column names.

    See Also
    --------
    CrossAgreement : Computes the family ``cross``.
    sklearn.ensemble.StackingRegressor : Refits the first level on all rows instead.

    Notes
    -----
    This is the stack of [1]_, section 3.3. For new pairs, each first-level prediction
    is the mean over the regressors of all folds; nothing is refitted on all rows.

    Ranks, standard deviations, the compression and the trees are computed within the
    training part of each fold. A pair's row of `oof_predictions_` therefore does not
    depend on its own score.

    A final level that learned ranks is followed by a strictly increasing map to the
    scale of `y`, fitted on cross-validated predictions of the final level, so
    :meth:`predict` is always on the scale of `y`.

    Integer sample weights, divided by their greatest common divisor, are repetition
    counts. For all other weights only the ratios matter: they are scaled to a mean of 1
    over the pairs of positive weight. Weights are passed to every regressor, including
    the steps of a pipeline; a regressor that does not accept them raises an error. With
    scikit-learn's metadata routing enabled, custom regressors must declare whether they
    use weights (``set_fit_request(sample_weight=True)``), and the stack requests
    `groups` by default, so that the groups of a search's outer folds also apply to the
    inner folds.

    With several axes, each axis has its own stack, bitwise identical to one fitted only
    on the pairs rated on that axis; see the :ref:`User Guide <axes>`. Splits in `cv`
    that list row numbers refer to the whole `X`.

    The choice among several `alphas` uses the scores of all pairs, so a row of
    `oof_predictions_` can change with its own score if the choice changes.

    For the intervals, and for `oof_scores_` with few pairs (see above), the first level
    is refitted without each pair of folds, or of blocks of folds if there are more than
    five: three times with ``cv=3``, ten times with five or more folds. The model keeps
    these regressors for :meth:`predict_interval`.

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
        "boosting": ["boolean", HasMethods(["fit", "predict"]), None],
        "kernel": ["boolean", HasMethods(["fit", "predict"]), None],
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "cv": ["cv_object"],
        "auxiliary": [StrOptions({"auto"}), "array-like"],
        "base_estimators": [
            HasMethods(["fit", "predict"]),
            StrOptions({"ridge"}),
            dict,
            list,
            tuple,
            None,
        ],
        "final_estimator": [
            HasMethods(["fit", "predict"]),
            StrOptions({"mean"}),
            None,
        ],
        "final_target": [StrOptions({"auto", "score", "both", "rank"})],
        "calibration": ["boolean"],
        "random_state": ["random_state"],
        "n_jobs": [Integral, None],
        "verbose": ["verbose"],
    }
    # Under metadata routing, silently dropping groups would leak between folds.
    __metadata_request__fit = {"groups": True}

    def __init__(
        self,
        *,
        targets=("score", "rank"),
        alphas=1.5,
        boosting=True,
        kernel=False,
        n_components=128,
        cv=3,
        auxiliary="auto",
        base_estimators=None,
        final_estimator=None,
        final_target="auto",
        calibration=False,
        random_state=0,
        n_jobs=None,
        verbose=False,
    ):
        self.targets = targets
        self.alphas = alphas
        self.boosting = boosting
        self.kernel = kernel
        self.n_components = n_components
        self.cv = cv
        self.auxiliary = auxiliary
        self.base_estimators = base_estimators
        self.final_estimator = final_estimator
        self.final_target = final_target
        self.calibration = calibration
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y, *, sample_weight=None, groups=None):
        """Fit the first level out of fold and the final level on its predictions.

        Parameters
        ----------
        X : array-like or StreamedFeatures of shape (n_pairs, n_features)
            Features; families are read from the column names.
        y : array-like of shape (n_pairs,) or (n_pairs, n_axes)
            Scores, or ratings on several axes with NaN where a pair is not rated.
            DataFrame columns name the axes.
        sample_weight : array-like of the shape of `y` or (n_pairs,), default=None
            Non-negative weights. Integers are repetition counts; for other weights only
            the ratios matter (see Notes). With several axes, a one-dimensional array
            applies to all of them.
        groups : array-like of shape (n_pairs,), default=None
            Group labels; a group is never split between training and test parts. Labels
            can be text, numbers, tuples or a mixture; none can be missing.

        Returns
        -------
        self : object
            The fitted stack. A failed fit leaves the estimator unchanged.

        Raises
        ------
        ValueError
            The message names the columns, rows, axis or regressor concerned.

            - `X` has NaN, infinity, text, several levels of column names, or a family
              without a varying column.
            - `y` has NaN, infinity or another length than `X`, or is constant overall
              or in one training part; a row has no rating on any axis, or an axis has
              no ratings.
            - `cv` needs more rows or groups than there are, or splits a group.
            - Weights are given and a regressor does not accept them.
            - A regressor predicts NaN, infinity, or not exactly one number per pair.
        """
        forget_fit(self)
        axes = read_axes(y, type(self).__name__)
        if axes is not None:
            return fit_axes(self, X, axes, sample_weight, groups)
        X = check_features(self, X, reset=True)
        y = check_y(self, X, y)
        weight = count_pairs(check_weight(sample_weight, X.shape[0]))
        groups = check_groups(X, groups)
        targets = _check_targets(self.targets)
        booster = self.boosting or None
        if self.boosting is True:
            booster = asking_for_weights(BoostedTrees())
        if weight is not None:
            check_weights_reach(self, self._regressors(), weight)
        splits = make_splits(self.cv, X, y, groups, self.random_state)
        check_varies(y, weight)
        folds = [
            make_fold(number, split, y, weight, targets)
            for number, split in enumerate(splits)
        ]
        columns = self._set_families(X, weight)
        names = getattr(self, "feature_names_in_", None)
        chosen = with_trees(self.base_estimators, self.families_, names, booster)
        models = name_models(chosen, self.families_, self.auxiliary_)
        if self.kernel:
            model, columns[KERNEL] = self._kernel_model(columns[KERNEL])
            models[KERNEL] = (KERNEL, model)
        fit_members = partial(
            fit_first_level,
            X,
            models,
            columns,
            targets,
            alphas=check_alphas(self.alphas),
            booster=booster,
            n_components=self.n_components,
            n_jobs=self.n_jobs,
            verbose=self.verbose,
        )
        self._first_level = fit_members(folds)
        self.estimators_ = self._first_level.estimators
        self.compressors_ = self._first_level.compressors
        self.first_level_names_ = self._first_level.names
        self.alphas_ = {
            model: {
                target: np.array([member.penalty_ for member in members])
                for target, members in self.estimators_[model].items()
            }
            for model, (_, regressor) in models.items()
            if regressor is None
        }
        self.oof_predictions_ = self._first_level.predict_held_out(X, splits)

        self._final_level = FinalLevel(
            self.final_estimator,
            self.final_target,
            self.calibration,
            kernel=self._kernel_columns(targets),
        )
        self._final_level.fit(self.oof_predictions_, y, weight, splits)
        self.final_estimator_ = self._final_level.estimator_
        self.final_scaler_ = self._final_level.scaler_
        self.final_target_ = self._final_level.target_
        self.y_train_ = y
        fit_members = partial(fit_members, like=self._first_level)
        self._set_held_out(fit_members, X, y, weight, groups, targets, splits)
        members = self._knowing_members()
        self._novelty = None
        if members:
            units = np.arange(len(y)) if groups is None else pd.factorize(groups)[0]
            self._novelty = HeldOutNovelty(
                members, self._first_level.columns[KERNEL], X, splits, weight, units
            )
        return self

    def transform(self, X):
        """Return first-level predictions, averaged over the regressors of all folds.

        For training pairs these are not out of fold. To fit another model, use
        `oof_predictions_`.

        Parameters
        ----------
        X : array-like or StreamedFeatures of shape (n_pairs, n_features)
            Features, with the columns of `fit`.

        Returns
        -------
        predictions : ndarray of shape (n_pairs, n_first_level), dtype float64
            Columns as in `first_level_names_`, on the scale of their targets.
        """
        check_is_fitted(self)
        if self._has_axes():
            return np.hstack(on_axes(self, "transform", X))
        X = check_features(self, X, reset=False)
        return self._first_level.predict(X)

    def predict(self, X):
        """Predict scores.

        Parameters
        ----------
        X : array-like or StreamedFeatures of shape (n_pairs, n_features)
            Features, with the columns of `fit`.

        Returns
        -------
        y_score : ndarray of shape (n_pairs,) or (n_pairs, n_axes), dtype float64
            Predictions on the scale of `y`; columns in the order of `axes_`.
        """
        check_is_fitted(self)
        if self._has_axes():
            return np.column_stack(on_axes(self, "predict", X))
        X = check_features(self, X, reset=False)
        return self._final_level.predict(self._first_level.predict(X))

    def predict_interval(self, X, coverage=0.9, *, scaled=True):
        """Predict an interval that contains the true score with a given probability.

        Read more in the :ref:`User Guide <intervals>`.

        Parameters
        ----------
        X : array-like of shape (n_pairs, n_features)
            Features, with the columns of `fit`.
        coverage : float, default=0.9
            Nominal coverage, between 0 and 1: share of pairs whose true score lies in
            their interval.
        scaled : bool, default=True
            Whether intervals widen where the first-level predictions disagree, if
            out-of-fold errors grew with disagreement. If False, all intervals have
            nearly the same width.

        Returns
        -------
        interval : ndarray of shape (n_pairs, 2) or (n_pairs, n_axes, 2), dtype float64
            Lower and upper ends, clipped to 0-10 if all training scores of positive
            weight are in that range. Before clipping, ends are infinite if there are
            too few pairs or groups for `coverage`: with equal weights, 90 % needs 9,
            95 % needs 19 and 99 % needs 99.

        Raises
        ------
        ValueError
            If `coverage` is not between 0 and 1.

        Notes
        -----
        Conformal (CV+): the coverage is valid on average over fits, for pairs that are
        exchangeable with the training pairs. New prompts, generators or listeners are
        not. With `groups`, it is valid for pairs of new, exchangeable groups, and few
        groups give wide intervals. With weights, it is valid for pairs that occur in
        proportion to the weights; pairs of weight zero are ignored, and the minimum
        number of pairs refers to the effective one, ``sum(w)² / sum(w²)``.
        """
        check_is_fitted(self)
        check_share("coverage", coverage, 0.9)
        if self._has_axes():
            settings = {"coverage": coverage, "scaled": scaled}
            return np.stack(on_axes(self, "predict_interval", X, **settings), axis=1)
        X = check_features(self, X, reset=False)
        scores, disagreement = [], []
        members = self._final_level.members_
        for member, part in zip(members, self._predict_apart(X), strict=True):
            scores.append(member.predict(part))
            disagreement.append(member.disagreement(part))
        return self._errors.interval(
            np.array(scores), np.array(disagreement), coverage, scaled=scaled
        )

    def in_domain(self, X, level=0.01):
        """Return whether each pair is similar to the training pairs.

        Similarity is measured by the kernel model, so the stack needs one.

        Read more in the :ref:`User Guide <in_domain>`.

        Parameters
        ----------
        X : array-like or StreamedFeatures of shape (n_pairs, n_features)
            Features, with the columns of `fit`.
        level : float, default=0.01
            Rate of false alarms, between 0 and 1: share of pairs exchangeable with the
            training pairs that may be flagged as unlike them.

        Returns
        -------
        in_domain : ndarray of shape (n_pairs,), dtype bool
            False where no training pair resembles the pair, so that its score and
            interval are extrapolations; with several axes, on any axis.

        Raises
        ------
        TypeError
            If the stack has no kernel model.
        ValueError
            If `level` is not between 0 and 1.

        Notes
        -----
        A pair is in the domain if its conformal p-value is at least `level`. The
        p-value is the share of training pairs that are at least as novel to the kernel
        models that did not learn from them (see
        :meth:`~clapstack.stacking.KernelRegressor.novelty`). About 1,000 training pairs
        are compared at most; with fewer than ``1 / level``, no pair is flagged.
        """
        check_is_fitted(self)
        if self._has_axes():
            return np.all(on_axes(self, "in_domain", X, level=level), axis=0)
        # Models saved by earlier versions have no novelty.
        novelty = getattr(self, "_novelty", None)
        if novelty is None:
            msg = (
                "in_domain needs a kernel model, but this stack has none. Fit it with "
                "kernel=True, or use the preset 'best'."
            )
            raise TypeError(msg)
        check_share("level", level, 0.01)
        X = check_features(self, X, reset=False)
        columns = self._first_level.columns[KERNEL]
        return novelty.p_values(self._knowing_members(), columns, X) >= level

    @property
    def knows_domain_(self):
        """Whether :meth:`in_domain` is available; it needs a kernel model."""
        members = getattr(self, "estimators_by_axis_", {}).values()
        if members:
            return all(member.knows_domain_ for member in members)
        return getattr(self, "_novelty", None) is not None

    def explain(self, X):
        """Split each prediction into the contributions of the families.

        Read more in the :ref:`User Guide <explanations>`.

        Parameters
        ----------
        X : array-like or StreamedFeatures of shape (n_pairs, n_features)
            Features, with the columns of `fit`.

        Returns
        -------
        parts : DataFrame of shape (n_pairs, n_parts), dtype float64
            One row per pair, with the index of `X`. Columns: ``baseline``, the same for
            all pairs; one per family of `families_` and `auxiliary_`; ``boosting``;
            ``calibration``; and ``prediction``, the output of :meth:`predict` and the
            sum of the other columns. All are on the scale of `y`. With several axes the
            columns have two levels, the axis and these names.

        Raises
        ------
        ValueError
            If the final level is not linear, or a family has the name of one of the
            other columns.

        Notes
        -----
        A first-level prediction contributes its coefficient in the final level times
        its difference from the mean out-of-fold prediction. The contribution of a ridge
        with auxiliary families is split among the families, with columns centred at
        their means over the training pairs. Other regressors cannot be split: with
        auxiliary families, their contribution has a joint column such as
        ``msclap+beats``.

        If an increasing map follows the final level, the least-squares line through its
        knots converts the contributions to the scale of `y`, and ``calibration`` is the
        difference between the map and that line.
        """
        check_is_fitted(self)
        if self._has_axes():
            return explain_axes(self, X)
        index = X.index if isinstance(X, pd.DataFrame) else None
        X = check_features(self, X, reset=False)
        return explain_predictions(
            X,
            self._first_level,
            self._final_level,
            self.families_,
            self._auxiliary_columns,
            index,
        )

    def score(self, X, y, sample_weight=None):
        """Return R², the explained share of the variance of the scores.

        Parameters
        ----------
        X : array-like or StreamedFeatures of shape (n_pairs, n_features)
            Features, with the columns of `fit`.
        y : array-like of shape (n_pairs,) or (n_pairs, n_axes)
            Scores; NaN where a pair is not rated on an axis.
        sample_weight : array-like of the shape of `y` or (n_pairs,), default=None
            Weights.

        Returns
        -------
        score : float
            R²; the mean over axes if there are several.
        """
        check_is_fitted(self)
        if self._has_axes():
            return score_axes(self, X, y, sample_weight)
        return super().score(X, y, sample_weight)

    def get_feature_names_out(self, input_features=None):
        """Return the column names of the output of :meth:`transform`.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Ignored.

        Returns
        -------
        names : ndarray of str objects of shape (n_features_out,)
            `first_level_names_`; with several axes, prefixed by ``<axis>__``.
        """
        check_is_fitted(self)
        if self._has_axes():
            members = self.estimators_by_axis_.items()
            names = [f"{a}__{n}" for a, m in members for n in m.first_level_names_]
            return np.asarray(names, dtype=object)
        return np.asarray(self.first_level_names_, dtype=object)

    def get_metadata_routing(self):
        """Return the metadata requests of the stack and of its regressors.

        Returns
        -------
        routing : MetadataRouter
            Requests of the stack, and of its regressors in :meth:`fit`.
        """
        router = MetadataRouter(owner=self).add_self_request(self)
        mapping = MethodMapping().add(caller="fit", callee="fit")
        return router.add(method_mapping=mapping, **self._regressors())

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _has_axes(self):
        """Return whether the fit was on several axes."""
        return hasattr(self, "estimators_by_axis_")

    def _regressors(self):
        """Return the regressors passed as parameters, by name."""
        regressors = regressors_of(self.base_estimators)
        for name in ("boosting", "kernel", "final_estimator"):
            if hasattr(getattr(self, name), "fit"):
                regressors[name] = getattr(self, name)
        return regressors

    def _set_families(self, X, weight):
        """Return the input columns of each family's models and of the joint models."""
        names = getattr(self, "feature_names_in_", None)
        columns, contrastive = read_families(names, X.shape[1])
        check_families_vary(X, columns, weight)
        self.auxiliary_ = auxiliary_families(
            self.auxiliary, columns, contrastive, names
        )
        self._auxiliary_columns = {
            name: (columns[name], column_means(X, columns[name], weight))
            for name in self.auxiliary_
        }
        self.families_ = [name for name in columns if name not in self.auxiliary_]
        # Sorted, so that results do not depend on the order of families.
        joined = [columns[name] for name in sorted(self.auxiliary_)]
        self.columns_ = {
            name: np.concatenate([columns[name], *joined])
            if name in contrastive
            else columns[name]
            for name in self.families_
        }
        every = np.concatenate([columns[name] for name in sorted(columns)])
        return {**self.columns_, BOOSTING: every, KERNEL: every}

    def _kernel_model(self, columns):
        """Return the model of all columns, and its input columns."""
        if self.kernel is not True and not isinstance(self.kernel, KernelRegressor):
            return self.kernel, columns
        if self.kernel is True:
            model = asking_for_weights(KernelRegressor())
        else:
            model = clone(self.kernel)
        if model.blocks is not None:
            return model, columns
        # The model receives its blocks by position, and only columns in a block.
        names = getattr(self, "feature_names_in_", None)
        taken = None if names is None else names[columns]
        blocks = read_blocks(taken, len(columns))
        ends = np.cumsum([len(own) for own in blocks.values()])
        places = np.split(np.arange(ends[-1]), ends[:-1])
        model.set_params(blocks=dict(zip(blocks, places, strict=True)))
        return model, columns[np.concatenate(list(blocks.values()))]

    def _kernel_columns(self, targets):
        """Return the position of the kernel's first-level prediction, by target."""
        if not self.kernel:
            return None
        names = self.first_level_names_
        return {target: names.index(f"{KERNEL}__{target}") for target in targets}

    def _knowing_members(self):
        """Return the kernel models of the first target, if they compute novelty."""
        for members in self.estimators_.get(KERNEL, {}).values():
            return [member for member in members if hasattr(member, "novelty")]
        return []

    def _set_held_out(self, fit_members, X, y, weight, groups, targets, splits):
        """Set the held-out stacks, `oof_scores_` and the errors for intervals."""
        n_first_level = len(self.first_level_names_)
        units = np.arange(len(y)) if groups is None else pd.factorize(groups)[0]
        used = slice(None) if weight is None else weight > 0
        final = self._final_level
        parts = [test for _, test in splits]
        nested = None
        if nesting_pays(len(np.unique(units[used])), n_first_level):
            nested = fit_nested(
                final,
                fit_members,
                X,
                y,
                weight,
                units=units,
                targets=targets,
                splits=splits,
                n_first_level=n_first_level,
            )
        self._nested = None
        if nested is not None:
            first_level, stacks = nested
            parts = [stack.rows for stack in stacks]
            final.members_ = [stack.level for stack in stacks]
            self._nested = first_level, [stack.members for stack in stacks]
        scores, disagreement = np.empty(len(y)), np.empty(len(y))
        for number, (part, level) in enumerate(zip(parts, final.members_, strict=True)):
            own = self.oof_predictions_[part]
            if nested is not None:
                own = first_level.predict_rows(X, part, stacks[number].members)
            scores[part] = level.predict(own)
            disagreement[part] = level.disagreement(own)
        if nested is None:
            counts = None if weight is None else weight[used]
            errors = np.abs(y - scores)
            scale = DisagreementScale(errors[used], disagreement[used], counts)
            scales = [scale] * len(parts)
        else:
            scales = [stack.scale for stack in stacks]
        final.held_out_ = self.oof_scores_ = scores
        self._errors = HeldOutErrors(
            y, scores, disagreement, weight, units, parts, scales
        )

    def _predict_apart(self, X):
        """Yield first-level predictions that exclude each fold, or block of folds."""
        # Models saved by earlier versions have no nested first level.
        nested = getattr(self, "_nested", None)
        if nested is None:
            yield from self._first_level.predict_by_fold(X)
            return
        first_level, members = nested
        # Blocks share members: each member predicts once, and blocks take means.
        by_fold = list(first_level.predict_by_fold(X))
        for folds in members:
            yield np.mean([by_fold[fold] for fold in folds], axis=0)


def _check_targets(targets):
    targets = list(targets)
    if not targets or len(set(targets)) < len(targets) or set(targets) - set(_TARGETS):
        msg = (
            "The 'targets' parameter of ClapStackingRegressor must be a list of "
            f"'score', 'rank' or both, without repetition. Got {targets!r} instead."
        )
        raise ValueError(msg)
    return targets
