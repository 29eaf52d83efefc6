"""The final level: regressors from first-level predictions to one score."""

from __future__ import annotations

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted, validate_data

from clapstack._compat import asking_for_weights
from clapstack._numerics.ranks import rank_target
from clapstack._numerics.rows import matmul
from clapstack.calibration import IncreasingMap
from clapstack.stacking._sample_weight import (
    checked_predictions,
    fit_estimator,
)

# Noise-to-signal ratio at R² = 0.4 (see StandardizedRidge), times the number of inputs.
_PENALTY_PER_COLUMN = 1.5
# For a ridge that shrinks towards the kernel's prediction. On human scores of sentence
# pairs, 30 to 300 work equally well from 100 to 7,000 pairs.
_PENALTY_AROUND_KERNEL = 100.0
# Equal losses differ by rounding.
_TIE = 1e-9
# Gain over the scores, in standard errors, required of other targets.
_LEAST_GAIN = 0.5


class EqualWeights(RegressorMixin, BaseEstimator):
    """Least-squares line through the plain average of the columns.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,)
        The same weight for every column.
    intercept_ : float
        Intercept.
    n_features_in_ : int
        Number of features seen during :term:`fit`.
    """

    def fit(self, X, y, sample_weight=None):
        """Fit the line.

        Parameters
        ----------
        X : array-like of shape (n_pairs, n_features)
            Predictions, standardised.
        y : array-like of shape (n_pairs,)
            Target.
        sample_weight : array-like of shape (n_pairs,), default=None
            Weights.

        Returns
        -------
        self : object
            The fitted regressor.
        """
        X, y = validate_data(self, X, y, y_numeric=True)
        mean = X.mean(axis=1, keepdims=True)
        line = LinearRegression().fit(mean, y, sample_weight=sample_weight)
        self.coef_ = np.full(X.shape[1], line.coef_[0] / X.shape[1])
        self.intercept_ = line.intercept_
        return self

    def predict(self, X):
        """Predict the target.

        Parameters
        ----------
        X : array-like of shape (n_pairs, n_features)
            Predictions, standardised.

        Returns
        -------
        y_score : ndarray of shape (n_pairs,)
            Predicted target.
        """
        check_is_fitted(self)
        X = validate_data(self, X, reset=False)
        return matmul(X, self.coef_) + self.intercept_

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        # It cannot distinguish useful from useless columns.
        tags.regressor_tags.poor_score = True
        return tags


class NoOrderError(ValueError):
    """Raised if y does not rise with predicted ranks, so no map to its scale exists."""


class HeldOutLevel:
    """A final level fitted without some pairs, to predict those pairs.

    Parameters
    ----------
    scaler : StandardScaler
        Standardises the inputs.
    estimator : regressor
        Fitted on standardised inputs.
    increasing_map : IncreasingMap or None
        Map to the scale of y.
    """

    def __init__(self, scaler, estimator, increasing_map):
        self.scaler = scaler
        self.estimator = estimator
        self.increasing_map = increasing_map

    def predict(self, inputs):
        """Return scores of shape (n_pairs,)."""
        score = _predict_one(self.scaler, self.estimator, inputs)
        if self.increasing_map is None:
            return score
        return self.increasing_map.predict(score)

    def disagreement(self, inputs):
        """Return the standard deviation of each pair's standardised inputs."""
        return self.scaler.transform(inputs).std(axis=1)


class FinalLevel:
    """A regressor on standardised first-level predictions, on the scale of y.

    Parameters
    ----------
    estimator : regressor, "mean" or None
        None is a ridge.
    target : {"auto", "score", "both", "rank"}
        Target of the regressor.
    calibration : bool, default=False
        Whether to calibrate a regressor that learned scores, too.
    kernel : dict of str to int, default=None
        Position of the kernel's prediction of each target among the inputs. With
        ``estimator=None``, the ridge shrinks towards that prediction instead of zero.

    Attributes
    ----------
    target_ : {"score", "both", "rank"}
        Selected target.
    held_out_ : ndarray of shape (n_pairs,)
        Out-of-fold predictions.
    members_ : list of HeldOutLevel
        Regressors of the out-of-fold predictions, one per split.
    scaler_ : StandardScaler
        Standardises the inputs.
    estimator_ : regressor
        Fitted on all pairs.
    map_ : IncreasingMap or None
        Map to the scale of y.
    """

    def __init__(self, estimator, target, calibration=False, kernel=None):
        self.estimator = estimator
        self.target = target
        self.calibration = calibration
        self.kernel = kernel

    def fit(self, inputs, y, weight, splits):
        """Fit on out-of-fold predictions.

        Parameters
        ----------
        inputs : ndarray of shape (n_pairs, n_inputs)
            Out-of-fold predictions.
        y : ndarray of shape (n_pairs,)
            Scores.
        weight : ndarray of shape (n_pairs,) or None
            Weights, zero allowed.
        splits : list of (train, test)
            Splits of the out-of-fold predictions.
        """
        used = np.arange(len(y)) if weight is None else np.flatnonzero(weight)
        counts = None if weight is None else weight[used]
        crossed = {
            name: self._cross_predict(name, inputs, y, weight, splits)
            for name in ("score", "both", "rank")
            if self.target in (name, "auto")
        }
        self.target_ = self.target
        if self.target == "auto":
            held_out = {name: predicted for name, (predicted, _) in crossed.items()}
            self.target_ = _choose_target(held_out, y, weight, splits)
        predicted, members = crossed[self.target_]
        self.map_ = self._fit_map(predicted[used], y[used], counts)
        self.members_ = [
            HeldOutLevel(scaler, estimator, self.map_) for scaler, estimator in members
        ]
        self.held_out_ = self._mapped(predicted)
        self.scaler_, self.estimator_ = self._fit_one(
            self.target_, inputs, y, weight, used
        )
        return self

    def __setstate__(self, state):
        # Older files have pairs of scaler and regressor, which share the map.
        members = state.get("members_", [])
        if any(isinstance(member, tuple) for member in members):
            back = state["map_"]
            members = [HeldOutLevel(scaler, one, back) for scaler, one in members]
        state = {**state, "members_": members}
        self.__dict__.update(state, kernel=state.get("kernel"))

    def _fit_map(self, score, y, weight):
        """Return the map to the scale of y if the target needs one, or None."""
        on_scale = self.target_ == "score"
        if on_scale and not self.calibration:
            return None
        back = IncreasingMap(on_scale=on_scale).fit(score, y, weight)
        if not back.exists_:
            if on_scale:
                return None
            msg = (
                f"final_target={self.target_!r} cannot be mapped back to the scale of "
                "y: y does not rise with the out-of-fold predictions, so the features "
                "do not predict its order. Check X and y, or set final_target='score'."
            )
            raise NoOrderError(msg)
        return back

    def predict(self, inputs):
        """Return scores of shape (n_pairs,)."""
        return self._mapped(_predict_one(self.scaler_, self.estimator_, inputs))

    def fit_apart(self, inputs, y, weight, splits):
        """Fit another level with the same parameters, on a subset of the pairs.

        Parameters
        ----------
        inputs, y, weight, splits
            As in :meth:`fit`.

        Returns
        -------
        level : HeldOutLevel
            Its target is the score if ranks cannot be mapped back to the scale of y.
        held_out : ndarray of shape (n_pairs,)
            Out-of-fold predictions for these pairs.
        """
        other = FinalLevel(self.estimator, self.target, self.calibration, self.kernel)
        try:
            other.fit(inputs, y, weight, splits)
        except NoOrderError:
            other.target = "score"
            other.fit(inputs, y, weight, splits)
        level = HeldOutLevel(other.scaler_, other.estimator_, other.map_)
        return level, other.held_out_

    def _mapped(self, score):
        return score if self.map_ is None else self.map_.predict(score)

    def _fit_one(self, name, inputs, y, weight, rows):
        used = None if weight is None else weight[rows]
        target, units = _target_of(name, y[rows], used)
        scaler = _array_scaler().fit(inputs[rows], sample_weight=used)
        taken = scaler.transform(inputs[rows])
        if self.estimator is None:
            known = self._known_slopes(units, scaler)
            return scaler, _fit_ridge(taken, target, used, known)
        estimator = self.estimator
        if isinstance(estimator, str):
            estimator = asking_for_weights(EqualWeights())
        return scaler, fit_estimator(estimator, taken, target, used)

    def _known_slopes(self, units, scaler):
        """Return the prior coefficients of the standardised inputs, or None."""
        if self.kernel is None or not units.keys() <= self.kernel.keys():
            return None
        slopes = np.zeros(len(scaler.scale_))
        for name, unit in units.items():
            column = self.kernel[name]
            slopes[column] = unit * scaler.scale_[column]
        return slopes

    def _cross_predict(self, name, inputs, y, weight, splits):
        """Return out-of-fold predictions and their regressors."""
        out = np.empty(len(y))
        members = []
        for train, test in splits:
            rows = train if weight is None else train[weight[train] > 0]
            scaler, estimator = self._fit_one(name, inputs, y, weight, rows)
            out[test] = _predict_one(scaler, estimator, inputs[test])
            members.append((scaler, estimator))
        return out, members


def _target_of(name, y, weight):
    """Return the target, and the size of a unit of scores and of ranks in it.

    The target is the scores, their ranks, or the mean of both, standardised.
    """
    if name == "score":
        return y, {"score": 1.0}
    ranks = rank_target(y, weight)
    if name == "rank":
        return ranks, {"rank": 1.0}
    columns = np.column_stack([y, ranks])
    scaler = _array_scaler().fit(columns, sample_weight=weight)
    units = dict(zip(("score", "rank"), 0.5 / scaler.scale_, strict=True))
    return scaler.transform(columns).mean(axis=1), units


def _fit_ridge(inputs, target, weight, known):
    """Return a ridge whose coefficients shrink towards `known`, or towards zero."""
    if known is None:
        ridge = Ridge(alpha=_PENALTY_PER_COLUMN * inputs.shape[1])
        return fit_estimator(asking_for_weights(ridge), inputs, target, weight)
    ridge = asking_for_weights(Ridge(alpha=_PENALTY_AROUND_KERNEL))
    ridge = fit_estimator(ridge, inputs, target - matmul(inputs, known), weight)
    ridge.coef_ = ridge.coef_ + known
    return ridge


def _array_scaler():
    """Return a scaler with array output, regardless of scikit-learn's configuration."""
    return StandardScaler().set_output(transform="default")


def _choose_target(held_out, y, weight, splits):
    """Return the target whose predictions are closest to y in order and in value.

    Both criteria are squared errors of standardised numbers, so they can be added:
    MSE / Var(y) for scores and 2 (1 - SRCC) for ranks. On human scores of sentence
    pairs, selection by order alone cost 5 % of MSE for SRCC gains within noise. A
    target other than the scores must gain half a standard error of its gain: with 50 to
    200 pairs, smaller gains were noise and cost up to 3 % of MSE.

    Parameters
    ----------
    held_out : dict of str to ndarray of shape (n_pairs,)
        Out-of-fold predictions by target, scores first, on the target's scale.
    y, weight : ndarray of shape (n_pairs,)
        Scores and weights; weights may be None.
    splits : list of (train, test)
        The map to the scale of y is fitted on training and evaluated on test parts. In
        sample and with few pairs, it would favour targets that need a map.

    Returns
    -------
    target : str
    """
    weight = np.ones(len(y)) if weight is None else weight
    plain = _pair_losses(y, held_out["score"], weight)
    best, most = "score", _TIE
    for name, predicted in held_out.items():
        if not IncreasingMap(on_scale=False).fit(predicted, y, weight).exists_:
            continue  # no map to the scale of y exists
        score = predicted
        if name != "score":
            score = _map_held_out(predicted, y, weight, splits)
        gains = plain - _pair_losses(y, score, weight)
        gain = np.average(gains, weights=weight)
        variance = np.average((gains - gain) ** 2, weights=weight)
        error = np.sqrt(variance / weight.sum())
        if gain > max(most, _LEAST_GAIN * error):
            best, most = name, gain + _TIE
    return best


def _pair_losses(y, score, weight):
    """Return pair losses whose mean is ``MSE / Var(y) + 2 (1 - SRCC)``."""
    spread = _array_scaler().fit(y[:, np.newaxis], sample_weight=weight).scale_
    # Ranks of float32 values, so that values which differ by rounding are ties.
    both = np.column_stack([y, score]).astype(np.float32)
    ranks = np.column_stack([rank_target(column, weight) for column in both.T])
    ranks = _array_scaler().fit(ranks, sample_weight=weight).transform(ranks)
    return ((y - score) / spread) ** 2 + np.diff(ranks, axis=1)[:, 0] ** 2


def _map_held_out(predicted, y, weight, splits):
    """Map predictions to the scale of y by maps fitted without their own pairs."""
    score = np.empty(len(y))
    for train, test in splits:
        back = IncreasingMap(on_scale=False)
        back.fit(predicted[train], y[train], weight[train])
        if back.exists_:
            score[test] = back.predict(predicted[test])
        else:
            score[test] = np.average(y[train], weights=weight[train])
    return score


def _predict_one(scaler, estimator, inputs):
    """Predict; for the default ridge, rows are bitwise independent of each other."""
    inputs = scaler.transform(inputs)
    if type(estimator) is Ridge:
        return matmul(inputs, estimator.coef_) + estimator.intercept_
    return checked_predictions(estimator, inputs, "the final level")
