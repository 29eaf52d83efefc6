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
        signal in `y` (see :class:`~clapstack.stacking.StandardizedRidge`). Of several,
        each family and target takes the one that orders best out of fold; ten cost
        about half a fit more than one.
    boosting : bool, regressor or None, default=True
        Boosted trees on the compression, and beside the ridge of a family of
        :class:`~clapstack.EventFeatures`; a regressor takes their place; False or None
        leaves them out.
    kernel : bool, regressor or None, default=False
        A model of all columns at once beside those of the families: True is
        :class:`~clapstack.stacking.KernelRegressor`; a regressor takes its place. False
        or None leaves it out. With it, the ridge of the final level adds to its
        predictions rather than to nothing.
    n_components : int, default=128
        Width of the compression; capped by the numerical rank.
    cv : int, splitter or iterable, default=3
        Splits that make predictions out of fold. An int means shuffled k-fold, or group
        k-fold where `groups` are given. Each row must be in exactly one test part.
    auxiliary : "auto" or sequence of str, default="auto"
        Families that join every contrastive family rather than standing alone. "auto"
        takes those without a ``cosine`` column, except ``cross`` and families of
        :class:`~clapstack.EventFeatures`. If there is no contrastive family, "auto"
        takes none.
    base_estimators : "ridge", regressor, list of these or dict, default=None
        First-level models. None and "ridge" are the fast family ridge; a list gives a
        family several models; a dict gives each family its own, such as
        ``{"msclap": ["ridge", SVR()]}``, and families that it does not name keep the
        ridge. Auxiliary families have no models of their own.
    final_estimator : regressor, "mean" or None, default=None
        Final level, on standardised first-level predictions. None is a ridge; "mean"
        gives them equal weights.
    final_target : {"auto", "score", "both", "rank"}, default="auto"
        What the final level learns; "both" is the mean of standardised scores and
        ranks. "auto" takes the target whose predictions out of fold are nearest in
        value and in order, by ``MSE / Var(y) + 2 (1 - SRCC)``; another than the score
        has to gain half a standard error.
    calibration : bool, default=False
        Whether a final level that learned scores is followed by an increasing map to
        them, fitted out of fold (:class:`~clapstack.calibration.IncreasingMap`). It
        keeps the order.
    random_state : int, RandomState instance or None, default=0
        Shuffles the folds of an int `cv`.
    n_jobs : int, default=None
        Jobs over models and folds. Threads, unless
        :class:`joblib.parallel_config` says otherwise; the bits do not depend on it.
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
        ``estimators_[family][target]`` holds one fitted regressor per fold. A family of
        several models has a key ``<family>__<model>`` for each, where the model is
        ``ridge`` or the class name in lower case (of a pipeline's last step), numbered
        where it comes twice. Those of ``"boosting"`` take the output of `compressors_`.
    compressors_ : list
        One fitted compression per fold; empty without boosting.
    first_level_names_ : list of str
        ``<family>__<target>``, or ``<family>__<model>__<target>`` where a family has
        several models, ``kernel__<target>`` and ``boosting__<target>``: the columns of
        `oof_predictions_`.
    oof_predictions_ : ndarray of shape (n_pairs, n_first_level)
        Out-of-fold first-level predictions of the training pairs.
    oof_scores_ : ndarray of shape (n_pairs,) or (n_pairs, n_axes)
        Out-of-fold predictions of the final level, on the scale of `y`. With fewer than
        100 pairs (or groups) for each first-level prediction, nothing that predicts a
        pair learned from its fold. With more, the final level that predicts a pair was
        fitted on others, whose first-level predictions may come from members that
        learned from the pair: its own score moves this a little, unlike
        `oof_predictions_`.
    y_train_ : ndarray of shape (n_pairs,) or (n_pairs, n_axes), dtype float64
        The scores of the fit, which the out-of-fold predictions are judged by; NaN in
        both where a pair is not rated on an axis. A saved stack holds them.
    alphas_ : dict of str to dict of str to ndarray of shape (n_folds,)
        The whole penalty of each family ridge (alpha times its varying columns): the
        ``alpha`` of :class:`sklearn.linear_model.Ridge` on standardised columns. Keys
        as in `estimators_`; other models than ridges have none.
    final_estimator_ : regressor
        The fitted final level.
    final_scaler_ : StandardScaler
        Standardises what `final_estimator_` takes.
    final_target_ : {"score", "both", "rank"}
        What the final level learned.
    axes_ : list of str
        Names of the axes, after a fit on several. Such a fit has this,
        `estimators_by_axis_`, `families_`, `y_train_`, `oof_scores_` and the two below.
    estimators_by_axis_ : dict of str to ClapStackingRegressor
        The stack of each axis, fitted on the pairs that are rated on it.
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

    Whole sample weights, less a common divisor, count a pair as often as they say. Of
    all other weights only the ratios matter: penalties take them with a mean of 1 over
    the pairs of positive weight. Weights reach every regressor that takes them, through
    the steps of a pipeline too; one that takes none is refused. With scikit-learn's
    metadata routing enabled, regressors that are passed in say for themselves whether
    they take weights (``set_fit_request(sample_weight=True)``). The stack itself asks
    for `groups` then unless told otherwise, so that groups which split the outer folds
    of a search split the inner ones too.

    With several axes every axis has a stack of its own, equal in every bit to one that
    is fitted on the pairs with a rating on that axis alone; see the
    :ref:`User Guide <axes>`. Splits in `cv` that list rows are those of the whole `X`.

    With several `alphas` the choice among them looks at the scores of all pairs, so a
    row of `oof_predictions_` may move with its own score when the choice does.

    For the intervals and `oof_scores_` of few pairs (see there), the first level is
    fitted again without each two folds, or blocks of folds if there are more than five:
    three times with ``cv=3``, ten with five or more folds. The model keeps these
    members for :meth:`predict_interval`.

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
    # Under metadata routing: dropping groups without a word would leak between folds.
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
            Scores; or ratings on several axes, NaN where a pair is not rated on one.
            The columns of a frame name the axes.
        sample_weight : array-like of the shape of `y` or (n_pairs,), default=None
            Weights, zero or more. Whole numbers count repetitions; of others only the
            ratios matter: see Notes. With several axes, one weight a pair counts on all
            of them.
        groups : array-like of shape (n_pairs,), default=None
            Pairs of one group are never split between training and test parts. Labels
            may be text, numbers, tuples or a mixture; none may be missing.

        Returns
        -------
        self : object
            The fitted stack. A fit that fails leaves it as it was.

        Raises
        ------
        ValueError
            If `X` has NaN or infinity (columns are named), text, names of several
            levels or a family without any varying column (named), if `y` has NaN or
            infinity (rows are named), another length or no variance, also in a training
            part alone, if a row has no rating on any axis or an axis is rated nowhere
            (named), if there are too few rows or groups for `cv` or its splits tear
            a group apart, if weights are given and a regressor takes none, or if a
            regressor predicts NaN, infinity or other than one number a pair (it is
            named, with its family, target and fold).
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
        """Return first-level predictions: means over the fold members.

        For the pairs of `fit` these are not out of fold; those are in
        `oof_predictions_`, which another model may be fitted on.

        Parameters
        ----------
        X : array-like or StreamedFeatures of shape (n_pairs, n_features)
            Features, with the columns of `fit`.

        Returns
        -------
        predictions : ndarray of shape (n_pairs, n_first_level), dtype float64
            Columns as in `first_level_names_`, each on the scale of its target.
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
            Share of pairs whose score lies in its interval, between 0 and 1.
        scaled : bool, default=True
            Whether intervals are wider where the first-level predictions disagree, if
            errors out of fold grew with disagreement. If not, all are of nearly one
            width.

        Returns
        -------
        interval : ndarray of shape (n_pairs, 2) or (n_pairs, n_axes, 2), dtype float64
            Low and high ends, clipped to 0-10 if all scores of `fit` of positive weight
            lay there. Before that, infinite where there are too few pairs or groups for
            `coverage`: 90 % needs nine of equal weight, 95 % 19 and 99 % 99.

        Raises
        ------
        ValueError
            If `coverage` is not between 0 and 1.

        Notes
        -----
        Conformal (CV+): on average over fits, it holds for pairs that are exchangeable
        with those of `fit`. New prompts, generators or listeners are not. Where
        `groups` were given to `fit`, it holds for pairs of new groups that are
        exchangeable with those, and few groups give wide intervals. Where weights were
        given, it holds for pairs that occur as often as the weights say; pairs of
        weight zero are absent, and the number of pairs that a coverage needs is the
        effective one, ``sum(w)² / sum(w²)``.
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
        """Return whether each pair is like those of fit, as the kernel model sees them.

        Read more in the :ref:`User Guide <in_domain>`.

        Parameters
        ----------
        X : array-like or StreamedFeatures of shape (n_pairs, n_features)
            Features, with the columns of `fit`.
        level : float, default=0.01
            Share of the pairs that are exchangeable with those of `fit` which may be
            taken for others, between 0 and 1.

        Returns
        -------
        in_domain : ndarray of shape (n_pairs,), dtype bool
            False where scores and intervals rest on no pairs like this one; with
            several axes, where those of any do.

        Raises
        ------
        TypeError
            If the stack has no kernel model.
        ValueError
            If `level` is not between 0 and 1.

        Notes
        -----
        A conformal p-value, which is to be at least `level`: the share of pairs of
        `fit` that are as novel to the kernel members that did not learn from them (see
        :meth:`~clapstack.stacking.KernelRegressor.novelty`). At most about 1,000 pairs
        are compared. Fewer than ``1 / level`` flag nothing.
        """
        check_is_fitted(self)
        if self._has_axes():
            return np.all(on_axes(self, "in_domain", X, level=level), axis=0)
        # Models saved by earlier versions know nothing of novelty.
        novelty = getattr(self, "_novelty", None)
        if novelty is None:
            msg = (
                "in_domain needs a kernel model, and this stack has none. Fit one with "
                "kernel=True, as the preset 'best' has."
            )
            raise TypeError(msg)
        check_share("level", level, 0.01)
        X = check_features(self, X, reset=False)
        columns = self._first_level.columns[KERNEL]
        return novelty.p_values(self._knowing_members(), columns, X) >= level

    @property
    def knows_domain_(self):
        """Whether :meth:`in_domain` can say, which needs a kernel model."""
        members = getattr(self, "estimators_by_axis_", {}).values()
        if members:
            return all(member.knows_domain_ for member in members)
        return getattr(self, "_novelty", None) is not None

    def explain(self, X):
        """Split each prediction into what every family adds to it.

        Read more in the :ref:`User Guide <explanations>`.

        Parameters
        ----------
        X : array-like or StreamedFeatures of shape (n_pairs, n_features)
            Features, with the columns of `fit`.

        Returns
        -------
        parts : DataFrame of shape (n_pairs, n_parts), dtype float64
            A row per pair, under the labels of `X`. ``baseline`` is the same for all;
            then a column per family of `families_` and `auxiliary_`; ``boosting``;
            ``calibration``; and ``prediction``, which is that of :meth:`predict` and
            the sum of all the others. All are on the scale of `y`. With several axes
            the columns have two levels, the axis and these names.

        Raises
        ------
        ValueError
            If the final level is not linear, or a family is named as a column that is
            returned.

        Notes
        -----
        A first-level prediction adds its coefficient in the final level times its
        distance from the mean of the out-of-fold ones. Ridges on a family with
        auxiliary families joined are split among them, each around the columns' means
        over the training pairs. Other regressors cannot be split so: what they add
        where auxiliary families are joined has a column named after all of them, such
        as ``msclap+beats``.

        Where an increasing map follows the final level, the straight line through its
        knots brings the parts to the scale of `y`, and ``calibration`` is how far the
        map is from that line.
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
        """Return R², the share of the variance of scores that predictions explain.

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
        """Return the names of the columns that :meth:`transform` returns.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Ignored.

        Returns
        -------
        names : ndarray of str objects of shape (n_features_out,)
            `first_level_names_`; with several axes, those of each after ``<axis>__``.
        """
        check_is_fitted(self)
        if self._has_axes():
            members = self.estimators_by_axis_.items()
            names = [f"{a}__{n}" for a, m in members for n in m.first_level_names_]
            return np.asarray(names, dtype=object)
        return np.asarray(self.first_level_names_, dtype=object)

    def get_metadata_routing(self):
        """Return what the stack and the regressors passed to it ask for.

        Returns
        -------
        routing : MetadataRouter
            The stack's own requests, and those of its regressors in :meth:`fit`.
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
        """Return the regressors that are parameters, by a name for each."""
        regressors = regressors_of(self.base_estimators)
        for name in ("boosting", "kernel", "final_estimator"):
            if hasattr(getattr(self, name), "fit"):
                regressors[name] = getattr(self, name)
        return regressors

    def _set_families(self, X, weight):
        """Return the columns that the models of each family, and of all, take."""
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
        # Sorted, so that no bit depends on the order of families.
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
        """Return the model of all columns, and those that it takes."""
        if self.kernel is not True and not isinstance(self.kernel, KernelRegressor):
            return self.kernel, columns
        if self.kernel is True:
            model = asking_for_weights(KernelRegressor())
        else:
            model = clone(self.kernel)
        if model.blocks is not None:
            return model, columns
        # It knows its blocks without names, and need not skip what is in none.
        names = getattr(self, "feature_names_in_", None)
        taken = None if names is None else names[columns]
        blocks = read_blocks(taken, len(columns))
        ends = np.cumsum([len(own) for own in blocks.values()])
        places = np.split(np.arange(ends[-1]), ends[:-1])
        model.set_params(blocks=dict(zip(blocks, places, strict=True)))
        return model, columns[np.concatenate(list(blocks.values()))]

    def _kernel_columns(self, targets):
        """Return which first-level prediction is the kernel's of each target."""
        if not self.kernel:
            return None
        names = self.first_level_names_
        return {target: names.index(f"{KERNEL}__{target}") for target in targets}

    def _knowing_members(self):
        """Return the kernel members of the first target, if they know novelty."""
        for members in self.estimators_.get(KERNEL, {}).values():
            return [member for member in members if hasattr(member, "novelty")]
        return []

    def _set_held_out(self, fit_members, X, y, weight, groups, targets, splits):
        """Set what predicts each fold without learning from it, and its errors."""
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
        """Yield the first level of what did not see each fold, or block of folds."""
        # Models saved by earlier versions have no nested first level.
        nested = getattr(self, "_nested", None)
        if nested is None:
            yield from self._first_level.predict_by_fold(X)
            return
        first_level, members = nested
        for folds in members:
            yield first_level.predict_rows(X, np.arange(X.shape[0]), folds)


def _check_targets(targets):
    targets = list(targets)
    if not targets or len(set(targets)) < len(targets) or set(targets) - set(_TARGETS):
        msg = (
            "The 'targets' parameter of ClapStackingRegressor must hold 'score', "
            f"'rank' or both, each once. Got {targets!r} instead."
        )
        raise ValueError(msg)
    return targets
