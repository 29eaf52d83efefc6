"""From ratings of many listeners to one score and one weight a pair."""

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
_MOST_PAIRS = 2**53  # up to here float64 counts in ones
_MOST_LINKED = 5_000  # listeners
# Shares of the ratings' variance. Without noise the likelihood has no maximum; this
# little is beyond what ratings show, and the ratios to it stay far below the bound.
_LEAST_NOISE, _LARGEST_RATIO = 1e-6, 1e9
_LONGEST_SCALE = 1e100  # its square is a float, too


class ListenerModel(BaseEstimator):
    r"""Estimate what a pair is worth from who rated it.

    Listeners differ in leniency and in care, and few rate any one pair. A mixed model
    with crossed effects separates pairs from listeners, on training ratings alone. It
    gives each pair a score that is corrected for its listeners, and a weight that says
    how sure it is; and it predicts what a listener says of a pair. Read more in the
    :ref:`User Guide <listeners>`.

    Parameters
    ----------
    prior_ratings : float, default=6
        How many ratings the belief that a listener is as careful as the others counts
        for. Larger trusts the listeners more alike.
    screen : float or None, default=None
        Leave out the ratings of listeners whose weight is below this; those who are as
        careful as the average have weight 1. None leaves nobody out, which did better.
    scale : tuple of (float, float), default=(0, 10)
        The rating scale, lower end first; ratings outside it are refused.
    max_iter : int, default=1000
        Most iterations.
    tol : float, default=1e-6
        Stop when the log-likelihood over the number of ratings rises by less than this
        per unit of the logarithms of 1 + variance / noise.

    Attributes
    ----------
    scores_ : ndarray of shape (n_pairs,), float64
        Weighted means of ratings less their listeners' biases,
        :math:`\sum_j w_j (r_{ij} - b_j) / \sum_j w_j`: the target `y` for a regressor.
        They may leave the scale by the size of a bias.
    shrunk_scores_ : ndarray of shape (n_pairs,), float64
        :math:`\mu + u_i`, the same drawn towards the mean of all pairs, the more the
        fewer ratings a pair has: the best guess at a new listener's rating.
    sample_weight_ : ndarray of shape (n_pairs,), float64
        Reliability of each score, :math:`\sigma_u^2 / (\sigma_u^2 + \sigma^2 /
        \sum_j w_j)`, over the mean reliability, as a weight for `fit`.
    listeners_ : DataFrame of shape (n_listeners, 3)
        ``bias`` (:math:`b_j`, how much higher than others a listener rates), ``weight``
        (:math:`w_j`, 1 for average care) and ``n_ratings`` (those that were used); the
        index contains the listeners' ids.
    variances_ : dict of str to float
        ``pair``, ``bias`` and ``noise``: :math:`\sigma_u^2`, :math:`\sigma_b^2` and
        :math:`\sigma^2`, on the squared scale. The noise is never below a millionth
        of the variance of all ratings, unless they are equal.
    log_likelihood_ : float
        Restricted log-likelihood of `variances_` where every weight is 1; infinite if
        all ratings are equal.
    n_iter_ : int
        Iterations that were run.

    See Also
    --------
    clapstack.metrics.noise_ceiling : What the listeners leave to any predictor.

    Notes
    -----
    With rating :math:`r_{ij}` of pair i by listener j (one who rates a pair twice
    counts twice),

    .. math:: r_{ij} = \mu + u_i + b_j + e_{ij}, \qquad
        u_i \sim N(0, \sigma_u^2),\ b_j \sim N(0, \sigma_b^2),\
        e_{ij} \sim N(0, \sigma^2 / w_j).

    The variances maximise the restricted likelihood (REML [1]_) of equally careful
    listeners; one that the design cannot separate from the others is 0. With
    :math:`\hat e` the residuals, :math:`n_j` the number of ratings of listener j and a
    the parameter `prior_ratings`, the weights are

    .. math:: w_j = (a + n_j) \Big/ \Bigl(a + \sum_i \hat e_{ij}^2 /
        \overline{\hat e^2}\Bigr),

    and with them the effects are the best linear unbiased predictions, the solution of
    Henderson's equations [2]_ [3]_.

    Eliminating the pairs leaves one equation a listener. Let N be the pairs × listeners
    table of summed weights, c and C its row and column sums, s and t the weighted sums
    of :math:`r - \mu` by pair and by listener, and
    :math:`D = \operatorname{diag}(1 / (\sigma^2 / \sigma_u^2 + c_i))`; then

    .. math:: \Bigl(\frac{\sigma^2}{\sigma_b^2} I + \operatorname{diag}(C) - N^\top D N
        \Bigr) b = t - N^\top D s, \qquad u = D (s - N b).

    Groups of listeners who share no pair, not even through others, are solved apart.
    Time grows with the cube and memory with the square of a group's size: more than
    5,000 linked listeners are refused. Nothing is drawn at random.

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
        """Estimate scores, biases and care.

        Parameters
        ----------
        ratings : DataFrame (pandas or polars) of shape (n_ratings, 3)
            One row per rating: ``pair`` (row of the table of pairs, from 0), ``score``
            and ``listener_id``; as in ``load_xacle(...).ratings``. Every pair up to the
            last one needs a rating. Other columns are ignored.
        y : None
            Ignored.

        Returns
        -------
        self : ListenerModel
            The fitted model.

        Raises
        ------
        ValueError
            If `scale` is not two numbers in order, columns are missing, a score is not
            a number on the scale, a listener is missing (rows are named), a pair has no
            rating (pairs are named), no pair has two ratings, so that noise cannot be
            separated from the pairs' differences, or too many listeners are linked.

        Warns
        -----
        ConvergenceWarning
            If `max_iter` iterations were not enough.
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
                # Those left out keep the weight for which they were.
                "weight": np.where(n_rated > 0, weight, judged),
                "n_ratings": n_rated,
            },
            index=pd.Index(ids, name="listener_id", tupleize_cols=False),
        )
        self.log_likelihood_ = reml.log_likelihood
        self.n_iter_ = n_iter
        return self

    def predict(self, ratings: pd.DataFrame) -> np.ndarray:
        """Predict how listeners rate pairs that were fitted.

        Parameters
        ----------
        ratings : DataFrame (pandas or polars) of shape (n_ratings, 2)
            ``pair``, numbered as in `fit`, and ``listener_id``. A listener whom `fit`
            did not see has bias 0. Other columns are ignored.

        Returns
        -------
        predicted : ndarray of shape (n_ratings,), float64
            ``shrunk_scores_`` of the pairs plus ``bias`` of the listeners; it may leave
            the scale by the size of a bias.

        Raises
        ------
        ValueError
            If columns are missing, a pair was not fitted or a listener is missing (rows
            are named).

        Warns
        -----
        UserWarning
            If `fit` saw none of the listeners: their ids may be of another type.
        """
        check_is_fitted(self)
        table = _check_ratings(ratings, ("pair", "listener_id"))
        pair, n_pairs = table["pair"].to_numpy(), len(self.shrunk_scores_)
        _refuse_rows(pair >= n_pairs, f"a pair that is not among the {n_pairs} fitted")
        known = dict(zip(self.listeners_.index, self.listeners_["bias"], strict=True))
        ids = list(table["listener_id"])
        if ids and known.keys().isdisjoint(ids):
            msg = (
                "fit saw none of the listeners, so every bias is 0. It saw ids like "
                f"{next(iter(known))!r}; got ids like {ids[0]!r}. If they are the same "
                "people, convert the ids to one type."
            )
            warnings.warn(msg, UserWarning, stacklevel=2)
        bias = np.array([known.get(name, 0.0) for name in ids])
        return self.shrunk_scores_[pair] + bias

    def _estimate(self, pair, listener, score, care):
        """Return effects at equal care, those at the care that they show, and it.

        One step suffices: on human ratings, weights that were iterated to the most
        likely ones predicted no better (MSE 6.884 and 6.884, SRCC .602 and .603).
        """
        if np.ptp(score) == 0:  # nobody differs, nor does any pair
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
        """Return the most likely ratios of variances to the noise, and iterations."""
        ratios = np.zeros(2)
        free = equations.separable
        if not free.any():
            return ratios, 0

        def loss(logs):
            ratios[free] = np.expm1(logs)
            return -equations.solve(ratios).log_likelihood / equations.n_ratings

        # Numerical slopes, because exact ones need the inverse of the equations.
        found = minimize(
            loss,
            np.log1p([1.0, 0.2])[free],
            method="L-BFGS-B",
            jac="3-point",
            bounds=[(0, np.log1p(_LARGEST_RATIO))] * np.count_nonzero(free),
            options={"maxiter": self.max_iter, "gtol": self.tol, "ftol": 1e-12},
        )
        # Status 2, that no step lowers the loss, is the limit of float64: almost
        # without noise, at slopes of up to 1e-5.
        if found.status == 1:
            msg = (
                f"max_iter={self.max_iter} iterations did not bring the slope of the "
                f"log-likelihood below tol={self.tol:g}. Raise max_iter or tol."
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

    Names are those in the Notes of `ListenerModel`. Multiplied by the ratio of the
    biases' variance to the noise, its matrix is K = I + ratio (diag(C) - N' D N), which
    a variance of 0 does not upset. K has one block for each group of listeners.
    """

    def __init__(self, pair, listener, score, care):
        self._center = score.mean()  # so that squares keep their digits
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
                f"through others; at most {_MOST_LINKED} can be. Leave out those with "
                "the fewest ratings, or fit parts of the table."
            )
            raise ValueError(msg)
        self._order = np.argsort(group, kind="stable")
        self._N, R = N[:, self._order], R[:, self._order]
        self._pair_sums = np.column_stack([self._N.sum(axis=1), R.sum(axis=1)])
        self._listener_sums = np.column_stack([self._N.sum(axis=0), R.sum(axis=0)])
        # One flat array contains the blocks of K. `_row` is the cell at which a row of
        # K would begin, had it the columns before its block.
        starts, cells = np.cumsum(sizes) - sizes, np.cumsum(sizes**2) - sizes**2
        self._blocks = list(zip(sizes, starts, cells, strict=True))
        size, start, cell = np.transpose(self._blocks)[:, group[self._order]]
        self._row = cell + (np.arange(len(care)) - start) * size - start
        n_listeners = len(np.unique(listener))
        one_to_one = shape[0] == n_listeners == N.nnz
        apart = 1 < n_listeners < len(score) and not one_to_one
        # Which variances, of pairs and of biases, the ratings separate from the others.
        self.separable = np.array([shape[0] > 1, apart])
        self.n_ratings = len(score)
        self._least_noise = _LEAST_NOISE * np.var(score)

    def solve(self, ratios: np.ndarray) -> _Effects:
        """Return the effects at such variances of pairs and biases, over the noise."""
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
        # Never less than the scale can show: without any noise nothing is most likely.
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
            f"scale must be two finite numbers, the lower first; got {scale!r}. Pass "
            "the ends of the rating scale, such as (0, 10)."
        )
        raise ValueError(msg)
    return low, high


def _check_ratings(ratings: Any, names: tuple[str, ...]) -> pd.DataFrame:
    """Return these columns, checked but for the range of the scores."""
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
    # Not by an array of all pairs, which one mistaken number could make very long.
    n_bare = n_pairs - rated.size
    if n_bare:
        few = np.arange(min(n_pairs, rated.size + _SHOWN))
        bare = np.setdiff1d(few, rated)[:_SHOWN]
        cause = (
            "Number the pairs from 0 without gaps, or leave those without ratings out."
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
            "noise cannot be separated from the pairs' differences. Use the ratings as "
            "scores."
        )
        raise ValueError(msg)
    return n_pairs


def _as_floats(column: pd.Series) -> np.ndarray:
    """Return numbers as float64, and NaN for what is missing or no number."""
    if getattr(column.dtype, "kind", "O") in "mMc":
        # pandas would count a date in nanoseconds, and NumPy drop an imaginary part.
        return np.full(len(column), np.nan)
    numeric = pd.to_numeric(column, errors="coerce")
    return numeric.to_numpy(np.float64, na_value=np.nan)
