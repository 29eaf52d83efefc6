r"""One Gaussian process over the blocks of all feature families.

Model. Column j of block b, standardised, is divided by the square root of how many
columns of the block vary: x_b, of mean square 1. With w_b, v_b, s, σ² > 0,

    y_i = f(x_i) + e_i,   e_i ~ N(0, σ² / weight_i),   f ~ GP(0, k),
    k(x, x') = s exp(-Σ_b w_b |x_b - x'_b|²) + Σ_b v_b x_b·x'_b.           (1)

Weights of the blocks. The logarithms of w_b, v_b, s and of the noise have a normal
prior, u ~ N(0, I) in the coordinates of `_kernel_weights.Prior`, in which cosines
outweigh other blocks and blocks of one kind or family share a factor. Over some rows,
with K the kernel, P = (K + Σ)^-1, Σ = diag(σ² / weight) and α = P y, u minimises

    (y·α - log det P + |u|²) / 2                                           (2)

(marginal likelihood, [1, ch. 5]). With G = (P - α αᵀ) / 2, its derivative by log v_b is
v_b <G, X_b X_bᵀ>, and that by log w_b is -w_b <G ∘ R, D_b> for the radial part R and
the squared distances D_b, which X_b X_bᵀ holds too: these products are computed once.

Fewer columns. Let the orthonormal Q nearly span the leading singular vectors of some
rows √w x. Then z = Qᵀ(√w x) are a row's coordinates, and q = |√w x|² - |z|² is what
they leave out, nearly orthogonal to what they leave out of another row. So, and
likewise for √v x,

    |√w x - √w x'|² ≈ |z - z'|² + q + q'   for x ≠ x'.                     (3)

All rows. If there are few, the posterior of (1) is exact [1, ch. 2]. Otherwise there
are inducing rows m; with L Lᵀ = K_mm, A = L^-1 K_mn, B = I + A Λ^-1 Aᵀ and
Λ_i = σ² / weight_i + k(x_i, x_i) - |A_i|² (FITC [2, 3]),

    E f(x) = k_m(x)·L^-T B^-1 A Λ^-1 y,
    var f(x) = k(x, x) - |a|² + |M^-1 a|²,   a = L^-1 k_m(x),   M Mᵀ = B,  (4)

in n m² time and m² memory.

Why not scikit-learn's GaussianProcessRegressor: the derivative of K by each of θ
hyperparameters is one array of n × n × θ float64, 340 MB for 900 rows of 25 blocks
against 40 MB here, and it has neither weighted blocks nor inducing rows. GPyTorch has
both, but needs torch, which the second stage does without.

[1] C. E. Rasmussen and C. K. I. Williams, Gaussian Processes for Machine Learning,
    MIT Press, 2006.
[2] E. Snelson and Z. Ghahramani, "Sparse Gaussian processes using pseudo-inputs",
    NIPS, 2005.
[3] J. Quiñonero-Candela and C. E. Rasmussen, "A unifying view of sparse approximate
    Gaussian process regression", JMLR 6, 2005.
"""

from __future__ import annotations

from hashlib import blake2b
from numbers import Integral
from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.utils import check_random_state
from sklearn.utils.extmath import randomized_range_finder
from sklearn.utils.validation import check_is_fitted

from clapstack._compat import Interval, _fit_context
from clapstack._numerics.checks import check_weight, check_y
from clapstack._numerics.lazy_table import read_table, row_slices
from clapstack._numerics.rows import StandardizedTable, matmul
from clapstack.families import check_features, pair_blocks
from clapstack.stacking._kernel_weights import Prior, learn_weights, lower_triangle
from clapstack.stacking._rbf_svr import radial_kernel

# Rows of the table in float64, and of the kernel, that are held at once: 32 MB.
_ELEMENTS = 1 << 22
# Rows whose leading directions the coordinates keep: those of 900 rows keep too much of
# what is peculiar to them.
_SPANNING = 2048
# A linear part of more coordinates predicted no better on two sets of human scores; a
# radial part of 512 did worse than one of 1,024, which did as well as all columns.
_LINEAR_COMPONENTS = 256
# Added to the diagonal of the inducing rows, as a part of its mean.
_JITTER = 1e-6
# What the regressors of several targets share.
_SHARED = (
    "blocks_",
    "mean_",
    "amplitude_",
    "noise_",
    "radial_weights_",
    "linear_weights_",
    "_radial",
    "_linear",
    "_inducing",
    "_noise",
    "_posterior",
)


class _Rows(NamedTuple):
    """Coordinates of rows, see equation 3 of this module.

    Attributes
    ----------
    radial, linear : ndarray of shape (n_rows, n_components), float32
        Leading coordinates of the rows with their columns weighted.
    radial_rest, linear_rest : ndarray of shape (n_rows,)
        Squared lengths of what these coordinates leave out.
    """

    radial: np.ndarray
    radial_rest: np.ndarray
    linear: np.ndarray
    linear_rest: np.ndarray

    def take(self, rows):
        """Return some of the rows."""
        return _Rows(*(part[rows] for part in self))


class KernelRegressor(RegressorMixin, BaseEstimator):
    r"""Gaussian process over the blocks of all feature families.

    One model for all columns: it learns which family, and which block of its pair
    features, says how much, and bends where a ridge cannot. Before any pairs it trusts
    the cosines most, so that few pairs suffice. Predictions have a standard deviation,
    which grows away from the training pairs. Read more in the
    :ref:`User Guide <kernel>`.

    Parameters
    ----------
    n_tuning : int, default=900
        Pairs, drawn at random, that the weights of the blocks are learned from.
    n_inducing : int, default=5000
        Pairs, drawn at random, that predictions refer to. With no more pairs than this
        the process is exact.
    n_components : int, default=1024
        Coordinates of a pair in the radial part of the kernel; the linear part has 256
        at most.
    blocks : dict of str to array-like of int, default=None
        Columns of each block, by ``<family>__<block>``; columns in none are not used.
        None reads the blocks from the column names; an array without names is one
        block.
    random_state : int, RandomState instance or None, default=0
        Draws the pairs.

    Attributes
    ----------
    blocks_ : dict of str to ndarray of int
        Columns of each block.
    radial_weights_, linear_weights_ : dict of str to float
        Weights of each block in the radial and in the linear part.
    amplitude_ : float
        Variance of the radial part, over that of the target.
    noise_ : float
        Variance of the noise, over that of the target.
    mean_ : ndarray of shape (n_features,)
        Of the columns.
    dual_coef_ : ndarray of shape (n_inducing,)
        Coefficients of the pairs that predictions refer to, on the scale of `y`.
    coef_ : ndarray of shape (n_features,)
        Coefficients of the columns in the linear part, in the units of `X`.
    intercept_ : float
        Mean of `y`.
    n_features_in_ : int
        Number of features seen during :term:`fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, where `X` has names.

    See Also
    --------
    StandardizedRidge : The linear model of one family.
    sklearn.gaussian_process.GaussianProcessRegressor : Exact, for few columns.

    Notes
    -----
    Column j of block b, standardised, is divided by the square root of how many columns
    of the block vary. With the rows :math:`x_b` of block b,

    .. math::
        k(x, x') = s \exp\Bigl(-\sum_b w_b \lVert x_b - x'_b \rVert^2\Bigr)
                   + \sum_b v_b\, x_b^\top x'_b .

    The weights w and v, s and the variance of the noise have a log-normal prior in
    which the cosines outweigh the other blocks, and blocks of one kind or of one family
    share a factor. A weight divides the noise of its pair. Pairs of equal features are
    one pair, with the weighted mean of their targets.

    A block of the pair feature is ``audio``, ``text``, ``product``, ``absdiff`` or
    ``cosine``, numbered or not, after ``<family>__``; the other columns of a family are
    one block.

    The weights maximise the marginal likelihood [1]_ of `n_tuning` pairs times that
    prior. With m inducing pairs, of n in all, a fit takes ``n m²`` multiplications and
    ``16 m²`` bytes beside the table: the fully independent training conditional [2]_.

    References
    ----------
    .. [1] C. E. Rasmussen and C. K. I. Williams, "Gaussian Processes for Machine
       Learning", MIT Press, 2006, chapters 2 and 5.
    .. [2] E. Snelson and Z. Ghahramani, "Sparse Gaussian processes using
       pseudo-inputs", NIPS, 2005.

    Examples
    --------
    >>> import numpy as np
    >>> from clapstack.stacking import KernelRegressor
    >>> X = np.linspace(-1, 1, 40)[:, np.newaxis]
    >>> kernel = KernelRegressor().fit(X, X[:, 0] ** 2)
    >>> kernel.predict([[0.5], [0.9]]).round(1).tolist()
    [0.2, 0.8]
    """

    _parameter_constraints: dict = {
        "n_tuning": [Interval(Integral, 2, None, closed="left")],
        "n_inducing": [Interval(Integral, 1, None, closed="left")],
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "blocks": [dict, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        *,
        n_tuning=900,
        n_inducing=5000,
        n_components=1024,
        blocks=None,
        random_state=0,
    ):
        self.n_tuning = n_tuning
        self.n_inducing = n_inducing
        self.n_components = n_components
        self.blocks = blocks
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None):
        """Learn the weights of the blocks and fit the process.

        Parameters
        ----------
        X : array-like or StreamedFeatures of shape (n_pairs, n_features)
            Features.
        y : array-like of shape (n_pairs,)
            Target.
        sample_weight : array-like of shape (n_pairs,), default=None
            Weights, zero or more; a weight counts a pair as often as it says.

        Returns
        -------
        self : object
            The fitted regressor.

        Raises
        ------
        ValueError
            If `X` or `y` has NaN or infinity, or a block has columns that `X` has not
            or that another block has.
        """
        X = check_features(self, X, reset=True)
        y = check_y(self, X, y)
        weight = check_weight(sample_weight, X.shape[0])
        self._fit([self], X, y[:, np.newaxis], weight)
        return self

    def fit_targets(self, X, targets, sample_weight=None):
        """Fit one regressor per target; they share all but the coefficients.

        Parameters
        ----------
        X : array-like or StreamedFeatures of shape (n_pairs, n_features)
            Features.
        targets : ndarray of shape (n_pairs, n_targets)
            One target a column. The weights of the blocks are learned from the first.
        sample_weight : array-like of shape (n_pairs,), default=None
            Weights.

        Returns
        -------
        fitted : list of KernelRegressor
            Clones; the first is as :meth:`fit` leaves it.
        """
        self._validate_params()
        fitted = [clone(self) for _ in np.transpose(targets)]
        for regressor in fitted:
            table = check_features(regressor, X, reset=True)
        weight = check_weight(sample_weight, table.shape[0])
        columns = [check_y(self, table, target) for target in np.transpose(targets)]
        fitted[0]._fit(fitted, table, np.column_stack(columns), weight)
        return fitted

    def predict(self, X, return_std=False):
        """Predict the target.

        Parameters
        ----------
        X : array-like or StreamedFeatures of shape (n_pairs, n_features)
            Features, with the columns of `fit`.
        return_std : bool, default=False
            Whether to return standard deviations too.

        Returns
        -------
        y_score : ndarray of shape (n_pairs,), dtype float64
            Predicted target.
        y_std : ndarray of shape (n_pairs,), dtype float64
            Standard deviation of a target of weight 1 around its prediction, noise
            included. Only if `return_std`.
        """
        check_is_fitted(self)
        X = check_features(self, X, reset=False)
        mean = self._means([self], X)[:, 0]
        return (mean, self._deviation(X)) if return_std else mean

    def predict_targets(self, fitted, X):
        """Predict several targets at once, at little more than the cost of one.

        Parameters
        ----------
        fitted : list of KernelRegressor
            What one call of :meth:`fit_targets` returned.
        X : array-like or StreamedFeatures of shape (n_pairs, n_features)
            Features.

        Returns
        -------
        predictions : ndarray of shape (n_pairs, n_targets), dtype float64
            A column per regressor.
        """
        check_is_fitted(self)
        return self._means(fitted, check_features(self, X, reset=False))

    def _means(self, fitted, X):
        """Return predictions of regressors that share all but the coefficients."""
        inducing = _Rows(*self._inducing)
        dual = np.column_stack([one.dual_coef_ for one in fitted])
        coef = np.column_stack([one.coef_ for one in fitted])
        out = np.empty((X.shape[0], len(fitted)))
        for cut in row_slices(X.shape[0], self._step(len(dual))):
            shifted = read_table(X, cut) - self.mean_
            leading, rest = _along(shifted, self._radial)
            radial = self._radial_covariance(leading, rest, inducing)
            out[cut] = matmul(radial, dual) + matmul(shifted, coef)
        return out + [one.intercept_ for one in fitted]

    def _deviation(self, X):
        """Return the standard deviation of a score of weight 1 at every row."""
        less, more = self._variance_factors()
        inducing = _Rows(*self._inducing)
        variance = np.empty(X.shape[0])
        for cut in row_slices(X.shape[0], self._step(len(less))):
            rows = self._coordinates(X, cut)
            covariance = self._covariance(rows, inducing)
            known = solve_triangular(less, covariance.T, lower=True)
            variance[cut] = self._variance(rows) - np.sum(known**2, axis=0)
            if more is not None:
                known = solve_triangular(more, known, lower=True)
                variance[cut] += np.sum(known**2, axis=0)
        return np.sqrt(np.maximum(variance, 0.0) + self.noise_) * self._spread

    def _fit(self, fitted, X, targets, weight):
        """Fit regressors, of which this is one, to a column of targets each."""
        rows, targets, weight = _distinct_rows(X, targets, weight)
        intercepts = np.average(targets, axis=0, weights=weight)
        targets = targets - intercepts
        spreads = np.sqrt(np.average(targets**2, axis=0, weights=weight))
        random = check_random_state(self.random_state)
        drawn = random.permutation(len(rows))
        targets = targets / np.where(spreads > 0, spreads, 1.0)
        self._learn(X, rows, targets, weight, drawn, random)
        coefs = self._solve(X, rows, np.sort(drawn[: self.n_inducing]), targets, weight)
        shared = {name: vars(self)[name] for name in _SHARED}
        each = zip(fitted, (coefs * spreads).T, intercepts, spreads, strict=True)
        for regressor, coef, intercept, spread in each:
            vars(regressor).update(shared)
            # Contiguous, so that no bit depends on the other targets.
            regressor.dual_coef_ = np.ascontiguousarray(coef)
            basis, _ = self._linear
            regressor.coef_ = basis @ (self._inducing[2].T @ coef)
            regressor.intercept_ = float(intercept)
            regressor._spread = float(spread)

    def _learn(self, X, rows, targets, weight, drawn, random):
        """Learn the weights of the blocks, and the coordinates that they make."""
        names = getattr(self, "feature_names_in_", None)
        self.blocks_ = _check_blocks(self.blocks, names, X.shape[1])
        table = StandardizedTable(X, rows=rows, weight=weight)
        self.mean_ = table.mean
        scale = np.zeros(X.shape[1])
        for columns in self.blocks_.values():
            varying = columns[table.varying[columns]]
            scale[varying] = 1 / (table.scale[varying] * np.sqrt(len(varying)))
        taken = np.empty(
            (min(len(rows), max(_SPANNING, self.n_tuning)), X.shape[1]), np.float32
        )
        for cut in row_slices(len(taken), self._step()):
            taken[cut] = (read_table(X, rows[drawn[cut]]) - self.mean_) * scale
        tuning = drawn[: self.n_tuning]
        blocks = [taken[: len(tuning), columns] for columns in self.blocks_.values()]
        grams = np.stack([lower_triangle(block @ block.T) for block in blocks])
        target = targets[tuning, 0]
        weights = learn_weights(
            grams, target, weight[tuning], Prior(list(self.blocks_))
        )
        self.amplitude_, self.noise_ = float(weights.amplitude), float(weights.noise)
        self.radial_weights_ = dict(
            zip(self.blocks_, weights.radial.tolist(), strict=True)
        )
        self.linear_weights_ = dict(
            zip(self.blocks_, weights.linear.tolist(), strict=True)
        )
        self._radial = self._axes(
            taken, self.radial_weights_, scale, self.n_components, random
        )
        size = min(self.n_components, _LINEAR_COMPONENTS)
        self._linear = self._axes(taken, self.linear_weights_, scale, size, random)

    def _axes(self, taken, weights, scale, size, random):
        """Return what brings columns to coordinates: a basis, and their weights."""
        root = np.zeros(taken.shape[1], np.float32)
        for label, weight in weights.items():
            root[self.blocks_[label]] = np.sqrt(weight)
        basis = randomized_range_finder(
            (taken * root).T,
            size=min(size, *taken.shape),
            n_iter=1,
            power_iteration_normalizer="none",
            random_state=random,
        )
        weight = root * scale
        return (basis * weight[:, np.newaxis]).astype(np.float32), weight

    def _solve(self, X, rows, inducing, targets, weight):
        """Return the coefficients of the inducing rows, a column per target."""
        parts = [
            self._coordinates(X, rows[cut], _single_product)
            for cut in row_slices(len(rows), self._step())
        ]
        every = _Rows(*map(np.concatenate, zip(*parts, strict=True)))
        # A plain tuple, which a model file can hold.
        self._inducing = tuple(every.take(inducing))
        if len(inducing) == len(rows):
            return self._solve_exactly(targets, weight)
        return self._solve_inducing(every, targets, weight)

    def _solve_exactly(self, targets, weight):
        """Return the coefficients of all rows, a column per target."""
        left_out = self._left_out(_Rows(*self._inducing))
        self._noise = self.noise_ / weight + left_out
        self._posterior = None
        factor = self._variance_factors()[0]
        return cho_solve((factor, True), targets)

    def _solve_inducing(self, every, targets, weight):
        """Return the coefficients of the inducing rows, a column per target."""
        own = _Rows(*self._inducing)
        size = len(own.radial)
        covariance = self._covariance(own, own)
        self._noise = np.full(size, _JITTER * np.trace(covariance) / size)
        self._posterior = None
        prior = self._variance_factors()[0]
        posterior = np.eye(size)
        right = np.zeros((size, targets.shape[1]))
        for cut in row_slices(len(targets), max(1, _ELEMENTS // size)):
            some = every.take(cut)
            known = self._covariance(own, some)
            known = solve_triangular(prior, known, lower=True, overwrite_b=True)
            noise = self.noise_ / weight[cut]
            noise += np.maximum(self._variance(some) - np.sum(known**2, axis=0), 0.0)
            known /= np.sqrt(noise)
            posterior += known @ known.T
            right += known @ (targets[cut] / np.sqrt(noise)[:, np.newaxis])
        factor = cholesky(posterior, lower=True, overwrite_a=True)
        self._posterior = factor.astype(np.float32)
        coef = cho_solve((factor, True), right)
        return solve_triangular(prior, coef, trans=1, lower=True)

    def _variance_factors(self):
        """Return the triangular factors whose solutions lessen and raise variances."""
        own = _Rows(*self._inducing)
        covariance = self._covariance(own, own)
        covariance[np.diag_indices_from(covariance)] += self._noise
        less = cholesky(covariance, lower=True, overwrite_a=True, check_finite=False)
        if self._posterior is None:
            return less, None
        return less, self._posterior.astype(np.float64)

    def _step(self, width=0):
        """Return how many rows of the columns, or of a width, are held at once."""
        return max(1, _ELEMENTS // max(self.n_features_in_, width))

    def _coordinates(self, X, rows, product=matmul):
        """Return the coordinates of some rows of a table."""
        shifted = read_table(X, rows) - self.mean_
        return _Rows(
            *_along(shifted, self._radial, product),
            *_along(shifted, self._linear, product),
        )

    def _radial_covariance(self, coordinates, rest, others, product=matmul):
        """Return the radial part of the covariance of rows and others."""
        covariance = radial_kernel(coordinates, others.radial, 1.0, product)
        covariance *= self.amplitude_ * np.exp(-rest)[:, np.newaxis]
        covariance *= np.exp(-others.radial_rest)
        return covariance

    def _covariance(self, rows, others):
        """Return the covariance of rows and others, none of which is the same."""
        covariance = self._radial_covariance(
            rows.radial, rows.radial_rest, others, np.matmul
        )
        covariance += rows.linear.astype(np.float64) @ others.linear.T
        return covariance

    def _variance(self, rows):
        """Return the prior variance of rows."""
        linear = np.einsum("ij,ij->i", rows.linear, rows.linear, dtype=np.float64)
        return self.amplitude_ + linear + rows.linear_rest

    def _left_out(self, rows):
        """Return how much of the variance of rows their coordinates leave out."""
        radial = self.amplitude_ * -np.expm1(-2 * rows.radial_rest)
        return radial + rows.linear_rest


def _along(shifted, axes, product=matmul):
    """Return the coordinates of centred rows, and the squared length they leave out."""
    basis, weight = axes
    leading = product(shifted, basis).astype(np.float32)
    length = np.einsum("ij,ij->i", leading, leading, dtype=np.float64)
    rest = matmul(np.square(shifted), weight**2) - length
    return leading, np.maximum(rest, 0.0)


def _check_blocks(blocks, names, n_features):
    """Return the columns of every block, read from the names if there are none."""
    if blocks is None:
        return pair_blocks(names, n_features)
    blocks = {label: np.asarray(columns) for label, columns in blocks.items()}
    every = np.concatenate([np.empty(0, int), *blocks.values()])
    whole = every.dtype.kind in "iu" and every.size
    if not whole or len(set(every)) < every.size or set(every) - set(range(n_features)):
        msg = (
            "blocks passed to KernelRegressor must hold numbers of columns, from 0 to "
            f"{n_features - 1}, each at most once and one at least. Got {blocks!r}."
        )
        raise ValueError(msg)
    return blocks


def _distinct_rows(X, targets, weight):
    """Return numbers of distinct rows, in an order of their own, targets and weights.

    Pairs of equal features are one row with the mean target, so that weighting is the
    same as repeating, and no row is predicted from its copy when it is left out.
    """
    used = np.arange(X.shape[0]) if weight is None else np.flatnonzero(weight)
    weight = np.ones(len(used)) if weight is None else weight[used]
    step = max(1, _ELEMENTS // X.shape[1])
    digests = [
        blake2b(row.tobytes(), digest_size=16).digest()
        for cut in row_slices(len(used), step)
        for row in read_table(X, used[cut])
    ]
    numbers = np.frombuffer(b"".join(digests), dtype=np.uint64).reshape(-1, 2)
    _, first, same = np.unique(numbers, axis=0, return_index=True, return_inverse=True)
    same = same.ravel()
    total = np.bincount(same, weights=weight)
    start = targets[used[first]]
    # Around the first of the equal rows, so that equal targets keep their bits.
    apart = (targets[used] - start[same]) * weight[:, np.newaxis]
    mean = np.column_stack([np.bincount(same, weights=one) / total for one in apart.T])
    return used[first], start + mean, total


def _single_product(first, second):
    """Multiply in single precision: twice as fast, and training rows may round."""
    return first.astype(np.float32) @ second
