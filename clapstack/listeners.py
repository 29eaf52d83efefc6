"""A listener model: from individual ratings to a score and a weight per pair."""

from __future__ import annotations

import warnings
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from pandas.api.types import is_hashable
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize
from scipy.sparse import bmat, csr_array
from scipy.sparse.csgraph import connected_components
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from clapstack._compat import Interval, _fit_context, columns_of, is_frame, to_pandas
from clapstack._numerics.checks import first_few, first_rows

__all__ = ["ListenerModel"]

_COLUMNS = ("pair", "score", "listener_id")
_SHOWN = 5
_MOST_PAIRS = 2**53  # float64 represents all integers up to here
_MOST_LINKED = 5_000  # listeners
# Share of the ratings' variance. Without noise, the likelihood has no maximum; real
# ratings have more noise than this, and ratios to it stay far below the bound.
_LEAST_NOISE, _LARGEST_RATIO = 1e-6, 1e9
_LONGEST_SCALE = 1e100  # its square does not overflow


class ListenerModel(BaseEstimator):
    r"""Estimate scores of pairs from individual ratings, corrected for the listeners.

    Listeners differ in leniency and in care, and each pair has few ratings. A mixed
    model with crossed effects, fitted on training ratings only, separates the effects
    of pairs and listeners. It provides a corrected score and a reliability weight for
    each pair, and predicts how a given listener would rate a pair. Read more in the
    :ref:`User Guide <listeners>`.

    Parameters
    ----------
    prior_ratings : float, default=6
        Strength of the prior that a listener is as careful as the average, in ratings.
        Larger values bring the listeners' weights closer to 1.
    screen : float or None, default=None
        Ignore the ratings of listeners whose weight is below this; average care has
        weight 1. None keeps all listeners, which predicted ratings better (see the
        User Guide).
    scale : tuple of (float, float), default=(0, 10)
        Rating scale, lower end first; ratings outside it raise an error.
    max_iter : int, default=1000
        Maximum number of iterations.
    tol : float, default=1e-6
        Convergence tolerance: largest slope of the log-likelihood per rating, with
        respect to the logarithms of 1 + variance / noise.

    Attributes
    ----------
    scores_ : ndarray of shape (n_pairs,), float64
        Weighted means of the ratings minus the listeners' biases,
        :math:`\sum_j w_j (r_{ij} - b_j) / \sum_j w_j`. Use them as the target `y` of a
        regressor. They can exceed the scale by the size of a bias.
    shrunk_scores_ : ndarray of shape (n_pairs,), float64
        :math:`\mu + u_i`: scores shrunk towards the mean of all pairs, more strongly
        for pairs with few ratings. The best prediction of a new listener's rating.
    sample_weight_ : ndarray of shape (n_pairs,), float64
        Reliability of each score, :math:`\sigma_u^2 / (\sigma_u^2 + \sigma^2 /
        \sum_j w_j)`, divided by the mean reliability. Use it as `sample_weight`.
    listeners_ : DataFrame of shape (n_listeners, 3)
        ``bias`` (:math:`b_j`, how much higher a listener rates than others), ``weight``
        (:math:`w_j`, 1 for average care) and ``n_ratings`` (used ratings), indexed by
        listener id.
    variances_ : dict of str to float
        ``pair``, ``bias`` and ``noise``: :math:`\sigma_u^2`, :math:`\sigma_b^2` and
        :math:`\sigma^2`, on the squared scale. The noise is at least a millionth of the
        variance of all ratings.
    log_likelihood_ : float
        Restricted log-likelihood at `variances_`, with all weights equal to 1; infinite
        if all ratings are equal.
    n_iter_ : int
        Number of iterations.

    See Also
    --------
    clapstack.metrics.noise_ceiling : Best metrics that the listeners' noise permits.

    Notes
    -----
    With rating :math:`r_{ij}` of pair i by listener j (repeated ratings of a pair count
    separately),

    .. math:: r_{ij} = \mu + u_i + b_j + e_{ij}, \qquad
        u_i \sim N(0, \sigma_u^2),\ b_j \sim N(0, \sigma_b^2),\
        e_{ij} \sim N(0, \sigma^2 / w_j).

    The variances maximise the restricted likelihood (REML [1]_) for equally careful
    listeners; a variance that the design cannot identify is set to 0. With
    :math:`\hat e` the residuals, :math:`n_j` the number of ratings of listener j and a
    the parameter `prior_ratings`, the weights are

    .. math:: w_j = (a + n_j) \Big/ \Bigl(a + \sum_i \hat e_{ij}^2 /
        \overline{\hat e^2}\Bigr),

    and, given the weights, the effects are the best linear unbiased predictions, which
    solve Henderson's equations [2]_ [3]_.

    Eliminating the pairs leaves one equation per listener. Let N be the pairs ×
    listeners table of summed weights, c and C its row and column sums, s and t the
    weighted sums of :math:`r - \mu` by pair and by listener, and
    :math:`D = \operatorname{diag}(1 / (\sigma^2 / \sigma_u^2 + c_i))`; then

    .. math:: \Bigl(\frac{\sigma^2}{\sigma_b^2} I + \operatorname{diag}(C) - N^\top D N
        \Bigr) b = t - N^\top D s, \qquad u = D (s - N b).

    Groups of listeners that share no pair, directly or through others, are solved
    separately. Time grows with the cube and memory with the square of a group's size,
    so groups of more than 5,000 listeners raise an error. The fit is deterministic.

    References
    ----------
    .. [1] H. D. Patterson and R. Thompson, "Recovery of inter-block information when
       block sizes are unequal", Biometrika 58(3), 1971.
       https://doi.org/10.1093/biomet/58.3.545
    .. [2] C. R. Henderson, "Best linear unbiased estimation and prediction under a
       selection model", Biometrics 31(2), 1975. https://doi.org/10.2307/2529430
    .. [3] S. R. Searle, G. Casella and C. E. McCulloch, "Variance Components", Wiley,
       1992. https://doi.org/10.1002/9780470316856

    Examples
    --------
    >>> import pandas as pd
    >>> from clapstack.listeners import ListenerModel
    >>> ratings = pd.DataFrame(
    ...     {
    ...         "pair": [0, 0, 0, 1, 1, 1, 2, 2],
    ...         "score": [8, 9, 10, 2, 3, 4, 5, 7],
    ...         "listener_id": ["a", "b", "c", "a", "b", "c", "a", "c"],
    ...     }
    ... )
    >>> model = ListenerModel().fit(ratings)
    >>> model.scores_.round(1).tolist()
    [9.0, 3.0, 6.0]
    >>> asked = pd.DataFrame({"pair": [2, 2], "listener_id": ["a", "somebody new"]})
    >>> model.predict(asked).round(1).tolist()
    [5.0, 6.0]
    """

    _parameter_constraints: dict = {
        "prior_ratings": [Interval(Real, 0, None, closed="neither")],
        "screen": [Interval(Real, 0, None, closed="neither"), None],
        "scale": [tuple, list],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self, *, prior_ratings=6, screen=None, scale=(0, 10), max_iter=1000, tol=1e-6
    ):
        self.prior_ratings = prior_ratings
        self.screen = screen
        self.scale = scale
        self.max_iter = max_iter
        self.tol = tol

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, ratings: pd.DataFrame, y: None = None) -> ListenerModel:
        """Estimate scores, biases and weights.

        Parameters
        ----------
        ratings : DataFrame (pandas or polars) of shape (n_ratings, 3)
            One row per rating: ``pair`` (row number of the pair, from 0), ``score`` and
            ``listener_id``, as in ``load_xacle(...).ratings``. Pair numbers must have
            no gaps. Other columns are ignored.
        y : None
            Ignored.

        Returns
        -------
        self : ListenerModel
            The fitted model.

        Raises
        ------
        ValueError
            If `scale` is not two numbers in ascending order, columns are missing, a
            score is not a number on the scale, a listener id is missing, a pair has no
            rating, no pair has two ratings (noise cannot be separated from differences
            between pairs), or more than 5,000 listeners are linked. The message names
            the rows or pairs.

        Warns
        -----
        ConvergenceWarning
            If the fit did not converge in `max_iter` iterations.
        """
        low, high = _check_scale(self.scale)
        table = _check_ratings(ratings, _COLUMNS)
        inside = table["score"].between(low, high)
        _refuse_rows(~inside, f"a score that is not a number in [{low:g}, {high:g}]")
        pair, score = table["pair"].to_numpy(), table["score"].to_numpy()
        listener, ids = pd.factorize(table["listener_id"])
        n_pairs = _check_pairs_rated(pair)
        care = np.ones(len(ids))
        reml, found, judged, n_iter = self._estimate(pair, listener, score, care)
        weight = judged
        if self.screen is not None:
            kept = judged[listener] >= self.screen
            _check_pairs_rated(pair[kept], n_pairs, screen=self.screen)
            pair, listener, score = pair[kept], listener[kept], score[kept]
            reml, found, weight, n_iter = self._estimate(pair, listener, score, care)
        n_rated = np.bincount(listener, minlength=len(ids))
        total = np.bincount(pair, weight[listener])
        corrected = weight[listener] * (score - found.bias[listener])
        self.scores_ = np.bincount(pair, corrected) / total
        self.shrunk_scores_ = found.mean + found.pair
        of_pairs, of_biases, noise = map(float, reml.variances)
        self.variances_ = {"pair": of_pairs, "bias": of_biases, "noise": noise}
        true = of_pairs / (of_pairs + noise / total) if of_pairs else np.ones(n_pairs)
        self.sample_weight_ = true / true.mean()
        self.listeners_ = pd.DataFrame(
            {
                "bias": found.bias,
                # Screened listeners keep the weight by which they were screened.
                "weight": np.where(n_rated > 0, weight, judged),
                "n_ratings": n_rated,
            },
            index=pd.Index(ids, name="listener_id", tupleize_cols=False),
        )
        self.log_likelihood_ = reml.log_likelihood
        self.n_iter_ = n_iter
        return self

    def predict(self, ratings: pd.DataFrame) -> np.ndarray:
        """Predict how listeners rate the pairs seen during fit.

        Parameters
        ----------
        ratings : DataFrame (pandas or polars) of shape (n_ratings, 2)
            ``pair``, numbered as in `fit`, and ``listener_id``. Unknown listeners have
            bias 0. Other columns are ignored.

        Returns
        -------
        predicted : ndarray of shape (n_ratings,), float64
            ``shrunk_scores_`` of the pairs plus ``bias`` of the listeners. Values can
            exceed the scale by the size of a bias.

        Raises
        ------
        ValueError
            If columns are missing, a pair is unknown or a listener id is missing. The
            message names the rows.

        Warns
        -----
        UserWarning
            If all listeners are unknown, for example because ids have another type.
        """
        check_is_fitted(self)
        table = _check_ratings(ratings, ("pair", "listener_id"))
        pair, n_pairs = table["pair"].to_numpy(), len(self.shrunk_scores_)
        _refuse_rows(pair >= n_pairs, f"a pair that is not among the {n_pairs} fitted")
        known = dict(zip(self.listeners_.index, self.listeners_["bias"], strict=True))
        ids = list(table["listener_id"])
        if ids and known.keys().isdisjoint(ids):
            msg = (
                "None of the listeners was seen during fit, so every bias is 0. fit "
                f"had ids like {next(iter(known))!r}; got ids like {ids[0]!r}. If they "
                "are the same listeners, convert the ids to one type."
            )
            warnings.warn(msg, UserWarning, stacklevel=2)
        bias = np.array([known.get(name, 0.0) for name in ids])
        return self.shrunk_scores_[pair] + bias

    def _estimate(self, pair, listener, score, care):
        """Return effects at equal care, at estimated care, that care, and n_iter.

        One step is enough: on human ratings, weights iterated to the maximum likelihood
        did not predict better (MSE 6.884 and 6.884, SRCC .602 and .603).
        """
        if np.ptp(score) == 0:  # neither listeners nor pairs differ
            none = _Effects(
                np.inf, np.zeros(3), score[0], np.zeros(pair.max() + 1), 0.0 * care
            )
            return none, none, care, 0
        equations = _CrossedEffects(pair, listener, score, care)
        ratios, n_iter = self._find_ratios(equations)
        reml = equations.solve(ratios)
        rest = score - reml.mean - reml.pair[pair] - reml.bias[listener]
        n_rated = np.bincount(listener, minlength=len(care))
        surprise = np.bincount(listener, rest**2, len(care)) / np.mean(rest**2)
        care = (self.prior_ratings + n_rated) / (self.prior_ratings + surprise)
        found = _CrossedEffects(pair, listener, score, care).solve(ratios)
        return reml, found, care, n_iter

    def _find_ratios(self, equations: _CrossedEffects) -> tuple[np.ndarray, int]:
        """Return the most likely ratios of variances to the noise, and n_iter."""
        ratios = np.zeros(2)
        free = equations.separable
        if not free.any():
            return ratios, 0

        def loss(logs):
            ratios[free] = np.expm1(logs)
            return -equations.solve(ratios).log_likelihood / equations.n_ratings

        # Numerical derivatives: exact ones need the inverse of the equations.
        found = minimize(
            loss,
            np.log1p([1.0, 0.2])[free],
            method="L-BFGS-B",
            jac="3-point",
            bounds=[(0, np.log1p(_LARGEST_RATIO))] * np.count_nonzero(free),
            options={"maxiter": self.max_iter, "gtol": self.tol, "ftol": 1e-12},
        )
        # Status 2, no step lowers the loss, is the limit of float64: it occurs almost
        # without noise, with slopes of up to 1e-5.
        if found.status == 1:
            msg = (
                f"The listener model did not converge to tol={self.tol:g} in "
                f"max_iter={self.max_iter} iterations. Raise max_iter or tol."
            )
            warnings.warn(msg, ConvergenceWarning, stacklevel=5)
        ratios[free] = np.expm1(found.x)
        return ratios, int(found.nit)


class _Effects(NamedTuple):
    log_likelihood: float  # restricted, at the most likely noise and mean
    variances: np.ndarray  # of pairs, biases and noise
    mean: float
    pair: np.ndarray
    bias: np.ndarray


class _CrossedEffects:
    """Henderson's equations of ratings, with the pairs eliminated.

    Names as in the Notes of `ListenerModel`. Multiplied by the ratio of the biases'
    variance to the noise, the matrix is K = I + ratio (diag(C) - N' D N), which also
    works for a variance of 0. K has one block per group of linked listeners.
    """

    def __init__(self, pair, listener, score, care):
        self._center = score.mean()  # avoids cancellation in squares
        values = np.column_stack([np.ones(len(score)), score - self._center])
        weighted = care[listener, None] * values
        self._sums = values.T @ weighted
        self._log_weights = np.log(care[listener]).sum()
        shape = (pair.max() + 1, len(care))
        N, R = (csr_array((sums, (pair, listener)), shape) for sums in weighted.T)
        links = bmat([[None, N.T], [N, None]])
        group = connected_components(links, directed=False)[1][: len(care)]
        sizes = np.bincount(group)
        if sizes.max() > _MOST_LINKED:
            msg = (
                f"{sizes.max()} listeners are linked by shared pairs, directly or "
                f"through others; at most {_MOST_LINKED} are supported. Leave out "
                "those with the fewest ratings, or fit parts of the table."
            )
            raise ValueError(msg)
        self._order = np.argsort(group, kind="stable")
        self._N, R = N[:, self._order], R[:, self._order]
        self._pair_sums = np.column_stack([self._N.sum(axis=1), R.sum(axis=1)])
        self._listener_sums = np.column_stack([self._N.sum(axis=0), R.sum(axis=0)])
        # One flat array contains the blocks of K. `_row` is the cell at which a row of
        # K would start if it included the columns before its block.
        starts, cells = np.cumsum(sizes) - sizes, np.cumsum(sizes**2) - sizes**2
        self._blocks = list(zip(sizes, starts, cells, strict=True))
        size, start, cell = np.transpose(self._blocks)[:, group[self._order]]
        self._row = cell + (np.arange(len(care)) - start) * size - start
        n_listeners = len(np.unique(listener))
        one_to_one = shape[0] == n_listeners == N.nnz
        apart = 1 < n_listeners < len(score) and not one_to_one
        # Whether the ratings identify the variance of pairs, and that of biases.
        self.separable = np.array([shape[0] > 1, apart])
        self.n_ratings = len(score)
        self._least_noise = _LEAST_NOISE * np.var(score)

    def solve(self, ratios: np.ndarray) -> _Effects:
        """Return the effects, given variances of pairs and biases over the noise."""
        N = self._N
        c, C = self._pair_sums[:, 0], self._listener_sums[:, 0]
        D = (ratios[0] / (1 + ratios[0] * c))[:, None]
        shared = (N.T @ N.multiply(D)).tocoo()
        K = np.zeros(np.sum(np.square(self._blocks)[:, 0]))
        K[self._row[shared.row] + shared.col] = -ratios[1] * shared.data
        K[self._row + np.arange(len(C))] += 1 + ratios[1] * C
        sides = self._listener_sums - N.T @ (D * self._pair_sums)
        solved = np.empty_like(sides)
        log_det = np.log1p(ratios[0] * c).sum() - self._log_weights
        for size, start, cell in self._blocks:
            block, rows = slice(cell, cell + size**2), slice(start, start + size)
            matrix = K[block].reshape(size, size).T  # symmetric, and LAPACK's order
            factor = cho_factor(matrix, lower=True, overwrite_a=True)
            log_det += 2 * np.log(factor[0].diagonal()).sum()
            solved[rows] = ratios[1] * cho_solve(factor, sides[rows])
        # Products of 1 and the scores with the inverse covariance in between.
        gram = self._sums - self._pair_sums.T @ (D * self._pair_sums) - sides.T @ solved
        mean = gram[0, 1] / gram[0, 0]
        square = gram[1, 1] - mean * gram[0, 1]
        # Bounded from below: without noise, the likelihood has no maximum.
        noise = max(square / (self.n_ratings - 1), self._least_noise)
        fit = square / noise + (self.n_ratings - 1) * np.log(2 * np.pi * noise)
        effects = solved @ [-mean, 1.0]
        bias = np.empty_like(effects)
        bias[self._order] = effects
        return _Effects(
            float(-(fit + log_det + np.log(gram[0, 0])) / 2),
            noise * np.append(ratios, 1.0),
            self._center + mean,
            D[:, 0] * (self._pair_sums @ [-mean, 1.0] - N @ effects),
            bias,
        )


def _check_scale(scale: Any) -> tuple[float, float]:
    try:
        low, high = (float(end) for end in scale)
    except (TypeError, ValueError, OverflowError):
        low = high = np.nan
    if not -_LONGEST_SCALE <= low < high <= _LONGEST_SCALE:
        msg = (
            f"scale must be two finite numbers, lower end first; got {scale!r}. Pass "
            "the ends of the rating scale, such as (0, 10)."
        )
        raise ValueError(msg)
    return low, high


def _check_ratings(ratings: Any, names: tuple[str, ...]) -> pd.DataFrame:
    """Return these columns; everything is checked except the range of the scores."""
    columns = columns_of(ratings) if is_frame(ratings) else []
    for what, number in (("missing", 0), ("repeated", 2)):
        wrong = [name for name in names if min(columns.count(name), 2) == number]
        if wrong:
            msg = (
                f"ratings must be a DataFrame with the columns {list(names)}; "
                f"{what} {wrong!r}. Without listeners' ids, scores can only be "
                "averaged."
            )
            raise ValueError(msg)
    table = to_pandas(ratings, names).reset_index(drop=True)
    ids = table["listener_id"]
    # pandas would count True as row 1.
    is_flag = [isinstance(number, (bool, np.bool_)) for number in table["pair"]]
    pair = np.where(is_flag, np.nan, _as_floats(table["pair"]))
    if "score" in names:
        table["score"] = _as_floats(table["score"])
    _refuse_rows(ids.isna(), "no listener_id")
    unusable = [not is_hashable(name) for name in ids]
    _refuse_rows(unusable, "a listener_id that is a list, a dict or the like")
    whole = (pair % 1 == 0) & (pair >= 0) & (pair < _MOST_PAIRS)
    _refuse_rows(~whole, "a pair that is not a row number")
    return table.assign(pair=pair.astype(np.int64))


def _refuse_rows(bad: Any, what: str) -> None:
    rows = np.flatnonzero(bad)
    if rows.size:
        msg = (
            f"{rows.size} of {len(bad)} ratings have {what} ({first_rows(rows)}). "
            "Correct or remove them."
        )
        raise ValueError(msg)


def _check_pairs_rated(
    pair: np.ndarray, n_pairs: int | None = None, screen: float | None = None
) -> int:
    """Return the number of pairs; refuse pairs without ratings."""
    rated, count = np.unique(pair, return_counts=True)
    if n_pairs is None:
        n_pairs = int(rated[-1]) + 1 if rated.size else 0
    # An array of all pairs could be huge because of a single wrong number.
    n_bare = n_pairs - rated.size
    if n_bare:
        few = np.arange(min(n_pairs, rated.size + _SHOWN))
        bare = np.setdiff1d(few, rated)[:_SHOWN]
        cause = (
            "Number the pairs from 0 without gaps, or leave out those without ratings."
            if screen is None
            else f"Lower screen={screen!r}, or set it to None."
        )
        msg = (
            f"{n_bare} of {n_pairs} pairs have no rating (pairs {first_few(bare)}). "
            f"{cause}"
        )
        raise ValueError(msg)
    if count.max(initial=0) < 2:
        msg = (
            f"no pair has two ratings ({len(pair)} ratings of {n_pairs} pairs), so "
            "noise cannot be separated from differences between pairs. Use the ratings "
            "as scores."
        )
        raise ValueError(msg)
    return n_pairs


def _as_floats(column: pd.Series) -> np.ndarray:
    """Return numbers as float64, with NaN for missing and non-numeric values."""
    if getattr(column.dtype, "kind", "O") in "mMc":
        # pandas would convert dates to nanoseconds, and NumPy drop imaginary parts.
        return np.full(len(column), np.nan)
    numeric = pd.to_numeric(column, errors="coerce")
    return numeric.to_numpy(np.float64, na_value=np.nan)
