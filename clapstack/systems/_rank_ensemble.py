"""Ensemble that averages the ranks of the families' predictions."""

from __future__ import annotations

from numbers import Integral

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import LinearRegression
from sklearn.utils.validation import check_is_fitted

from clapstack._compat import StrOptions, _fit_context
from clapstack._numerics.checks import refuse_columns
from clapstack.stacking import ClapStackingRegressor, rank_target

__all__ = ["RankEnsembleRegressor"]


class RankEnsembleRegressor(RegressorMixin, BaseEstimator):
    """Average the ranks of the families' predictions.

    Each family has a ridge regressor, whose predictions are turned into ranks. The
    ranks are averaged over families, and a line maps the average to the scale of `y`.
    This is the "CLAP rank ensemble" that the paper compares its stack with (Table 2).

    Parameters
    ----------
    cv : int, splitter or iterable, default=3
        Splits for the families' out-of-fold predictions.
    auxiliary : "auto" or sequence of str, default="auto"
        Families that join every contrastive family, as in
        :class:`~clapstack.ClapStackingRegressor`.
    random_state : int, RandomState instance or None, default=0
        Shuffles the folds of an int `cv`.
    n_jobs : int, default=None
        Number of threads; families run in parallel.

    Attributes
    ----------
    stack_ : ClapStackingRegressor
        Stack with the families' regressors.
    knots_ : list of (ndarray, ndarray)
        For each family, predictions and their ranks among the training pairs.
    line_ : LinearRegression
        Line from mean ranks to `y`; its slope is never negative.
    n_features_in_ : int
        Number of features seen during :term:`fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, if `X` has names.

    See Also
    --------
    clapstack.ClapStackingRegressor : Learn how far to trust each family.

    Notes
    -----
    The paper does not specify the pairs among which a prediction is ranked. Ranks among
    the predicted pairs would make a score depend on the other pairs, so a prediction is
    ranked among the out-of-fold predictions of the training pairs, with linear
    interpolation. Predictions outside their range get the first or last rank.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from clapstack.systems import RankEnsembleRegressor
    >>> rng = np.random.default_rng(0)
    >>> columns = ["laion__product0", "laion__cosine", "msclap__cosine"]
    >>> X = pd.DataFrame(rng.normal(size=(60, 3)), columns=columns)
    >>> y = X.sum(axis=1)
    >>> ensemble = RankEnsembleRegressor().fit(X, y)
    >>> len(ensemble.knots_), bool(ensemble.score(X, y) > 0.8)
    (2, True)
    """

    _parameter_constraints: dict = {
        "cv": ["cv_object"],
        "auxiliary": [StrOptions({"auto"}), "array-like"],
        "random_state": ["random_state"],
        "n_jobs": [Integral, None],
    }

    def __init__(self, *, cv=3, auxiliary="auto", random_state=0, n_jobs=None):
        self.cv = cv
        self.auxiliary = auxiliary
        self.random_state = random_state
        self.n_jobs = n_jobs

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y, *, groups=None):
        """Fit the families' regressors and rank their predictions.

        Parameters
        ----------
        X : array-like of shape (n_pairs, n_features)
            Features, whose column names begin with the families.
        y : array-like of shape (n_pairs,)
            Scores.
        groups : array-like of shape (n_pairs,), default=None
            Groups of pairs that stay together in the same fold.

        Returns
        -------
        self : object
            The fitted ensemble.
        """
        refuse_columns(self, np.asarray(y))
        self.stack_ = ClapStackingRegressor(
            targets=("score",),
            boosting=False,
            cv=self.cv,
            auxiliary=self.auxiliary,
            final_estimator="mean",
            final_target="score",
            random_state=self.random_state,
            n_jobs=self.n_jobs,
        ).fit(X, y, groups=groups)
        self.n_features_in_ = self.stack_.n_features_in_
        if hasattr(self.stack_, "feature_names_in_"):
            self.feature_names_in_ = self.stack_.feature_names_in_
        predictions = self.stack_.oof_predictions_
        self.knots_ = [_ranked(column) for column in predictions.T]
        mean_rank = self._mean_rank(predictions)
        line = LinearRegression(positive=True)
        self.line_ = line.fit(mean_rank, self.stack_.y_train_)
        return self

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
        predictions = np.asarray(self.stack_.transform(X))
        return self.line_.predict(self._mean_rank(predictions))

    def _mean_rank(self, predictions):
        ranks = [
            np.interp(column, *knots)
            for column, knots in zip(predictions.T, self.knots_, strict=True)
        ]
        return np.mean(ranks, axis=0)[:, np.newaxis]


def _ranked(values):
    """Return the distinct values in ascending order, and their ranks in (0, 1)."""
    distinct, first = np.unique(values, return_index=True)
    return distinct, rank_target(values)[first]
