"""Scores learned from pairwise preferences: a Bradley-Terry model on features."""

from __future__ import annotations

import warnings
from numbers import Real

import numpy as np
import pandas as pd
from scipy.linalg import eigh
from scipy.optimize import minimize
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.special import expit, log_expit
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from clapstack._compat import Interval, _fit_context
from clapstack._numerics.checks import (
    as_numbers,
    check_preferences,
    check_varies,
    check_y,
)
from clapstack._numerics.lazy_table import read_table
from clapstack._numerics.rows import StandardizedTable, matmul
from clapstack.families import check_features, pair_blocks
from clapstack.stacking._checks import check_groups
from clapstack.stacking._folds import make_splits
from clapstack.stacking.ridge import check_alphas

_MOST_ITERATIONS = 2000
# Number of rows with which each row is compared, on either side, if preferences are
# derived from ratings: all pairs of 7,500 rows would be 28 million.
_MOST_COMPARED = 15


class PreferenceRegressor(RegressorMixin, BaseEstimator):
    r"""Learn a score from preferences, by a penalised Bradley-Terry model.

    The score of a row is linear in its features, and the difference of two scores
    determines the probability that one row is preferred to the other. Read more in the
    :ref:`User Guide <preferences>`.

    Parameters
    ----------
    alphas : float or sequence of float, default=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30)
        Penalty: the inverse of the expected variance of scores, in log-odds. If several
        are given, the one with the lowest out-of-fold log loss is used.
    cv : int, splitter or iterable, default=5
        Splits of the rows. A preference is used for training if both rows are in the
        training part, and for evaluation if both are in the test part. An int keeps
        `groups` together or, without groups, rows linked by preferences.
    random_state : int, RandomState instance or None, default=0
        Shuffles the folds, and draws comparisons if there are only ratings.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,)
        Coefficients in the units of `X`, unscaled.
    intercept_ : float
        Intercept.
    alpha_ : float
        The selected penalty.
    log_losses_ : ndarray of shape (n_alphas,)
        Mean out-of-fold log loss of a preference, for each penalty in decreasing order;
        log 2 (0.693) is chance. NaN if no preference has both rows in one test part.
    oof_scores_ : ndarray of shape (n_rows,)
        Out-of-fold scores of the training rows, on the scale of :meth:`predict`: from
        models that did not use any preference involving the row.
    slope_ : float
        Units of the prediction per unit of log-odds; 1 without ratings.
    n_features_in_ : int
        Number of features seen during :term:`fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, if `X` has column names.

    See Also
    --------
    clapstack.pairs.read_preferences : Reads `X` and preferences from a table.
    clapstack.metrics.pair_accuracy : Evaluates scores with preferences.
    clapstack.ClapStackingRegressor : Learns from ratings.

    Notes
    -----
    With u the score of a row in log-odds and s the share of votes for i over j (0.5 for
    a tie) [1]_,

    .. math:: P(i \succ j) = 1 / (1 + e^{-(u_i - u_j)}), \qquad u = w^\top z,

    .. math:: \min_w\ -\sum_{(i, j)} \bigl[s \log P(i \succ j)
        + (1 - s) \log P(j \succ i)\bigr] + \frac{\alpha B}{2} \lVert w \rVert^2 .

    The columns z are standardised, and those of each of B blocks (``audio``, ``text``,
    ``product``, ``absdiff``, ``sqdiff`` and ``cosine`` of each family) are divided by
    the square root of their number, so that a cosine counts as much as 512 products.
    Differences need no intercept. The n rows of p columns are first rotated to
    k = min(n, p) coordinates, which preserves distances. Time grows with k³ and memory
    with n k. Unlike logistic regression on differences, no table of differences is
    needed.

    References
    ----------
    .. [1] R. A. Bradley and M. E. Terry, "Rank analysis of incomplete block designs:
       I. The method of paired comparisons", Biometrika 39(3/4), 1952.
       https://doi.org/10.2307/2334029

    Examples
    --------
    >>> import numpy as np
    >>> from clapstack.stacking import PreferenceRegressor
    >>> X = np.arange(20.0)[:, np.newaxis]
    >>> better_first = [(i + 1, i) for i in range(19)]
    >>> model = PreferenceRegressor().fit(X, preferences=better_first)
    >>> low, high = model.predict([[3.0], [8.0]])
    >>> bool(low < high)
    True
    """

    _parameter_constraints: dict = {
        "alphas": [Interval(Real, 0, None, closed="neither"), "array-like"],
        "cv": ["cv_object"],
        "random_state": ["random_state"],
    }
    # Under metadata routing, silently dropping either would change what is learned.
    __metadata_request__fit = {"groups": True, "preferences": True}

    def __init__(
        self, alphas=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30), *, cv=5, random_state=0
    ):
        self.alphas = alphas
        self.cv = cv
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, *, preferences=None, groups=None):
        """Fit the score to preferences, to the order of ratings, or to both.

        Parameters
        ----------
        X : array-like or StreamedFeatures of shape (n_rows, n_features)
            Features of the compared items, one row each.
        y : array-like of shape (n_rows,), default=None
            Ratings. With `preferences` they only set the scale: unrated rows are NaN,
            and two different ratings are enough. Without `preferences`, the order of
            the ratings within `groups` is learned.
        preferences : array-like of shape (n_preferences, 2 or 3), default=None
            Row numbers of the better and the worse item; or two row numbers and the
            share of votes for the first, in [0, 1], 0.5 for a tie.
        groups : array-like of shape (n_rows,), default=None
            Group labels, such as prompts; a group is never split between training and
            test parts.

        Returns
        -------
        self : object
            The fitted regressor.

        Raises
        ------
        ValueError
            If there are neither ratings nor preferences, `preferences` contains an
            invalid row number, all preferences are ties, ratings decrease with the
            scores, or no penalty can be selected with `cv`.

        Warns
        -----
        UserWarning
            If ratings do not rise with the out-of-fold scores, so that the scale comes
            from scores on the training rows.
        """
        X = check_features(self, X, reset=True)
        groups = check_groups(X, groups)
        within = None
        if preferences is None:
            y = check_y(self, X, y)
            preferences = self._compare_ratings(y, groups)
            check_varies(y, None)
            within = groups
        elif y is not None:
            y = as_numbers(y, f"y passed to {type(self).__name__}")
        taken = check_preferences(preferences, X.shape[0])
        if np.all(taken[2] == 0.5):
            msg = (
                "all preferences are ties, so there is nothing to learn. Pass some "
                "preferences with a winner."
            )
            raise ValueError(msg)
        rows, to_coef, n_blocks = self._coordinates(X)
        alphas = check_alphas(self.alphas)
        splits = make_splits(
            self.cv,
            X,
            np.zeros(X.shape[0]),
            _linked(taken, X.shape[0], self.cv) if groups is None else groups,
            self.random_state,
        )
        held_out = np.empty((len(alphas), X.shape[0]))
        losses = np.zeros(len(alphas))
        n_judged = 0
        for _, test in splits:
            inside = np.zeros(X.shape[0], int)
            inside[test] = 1
            n_inside = inside[taken[0]] + inside[taken[1]]
            learned = [part[n_inside == 0] for part in taken]
            judged = [part[n_inside == 2] for part in taken]
            for number, weights in enumerate(_path(rows, learned, alphas, n_blocks)):
                held_out[number, test] = rows[test] @ weights
                losses[number] += _log_loss(held_out[number], judged)
            n_judged += len(judged[0])
        if n_judged == 0 and len(alphas) > 1:
            msg = (
                "no preference has both rows in one test part, so no penalty can be "
                "selected. Pass a single alpha, or a cv that keeps compared rows "
                "together."
            )
            raise ValueError(msg)
        self.log_losses_ = losses / n_judged if n_judged else np.full(1, np.nan)
        best = int(np.argmin(losses))
        self.alpha_ = float(alphas[best])
        *_, weights = _path(rows, taken, alphas[: best + 1], n_blocks)
        offset, self.slope_ = 0.0, 1.0
        if y is not None:
            scores = held_out[best], rows @ weights
            offset, self.slope_ = _line(*scores, y, within)
        self.oof_scores_ = offset + self.slope_ * held_out[best]
        coef, shift = to_coef(weights)
        self.coef_ = self.slope_ * coef
        self.intercept_ = float(offset - self.slope_ * shift)
        return self

    def predict(self, X):
        """Predict scores.

        Parameters
        ----------
        X : array-like or StreamedFeatures of shape (n_rows, n_features)
            Features, with the columns of `fit`.

        Returns
        -------
        y_score : ndarray of shape (n_rows,), dtype float64
            On the scale of the ratings, if `fit` had any. Otherwise log-odds, with mean
            zero over the training rows: a row is preferred to one scored d lower with
            probability ``1 / (1 + exp(-d))``.
        """
        check_is_fitted(self)
        X = check_features(self, X, reset=False)
        return matmul(X, self.coef_) + self.intercept_

    def _compare_ratings(self, y, groups):
        """Return the preferences implied by ratings within groups."""
        random = check_random_state(self.random_state)
        groups = np.zeros(len(y)) if groups is None else groups
        found = []
        for group in np.unique(groups):
            rows = random.permutation(np.flatnonzero(groups == group))
            if len(rows) <= 2 * _MOST_COMPARED + 1:
                first, second = np.triu_indices(len(rows), 1)
                found.append((rows[first], rows[second]))
                continue
            for shift in range(1, _MOST_COMPARED + 1):
                found.append((rows, np.roll(rows, shift)))
        first, second = np.concatenate(found, axis=1)
        if len(first) == 0:
            msg = (
                "no two ratings can be compared, because every row has its own group; "
                f"n_samples={len(y)}. Pass more rows, or larger groups."
            )
            raise ValueError(msg)
        return np.column_stack([first, second, (1 + np.sign(y[first] - y[second])) / 2])

    def _coordinates(self, X):
        """Return rotated rows, a map from weights to coefficients, and n_blocks."""
        table = StandardizedTable(X)
        names = getattr(self, "feature_names_in_", None)
        n_blocks = 0
        for columns in pair_blocks(names, X.shape[1]).values():
            n_varying = int(table.varying[columns].sum())
            table.scale[columns] *= np.sqrt(max(1, n_varying))
            n_blocks += n_varying > 0
        if n_blocks == 0:
            msg = (
                f"all {X.shape[1]} columns of X are constant over {X.shape[0]} rows, "
                "so there is nothing to learn. Check how the features were computed."
            )
            raise ValueError(msg)
        if X.shape[1] <= X.shape[0]:
            rows = (read_table(X, slice(None)) - table.mean) / table.scale
            rows[:, ~table.varying] = 0.0

            def to_coef(weights):
                coef = np.where(table.varying, weights, 0.0) / table.scale
                return coef, table.mean @ coef

        else:
            values, vectors = eigh(table.kernel())
            kept = values > values[-1] * len(values) * np.finfo(float).eps
            root, vectors = np.sqrt(values[kept]), vectors[:, kept]
            rows = vectors * root

            def to_coef(weights):
                dual = vectors @ (weights / root)
                coef = table.transposed_times(dual[:, np.newaxis])[:, 0] / table.scale
                return coef, table.mean @ coef

        return rows, to_coef, n_blocks


def _linked(preferences, n_rows, cv):
    """Return groups of rows linked by preferences, or None if they link most rows."""
    first, second, _ = preferences
    graph = coo_array((np.ones(len(first)), (first, second)), shape=(n_rows, n_rows))
    _, groups = connected_components(graph, directed=False)
    sizes = np.bincount(groups)
    few = isinstance(cv, int | np.integer) and np.count_nonzero(sizes > 1) < cv
    return None if few or sizes.max() > n_rows / 2 else groups


def _path(rows, preferences, alphas, n_blocks):
    """Yield the best weights for each of several decreasing penalties."""
    first, second, share = preferences
    weights = np.zeros(rows.shape[1])

    def loss(weights, penalty):
        score = rows @ weights
        apart = score[first] - score[second]
        slope = expit(apart) - share
        by_row = np.bincount(first, slope, len(rows))
        by_row -= np.bincount(second, slope, len(rows))
        value = _log_loss(score, preferences) + penalty / 2 * weights @ weights
        return value, rows.T @ by_row + penalty * weights

    for alpha in alphas:
        found = minimize(
            loss,
            weights,
            args=(alpha * n_blocks,),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": _MOST_ITERATIONS, "ftol": 1e-14, "gtol": 1e-7},
        )
        if found.status == 1:
            msg = (
                f"scores for alpha={alpha:g} did not converge in {_MOST_ITERATIONS} "
                "iterations. Leave out the smallest alphas."
            )
            warnings.warn(msg, ConvergenceWarning, stacklevel=4)
        weights = found.x
        yield weights


def _log_loss(score, preferences):
    """Return the sum of the log losses of preferences."""
    first, second, share = preferences
    apart = score[first] - score[second]
    return -np.sum(share * log_expit(apart) + (1 - share) * log_expit(-apart))


def _line(held_out, fitted, y, groups):
    """Return intercept and slope from scores to ratings, which may be NaN.

    With `groups`, the slope is that within groups, where the order was learned.
    """
    if y.shape != held_out.shape:
        msg = f"y must have shape {held_out.shape}, one rating per row; got {y.shape}."
        raise ValueError(msg)
    if np.isinf(y).any():
        msg = "y has infinite ratings. Use NaN where a row has no rating."
        raise ValueError(msg)
    rated = ~np.isnan(y)
    ratings = y[rated]
    if np.unique(ratings).size < 2:
        msg = (
            "the scale needs at least two different ratings; y has "
            f"{np.unique(ratings).size}. Pass more ratings, or omit y to get scores in "
            "log-odds."
        )
        raise ValueError(msg)
    groups = np.zeros(len(ratings)) if groups is None else groups[rated]
    for where, scores in (("out of fold", held_out), ("in the fit", fitted)):
        scores = scores[rated]
        apart = pd.DataFrame({"score": scores, "rating": ratings})
        apart -= apart.groupby(groups).transform("mean")
        spread = np.sum(apart["score"] ** 2)
        slope = np.sum(apart["score"] * apart["rating"]) / spread if spread else 0.0
        if slope > 0 and where == "in the fit":
            msg = (
                f"the {len(ratings)} ratings do not rise with the out-of-fold scores, "
                "so the scale is estimated from scores on the training rows and "
                "uncertain. Pass more ratings or preferences."
            )
            warnings.warn(msg, UserWarning, stacklevel=4)
        if slope > 0:
            return float(ratings.mean() - slope * scores.mean()), float(slope)
    msg = (
        f"the {len(ratings)} ratings decrease as the scores rise: they contradict the "
        "preferences. Check which row of each preference is marked as better."
    )
    raise ValueError(msg)
