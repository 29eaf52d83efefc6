"""Support vector regressors on embeddings and distances, as rank 2 of 2026."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import (
    ColumnTransformer,
    TransformedTargetRegressor,
    make_column_selector,
)
from sklearn.ensemble import StackingRegressor
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.svm import SVR
from sklearn.utils.validation import check_is_fitted

from clapstack._compat import _fit_context
from clapstack.families import check_features, contrastive_families, families_of

__all__ = ["PairDistances", "make_two_svrs"]

_DISTANCES = ("angle", "l1", "l2")


class PairDistances(TransformerMixin, BaseEstimator):
    r"""Add distances between the two embeddings of every contrastive family.

    With unit-norm embeddings :math:`a` and :math:`b` of a family: ``angle``,
    :math:`1 - \arccos(a^\top b) / \pi`; ``l1``, :math:`\sum_i |a_i - b_i|`; and
    ``l2``, :math:`\lVert a - b \rVert`. The input columns come first.

    Attributes
    ----------
    families_ : list of str
        Contrastive families, in column order.
    n_features_in_ : int
        Number of features seen during :term:`fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features.

    Notes
    -----
    Each distance depends only on its pair. The published code divides by the largest
    distance of the set, so that a pair's value depends on the other pairs.

    Examples
    --------
    >>> import pandas as pd
    >>> from clapstack.systems import PairDistances
    >>> columns = ["clap__audio0", "clap__audio1", "clap__text0", "clap__text1"]
    >>> X = pd.DataFrame([[1.0, 0.0, 0.0, 1.0]], columns=columns)
    >>> distances = PairDistances().set_output(transform="pandas")
    >>> distances.fit_transform(X.assign(clap__cosine=0.0)).iloc[0, -3:].round(3)
    clap__angle    0.500
    clap__l1       2.000
    clap__l2       1.414
    Name: 0, dtype: float64
    """

    _parameter_constraints: dict = {}

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Detect the contrastive families.

        Parameters
        ----------
        X : DataFrame of shape (n_pairs, n_features)
            Columns ``<family>__audio<i>``, ``<family>__text<i>`` and
            ``<family>__cosine`` of at least one family; other columns are allowed.
        y : None
            Ignored.

        Returns
        -------
        self : object
            The fitted transformer.

        Raises
        ------
        ValueError
            If `X` has no column names or no contrastive family, or if a family lacks
            one of its two embeddings.
        """
        check_features(self, X, reset=True)
        names = [str(name) for name in getattr(self, "feature_names_in_", ())]
        self.families_ = contrastive_families(names)
        if not self.families_:
            msg = (
                "X passed to PairDistances has no '<family>__cosine' column. Keep "
                'names through the pipeline with .set_output(transform="pandas").'
            )
            raise ValueError(msg)
        self._sides = {}
        columns = families_of(names)
        for family in self.families_:
            sides = [
                [c for c in columns[family] if names[c].startswith(f"{family}__{side}")]
                for side in ("audio", "text")
            ]
            if not sides[0] or len(sides[0]) != len(sides[1]):
                msg = (
                    f"Family {family!r} has {len(sides[0])} columns of audio and "
                    f"{len(sides[1])} of text, but PairDistances needs both "
                    "embeddings. Keep the blocks 'audio' and 'text'."
                )
                raise ValueError(msg)
            cosine = names.index(f"{family}__cosine")
            self._sides[family] = (*map(np.array, sides), cosine)
        return self

    def transform(self, X):
        """Append the distances to the features.

        Parameters
        ----------
        X : DataFrame of shape (n_pairs, n_features)
            Features, with the columns of `fit`.

        Returns
        -------
        X_out : ndarray of shape (n_pairs, n_features + 3 * n_families)
            float32 if `X` is float32, else float64.
        """
        check_is_fitted(self)
        X = check_features(self, X, reset=False)
        blocks = [X]
        for audio, text, cosine in self._sides.values():
            # In row order: sums over rows of a table stored by columns are added in
            # another order and round differently.
            apart = X[:, audio].astype(np.float64, order="C")
            apart -= X[:, text]
            angle = 1 - np.arccos(np.clip(X[:, cosine], -1, 1)) / np.pi
            distances = (
                angle,
                np.abs(apart).sum(axis=1),
                np.linalg.norm(apart, axis=1),
            )
            blocks.append(np.column_stack(distances).astype(X.dtype))
        return np.concatenate(blocks, axis=1)

    def get_feature_names_out(self, input_features=None):
        """Return the names of the output columns.

        Parameters
        ----------
        input_features : None
            Ignored; the names are those of `fit`.

        Returns
        -------
        names : ndarray of str
            The input names, then ``<family>__angle``, ``__l1`` and ``__l2``.
        """
        check_is_fitted(self)
        added = [
            f"{family}__{name}" for family in self.families_ for name in _DISTANCES
        ]
        return np.asarray([*self.feature_names_in_, *added], dtype=object)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def make_two_svrs(
    first: Sequence[str],
    second: Sequence[str],
    cv: Any,
    random_state: int,
    n_jobs: int | None = None,
) -> StackingRegressor:
    """Build two support vector regressors with weights fitted out of fold.

    Parameters
    ----------
    first, second : sequence of str
        Families of each regressor. The first uses all their columns. The second, as in
        the published code, uses the embeddings and ``l1`` of a CLAP family and the mean
        states of another family.
    cv : int, splitter or iterable
        Splits for fitting the two weights.
    random_state : int
        Shuffles the folds of an int `cv`.
    n_jobs : int, default=None
        Number of processes; regressors and folds run in parallel.

    Returns
    -------
    regressor : StackingRegressor
        Regressor for a frame whose column names begin with families.
    """
    if isinstance(cv, Integral):
        cv = KFold(cv, shuffle=True, random_state=random_state)
    parts = [
        ("first", rf"^(?:{'|'.join(first)})__", 0.08),
        ("second", rf"^(?:{'|'.join(second)})__(?:(?:audio|text|mean)\d+|l1)$", 0.02),
    ]
    return StackingRegressor(
        [(name, _svr(columns, epsilon)) for name, columns, epsilon in parts],
        final_estimator=LinearRegression(fit_intercept=False, positive=True),
        cv=cv,
        n_jobs=n_jobs,
    )


def _svr(columns: str, epsilon: float) -> TransformedTargetRegressor:
    selected = make_column_selector(columns)
    steps = make_pipeline(
        ColumnTransformer([("kept", "passthrough", selected)]),
        Normalizer(),
        StandardScaler(),
        SVR(kernel="rbf", C=0.5, epsilon=epsilon, gamma="scale"),
    )
    return TransformedTargetRegressor(steps, func=to_unit, inverse_func=from_unit)


def to_unit(y: np.ndarray) -> np.ndarray:
    """Map scores from 0 to 10 to the range -1 to 1."""
    return (y - 5.0) / 5.0


def from_unit(y: np.ndarray) -> np.ndarray:
    """Map scores from -1 to 1 to the range 0 to 10."""
    return 5.0 * y + 5.0
