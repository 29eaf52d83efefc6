"""A linear regressor that learns the order of pairs."""

from __future__ import annotations

import warnings
from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from clapstack._compat import Interval, StrOptions, _fit_context
from clapstack._numerics.checks import check_varies, check_weight, check_y
from clapstack._numerics.lazy_table import read_table
from clapstack._numerics.ranks import folds_by_rank
from clapstack._numerics.rows import matmul
from clapstack.calibration import IncreasingMap
from clapstack.families import check_features
from clapstack.ranking._losses import LOSSES
from clapstack.ranking._solver import LinearProblem


class RankingRegressor(RegressorMixin, BaseEstimator):
    r"""Linear regression that learns which pair is better, then the scale of scores.

    Standardised columns get coefficients that minimise a loss of the order of
    predictions, with a penalty as in :class:`~clapstack.stacking.StandardizedRidge`. An
    increasing map, fitted out of fold, then brings predictions to the scale of `y`. It
    fits into ``ClapStackingRegressor(base_estimators=...)``. Read more in the
    :ref:`User Guide <ranking>`.

    Parameters
    ----------
    loss : {"listnet", "pairwise", "spearman"}, default="listnet"
        "listnet" compares the chances of each pair to be ranked first. "pairwise" is a
        squared hinge: of every two pairs with different scores the better one should be
        ahead by a margin. "spearman" is the squared distance between the ranks of
        scores and soft ranks of predictions.
    alpha : float, default=5
        Penalty per varying column, on coefficients of standardised columns.
    n_folds : int, default=5
        Folds on whose held-out predictions the map is fitted. They share all but the
        last steps with the fit to all pairs.
    shape : {"pieces", "line"}, default="pieces"
        Of the map, see :class:`~clapstack.calibration.IncreasingMap`.
    max_iter : int, default=500
        Most steps of the minimiser.
    tol : float, default=1e-8
        Largest entry of the gradient at the end, over that at zero. About 1e-8 is as
        small as rounding allows.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,)
        Coefficients in the units of `X`, before the map.
    intercept_ : float
        Such that the training pairs have mean 0 before the map.
    map_ : IncreasingMap
        From there to the scale of `y`.
    penalty_ : float
        The whole penalty: `alpha` times the varying columns.
    n_iter_ : int
        Steps of the fit to all pairs.
    n_features_in_ : int
        Number of features seen during :term:`fit`.

    See Also
    --------
    clapstack.calibration.IncreasingMap : The map to the scale of `y`.
    clapstack.stacking.StandardizedRidge : Learns scores or ranks by least squares.

    Notes
    -----
    With :math:`f = Zw` for standardised columns `Z` of `n` pairs and `p` columns, it
    minimises

    .. math:: L(f) + \alpha p \lVert w \rVert^2 .

    "pairwise" takes all pairs of pairs, exactly, in O(n log² n), by sorting as in [1]_;
    "spearman" as well; "listnet" is that of [2]_, top one. "pairwise" and "spearman"
    read only the order of `y`: an increasing transform of it changes the map alone. For
    small coefficients both are ridge regression on ranks. All but "spearman" are
    convex. Nothing is drawn: the minimiser is L-BFGS on all pairs, from zero.

    A weight counts a pair as often as it says. The folds of the map go by the order of
    the predictions, so that equal rows are held out together.

    References
    ----------
    .. [1] C.-P. Lee and C.-J. Lin, "Large-scale linear RankSVM", Neural Computation,
       2014.
    .. [2] Z. Cao et al., "Learning to rank: from pairwise approach to listwise
       approach", ICML, 2007.

    Examples
    --------
    >>> import numpy as np
    >>> from clapstack.ranking import RankingRegressor
    >>> X = np.random.default_rng(0).normal(size=(200, 3))
    >>> y = 5 + X.sum(axis=1)
    >>> bool(RankingRegressor(alpha=1.0).fit(X, y).score(X, y) > 0.99)
    True
    """

    _parameter_constraints: dict = {
        "loss": [StrOptions(set(LOSSES))],
        "alpha": [Interval(Real, 0, None, closed="neither")],
        "n_folds": [Interval(Integral, 2, None, closed="left")],
        "shape": [StrOptions({"line", "pieces"})],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        loss="listnet",
        *,
        alpha=5.0,
        n_folds=5,
        shape="pieces",
        max_iter=500,
        tol=1e-8,
    ):
        self.loss = loss
        self.alpha = alpha
        self.n_folds = n_folds
        self.shape = shape
        self.max_iter = max_iter
        self.tol = tol

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None):
        """Fit the order of all pairs, and the map on held-out predictions.

        Parameters
        ----------
        X : array-like of shape (n_pairs, n_features)
            Features.
        y : array-like of shape (n_pairs,)
            Scores.
        sample_weight : array-like of shape (n_pairs,), default=None
            Weights, zero or more; a weight counts a pair as often as it says.

        Returns
        -------
        self : RankingRegressor
            The fitted regressor.

        Raises
        ------
        ValueError
            If `X` or `y` has NaN or infinity (columns and rows are named), if `y` is
            constant, or if there are fewer pairs of positive weight than folds.

        Warns
        -----
        UserWarning
            If `y` does not rise with the predictions out of fold, so that no increasing
            map exists; predictions are then only moved to the mean of `y`.
        ConvergenceWarning
            If `max_iter` steps were not enough.
        """
        X = check_features(self, X, reset=True)
        y = check_y(self, X, y)
        weight = check_weight(sample_weight, X.shape[0])
        self._check_enough(y, weight)
        check_varies(y, weight)
        if weight is None:
            X, weight = read_table(X, slice(None)), np.ones(len(y))
        else:
            rows = np.flatnonzero(weight)
            X, y, weight = read_table(X, rows), y[rows], weight[rows]
        problem = LinearProblem(X, weight, self.alpha)
        solver = {"max_iter": self.max_iter, "tol": self.tol}
        make_loss = LOSSES[self.loss]
        whole = slice(None)
        turned, self.n_iter_ = problem.solve(make_loss(y, weight), whole, **solver)
        self.penalty_ = problem.penalty
        self.coef_, self.intercept_ = problem.coefficients(turned)
        held_out = np.zeros(len(y))
        for train, test in folds_by_rank(problem.predict(turned), self.n_folds):
            loss = make_loss(y[train], weight[train])
            member, _ = problem.solve(loss, train, start=turned, **solver)
            held_out[test] = problem.predict(member)[test]
        self.map_ = self._fit_map(held_out, y, weight)
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
            Predictions on the scale of `y`, in the order that was learned.
        """
        check_is_fitted(self)
        X = check_features(self, X, reset=False)
        return self.map_.predict(matmul(X, self.coef_) + self.intercept_)

    def _check_enough(self, y, weight):
        n_used = len(y) if weight is None else np.count_nonzero(weight)
        if n_used < self.n_folds:
            counted = "" if weight is None else " of positive sample_weight"
            msg = (
                f"RankingRegressor with n_folds={self.n_folds} needs at least "
                f"{self.n_folds} pairs; X has n_samples={n_used}{counted}. Lower "
                "n_folds or bring more pairs."
            )
            raise ValueError(msg)

    def _fit_map(self, held_out, y, weight):
        fitted = IncreasingMap(self.shape).fit(held_out, y, weight)
        if fitted.exists_:
            return fitted
        msg = (
            "Predictions of RankingRegressor keep their order, but their spread means "
            "nothing: out of fold, y does not rise with them, so no increasing map to "
            "y exists. Check X and y, or raise alpha."
        )
        warnings.warn(msg, stacklevel=4)
        return _moved_to(np.average(y, weights=weight))


def _moved_to(mean):
    """Return the map that adds a number."""
    return IncreasingMap("line").fit([-1.0, 1.0], [mean - 1.0, mean + 1.0])
