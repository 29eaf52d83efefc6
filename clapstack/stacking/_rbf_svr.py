"""Support vector regression on a compression of standardised columns."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.svm import SVR
from sklearn.utils import check_random_state
from sklearn.utils.extmath import randomized_range_finder
from sklearn.utils.validation import check_is_fitted

from clapstack._compat import Interval, _fit_context
from clapstack._numerics.checks import check_weight, check_y
from clapstack._numerics.lazy_table import row_slices
from clapstack._numerics.ranks import rank_target
from clapstack._numerics.rows import StandardizedTable, matmul
from clapstack.families import check_features

# Each pass brings the drawn subspace nearer to that of the leading singular vectors:
# on 2,000 x 5,121 they hold 82, 97 and 99 % of the latter's variance after 0, 1 and 2.
_N_PASSES = 2
# Of the most relevant column's: a column that says nothing has a scale still.
_LEAST_STRETCH = 1e-6
# Kernel values that are held at once when predicting: 64 MB.
_KERNEL_ELEMENTS = 1 << 23


class RbfSvr(RegressorMixin, BaseEstimator):
    r"""Support vector regression with a radial kernel, for wide families of columns.

    Columns are standardised and stretched by how much they say about `y`, and many are
    compressed to the subspace that holds most of their variance, which hardly changes
    distances and makes rows small enough to keep. As a first-level model it bends where
    a ridge cannot. Read more in the :ref:`User Guide <best>`.

    Parameters
    ----------
    C : float, default=3.0
        How much an error costs; smaller is smoother.
    epsilon : float, default=0.5
        Errors up to this many standard deviations of `y` cost nothing.
    gamma : float, default=1.0
        Width of the kernel: see Notes.
    relevance : float, default=2.0
        Columns are stretched by their correlation with the ranks of `y`, to this power
        (see Notes). 0 lets all columns count alike.
    n_components : int or None, default=256
        Columns after compression. None compresses nothing, nor is it done where there
        are no more columns than this.
    random_state : int, RandomState instance or None, default=0
        Draws where the search for the subspace starts.

    Attributes
    ----------
    mean_ : ndarray of shape (n_features,)
        Of the columns.
    scale_ : ndarray of shape (n_features,)
        What the columns are divided by: standard deviations over stretches.
    projection_ : ndarray of shape (n_features, `n_components`), float32, or None
        Orthonormal basis of the subspace, for standardised columns.
    support_rows_ : ndarray of shape (n_support, `n_components`), float32
        Compressed training rows that predictions refer to.
    dual_coef_ : ndarray of shape (n_support,)
        Their coefficients, on the scale of `y`.
    intercept_ : float
        Intercept.
    n_features_in_ : int
        Number of features seen during :term:`fit`.

    See Also
    --------
    StandardizedRidge : The linear model of the first level.
    sklearn.svm.SVR : What solves the problem, here on a kernel that BLAS computes.

    Notes
    -----
    Let column j, standardised, have the correlation :math:`r_j` with the ranks of `y`.
    It is stretched by :math:`w_j = |r_j|^\rho / m`, where :math:`\rho` is `relevance`
    and m makes the mean of :math:`w_j^2` 1 over the p columns that vary. With stretched
    columns x, and :math:`z = Q^\top x` for the projection Q,

    .. math:: k(x, x') = \exp\left(-\frac{\gamma}{p} \lVert z - z' \rVert^2\right)

    so that `gamma` means the same for families of 65 and of 5,121 columns; without
    stretches, ``SVR(gamma="scale")`` is :math:`\gamma = 1`. Without them a column that
    says much, such as a cosine, is drowned by thousands that say little. `C` and
    `epsilon` count in standard deviations of `y`, so that one setting serves scores and
    their ranks; ranks stretch as scores do, so that both share a kernel.

    The kernel of n training rows takes ``8 n²`` bytes: 200 MB at 5,000 rows.

    A weight counts a pair as often as it says, to the tolerance of the solver.

    Examples
    --------
    >>> import numpy as np
    >>> from clapstack.stacking import RbfSvr
    >>> X = np.linspace(-1, 1, 40)[:, np.newaxis]
    >>> svr = RbfSvr(C=100.0, epsilon=0.01).fit(X, X[:, 0] ** 2)
    >>> svr.predict([[0.5], [0.9]]).round(2).tolist()
    [0.25, 0.81]
    """

    _parameter_constraints: dict = {
        "C": [Interval(Real, 0, None, closed="neither")],
        "epsilon": [Interval(Real, 0, None, closed="left")],
        "gamma": [Interval(Real, 0, None, closed="neither")],
        "relevance": [Interval(Real, 0, None, closed="left")],
        "n_components": [Interval(Integral, 1, None, closed="left"), None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        C=3.0,
        *,
        epsilon=0.5,
        gamma=1.0,
        relevance=2.0,
        n_components=256,
        random_state=0,
    ):
        self.C = C
        self.epsilon = epsilon
        self.gamma = gamma
        self.relevance = relevance
        self.n_components = n_components
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None):
        """Fit the regressor.

        Parameters
        ----------
        X : array-like of shape (n_pairs, n_features)
            Features.
        y : array-like of shape (n_pairs,)
            Target.
        sample_weight : array-like of shape (n_pairs,), default=None
            Weights, zero or more; a weight counts a pair as often as it says.

        Returns
        -------
        self : object
            The fitted regressor.
        """
        X = check_features(self, X, reset=True)
        y = check_y(self, X, y)
        weight = check_weight(sample_weight, X.shape[0])
        rows = self._compress(X, rank_target(y, weight), weight)
        self._solve([self], rows, y[:, np.newaxis], weight)
        return self

    def fit_targets(self, X, targets, sample_weight=None):
        """Fit one regressor per target; they share the compression and the kernel.

        Parameters
        ----------
        X : array-like of shape (n_pairs, n_features)
            Features.
        targets : ndarray of shape (n_pairs, n_targets)
            One target a column; all order the pairs as the first does, whose ranks
            stretch the columns.
        sample_weight : array-like of shape (n_pairs,), default=None
            Weights.

        Returns
        -------
        fitted : list of RbfSvr
            Clones, each as :meth:`fit` leaves it, except that its `support_rows_` are
            those of any of them.
        """
        self._validate_params()
        first = clone(self)
        X = check_features(first, X, reset=True)
        weight = check_weight(sample_weight, X.shape[0])
        columns = [check_y(first, X, target) for target in np.transpose(targets)]
        rows = first._compress(X, rank_target(columns[0], weight), weight)
        fitted = [first, *(clone(self)._share(first) for _ in columns[1:])]
        self._solve(fitted, rows, np.column_stack(columns), weight)
        return fitted

    def predict(self, X):
        """Predict the target.

        Parameters
        ----------
        X : array-like of shape (n_pairs, n_features)
            Features, with the columns of `fit`.

        Returns
        -------
        y_score : ndarray of shape (n_pairs,), dtype float64
            Predicted target.
        """
        check_is_fitted(self)
        X = check_features(self, X, reset=False)
        rows = self._project(X)
        out = np.empty(len(rows))
        held = max(1, _KERNEL_ELEMENTS // max(1, len(self.support_rows_)))
        for cut in row_slices(len(rows), held):
            kernel = radial_kernel(rows[cut], self.support_rows_, self._width, matmul)
            out[cut] = matmul(kernel, self.dual_coef_)
        return out + self.intercept_

    def _compress(self, X, rank, weight):
        """Find the subspace; return the rows in it, rounded as they are kept."""
        used = weight is not None
        rows = np.flatnonzero(weight) if used else None
        table = StandardizedTable(X, rows=rows, weight=weight[rows] if used else None)
        if self.relevance > 0:
            self._stretch(table, rank if rows is None else rank[rows])
        self.mean_, self.scale_ = table.mean, table.scale
        self._width = self.gamma / max(1, table.varying.sum())
        self.projection_ = None
        if self.n_components is not None and self.n_components < X.shape[1]:
            size = min(self.n_components, table.shape[0])
            self.projection_ = leading_subspace(table, size, self.random_state)
        return self._project(X).astype(np.float32)

    def _stretch(self, table, rank):
        """Stretch the columns of a table by their correlation with the ranks of y."""
        rank = rank - np.average(rank, weights=table.weight)
        cross = table.transposed_times((np.sqrt(table.weight) * rank)[:, np.newaxis])
        found = np.abs(cross[:, 0])
        if not found.any():
            return
        stretch = np.maximum(found / found.max(), _LEAST_STRETCH) ** self.relevance
        stretch /= np.sqrt(np.mean(stretch[table.varying] ** 2))
        table.scale = table.scale / stretch

    def _share(self, other):
        """Take the compression of another regressor."""
        for name in ("n_features_in_", "mean_", "scale_", "projection_", "_width"):
            setattr(self, name, getattr(other, name))
        return self

    def _project(self, X):
        """Return rows of the subspace, float64."""
        if self.projection_ is None:
            return (X - self.mean_) / self.scale_
        projection = self.projection_ / self.scale_[:, np.newaxis]
        return matmul(X, projection) - self.mean_ @ projection

    def _solve(self, regressors, rows, targets, weight):
        """Fit regressors of one compression, a column of targets each."""
        if weight is not None:
            used = np.flatnonzero(weight)
            rows, targets, weight = rows[used], targets[used], weight[used]
        kernel = radial_kernel(rows, rows, regressors[0]._width)
        coef = np.zeros_like(targets)
        for number, regressor in enumerate(regressors):
            # Contiguous, so that no bit depends on the other targets.
            target = np.ascontiguousarray(targets[:, number])
            mean = np.average(target, weights=weight)
            spread = np.sqrt(np.average((target - mean) ** 2, weights=weight)) or 1.0
            solver = SVR(kernel="precomputed", C=self.C, epsilon=self.epsilon)
            solver.fit(kernel, (target - mean) / spread, sample_weight=weight)
            coef[solver.support_, number] = solver.dual_coef_[0] * spread
            regressor.intercept_ = float(solver.intercept_[0] * spread + mean)
        support = np.any(coef != 0, axis=1)
        kept = rows[support]
        for regressor, own in zip(regressors, coef[support].T, strict=True):
            regressor.support_rows_ = kept
            regressor.dual_coef_ = np.ascontiguousarray(own)


def radial_kernel(first, second, width, product=np.matmul):
    """Return ``exp(-width * |first - second|²)`` of all rows, float64.

    It is :func:`sklearn.metrics.pairwise.rbf_kernel`, whose BLAS product has bits that
    depend on the number of rows: a prediction would depend on its neighbours. With
    `product` at :func:`matmul` it does not.
    """
    # Row by row in memory: sums over the columns of a table that is held by column
    # are added up in another order than those of one row.
    first, second = (
        np.asarray(rows, dtype=np.float64, order="C") for rows in (first, second)
    )
    kernel = 2.0 * product(first, second.T)
    kernel -= np.einsum("ij,ij->i", first, first)[:, np.newaxis]
    kernel -= np.einsum("ij,ij->i", second, second)
    # Rounding leaves squared distances next to zero on either side of it.
    np.minimum(kernel, 0.0, out=kernel)
    return np.exp(width * kernel)


def leading_subspace(table, size, random_state):
    """Return an orthonormal basis, (n_columns, size), of most of a table's variance.

    Distances do not depend on which basis of the subspace it is.
    """
    root = np.sqrt(table.weight)[:, np.newaxis]
    rows = (table.X[table.rows] - table.mean) / table.scale * root
    return randomized_range_finder(
        rows.astype(np.float32).T,
        size=size,
        n_iter=_N_PASSES,
        power_iteration_normalizer="QR",
        random_state=check_random_state(random_state),
    )
