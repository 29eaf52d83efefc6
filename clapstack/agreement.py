"""Features of the agreement between contrastive families."""

from __future__ import annotations

import copy
import warnings
from collections import Counter
from functools import partial
from itertools import combinations
from numbers import Integral

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from clapstack._compat import Interval, _fit_context, _get_output_config
from clapstack._numerics.lazy_table import LazyTable, as_slice, read_table, row_slices
from clapstack._numerics.rows import matmul
from clapstack._numerics.svd import leading_right_singular_vectors
from clapstack.families import (
    CROSS,
    check_features,
    contrastive_families,
    families_of,
)

__all__ = ["CrossAgreement"]

# 2,048 rows of 5,121 columns take 42 MB.
_ROWS = 2048


class CrossAgreement(TransformerMixin, BaseEstimator):
    r"""Measure how well contrastive families agree on each pair.

    Adds the family ``cross`` to a table of pair features: the cosine of each
    contrastive family, a low-dimensional projection of its pair features, and the
    differences of cosines and projections between every two families. The family of a
    column is the part of its name before the first ``__``; a family is contrastive if
    it has a ``<family>__cosine`` column. Read more in the
    :ref:`User Guide <cross_agreement>`.

    Parameters
    ----------
    n_components : int, default=32
        Width of each projection, capped by the smallest numerical rank among the
        families, so that small training folds work; see `n_components_`.
    passthrough : bool, default=True
        Whether to include the input columns, before the new ones.
    random_state : int, RandomState instance or None, default=0
        Starting point of the SVD iteration, which converges to rounding from any start.

    Attributes
    ----------
    families_ : list of str
        Contrastive families, in column order.
    n_components_ : int
        Width of each projection.
    components_ : dict of str to ndarray of shape (n_columns, `n_components_`)
        Right singular vectors of each contrastive family's columns, float64. Signs are
        chosen so that the entry of largest magnitude is positive.
    n_features_in_ : int
        Number of features seen during :term:`fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, if `X` has column names.

    See Also
    --------
    ClapStackingRegressor : Learns when to trust each family and their agreement.

    Notes
    -----
    With the cosine :math:`c_m`, the columns :math:`\Phi_m` and their leading right
    singular vectors :math:`V_m` (uncentred), the family ``cross`` consists of, for
    families f < g in alphabetical order ([1]_, section 3.1):

    - ``cross__<f>_cosine``: :math:`c_f`
    - ``cross__<f>_<g>_cosine_gap``: :math:`|c_f - c_g|`
    - ``cross__<f>_svd<i>``: :math:`S_f = \Phi_f V_f`
    - ``cross__<f>_<g>_product<i>``: :math:`S_f \odot S_g`
    - ``cross__<f>_<g>_absdiff<i>``: :math:`|S_f - S_g|`

    Its names and values do not depend on the order of the families in `X`.

    The SVD is fitted on all rows passed to :meth:`fit` and does not use `y`. Before a
    cross-fitted regressor, it has therefore seen the inputs of held-out rows, but never
    their targets.

    For n pairs, p columns in total and k components, the SVD needs about ``20 n p k``
    float64 multiplications: a block Lanczos iteration, which converges to rounding in
    about 15 passes over the rows. Its memory does not grow with n. Families with fewer
    than 1,024 pairs or columns, or with too flat a spectrum for the iteration, use the
    smaller Gram matrix instead: ``n p min(n, p)`` multiplications and ``8 min(n, p)²``
    bytes.

    Refitting with the same number of BLAS threads is bitwise reproducible; another
    number of threads changes results by rounding.

    References
    ----------
    .. [1] S. Li, J. Li and T. Shinozaki, "Stacking Complementary CLAP Embeddings for
       Improving Text-Audio Alignment Correspondence Scoring", ICML, 2026.

    Examples
    --------
    >>> import pandas as pd
    >>> from clapstack import CrossAgreement
    >>> X = pd.DataFrame({"laion__cosine": [0.5, 0.2], "msclap__cosine": [0.4, 0.6]})
    >>> agreement = CrossAgreement(n_components=1, passthrough=False)
    >>> agreement = agreement.set_output(transform="pandas")
    >>> agreement.fit_transform(X)["cross__laion_msclap_cosine_gap"].round(2).tolist()
    [0.1, 0.4]
    """

    _parameter_constraints: dict = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "passthrough": ["boolean"],
        "random_state": ["random_state"],
    }

    def __init__(self, n_components=32, *, passthrough=True, random_state=0):
        self.n_components = n_components
        self.passthrough = passthrough
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Fit the projection of every contrastive family.

        Parameters
        ----------
        X : array-like or StreamedFeatures of shape (n_pairs, n_features)
            Features; families are read from the column names.
        y : None
            Ignored.

        Returns
        -------
        self : object
            The fitted transformer.

        Raises
        ------
        ValueError
            If `X` has NaN or infinity, already has a family ``cross``, has a
            contrastive family of only zeros, or has no contrastive family and
            `passthrough` is False.
        """
        X = check_features(self, X, reset=True)
        self._read_families()
        vectors = {}
        for family in self.families_:
            vectors[family] = leading_right_singular_vectors(
                X, self._columns[family], self.n_components, self.random_state
            )
            if vectors[family].shape[1] == 0:
                msg = (
                    f"All columns of family {family!r} are zero over {X.shape[0]} "
                    "pairs. Drop the family, or check how its features were computed."
                )
                raise ValueError(msg)
        widths = [vector.shape[1] for vector in vectors.values()]
        self.n_components_ = min(widths, default=0)
        self.components_ = {
            family: vector[:, : self.n_components_].copy()
            for family, vector in vectors.items()
        }
        self._check_names_differ()
        return self

    def transform(self, X):
        """Compute the agreement of each pair.

        Parameters
        ----------
        X : array-like or StreamedFeatures of shape (n_pairs, n_features)
            Features, with the columns of `fit`.

        Returns
        -------
        X_out : ndarray or StreamedFeatures of shape (n_pairs, n_features_out)
            The input columns if `passthrough`, then the family ``cross``; float32 if
            `X` is float32, otherwise float64. For streamed features, a lazy table whose
            columns are computed when they are read.
        """
        check_is_fitted(self)
        X = check_features(self, X, reset=False)
        if isinstance(X, LazyTable):
            return self._transform_lazily(X)
        names = self.get_feature_names_out()
        out = np.empty((X.shape[0], len(names)), dtype=X.dtype)
        first = 0
        if self.passthrough:
            first = X.shape[1]
            out[:, :first] = X
        for rows in row_slices(X.shape[0], _ROWS):
            self._write_cross(X, rows, out[rows, first:])
        return out

    def _transform_lazily(self, X):
        """Return a lazy table with the columns of `cross`, without computing them."""
        if not self.families_:
            return X
        if _get_output_config("transform", self)["dense"] != "default":
            msg = (
                "X passed to CrossAgreement is streamed and cannot be converted to a "
                "DataFrame. Its columns already have names, so use "
                '.set_output(transform="default").'
            )
            raise ValueError(msg)
        names = [name.partition("__")[2] for name in self._cross_names()]
        # A copy, so that refitting does not change the table.
        read = partial(copy.copy(self)._cross_rows, X)
        return X.with_family(CROSS, names, read, keep=self.passthrough)

    def _cross_rows(self, X, rows):
        """Return the columns of `cross` for some rows of a lazy table, float32."""
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(X.shape[0]))
        out = np.empty((len(rows), len(self._cross_names())), np.float32)
        for cut in row_slices(len(rows), _ROWS):
            self._write_cross(X, as_slice(rows[cut]), out[cut])
        return out

    def _write_cross(self, X, rows, out):
        column = 0
        for values in self._cross_columns(X, rows):
            out[:, column : column + values.shape[1]] = values
            column += values.shape[1]

    def get_feature_names_out(self, input_features=None):
        """Return the names of the output columns.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Names of the input columns; None uses the names seen during `fit`.

        Returns
        -------
        names : ndarray of str objects of shape (n_features_out,)
            The input names if `passthrough`, then those of the family ``cross``.
        """
        check_is_fitted(self)
        names = self._cross_names()
        if self.passthrough:
            columns = OneToOneFeatureMixin.get_feature_names_out(self, input_features)
            names = [*columns, *names]
        return np.asarray(names, dtype=object)

    def _cross_names(self):
        return cross_names(self.families_, self.n_components_)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _read_families(self):
        names = getattr(self, "feature_names_in_", None)
        if names is None and self.n_features_in_ > 1:
            warnings.warn(
                f"CrossAgreement got {self.n_features_in_} columns without names, so "
                "it cannot identify families and adds nothing. Keep names in the "
                'pipeline with .set_output(transform="pandas"), or pass a DataFrame.',
                UserWarning,
                stacklevel=4,
            )
        names = [] if names is None else list(names)
        self._columns = families_of(names)
        self.families_ = contrastive_families(names)
        self._cosines = {
            family: names.index(f"{family}__cosine") for family in self.families_
        }
        if CROSS in self._columns:
            msg = (
                f"X passed to CrossAgreement already has a family {CROSS!r}. Rename "
                "its columns, or drop the first of two CrossAgreement steps."
            )
            raise ValueError(msg)
        if not self.families_ and not self.passthrough:
            msg = (
                "X passed to CrossAgreement has no contrastive family, and "
                "passthrough=False leaves no columns to return. Contrastive families "
                "have a '<family>__cosine' column; X has the families "
                f"{list(self._columns)!r}."
            )
            raise ValueError(msg)

    def _check_names_differ(self):
        names = self.get_feature_names_out()
        twice = sorted(name for name, count in Counter(names).items() if count > 1)
        if twice:
            msg = (
                f"CrossAgreement would create duplicate column names: {twice!r}. "
                "Rename a family so that joined names are unique; X has the families "
                f"{self.families_!r}."
            )
            raise ValueError(msg)

    def _cross_columns(self, X, rows):
        """Yield float64 blocks of columns, in the order of their names."""
        families, pairs = _in_order(self.families_)
        cosine, projected = {}, {}
        for family in families:
            where = self._columns[family]
            taken = read_table(X, rows, where)
            place = np.searchsorted(where, self._cosines[family])
            cosine[family] = taken[:, [place]].astype(np.float64)
            projected[family] = matmul(taken, self.components_[family])
        yield from cosine.values()
        yield from (np.abs(cosine[f] - cosine[g]) for f, g in pairs)
        yield from projected.values()
        yield from (projected[f] * projected[g] for f, g in pairs)
        yield from (np.abs(projected[f] - projected[g]) for f, g in pairs)


def cross_names(families, n_components):
    """Return the column names of the family ``cross``.

    Parameters
    ----------
    families : iterable of str
        Contrastive families, in any order.
    n_components : int
        Width of each family's projection.

    Returns
    -------
    names : list of str
        In column order, which does not depend on the order of `families`.
    """
    families, pairs = _in_order(families)
    each = range(n_components)
    names = [
        *(f"{f}_cosine" for f in families),
        *(f"{f}_{g}_cosine_gap" for f, g in pairs),
        *(f"{f}_svd{i}" for f in families for i in each),
        *(f"{f}_{g}_product{i}" for f, g in pairs for i in each),
        *(f"{f}_{g}_absdiff{i}" for f, g in pairs for i in each),
    ]
    return [f"{CROSS}__{name}" for name in names]


def _in_order(families):
    families = sorted(families)
    return families, list(combinations(families, 2))
